"""Deciding what becomes of memories: what is asked, and the event that comes of it.

Nothing of this is a record of its own: what a turn asks for is a step of it, and what a person asks
for is decided by whoever has the log in hand. The event says by whom and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pelton.events.errors import InvalidInput, NotAuthorised, PeltonError
from pelton.events.ids import check_agent, check_id, derive
from pelton.events.memories import TEXT, Member, Memory, MemoryNotFound, changeable, readable
from pelton.events.memory import (
    AnyMemoryEvent,
    MemoryCause,
    MemoryCommitted,
    MemoryConsolidated,
    MemoryForgotten,
    MemoryRef,
    MemoryRevised,
    MemoryScope,
)

LONGEST: Final = 32 * 1024
"""Bytes that a version may say: it is one of many in one message, and in many prompts."""

MOST_SOURCES: Final = 50
"""Of how many memories one may be made: as many as a page of a recall has."""


class MemoryConflict(PeltonError):
    """A memory has another version than was expected: look at it again and decide again."""

    code = "memory-conflict"


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
    else:
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
