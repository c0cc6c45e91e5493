"""Memories: the fold of the commits on `evt._memory.<id>`, deciding, and who may touch which.

The rules (AS-53), by what is so when somebody asks, never by what was so when it was written:

- A memory of an agent's own is that agent's in the life in which it was committed. Whoever is
  registered under the name after a removal is another one, and recalls none of it.
- A memory of a team is for the agents that are in the team now, whoever wrote it. An agent that
  moves leaves what it has written behind, and finds what its new team knows.
- A global memory is for all; only the agent that wrote it, in whatever life, may change it.
- People may read and change everything. What a removed agent wrote for others stays theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

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
    InvalidInput,
    NotAuthorised,
    PeltonError,
)
from pelton.events.ids import check_agent, check_id, derive
from pelton.events.memory import (
    AnyMemoryEvent,
    MemoryBegun,
    MemoryCause,
    MemoryCommitted,
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

LONGEST: Final = 32 * 1024
"""Bytes that a version may say: it is one of many in one message, and in many prompts."""

MOST_SOURCES: Final = 50
"""Of how many memories one may be made: as many as a page of a recall has."""

TEXT: Final = "text/plain"
JSON: Final = "application/json"


class MemoryNotFound(PeltonError):
    """There is no such memory, or it is not the caller's to see (both look the same)."""

    code = "memory-not-found"


class MemoryConflict(PeltonError):
    """A memory has another version than was expected: look at it again and decide again."""

    code = "memory-conflict"


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
    that is `forgotten` says nothing.
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
    )
    return replace(memory, versions=(*memory.versions, version))


class Memories(NamedTuple):
    """All memories of a log as of one of its sequences, with the agents as they stood then."""

    memories: Mapping[str, Memory]
    agents: Mapping[str, AgentState]

    def member(self, agent: str) -> Member:
        """Return an agent as it stood."""
        return Member.of(self.agents.get(agent) or AgentState(agent=agent))

    def recallable(self, member: Member, now: str) -> list[Memory]:
        """Return what an agent could recall at a time (RFC 3339), the newest first."""
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


# Deciding


class CommitMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Remember something: as a new memory, or under a `key` as what that has from now on.

    With `expect`, only if it has that version, 0 if it is not there. With `consolidates`, it takes
    the place of its sources. `owner` and `life` are as in `MemoryBegun`.
    """

    operation: str
    cause: MemoryCause
    content: str
    media_type: str = TEXT
    expires: str = ""
    scope: MemoryScope = MemoryScope.OWN
    owner: str = ""
    life: int = 0
    author: str = ""
    namespace: str = ""
    key: str = ""
    sources: tuple[MemoryRef, ...] = ()
    consolidates: bool = False
    expect: int | None = None

    @property
    def memory_id(self) -> str:
        """The id of the memory that it makes, or goes on with."""
        if not self.key:
            return derive("memory", self.operation)
        return keyed(self.scope, self.owner, self.life, self.namespace, self.key)


class ReviseMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Say something else, or with `reverts` what was said in that version; see `CommitMemory`."""

    operation: str
    cause: MemoryCause
    content: str = ""
    media_type: str = TEXT
    expires: str = ""
    reverts: int = 0
    expect: int | None = None


class ForgetMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Recall it no longer; see `CommitMemory`."""

    operation: str
    cause: MemoryCause
    reason: str = ""
    expect: int | None = None


MemoryCommand = CommitMemory | ReviseMemory | ForgetMemory


def keyed(scope: MemoryScope, owner: str, life: int, namespace: str, key: str) -> str:
    """Return the id of the memory that lies under a key."""
    return derive("memory", "key", scope, owner, str(life), namespace, key)


def home(scope: MemoryScope, member: Member) -> tuple[str, int]:
    """Return to whom what an agent commits belongs, and in which life.

    Raises:
        InvalidInput: it is in no team.
        NotAuthorised: it was removed.
    """
    if not member.life:
        raise NotAuthorised("an agent that was removed remembers nothing")
    if scope is MemoryScope.GLOBAL:
        return "", 0
    if scope is MemoryScope.OWN:
        return member.agent, member.life
    if not member.team:
        raise InvalidInput(
            f"the agent {member.agent!r} is in no team: name it in @agent(team=…), or by"
            " pelton agents move",
            field="scope",
        )
    return member.team, 0


def decide(
    memory: Memory,
    command: MemoryCommand,
    *,
    member: Member | None,
    now: str,
    sources: Sequence[Memory] = (),
) -> AnyMemoryEvent | None:
    """Return what comes of a command on behalf of an agent, or a person; None if it is done.

    `now` (RFC 3339) is by the clock of the log; `sources` are the memories that are named as such.

    Raises:
        MemoryNotFound: there is no such memory, for whoever asks.
        MemoryConflict: it has another version than is expected.
        NotAuthorised: it may be read, but not changed.
        InvalidInput: the command cannot be.
    """
    if any(each.operation == command.operation for each in memory.versions):
        return None
    match command:
        case CommitMemory():
            return _commit(memory, command, member, now, sources)
        case ReviseMemory():
            return _revise(memory, command, member, now)
        case ForgetMemory():
            _check_change(memory, member, lives=True, now=now)
            _check_expect(memory, command.expect, now)
            check_text(command.reason, "reason", 1024, empty=True)
            return MemoryForgotten(
                memory_id=memory.id,
                version=len(memory.versions) + 1,
                operation=command.operation,
                cause=command.cause,
                reason=command.reason,
            )


def _commit(
    memory: Memory,
    command: CommitMemory,
    member: Member | None,
    now: str,
    sources: Sequence[Memory],
) -> AnyMemoryEvent:
    check_text(command.content, "content", LONGEST)
    _check_place(command)
    _check_expect(memory, command.expect, now)
    _check_sources(command, member, now, sources)
    said: dict[str, Any] = {
        "memory_id": memory.id,
        "version": len(memory.versions) + 1,
        "operation": command.operation,
        "cause": command.cause,
        "content": command.content,
        "media_type": command.media_type,
        "expires": command.expires,
    }
    if memory.versions:  # what lies under a key goes on, even if it was forgotten
        _check_change(memory, member, lives=False, now=now)
        return MemoryRevised(**said)
    names = ("scope", "owner", "life", "author", "namespace", "key", "sources")
    begun = MemoryConsolidated if command.consolidates else MemoryCommitted
    return begun(**said, **{name: getattr(command, name) for name in names})


def _revise(
    memory: Memory, command: ReviseMemory, member: Member | None, now: str
) -> MemoryRevised:
    _check_change(memory, member, lives=not command.reverts, now=now)
    _check_expect(memory, command.expect, now)
    content, media_type, expires = command.content, command.media_type, command.expires
    if command.reverts:
        before = memory.version(command.reverts)
        if before is None or before.forgotten:
            raise InvalidInput("a memory reverts to a version that says something", field="version")
        content, media_type = before.content, before.media_type
    check_text(content, "content", LONGEST)
    return MemoryRevised(
        memory_id=memory.id,
        version=len(memory.versions) + 1,
        operation=command.operation,
        cause=command.cause,
        content=content,
        media_type=media_type,
        expires=expires,
        reverts=command.reverts,
    )


def _check_place(command: CommitMemory) -> None:
    if command.namespace:
        check_id(command.namespace, "namespace")
    if command.key:
        check_id(command.key, "key")
    if (command.scope is MemoryScope.GLOBAL) != (not command.owner):
        raise InvalidInput("a memory has an owner unless it is global", field="owner")
    if command.owner:
        check_agent(command.owner)


def _check_sources(
    command: CommitMemory, member: Member | None, now: str, sources: Sequence[Memory]
) -> None:
    if len(command.sources) > MOST_SOURCES:
        raise InvalidInput(f"a memory is made of at most {MOST_SOURCES} others", field="sources")
    known = {memory.id: memory for memory in sources}
    for source in command.sources:
        memory = known.get(source.memory_id)
        if memory is None or not readable(memory, member) or not memory.version(source.version):
            raise MemoryNotFound(f"there is no memory {source.memory_id[:40]!r} of that version")
    if not command.consolidates:
        return
    if not command.sources or command.key:
        raise InvalidInput("what is consolidated are memories, into one of no key", field="sources")
    place = (command.scope, command.owner, command.life)
    for source in command.sources:
        memory = known[source.memory_id]
        if (memory.scope, memory.owner, memory.life) != place:
            raise InvalidInput(
                "memories are consolidated where they are: they have one scope and one owner",
                field="sources",
            )
        _check_change(memory, member, lives=True, now=now)
        if source.version != len(memory.versions):
            raise MemoryConflict(f"the memory {memory.id} has a newer version than is consolidated")


def _check_change(memory: Memory, member: Member | None, *, lives: bool, now: str) -> None:
    if not memory.versions or not readable(memory, member) or (lives and not memory.lives(now)):
        raise MemoryNotFound(f"there is no memory {memory.id!r}")
    if not changeable(memory, member):
        raise NotAuthorised("a global memory is changed by the agent that wrote it, or by people")


def _check_expect(memory: Memory, expect: int | None, now: str) -> None:
    if expect is None or expect == len(memory.versions) or (not expect and not memory.lives(now)):
        return
    raise MemoryConflict(
        f"the memory {memory.id} has version {len(memory.versions)}, not {expect}: look again"
    )


def check_text(text: str, field: str, longest: int, *, empty: bool = False) -> None:
    """Check a text from outside.

    Raises:
        InvalidInput: it is empty, too long, or not Unicode.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{field} is not Unicode", field=field) from error
    if not (text or empty) or size > longest:
        raise InvalidInput(f"{field} has 1 to {longest} bytes", field=field)
