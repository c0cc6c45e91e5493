"""Where memories came from and where they went, straight from a log or a session of it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from pelton.events import subjects
from pelton.events.a2a import Message
from pelton.events.errors import InvalidInput
from pelton.events.events import (
    AnyEvent,
    MessageReceived,
    QuestionAnswered,
    StepCompleted,
    TaskEvent,
    TaskSubmitted,
    TurnStarted,
)
from pelton.events.ids import check_agent
from pelton.events.memories import Memory, MemoryNotFound, Version, fold, memories_as_of
from pelton.events.memory import MemoryCause, MemoryRef, given
from pelton.events.taint import Taint
from pelton.events.upcast import decode_commit
from pelton.runtime.bulk import fetch, inline
from pelton.runtime.clock import rfc3339
from pelton.runtime.log import Record
from pelton.runtime.replay.session import Reader
from pelton.runtime.said import shown_whole
from pelton.runtime.vault import ContentErased, ContentSealed

_MEMORY: Final = subjects.ALL_MEMORY.removesuffix("*")

_KEPT: Final = 8

_MOST: Final = 1000
"""So many versions are looked at of those that one was made of."""


class Evidence(NamedTuple):
    """What led to a version of a memory, as the log has it: a message, and what a step returned.

    Either is None if the log does not have it, and `result` also if the cause names no step.
    `unread` says why neither can be read, where that is so.
    """

    cause: MemoryCause
    message: Message | None
    result: Any
    unread: str = ""


class Use(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A turn was given a version of a memory, by the step `key`, with the commit at `sequence`."""

    memory_id: str
    version: int
    agent: str
    context_id: str
    task_id: str
    turn: int
    key: str
    sequence: int
    time: str


class Origins(NamedTuple):
    """What a version came from.

    `sources` are the versions that it was made of, all the way down, and `missing` those of them
    that are not here, as in a part of a log; `given` is what the turn that wrote it had been given
    by then.
    """

    memory: Memory
    version: Version
    evidence: Evidence
    sources: tuple[tuple[Memory, Version], ...]
    missing: tuple[MemoryRef, ...]
    given: tuple[Use, ...]


async def memory_of(reader: Reader, memory_id: str) -> Memory:
    """Return a memory.

    Raises:
        MemoryNotFound: there is none of that id.
        InvalidInput: this is not the id of a memory.
        DamagedRecord: its commits do not chain (law 13).
    """
    memory = Memory(id=memory_id)
    for record in await reader.read(subjects.memory(memory_id)):
        memory = fold(memory, record.sequence, record.data)
    if not memory.versions:
        raise MemoryNotFound(f"there is no memory {memory_id!r}: pelton memory recall finds some")
    return memory


async def shown_memory(reader: Reader, memory_id: str) -> Memory:
    """Return a memory for somebody to look at; see `memory_of` and `said.shown`."""
    return await shown_whole(reader.vault, await memory_of(reader, memory_id))


async def recallable(reader: Reader, sequence: int, *, agent: str = "") -> list[Memory]:
    """Return the memories that could be recalled as of a sequence, by an agent or a person.

    Raises:
        InvalidInput: the log has nothing at that sequence yet.
    """
    if not 1 <= sequence <= (last := (await reader.extent()).last):
        raise InvalidInput(f"the log goes from 1 to {last}", field="sequence")
    records = [r async for batch in reader.scan(pattern=subjects.ALL_MEMORY) for r in batch]
    if agent:
        records += await reader.read(subjects.agent_commits(check_agent(agent)))
    known = memories_as_of(((r.sequence, r.subject, r.data) for r in sorted(records)), sequence)
    found = await reader.at(sequence)
    now = rfc3339(found.received) if found is not None else ""
    living = known.recallable(known.member(agent) if agent else None, now)
    return [await shown_whole(reader.vault, memory) for memory in living]


async def origins(reader: Reader, memory_id: str, number: int = 0) -> Origins:
    """Return what a version of a memory came from, by default its last.

    Raises:
        MemoryNotFound: there is no such version.
        BlobMissing: what led to it is in a blob that is gone.
    """
    known = {memory_id: await shown_memory(reader, memory_id)}
    memory = known[memory_id]
    version = memory.version(number or len(memory.versions))
    if version is None:
        raise MemoryNotFound(f"the memory has {len(memory.versions)} versions")
    found: dict[MemoryRef, Version] = {
        MemoryRef(memory_id=memory_id, version=version.number): version
    }
    missing = dict[MemoryRef, None]()
    for ref in (todo := list(_made_of(memory_id, version))):
        if ref in found or len(found) > _MOST:
            continue
        if ref.memory_id not in known:
            with suppress(MemoryNotFound):
                known[ref.memory_id] = await shown_memory(reader, ref.memory_id)
        other = known.get(ref.memory_id)
        if other is None or (source := other.version(ref.version)) is None:
            missing[ref] = None
            continue
        found[ref] = source
        todo += _made_of(ref.memory_id, source)
    cause = version.cause
    uses = [
        each
        for each in _uses(await _commits(reader, cause.agent, cause.context_id))
        if (each.task_id, each.turn) == (cause.task_id, cause.turn)
        and each.sequence < version.sequence
    ]
    return Origins(
        memory=memory,
        version=version,
        evidence=await _shown(reader, cause),
        sources=tuple((known[ref.memory_id], each) for ref, each in list(found.items())[1:]),
        missing=tuple(missing),
        given=tuple(uses),
    )


async def _shown(reader: Reader, cause: MemoryCause) -> Evidence:
    """Return what led to a version, for somebody to look at: what cannot be read is not there."""
    try:
        return await evidence_of(reader, cause)
    except (ContentErased, ContentSealed) as error:
        return Evidence(cause, None, None, unread=str(error))


async def evidence_of(reader: Reader, cause: MemoryCause) -> Evidence:
    """Return what led to a version, as far as the log has it.

    Raises:
        BlobMissing: it is in a blob that is gone.
        ContentErased: it was sealed, and its key is destroyed.
        ContentSealed: it is sealed, and there is no key of it here.
    """
    message, result = None, None
    for _, event, turn in _turns(await _commits(reader, cause.agent, cause.context_id)):
        match event:
            case TaskSubmitted() | MessageReceived() | QuestionAnswered():
                if cause.message_id and event.message.message_id == cause.message_id:
                    message = await inline(reader, event.message)
            case StepCompleted(task_id=cause.task_id, key=key) if key and key == cause.key:
                if turn == cause.turn:
                    result = event.result
                    if event.blob is not None:
                        result = msgspec.json.decode(await fetch(reader, event.blob))
            case _:
                pass
    return Evidence(cause, message, result)


async def uses(reader: Reader, memory_id: str) -> list[Use]:
    """Return which turns were given a memory, in the order of the log.

    Raises:
        MemoryNotFound: there is none of that id.
    """
    first = (await memory_of(reader, memory_id)).versions[0].sequence
    named, places = f'"{memory_id}"'.encode(), dict[subjects.Subject, None]()
    async for batch in reader.scan(after=first, pattern="evt.*.*"):
        for record in batch:
            if named in record.data and not record.subject.startswith(_MEMORY):
                places[subjects.parse(record.subject)] = None
    found = [
        each
        for place in places
        for each in _uses(await _commits(reader, place.agent, place.context))
        if each.memory_id == memory_id
    ]
    return sorted(found, key=lambda each: (each.sequence, each.key))


async def place_of(reader: Reader, event: str) -> int:
    """Return the sequence that a text names: by itself, or by a version of a memory, `ID@VERSION`.

    Raises:
        InvalidInput: it names none.
        MemoryNotFound: there is no such version.
    """
    if event.isdecimal():
        return int(event)
    id_, _, number = event.partition("@")
    memory = await memory_of(reader, id_)
    version = memory.version(int(number) if number.isdecimal() else 0)
    if version is None:
        raise MemoryNotFound(f"name a version of the memory, {id_}@1 to @{len(memory.versions)}")
    return version.sequence


async def taint(reader: Reader, source: int) -> Taint:
    """Return what came of the record at a sequence.

    Raises:
        InvalidInput: there is no such record.
    """
    if source < 1 or await reader.at(source) is None:
        raise InvalidInput(f"the log has no record at {source}", field="event")
    found = Taint(source)
    await _go_on(reader, found)
    return found


async def _go_on(reader: Reader, found: Taint) -> None:
    async for batch in reader.scan(after=found.reached):
        for record in batch:
            found.take(record.sequence, record.subject, record.data)


class Taints:
    """What came of the records that were asked about last: page for page in one pass over the log.

    Each goes on from where it was, for what is new.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: OrderedDict[int, Taint] = OrderedDict()
        self._reading = asyncio.Lock()

    async def of(self, source: int) -> Taint:
        """Return what came of the record at a sequence, as of now.

        Raises:
            InvalidInput: there is no such record.
        """
        async with self._reading:
            known = self._known.pop(source, None)
            if known is None or (await self._reader.extent()).last < known.reached:
                known = await taint(self._reader, source)
            else:
                await _go_on(self._reader, known)
            self._known[source] = known
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return known


async def _commits(reader: Reader, agent: str, context_id: str) -> Sequence[Record]:
    return await reader.read(subjects.commits(agent, context_id)) if agent and context_id else ()


def _turns(records: Sequence[Record]) -> Iterator[tuple[Record, AnyEvent, int]]:
    """Yield the events of a context, each with its record and the turn that its task is in."""
    turns: dict[str, int] = {}
    for record in records:
        for event in decode_commit(record.data).data.events:
            if isinstance(event, TurnStarted):
                turns[event.task_id] = event.turn
            turn = turns.get(event.task_id, 0) if isinstance(event, TaskEvent) else 0
            yield record, event, turn


def _uses(records: Sequence[Record]) -> Iterator[Use]:
    for record, event, turn in _turns(records):
        refs = given(event.key, event.result) if isinstance(event, StepCompleted) else ()
        for ref in refs:
            assert isinstance(event, StepCompleted)
            place = subjects.parse(record.subject)
            yield Use(
                memory_id=ref.memory_id,
                version=ref.version,
                agent=place.agent,
                context_id=place.context,
                task_id=event.task_id,
                turn=turn,
                key=event.key,
                sequence=record.sequence,
                time=decode_commit(record.data).time,
            )


def _made_of(memory_id: str, version: Version) -> Iterator[MemoryRef]:
    yield from version.sources
    if version.reverts:
        yield MemoryRef(memory_id=memory_id, version=version.reverts)
