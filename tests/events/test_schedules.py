"""Schedules as a pure state machine: which slots fire, which are missed (AS-56)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pelton.events.commands import (
    RemoveSchedule,
    RemoveScheduleData,
    ScheduleCommand,
    SetSchedule,
    SetScheduleData,
)
from pelton.events.commit import Commit, CommitData
from pelton.events.envelope import encode
from pelton.events.errors import DamagedRecord, InvalidInput
from pelton.events.events import AnyEvent, CommandRejected, ScheduleFired, ScheduleMissed
from pelton.events.schedule import Missed, Schedule, check_schedule
from pelton.events.schedules import AT_ONCE, Schedules, decide, declaring, due, fire, fold

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    """Return a time as the log has it."""
    moment = BEGAN + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def slots(schedule: Schedule, after: str) -> Iterator[str]:
    """Give the slots of a `cron` that is a number of seconds, or the one `at`."""
    if schedule.at:
        yield from (schedule.at,) if schedule.at > after else ()
        return
    step = int(schedule.cron)
    since = (datetime.fromisoformat(after) - BEGAN).total_seconds()
    number = since // step + 1
    while True:
        yield at(number * step)
        number += 1


class Tale:
    """The schedules of an agent, told commit by commit."""

    def __init__(self) -> None:
        self.state = Schedules(agent="echo")
        self.commands = 0

    def commit(self, *events: AnyEvent, cause: str = "cause", command: int = 0) -> None:
        """Append a commit."""
        data = CommitData(events=events, command=command, handled=command)
        commit = Commit(
            id=f"id-{self.state.head}",
            source="test",
            subject="echo/_schedules",
            time=at(0),
            tenant="t",
            actor="anna",
            correlationid="c",
            causationid=cause,
            sequence=self.state.sequence + 1,
            prevhash=self.state.hash,
            data=data,
        )
        self.state = fold(self.state, self.state.head + 1, encode(commit))

    def ask(
        self, change: Schedule | str, *, now: float = 0, declared: bool = False, id_: str = ""
    ) -> tuple[AnyEvent, ...]:
        """Decide a command, and append what comes of it."""
        self.commands += 1
        id_ = id_ or f"command-{self.commands}"
        envelope: dict[str, Any] = dict.fromkeys(("source", "subject", "time", "tenant"), "x")
        envelope |= {"id": id_, "actor": "anna", "correlationid": id_, "causationid": id_}
        command: ScheduleCommand
        if isinstance(change, str):
            removal = RemoveScheduleData(name=change, declared=declared)
            command = RemoveSchedule(data=removal, **envelope)
        else:
            command = SetSchedule(
                data=SetScheduleData(schedule=change, declared=declared), **envelope
            )
        events = decide(self.state, command, now=at(now), slots=slots)
        self.commit(*events, cause=id_, command=self.commands)
        return events

    def fire(self, now: float) -> tuple[AnyEvent, ...]:
        """Fire what is due, and append it."""
        events = fire(self.state, now=at(now), slots=slots)
        if events:
            self.commit(*events)
        return events


def schedule(**members: object) -> Schedule:
    return Schedule(**{"name": "a", "text": "x", "cron": "10", **members})  # type: ignore[arg-type]


def fired(events: tuple[AnyEvent, ...]) -> list[str]:
    return [event.slot for event in events if isinstance(event, ScheduleFired)]


def test_each_slot_fires_once() -> None:
    tale = Tale()
    tale.ask(schedule(), now=5)
    assert tale.fire(9) == ()
    assert fired(tale.fire(10)) == [at(10)]
    assert tale.fire(10) == ()
    assert fired(tale.fire(31)) == [at(20), at(30)], "a little late is not missed"
    assert due(tale.state, slots) == at(40)
    assert tale.fire(0) == (), "a clock that was put back fires nothing again"


@pytest.mark.parametrize(
    ("missed", "limit", "fires"),
    [
        (Missed.SKIP, 10, []),
        (Missed.ONCE, 10, [80]),
        (Missed.ALL, 3, [60, 70, 80]),
        (Missed.ALL, 100, [10, 20, 30, 40, 50, 60, 70, 80]),
    ],
)
def test_missed_slots_follow_the_policy(missed: Missed, limit: int, fires: list[int]) -> None:
    tale = Tale()
    tale.ask(schedule(missed=missed, limit=limit, grace=15))
    events = tale.fire(101)
    assert fired(events) == [at(each) for each in fires] + [at(90), at(100)]
    lost = [event for event in events if isinstance(event, ScheduleMissed)]
    if len(fires) == 8:
        assert not lost
    else:
        last = 10 * (8 - len(fires))
        count = 8 - len(fires)
        assert lost == [ScheduleMissed(name="a", first=at(10), last=at(last), count=count)]


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
    st.sampled_from(Missed),
    st.integers(1, 5),
    st.integers(0, 60),
)
def test_no_slot_is_lost_but_by_policy(
    waits: list[int], missed: Missed, limit: int, grace: int
) -> None:
    tale, now = Tale(), 0
    tale.ask(schedule(missed=missed, limit=limit, grace=grace))
    accounted = 0
    for wait in waits:
        now += wait
        for event in tale.fire(now):
            if isinstance(event, ScheduleFired):
                accounted += 1
                assert event.slot == at(10 * accounted)
            if isinstance(event, ScheduleMissed):
                assert event.first == at(10 * (accounted + 1))
                accounted += event.count
                assert event.last == at(10 * accounted)
        assert accounted == now // 10


@pytest.mark.parametrize("missed", list(Missed))
@pytest.mark.parametrize("many", [AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE + 7])
def test_very_many_missed_slots_are_decided_in_several_commits(missed: Missed, many: int) -> None:
    tale = Tale()
    tale.ask(schedule(missed=missed, limit=4, grace=5))
    now, came, lost = 10 * many + 6, list[str](), 0
    while events := tale.fire(now):
        assert len(events) <= 5
        came += fired(events)
        lost += sum(event.count for event in events if isinstance(event, ScheduleMissed))
    keep = {Missed.SKIP: 0, Missed.ONCE: 1, Missed.ALL: 4}[missed]
    assert came == [at(10 * (many - back)) for back in reversed(range(keep))]
    assert lost == many - keep


def test_a_time_that_had_passed_when_it_was_set_is_missed() -> None:
    for missed, type_ in ((Missed.SKIP, ScheduleMissed), (Missed.ONCE, ScheduleFired)):
        tale = Tale()
        tale.ask(schedule(cron="", at=at(10), missed=missed), now=500)
        [event] = tale.fire(500)
        assert isinstance(event, type_)
        assert tale.fire(501) == ()
        tale.ask(schedule(cron="", at=at(10), missed=missed, text="otherwise"), now=600)
        assert tale.fire(601) == (), "that slot is over"


def test_what_is_paused_has_no_slots() -> None:
    tale = Tale()
    tale.ask(schedule())
    tale.ask(schedule(enabled=False), now=11)
    assert tale.fire(100) == ()
    assert due(tale.state, slots) == ""
    tale.ask(schedule(), now=105)
    assert fired(tale.fire(120)) == [at(110), at(120)]
    tale.ask("a", now=121)
    assert tale.fire(200) == ()


def test_a_firing_says_all_that_is_sent() -> None:
    tale = Tale()
    tale.ask(schedule(context="diary"))
    tale.fire(10)
    tale.ask(schedule(context="diary", text="otherwise"), now=11)
    [firing] = tale.state.entries["a"].firings
    assert (firing.text, firing.actor, firing.event.context_id) == ("x", "anna", "diary")
    tale.fire(20)
    [firing] = tale.state.entries["a"].firings
    assert firing.text == "otherwise"
    other = Tale()
    other.ask(schedule())
    other.fire(10)
    assert other.state.entries["a"].firings[0].event.command_id != firing.event.command_id
    assert other.state.entries["a"].firings[0].event.context_id != firing.event.context_id


def test_a_command_is_decided_once() -> None:
    tale = Tale()
    assert tale.ask(schedule(), id_="one")
    assert tale.ask(schedule()) == (), "it is so already"
    assert tale.ask("a")
    assert tale.ask(schedule(), id_="one") == ()
    [refused] = tale.ask("a", id_="none")
    assert isinstance(refused, CommandRejected)
    assert tale.state.rejected["none"].code == "schedule-not-found"


def test_the_code_declares_what_it_has_and_no_more() -> None:
    tale, mine = Tale(), schedule()
    assert list(declaring(tale.state, (mine,))) == [mine]
    tale.ask(mine, declared=True)
    assert not list(declaring(tale.state, (mine,)))
    tale.ask(schedule(text="otherwise"))
    tale.ask(schedule(name="another"))
    assert not list(declaring(tale.state, (mine,))), "what somebody has changed stays so"
    changed = replace(mine, cron="20")
    assert list(declaring(tale.state, (changed,))) == [changed]
    assert list(declaring(tale.state, ())) == ["a"], "and what somebody else has set stays too"
    tale.ask("a", declared=True)
    assert not list(declaring(tale.state, ()))
    assert tale.state.entries["a"].schedule is None


@pytest.mark.parametrize(
    "members",
    [
        {"name": ""},
        {"name": "a\n"},
        {"text": ""},
        {"text": "x" * 70_000},
        {"cron": ""},
        {"at": "2026-01-01"},
        {"context": "\x00"},
        {"limit": 0},
        {"limit": 101},
    ],
)
def test_what_cannot_be_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        check_schedule(schedule(**members))
    tale = Tale()
    [refused] = tale.ask(schedule(**members))
    assert isinstance(refused, CommandRejected)


def test_commits_chain() -> None:
    tale = Tale()
    tale.ask(schedule())
    attributes: dict[str, Any] = dict.fromkeys(("id", "source", "subject", "time", "tenant"), "x")
    attributes |= dict.fromkeys(("actor", "correlationid", "causationid"), "x")
    other = Commit(
        sequence=tale.state.sequence + 1,
        prevhash="another",
        data=CommitData(events=()),
        **attributes,
    )
    with pytest.raises(DamagedRecord):
        fold(tale.state, 2, encode(other))
