"""A schedule: what is said to an agent at which times."""

from __future__ import annotations

import enum
from typing import Final

from pelton.events.a2a import A2A, Count
from pelton.events.errors import InvalidInput
from pelton.events.ids import check_id

MOST: Final = 100
"""How many missed slots are made up for at once, at most."""

LONGEST_TEXT: Final = 64 * 1024
"""Bytes that a schedule may say: the commit that sets it is one message."""


class Missed(enum.StrEnum):
    """What becomes of slots that have passed while nobody served the agent."""

    SKIP = "skip"
    """None of them fires."""
    ONCE = "once"
    """The latest of them fires."""
    ALL = "all"
    """Each of them fires, the latest `limit` of them at most."""


class Schedule(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """At which times a message is sent to an agent. Each of these times is a *slot*.

    Slots are given by `cron`, five fields as cron has them or six with seconds before them, or it
    is the one time `at` (RFC 3339; without an offset it is a time in `zone`). `zone` is a name of
    the time zone database. With `context`, each firing goes on with the context of that id, else
    each begins one of its own. A slot that is more than `grace` seconds old when it could fire is
    missed, and `missed` says what becomes of it; all others fire. Without `enabled` there are no
    slots.
    """

    name: str
    text: str
    cron: str = ""
    at: str = ""
    zone: str = "UTC"
    context: str = ""
    missed: Missed = Missed.SKIP
    limit: Count = 10
    grace: Count = 60
    enabled: bool = True


def check_schedule(schedule: Schedule) -> None:
    """Check all of a schedule but its times, for which see `pelton.runtime.slots`.

    Raises:
        InvalidInput: it cannot be.
    """
    check_id(schedule.name, "schedule.name")
    if not schedule.text or len(schedule.text.encode()) > LONGEST_TEXT:
        raise InvalidInput(
            f"a schedule says something, in at most {LONGEST_TEXT} bytes", field="schedule.text"
        )
    if bool(schedule.cron) == bool(schedule.at):
        raise InvalidInput("a schedule has either cron or at", field="schedule.cron")
    if schedule.context:
        check_id(schedule.context, "schedule.context")
    if not 1 <= schedule.limit <= MOST:
        raise InvalidInput(f"limit is from 1 to {MOST}", field="schedule.limit")
