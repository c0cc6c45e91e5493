"""Times as people write them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pelton.adapters.cli.output import CommandFailed
from pelton.adapters.cli.tail import moment


def test_a_time_is_in_utc_wherever_it_was_written() -> None:
    assert moment("2026-11-28T10:00:00+02:00").isoformat() == "2026-11-28T08:00:00+00:00"
    assert moment("2026-11-28").isoformat() == "2026-11-28T00:00:00+00:00"
    assert abs(datetime.now(UTC) - timedelta(minutes=5) - moment("5m")) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["start", "", "-5", "9999999999d", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(CommandFailed, match="use a sequence, a time or 90s"):
        moment(text, "a sequence, ")
