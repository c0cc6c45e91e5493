"""Timestamps are written as A2A writes them, whatever the moment."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from pelton.runtime.clock import rfc3339


@given(st.datetimes(timezones=st.just(UTC)))
@example(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
@example(datetime(2026, 1, 2, 3, 4, 5, 1, tzinfo=UTC))
@example(datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC))
def test_a_timestamp_has_milliseconds_and_ends_with_z(moment: datetime) -> None:
    whole = moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
    assert rfc3339(moment) == f"{whole}Z"
