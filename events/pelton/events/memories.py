"""Memories: the fold of the commits on `evt._memory.<id>`, and who may touch which.

The rules (AS-53), by what is so when somebody asks, never by what was so when it was written:

- A memory of an agent's own is that agent's in the life in which it was committed. Whoever is
  registered under the name after a removal is another one, and recalls none of it.
- A memory of a team is for the agents that are in the team now, whoever wrote it. An agent that
  moves leaves what it has written behind, and finds what its new team knows.
- A global memory is for all; only the agent that wrote it, in whatever life, may change it.
- People may read and change everything. What a removed agent wrote for others stays theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.agent import AgentState
from pelton.events.agent import fold as fold_agent
from pelton.events.chain import Chained, chained
from pelton.events.commit import Commit
from pelton.events.envelope import digest
from pelton.events.errors import (
    IllegalTransition,
    PeltonError,
)
from pelton.events.memory import (
    MemoryBegun,
    MemoryCause,
    MemoryConsolidated,
    MemoryContent,
    MemoryEvent,
    MemoryForgotten,
    MemoryRef,
    MemoryRevised,
    MemoryScope,
)
from pelton.events.presence import AgentStatus
from pelton.events.upcast import decode_commit

TEXT: Final = "text/plain"
JSON: Final = "application/json"


class MemoryNotFound(PeltonError):
    """There is no such memory, or it is not the caller's to see (both look the same)."""

    code = "memory-not-found"


class Member(NamedTuple):
    """An agent as it stands when it asks: in which life, in which team; no team if empty."""

    agent: str
    life: int
    team: str

    @classmethod
    def of(cls, state: AgentState) -> Member:
        """Return an agent as its commits make it; one that was removed is in no life."""
        removed = state.status is AgentStatus.REMOVED
        return cls(state.agent, 0 if removed else state.life, "" if removed else state.team)


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a memory, with the commit that says so, on behalf of `actor`.

    `sequence` is the stream sequence of that commit, `time` (RFC 3339) when it was written. One
    that is `forgotten` says nothing. With `keyid`, `content` is sealed with the key of that name.
    """

    number: int
    content: str
    media_type: str
    expires: str
    cause: MemoryCause
    sources: tuple[MemoryRef, ...]
    reverts: int
    forgotten: bool
    reason: str
    operation: str
    sequence: int
    time: str
    actor: str
    commit: str
    correlation: str
    keyid: str = ""


class Memory(Chained, frozen=True, kw_only=True):
    """A memory as its commits make it; see `MemoryBegun` for its members.

    Without versions, there is none. `consolidates`: it stands for its first version's sources.
    """

    agent: str = subjects.MEMORY
    id: str
    scope: MemoryScope = MemoryScope.OWN
    owner: str = ""
    life: int = 0
    author: str = ""
    namespace: str = ""
    key: str = ""
    consolidates: bool = False
    versions: tuple[Version, ...] = ()

    @property
    def current(self) -> Version | None:
        """Its last version, if it has any."""
        return self.versions[-1] if self.versions else None

    def lives(self, now: str) -> bool:
        """Whether it can be recalled at a time (RFC 3339), unless another stands for it."""
        last = self.current
        return (
            last is not None and not last.forgotten and not (last.expires and last.expires <= now)
        )

    def version(self, number: int) -> Version | None:
        """Return a version by its number, if there is one."""
        return self.versions[number - 1] if 0 < number <= len(self.versions) else None


# The fold


def fold(memory: Memory, sequence: int, data: bytes) -> Memory:
    """Return a memory after the commit whose bytes are stored at a stream sequence.

    Raises:
        DamagedRecord: it is no commit, or does not chain to the one before it (law 13).
        IllegalTransition: an event does not fit.
    """
    commit = decode_commit(data)
    memory = chained(memory, sequence, commit, digest(data))
    for event in commit.data.events:
        if isinstance(event, MemoryEvent):
            memory = _apply(memory, event, sequence, commit)
    return memory


def _apply(memory: Memory, event: MemoryEvent, sequence: int, commit: Commit) -> Memory:
    before = memory.current
    if event.memory_id != memory.id or event.version != len(memory.versions) + 1:
        raise IllegalTransition(f"{type(event).__name__} of another memory, or out of turn")
    if (before is None) != isinstance(event, MemoryBegun):
        raise IllegalTransition("a memory begins once, and with its first version")
    if isinstance(event, MemoryBegun):
        memory = replace(
            memory,
            scope=event.scope,
            owner=event.owner,
            life=event.life,
            author=event.author,
            namespace=event.namespace,
            key=event.key,
            consolidates=isinstance(event, MemoryConsolidated),
        )
    said = event if isinstance(event, MemoryContent) else None
    version = Version(
        number=event.version,
        content=said.content if said else "",
        media_type=said.media_type if said else TEXT,
        expires=said.expires if said else "",
        cause=event.cause,
        sources=event.sources if isinstance(event, MemoryBegun) else (),
        reverts=event.reverts if isinstance(event, MemoryRevised) else 0,
        forgotten=said is None,
        reason=event.reason if isinstance(event, MemoryForgotten) else "",
        operation=event.operation,
        sequence=sequence,
        time=commit.time,
        actor=commit.actor,
        commit=commit.id,
        correlation=commit.correlationid,
        keyid=commit.keyid if said and isinstance(commit.keyid, str) else "",
    )
    return replace(memory, versions=(*memory.versions, version))


SEALED: Final = "(sealed)"
"""What stands in the place of what cannot be read without its key."""


def unsaid(commit: Commit) -> Commit:
    """Return a commit for somebody to look at who has no keys: what is sealed, is told to be."""
    if not isinstance(commit.keyid, str):
        return commit
    events = tuple(
        replace(event, content=SEALED) if isinstance(event, MemoryContent) else event
        for event in commit.data.events
    )
    return replace(commit, data=replace(commit.data, events=events))


class Memories(NamedTuple):
    """All memories of a log as of one of its sequences, with the agents as they stood then."""

    memories: Mapping[str, Memory]
    agents: Mapping[str, AgentState]

    def member(self, agent: str) -> Member:
        """Return an agent as it stood."""
        return Member.of(self.agents.get(agent) or AgentState(agent=agent))

    def recallable(self, member: Member | None, now: str) -> list[Memory]:
        """Return what an agent or a person can recall at a time (RFC 3339), the newest first."""
        hidden = self.replaced()
        found = [
            memory
            for memory in self.memories.values()
            if memory.lives(now) and memory.id not in hidden and readable(memory, member)
        ]
        return sorted(found, key=lambda memory: (-memory.head, memory.id))

    def replaced(self) -> dict[str, str]:
        """Return for which memories others stand: from their ids to those of the others."""
        return {
            source.memory_id: memory.id
            for memory in self.memories.values()
            if memory.consolidates
            for source in memory.versions[0].sources
            if (known := self.memories.get(source.memory_id)) is not None
            and len(known.versions) == source.version
        }


def memories_as_of(records: Iterable[tuple[int, str, bytes]], upto: int | None = None) -> Memories:
    """Return the memories that records of a log make, up to and with a stream sequence.

    Each record is its sequence, its subject and its bytes, in the order of the log; those of other
    subjects than memories and agents change nothing, so a scan of `subjects.ALL_MEMORY` alone does
    where nobody's team matters.

    Raises:
        DamagedRecord: commits do not chain (law 13).
        IllegalTransition: an event does not fit.
    """
    memories: dict[str, Memory] = {}
    agents: dict[str, AgentState] = {}
    for sequence, text, data in records:
        if upto is not None and sequence > upto:
            break
        subject = subjects.parse(text)
        if subject.agent == subjects.MEMORY:
            memory = memories.get(subject.beside) or Memory(id=subject.beside)
            memories[memory.id] = fold(memory, sequence, data)
        elif (subject.kind, subject.beside) == ("evt", subjects.AGENT):
            state = agents.get(subject.agent) or AgentState(agent=subject.agent)
            agents[subject.agent] = fold_agent(state, sequence, data)
    return Memories(memories, agents)


# Who may


def readable(memory: Memory, member: Member | None) -> bool:
    """Whether somebody may read a memory; None is a person."""
    if member is None or memory.scope is MemoryScope.GLOBAL:
        return True
    if memory.scope is MemoryScope.TEAM:
        return bool(member.team) and memory.owner == member.team
    return memory.owner == member.agent and memory.life == member.life


def changeable(memory: Memory, member: Member | None) -> bool:
    """Whether somebody may change a memory, or say that it is no more; None is a person."""
    if member is not None and memory.scope is MemoryScope.GLOBAL:
        return memory.author == member.agent
    return readable(memory, member)
