"""The events of memory: what agents keep beyond a conversation, version by version.

Each memory is an aggregate of its own, on `evt._memory.<id>`. A version is never changed and never
deleted: what takes its place is another one, and the end of a memory is one too.
"""

from __future__ import annotations

import enum
from typing import Any, Final

import msgspec

from pelton.events.a2a import A2A, Count
from pelton.events.event import Event


class MemoryScope(enum.StrEnum):
    """Who may recall a memory; see `pelton.events.memories` for the rules."""

    OWN = "own"
    """The agent that it belongs to, in the life in which it was committed."""
    TEAM = "team"
    """All agents that are in its team when they ask."""
    GLOBAL = "global"
    """All agents of the tenant."""


class CauseKind(enum.StrEnum):
    """What led to a version of a memory."""

    MESSAGE = "message"
    """A message to an agent, which its turn was about."""
    TOOL = "tool"
    """What a tool returned."""
    MODEL = "model"
    """What a model said."""
    PERSON = "person"
    """Somebody, by hand: the commit names who."""


class MemoryCause(A2A, frozen=True, kw_only=True):
    """What led to a version of a memory, and where that is recorded.

    It came from the turn `turn` of the task `task_id`, about the message `message_id`; with `key`,
    from what the step of that key returned. A person's has none of these.
    """

    kind: CauseKind
    agent: str = ""
    context_id: str = ""
    task_id: str = ""
    turn: Count = 0
    message_id: str = ""
    key: str = ""


class MemoryRef(A2A, frozen=True, kw_only=True):
    """One version of a memory."""

    memory_id: str
    version: Count


class MemoryEvent(Event, frozen=True, kw_only=True):
    """The base of the events of one memory: each makes its next version, from 1.

    `operation` names what was asked for, so that asking again changes nothing (law 6).
    """

    memory_id: str
    version: Count
    operation: str
    cause: MemoryCause


class MemoryContent(MemoryEvent, frozen=True, kw_only=True):
    """The base of the events that say something. `content` is a text of `media_type`.

    It is encrypted and in base64 if the commit has a `keyid` (law 12).
    From `expires` on (RFC 3339, by the clock of the log) it is recalled no longer.
    """

    content: str
    media_type: str = "text/plain"
    expires: str = ""


class MemoryBegun(MemoryContent, frozen=True, kw_only=True):
    """The base of the events that a memory begins with.

    `owner` is the agent or the team that it belongs to, and empty if it is global; `life` is that
    of the agent. `author` is the agent that wrote it, empty if a person did. With `key`, it is the
    value under that name in its namespace. `sources` are the versions of memories that it was made
    of.
    """

    scope: MemoryScope
    owner: str = ""
    life: Count = 0
    author: str = ""
    namespace: str = ""
    key: str = ""
    sources: tuple[MemoryRef, ...] = ()


class MemoryCommitted(MemoryBegun, frozen=True, kw_only=True, tag="MemoryCommitted.v1"):
    """Something is to be remembered: the first version of a memory.

    Lives on `evt._memory.<id>`, as all that becomes of it.
    """


class MemoryConsolidated(MemoryBegun, frozen=True, kw_only=True, tag="MemoryConsolidated.v1"):
    """A memory takes the place of others: its `sources`, as long as they get no further version."""


class MemoryRevised(MemoryContent, frozen=True, kw_only=True, tag="MemoryRevised.v1"):
    """A memory says something else from here on. With `reverts`, what it said in that version."""

    reverts: Count = 0


class MemoryForgotten(MemoryEvent, frozen=True, kw_only=True, tag="MemoryForgotten.v1"):
    """A memory is recalled no longer. What it said stays in the log."""

    reason: str = ""


AnyMemoryEvent = MemoryCommitted | MemoryConsolidated | MemoryRevised | MemoryForgotten
"""The events of memory, which are no context's."""


STEPS: Final = "memory."
"""How the names of the steps begin by which a turn uses memory; no other step's does."""


class MemoryResult(A2A, frozen=True, kw_only=True):
    """What such a step has returned: which versions of memories, and never what they say.

    That lies in the log once, with the version (law 8). `made` is the version that the step made,
    `given` are those that the turn was given, in order, and `next` where a further page begins.
    """

    made: MemoryRef | None = None
    sequence: Count = 0
    given: tuple[MemoryRef, ...] = ()
    next: str = ""
    total: Count = 0


def result_of(value: Any) -> MemoryResult:
    """Return what the JSON of a recorded result says.

    Raises:
        msgspec.ValidationError: it is none of memory's.
    """
    return msgspec.convert(value, MemoryResult)


def given(key: str, result: Any) -> tuple[MemoryRef, ...]:
    """Return which versions the step of a key has given to its turn, each once."""
    return tuple(dict.fromkeys(_result(key, result).given))


def named(key: str, result: Any) -> tuple[MemoryRef, ...]:
    """Return which versions the step of a key has given or made."""
    found = _result(key, result)
    return (*found.given, found.made) if found.made else found.given


def _result(key: str, result: Any) -> MemoryResult:
    if not key.startswith(STEPS):
        return MemoryResult()
    try:
        return result_of(result)
    except msgspec.ValidationError:
        return MemoryResult()
