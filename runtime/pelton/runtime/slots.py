"""The times at which a schedule fires: cron expressions and time zones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from pelton.events.errors import InvalidInput
from pelton.events.schedule import Schedule, check_schedule
from pelton.runtime.clock import rfc3339

_LONGEST: Final = 100
"""Characters of a cron expression or of the name of a zone: both are parsed again and again."""

_MINUTE: Final = timedelta(minutes=1)


def slots(schedule: Schedule, after: str) -> Iterator[str]:
    """Yield the slots of a schedule after a time (RFC 3339), in order, in UTC.

    Without `after`, all there are of a schedule that has only one. Where clocks are put forward or
    back, times of day are taken as Debian's cron takes them: one that does not exist or comes twice
    is a slot once; an expression that is about every hour or minute goes on through it.

    Raises:
        InvalidInput: its times are no times.
    """
    zone = _zone(schedule.zone)
    if schedule.at:
        at = _moment(schedule.at, zone)
        return iter((at,) if at > after else ())
    return _cron(schedule.cron, zone, after)


def check_times(schedule: Schedule) -> None:
    """Check all of a schedule, its times too.

    Raises:
        InvalidInput: it cannot be.
    """
    check_schedule(schedule)
    slots(schedule, "2000-01-01T00:00:00.000Z")


def _zone(name: str) -> ZoneInfo:
    try:
        if 0 < len(name) <= _LONGEST:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is one of the last
        pass
    raise InvalidInput(
        f"{name[:80]!r} is no time zone: write one as in Europe/Berlin, or UTC",
        field="schedule.zone",
    )


def _moment(text: str, zone: ZoneInfo) -> str:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return rfc3339(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{text[:80]!r} is no time: write one as in 2026-12-24T18:00", field="schedule.at"
        ) from None


def _cron(expression: str, zone: ZoneInfo, after: str) -> Iterator[str]:
    start = datetime.fromisoformat(after).astimezone(zone)
    try:
        if len(expression) > _LONGEST:
            raise CronSimError("it is too long")
        # From a little before: what was there before the clocks were put back may still come.
        times = CronSim(expression, start - _MINUTE)
    except (CronSimError, ValueError) as error:
        raise InvalidInput(
            f"{expression[:80]!r} is no cron expression ({error}): write five fields, as in"
            " '0 9 * * mon-fri' for nine o'clock on working days",
            field="schedule.cron",
        ) from None
    return _later(times, after)


def _later(times: CronSim, after: str) -> Iterator[str]:
    for moment in times:
        slot = rfc3339(moment.astimezone(UTC))
        if slot > after:
            after = slot
            yield slot
