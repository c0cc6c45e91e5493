"""Reading a batch of records: what it holds for each context, decoded once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from pelton.events import subjects
from pelton.events.commands import Command
from pelton.events.commit import Commit
from pelton.events.envelope import digest
from pelton.events.errors import DamagedRecord, InvalidInput, PeltonError
from pelton.events.events import AgentRegistered
from pelton.events.upcast import decode_command, decode_commit
from pelton.projections.audit import acts_of
from pelton.projections.rows import Cells, text


class Stored(Protocol):
    """A record of the log; see `pelton.runtime.log.Record`."""

    @property
    def sequence(self) -> int:
        """Its place in the stream."""
        ...

    @property
    def subject(self) -> str:
        """Where it is stored."""
        ...

    @property
    def data(self) -> bytes:
        """Its bytes."""
        ...


class Damage(msgspec.Struct, frozen=True):
    """A record that cannot be taken in, and why."""

    sequence: int
    subject: str
    code: str
    reason: str

    @classmethod
    def of(cls, sequence: int, subject: str, error: PeltonError) -> Damage:
        """Return the damage that an error tells of."""
        return cls(sequence, subject, error.code, str(error))


class Told(msgspec.Struct, frozen=True, gc=False):
    """A commit of a memory, or why it cannot be read."""

    sequence: int
    subject: str
    memory_id: str
    commit: Commit | None
    error: PeltonError | None = None


class Undecided(msgspec.Struct):
    """A command that waits, or waited when the batch began."""

    sequence: int
    subject: str
    data: bytes
    command: Command | None = None
    damage: Damage | None = None

    def decode(self) -> None:
        """Read the command, unless that was done."""
        if self.command is None and self.damage is None:
            try:
                self.command = decode_command(self.data)
            except DamagedRecord as error:
                self.damage = Damage.of(self.sequence, self.subject, error)


class Group(msgspec.Struct):
    """The records of one context in a batch, by stream sequence, as they came.

    Nothing is read beyond a commit that is damaged.
    """

    key: str
    agent: str
    context_id: str
    first: int
    last: int = 0
    commits: list[tuple[int, bytes]] = []
    commands: list[tuple[int, bytes]] = []
    damage: Damage | None = None

    def read(self) -> list[tuple[int, Commit]]:
        """Return its commits, decoded."""
        commits: list[tuple[int, Commit]] = []
        for place, (sequence, data) in enumerate(self.commits):
            try:
                commits.append((sequence, decode_commit(data)))
            except DamagedRecord as error:
                self.stop(place, sequence, error)
                break
        return commits

    def stop(self, place: int, sequence: int, reason: PeltonError) -> None:
        """Leave out the commits from one on that is damaged, or does not fit."""
        del self.commits[place:]
        self.damage = Damage.of(sequence, f"evt.{self.key}", reason)


class Batch(msgspec.Struct):
    """Some consecutive records of the log, by context; `sequence` and `last` are the last one's."""

    sequence: int
    last: bytes = b""
    records: int = 0
    groups: dict[str, Group] = {}
    agents: dict[str, Cells] = {}
    memories: list[Told] = []
    acts: list[Cells] = []
    damaged: list[Damage] = []

    @property
    def hash(self) -> str:
        """The SHA-256 of the last record's bytes."""
        return digest(self.last)

    def add(self, records: Iterable[Stored]) -> None:
        """Take in what those records hold that come after what is here.

        Those of contexts are not decoded yet: most commands are decided within the same batch, and
        a commit that is used as soon as it is read is still in the processor's cache.
        """
        groups, last = self.groups, self.sequence
        for record in records:
            sequence, subject, data = record.sequence, record.subject, record.data
            if sequence <= last:
                continue
            last, self.last = sequence, data
            self.records += 1
            key = subject[4:]
            group = groups.get(key)
            if group is None:
                group = self._group(sequence, subject, data)
                if group is None:
                    continue
                groups[key] = group
            group.last = sequence
            (group.commands if subject[0] == "c" else group.commits).append((sequence, data))
        self.sequence = last

    def _group(self, sequence: int, subject: str, data: bytes) -> Group | None:
        """Return a group for the context of a record, or None if it is about none."""
        try:
            _, agent, context, beside = subjects.parse(subject)
        except InvalidInput as error:
            self.damaged.append(Damage.of(sequence, subject, error))
            return None
        if agent == subjects.MEMORY:
            self._memory(sequence, subject, beside, data)
            return None
        if agent == subjects.ACCESS or beside:
            if subject[0] == "e" and not beside.startswith(subjects.KEY):
                self._beside(sequence, subject, agent, data)
            return None  # of who may do what and of schedules, whoever asks reads from the log
        return Group(key=subject[4:], agent=agent, context_id=context, first=sequence)

    def _memory(self, sequence: int, subject: str, id_: str, data: bytes) -> None:
        """Take in a record of a memory."""
        try:
            told = Told(sequence, subject, id_, decode_commit(data))
        except DamagedRecord as error:
            told = Told(sequence, subject, id_, None, error)
        self.memories.append(told)

    def _beside(self, sequence: int, subject: str, agent: str, data: bytes) -> None:
        """Take in a commit of no context; the last profile of an agent is in force."""
        try:
            commit = decode_commit(data)
        except DamagedRecord as error:
            self.damaged.append(Damage.of(sequence, subject, error))
            return
        self.acts += acts_of(sequence, agent, commit)
        for event in commit.data.events:
            if isinstance(event, AgentRegistered):
                known = self.agents.get(agent)
                first = known[2] if known else sequence
                self.agents[agent] = (agent, text(event.profile), first, sequence)
