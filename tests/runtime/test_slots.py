"""Cron expressions and time zones: which slots a schedule has."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from pelton.events.errors import InvalidInput
from pelton.events.schedule import Schedule
from pelton.runtime.slots import check_times, slots


def some(after: str, count: int = 3, **members: Any) -> list[str]:
    """Return slots after a time, short."""
    given: dict[str, Any] = {"name": "a", "text": "x", **members}
    schedule = Schedule(**given)
    return [slot.removesuffix(":00.000Z") for slot in islice(slots(schedule, after), count)]


def test_cron() -> None:
    after = "2026-03-26T09:00:00.000Z"
    assert some(after, cron="0 9 * * mon-fri") == [
        *("2026-03-27T09:00", "2026-03-30T09:00", "2026-03-31T09:00")
    ]
    assert some(after, cron="*/15 * * * * *")[:2] == [
        *("2026-03-26T09:00:15.000Z", "2026-03-26T09:00:30.000Z")
    ]
    assert some(after, 1, cron="0 0 29 2 *") == ["2028-02-29T00:00"]


def test_a_slot_is_after_the_time_to_the_millisecond() -> None:
    assert some("2026-01-01T08:59:59.999Z", 1, cron="0 9 * * *") == ["2026-01-01T09:00"]
    assert some("2026-01-01T09:00:00.001Z", 1, cron="0 9 * * *") == ["2026-01-02T09:00"]


def test_a_time_of_day_is_one_slot_a_day_whatever_the_clocks_do() -> None:
    berlin: dict[str, Any] = {"cron": "30 2 * * *", "zone": "Europe/Berlin"}
    assert some("2026-03-28T00:00:00.000Z", **berlin) == [
        *("2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30")
    ]
    assert some("2026-10-24T00:00:00.000Z", **berlin) == [
        *("2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30")
    ]
    for after in ("00:30:00.000", "00:45:00.000", "01:00:00.000", "01:30:00.000"):
        assert some(f"2026-10-25T{after}Z", 1, **berlin) == ["2026-10-26T01:30"], after


def test_what_is_about_every_hour_goes_on_through_it() -> None:
    assert some("2026-10-24T23:30:00.000Z", 4, cron="0 * * * *", zone="Europe/Berlin") == [
        *("2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00", "2026-10-25T03:00")
    ]


def test_one_time() -> None:
    assert some("", at="2026-12-24T18:00", zone="Europe/Berlin") == ["2026-12-24T17:00"]
    assert some("", at="2026-12-24T18:00+03:00", zone="Europe/Berlin") == ["2026-12-24T15:00"]
    assert some("2026-12-24T17:00:00.000Z", at="2026-12-24T18:00", zone="Europe/Berlin") == []


@pytest.mark.parametrize(
    "members",
    [
        {"cron": "often"},
        {"cron": "61 * * * *"},
        {"cron": "0 0 31 2 *"},
        {"cron": "* * * *"},
        {"cron": "1/0 * * * *"},
        {"cron": "0," * 99 + "0 * * * *"},
        {"at": "soon"},
        {"at": "0001-01-01T00:00", "zone": "Asia/Tokyo"},
        {"cron": "* * * * *", "zone": ""},
        {"cron": "* * * * *", "zone": "Nowhere/City"},
        {"cron": "* * * * *", "zone": "../../etc/passwd"},
        {"cron": "* * * * *", "zone": "/etc/localtime"},
        {"cron": "* * * * *", "zone": "Europe"},
        {"cron": "* * * * *", "zone": "a\x00b"},
        {"cron": "* * * * *", "zone": "x" * 5_000},
    ],
)
def test_what_is_no_time_is_refused(members: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as error:
        check_times(Schedule(**{"name": "a", "text": "x", **members}))  # type: ignore[arg-type]
    assert error.value.field.startswith("schedule.")
