"""What came of a record that turned out bad: a false message, a poisoned tool, a wrong memory.

Everything that can have known of it, found in one pass over the log in its order, since nothing
comes of what is behind it:

- What a conversation does from then on, for all that was said there is given to each of its turns;
  what is only waiting there makes no difference until it is decided.
- The versions of memories that are written there, are made of such a version, or revert to one; and
  the conversations to which such a version is given.
- What is handed on from there to another agent, and what that reports.

A version that a person writes is none of this, whatever it takes the place of.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import msgspec

from pelton.events import subjects
from pelton.events.commands import ReportTask
from pelton.events.commit import Commit
from pelton.events.delegation import Delegation
from pelton.events.errors import DamagedRecord
from pelton.events.events import (
    MessageReceived,
    QuestionAnswered,
    StepCompleted,
    TaskDelegated,
    TaskEvent,
    TaskSubmitted,
    TurnEnded,
)
from pelton.events.memory import MemoryBegun, MemoryEvent, MemoryRef, MemoryRevised, given
from pelton.events.upcast import decode_command, decode_commit

_Place = tuple[str, str]
"""An agent and the id of a context."""


class How(enum.StrEnum):
    """How something came to know of what is bad."""

    SOURCE = "source"
    """It is what is bad."""
    MESSAGE = "message"
    """A message, an answer or a report of it was decided there."""
    MEMORY = "memory"
    """It was given a version of a memory, or a memory is made of one."""
    CONVERSATION = "conversation"
    """It was written there, or is part of the same conversation."""


class TaintedTask(msgspec.Struct, kw_only=True, rename="camel"):
    """A task that has gone on knowing of it, first at `sequence`, because of the record `because`.

    `ended` is the sequence at which its last turn since then has ended, with an `outcome`; 0 if
    none has.
    """

    sequence: int
    agent: str
    context_id: str
    task_id: str
    how: How
    because: int
    ended: int = 0
    outcome: str = ""


class TaintedMemory(msgspec.Struct, kw_only=True, rename="camel"):
    """A version of a memory that was written knowing of it; `last` if no other came after it."""

    sequence: int
    memory_id: str
    version: int
    how: How
    because: int
    last: bool = True


class Taint:
    """What came of the record at a sequence, once it has taken in all records in their order."""

    def __init__(self, source: int) -> None:
        self.source = source
        self.reached = 0
        """The sequence of the last record that was taken in."""
        self.tasks: list[TaintedTask] = []
        self.memories: list[TaintedMemory] = []
        self.unread: list[int] = []
        """The sequences of records that cannot be read: what came of them is not known."""
        self._places: dict[_Place, tuple[How, int]] = {}
        self._commands: dict[_Place, dict[int, int]] = {}
        self._handed: dict[str, int] = {}
        self._versions: dict[MemoryRef, TaintedMemory] = {}
        self._last: dict[str, TaintedMemory] = {}
        self._tasks: dict[tuple[str, str], TaintedTask] = {}
        self._working: dict[Delegation, _Place] = {}

    def take(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in a record."""
        self.reached = sequence
        if sequence < self.source and _DELEGATION not in data:
            return
        parsed = subjects.parse(subject)
        if parsed.beside and parsed.agent != subjects.MEMORY:
            return
        place = (parsed.agent, parsed.context)
        try:
            if parsed.kind == "cmd":
                self._command(sequence, place, data)
                return
            commit = decode_commit(data)
        except DamagedRecord:
            if sequence >= self.source:
                self.unread.append(sequence)
            return
        if parsed.agent == subjects.MEMORY:
            self._remembered(sequence, commit)
        elif parsed.agent != subjects.ACCESS:
            self._happened(sequence, place, commit)

    # Commands wait until they are decided.

    def _command(self, sequence: int, place: _Place, data: bytes) -> None:
        if sequence < self.source:
            return
        because = self.source if sequence == self.source else self._known(data)
        if because:
            self._commands.setdefault(place, {})[sequence] = because

    def _known(self, data: bytes) -> int:
        """Return which record led to a command that knows of it, 0 if it does not."""
        command = decode_command(data)
        if isinstance(command, ReportTask):
            worker = self._working.get(_who(command.data.delegation))
            return self._places[worker][1] if worker in self._places else 0
        return self._handed.get(command.id, 0)

    # What happens in a conversation.

    def _happened(self, sequence: int, place: _Place, commit: Commit) -> None:
        events = commit.data.events
        for event in events:
            if isinstance(event, _ASKED) and event.delegation is not None:
                self._working[_who(event.delegation)] = place
        if sequence < self.source:
            return
        if place not in self._places and (found := self._reached(sequence, place, commit)):
            self._places[place] = found
        if place not in self._places:
            return
        how, because = self._places[place]
        for event in events:
            if isinstance(event, TaskDelegated):
                self._handed[event.command_id] = sequence
            if isinstance(event, TaskEvent):
                self._task(sequence, place, event, how, because)
        self._places[place] = How.CONVERSATION, sequence

    def _reached(self, sequence: int, place: _Place, commit: Commit) -> tuple[How, int] | None:
        """Return how a commit comes to know of it, and from which record; None if it does not."""
        if sequence == self.source:
            return How.SOURCE, sequence
        for at, because in self._commands.get(place, {}).items():
            if at == commit.data.command or at <= commit.data.handled:
                return How.MESSAGE, because
        for event in commit.data.events:
            for ref in given(event.key, event.result) if isinstance(event, StepCompleted) else ():
                if ref in self._versions:
                    return How.MEMORY, self._versions[ref].sequence
        return None

    def _task(self, sequence: int, place: _Place, event: TaskEvent, how: How, because: int) -> None:
        key = (place[0], event.task_id)
        found = self._tasks.get(key)
        if found is None:
            found = self._tasks[key] = TaintedTask(
                sequence=sequence,
                agent=place[0],
                context_id=place[1],
                task_id=event.task_id,
                how=how,
                because=because,
            )
            self.tasks.append(found)
        if isinstance(event, TurnEnded):
            found.ended, found.outcome = sequence, event.outcome.value

    # What is remembered.

    def _remembered(self, sequence: int, commit: Commit) -> None:
        if sequence < self.source:
            return
        for event in commit.data.events:
            if not isinstance(event, MemoryEvent):
                continue
            if (before := self._last.get(event.memory_id)) is not None:
                before.last = False
            reached = (How.SOURCE, sequence) if sequence == self.source else self._written(event)
            if reached is None:
                continue
            made = TaintedMemory(
                sequence=sequence,
                memory_id=event.memory_id,
                version=event.version,
                how=reached[0],
                because=reached[1],
            )
            self.memories.append(made)
            self._versions[MemoryRef(memory_id=made.memory_id, version=made.version)] = made
            self._last[made.memory_id] = made

    def _written(self, event: MemoryEvent) -> tuple[How, int] | None:
        for ref in _made_of(event):
            if ref in self._versions:
                return How.MEMORY, self._versions[ref].sequence
        place = (event.cause.agent, event.cause.context_id)
        if place in self._places:
            return How.CONVERSATION, self._places[place][1]
        return None


_ASKED: Final = (TaskSubmitted, MessageReceived, QuestionAnswered)

_DELEGATION: Final = b'"delegation"'
"""What is in every commit that tells who waits for a task."""


def _who(delegation: Delegation) -> Delegation:
    """Return who waits, by what names it alone."""
    return msgspec.structs.replace(delegation, chain=())


def _made_of(event: MemoryEvent) -> Iterator[MemoryRef]:
    if isinstance(event, MemoryBegun):
        yield from event.sources
    if isinstance(event, MemoryRevised) and event.reverts:
        yield MemoryRef(memory_id=event.memory_id, version=event.reverts)
