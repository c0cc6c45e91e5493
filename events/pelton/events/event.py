"""What all events have in common."""

from __future__ import annotations

from pelton.events.a2a import A2A


class Event(A2A, frozen=True, kw_only=True, tag_field="type"):
    """The base of all events; the tag is the type's name and version, as in `TaskSubmitted.v1`."""


class TaskEvent(Event, frozen=True, kw_only=True):
    """The base of the events of one task."""

    task_id: str
