"""Erasure: what was said in contexts, and remembered of it, made unreadable (AS-24).

That is to destroy keys: a context's has sealed what its agent remembers of it, too; a memory has a
key of its own for what people have written by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final, cast

import msgspec

from pelton.events import subjects
from pelton.events.a2a import BlobRef
from pelton.events.access import ContentErased
from pelton.events.commit import Commit
from pelton.events.envelope import digest
from pelton.events.errors import DamagedRecord, InvalidInput
from pelton.events.events import AnyEvent, StepCompleted, ValueRecorded, name_of
from pelton.events.memory import (
    STEPS,
    AnyMemoryEvent,
    MemoryBegun,
    MemoryCommitted,
    MemoryConsolidated,
    MemoryRef,
    MemoryRevised,
)
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.access import change
from pelton.runtime.clock import World
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Log, Record
from pelton.runtime.replay.session import agents_of, others
from pelton.runtime.said import place_of
from pelton.runtime.vault import Vault, key_name, parse_name

_AT_ONCE: Final = 200
"""So many contexts are told of in one commit."""

_CONTENT: Final = frozenset({"text", "raw", "data", "url", "value"})
"""Members of parts, and of what frameworks' sessions hold, that are content; as `result` is."""

_SAYING: Final = (MemoryCommitted, MemoryConsolidated, MemoryRevised)

Place = tuple[str, str]
"""What has a key: a context, as its agent and its id, or a memory, as `_memory` and its id."""


class Gone(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What erasing a context takes, or has taken, or a memory what people have written in it.

    `sealed` counts what its key has sealed, by the event or command that holds it; `foreign` what
    the keys of other contexts have sealed, which these take with them; `plain` what was never
    sealed, and stays readable. `erased` says that the key is destroyed. `elsewhere` are the
    contexts that it handed something to, or got it from: what was said there too is theirs, and so
    are later versions of its memories, and what was made of them. `memories` are those with a
    version that goes. `chained` says that its commits, and theirs, follow each other as they did.
    """

    agent: str
    context_id: str
    had_key: bool
    erased: bool
    sealed: dict[str, int]
    foreign: dict[str, int]
    plain: dict[str, int]
    elsewhere: tuple[str, ...]
    memories: tuple[str, ...]
    chained: bool


async def contexts_of(log: Log, context_id: str) -> list[Place]:
    """Return the contexts of that id.

    Raises:
        ContextNotFound: there is none.
        InvalidInput: it is no id.
    """
    return [(agent, context_id) for agent in await agents_of(log, context_id)]


async def all_contexts(log: Log, owner: str = "") -> list[Place]:
    """Return all contexts of the tenant in the order of their first commands, or an owner's."""
    found: dict[Place, None] = {}
    async with aclosing(log.scan(pattern="cmd.*.*")) as batches:
        async for batch in batches:
            for record in batch:
                try:
                    subject = subjects.parse(record.subject)
                except InvalidInput:  # no context has it
                    continue
                if not subject.beside:
                    found[subject.agent, subject.context] = None
    if not owner:
        return list(found)
    contexts = Contexts(log)
    return [place for place in found if (await contexts.load(*place)).owner == owner]


class Minded:
    """What all memories of a tenant say, by whose key has sealed it, or by where it came from."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records: dict[str, list[Record]] = {}
        self.sealed: dict[str, list[AnyMemoryEvent]] = {}
        self.plain: dict[Place, list[AnyMemoryEvent]] = {}
        self.by_hand: dict[Place, set[str]] = {}
        """Memories with a key of their own, and on whose behalf it was used."""
        self._after: dict[str, set[str]] = {}
        keys: dict[MemoryRef, str] = {}
        for record in records:
            memory_id = subjects.parse(record.subject).beside
            self.records.setdefault(memory_id, []).append(record)
            try:
                commit = decode_commit(record.data)
            except DamagedRecord:
                continue
            for event in commit.data.events:
                if isinstance(event, _SAYING):
                    self._take(event, commit, keys)

    def after(self, name: str) -> set[str]:
        """Return with which other keys it is sealed what was made of what a key has sealed."""
        return self._after.get(name, set())

    def _take(self, event: AnyMemoryEvent, commit: Commit, keys: dict[MemoryRef, str]) -> None:
        place = place_of(event.cause, event.memory_id)
        name = commit.keyid if isinstance(commit.keyid, str) else ""
        if name:
            self.sealed.setdefault(name, []).append(event)
        else:
            self.plain.setdefault(place, []).append(event)
        own = subjects.MEMORY, event.memory_id
        if name == key_name(*own):
            self.by_hand.setdefault(own, set()).add(commit.actor)
        made_of = [MemoryRef(memory_id=event.memory_id, version=event.version - 1)]
        made_of += event.sources if isinstance(event, MemoryBegun) else ()
        for earlier in {keys.get(ref, "") for ref in made_of} - {"", name}:
            self._after.setdefault(earlier, set()).add(name or key_name(*own))
        keys[MemoryRef(memory_id=event.memory_id, version=event.version)] = name


async def minded(log: Log) -> Minded:
    """Return what all memories of a tenant say, as they are stored."""
    async with aclosing(log.scan(pattern=subjects.ALL_MEMORY)) as batches:
        return Minded([record async for batch in batches for record in batch])


async def look(log: Log, vault: Vault, place: Place, memory: Minded) -> Gone:
    """Return what erasing a context, or a memory, would take, or has taken."""
    agent, context_id = place
    commits: Sequence[Record] = ()
    commands: Sequence[Record] = ()
    if agent != subjects.MEMORY:
        commits = await log.read(subjects.commits(agent, context_id), decisive=True)
        commands = await log.read(subjects.commands(agent, context_id), decisive=True)
    name, counts = key_name(agent, context_id), (Counter[str](), Counter[str](), Counter[str]())
    sealed, foreign, plain = counts
    for what, key in _content([*commits, *commands]):
        (plain if not key else sealed if key == name else foreign)[what] += 1
    remembered = memory.sealed.get(name, [])
    sealed.update(name_of(event) for event in remembered)
    plain.update(name_of(event) for event in memory.plain.get(place, ()))
    standing = await vault.standing(agent, context_id)
    chained = _chained(commits)
    handed = {*(others(commits) if chained else ()), *map(parse_name, memory.after(name))}
    elsewhere = {f"{each[0]}/{each[1]}" for each in handed if each != place}
    memories = sorted({event.memory_id for event in remembered})
    return Gone(
        agent=agent,
        context_id=context_id,
        had_key=standing.had_key,
        erased=standing.erased,
        sealed=dict(sealed),
        foreign=dict(foreign),
        plain=dict(plain),
        elsewhere=tuple(sorted(elsewhere)),
        memories=tuple(memories),
        chained=chained and all(_chained(memory.records[id_]) for id_ in memories),
    )


async def erase(
    log: Log, vault: Vault, places: Sequence[Place], *, world: World, tenant: str, actor: str
) -> None:
    """Destroy the keys of contexts, and say so in the log.

    Done again it does what was not done. What has no key stays as it is.

    Raises:
        LogError: the log, or the store of keys, cannot be reached or does not permit it.
    """
    for start in range(0, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        gone = [place for place in some if (await vault.erase(*place)).had_key]
        events = [ContentErased(agent=agent, context_id=id_) for agent, id_ in gone]

        def decide(
            commits: Sequence[Commit], events: Sequence[ContentErased] = events
        ) -> Sequence[ContentErased]:
            told = {event for commit in commits for event in commit.data.events}
            return [event for event in events if event not in told]

        if events:
            await change(log, subjects.ERASURES, decide, world=world, tenant=tenant, actor=actor)


def _chained(commits: Sequence[Record]) -> bool:
    """Whether each commit names the hash of the one before it (law 13)."""
    last = ""
    try:
        for record in commits:
            if decode_commit(record.data).prevhash != last:
                return False
            last = digest(record.data)
    except DamagedRecord:
        return False
    return True


def _content(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield each piece of content in records: what holds it, and the name of its key if sealed."""
    for record in records:
        holders: list[tuple[str, object]]
        try:
            if record.subject.startswith("evt."):
                events = decode_commit(record.data).data.events
                holders = [(name_of(event), event) for event in events if not _names(event)]
            else:
                command = decode_command(record.data)
                holders = [(type(command).__name__, command.data)]
        except DamagedRecord:  # nobody reads content in it
            continue
        for name, holder in holders:
            for key in _pieces(msgspec.to_builtins(holder)):
                yield name, key


def _names(event: AnyEvent) -> bool:
    """Whether it has no content: a time, chance, the agent's own options, or ids of memories."""
    if isinstance(event, StepCompleted):
        return event.key.startswith(STEPS)
    return isinstance(event, ValueRecorded)


def _pieces(holder: Any) -> Iterator[str]:
    """Yield of each piece of content in JSON the name of its key, empty if it has none."""
    found: list[Any] = [holder]
    while found:
        value = found.pop()
        if isinstance(value, list | tuple):
            found += cast("list[Any]", value)
        if not isinstance(value, dict):
            continue
        members = cast("dict[str, Any]", value)
        blob = members.get("blob")
        if isinstance(blob, dict) and blob.keys() == {"sha256", "size", "member"}:
            yield msgspec.convert(blob, BlobRef).key
        elif _CONTENT & members.keys() or members.get("result") is not None:
            yield ""
        else:
            found += members.values()
