"""Memory made anew from the same log: what another function would have remembered.

Each memory that can be recalled and that an agent wrote of a message or of what a step returned is
made again of the same evidence, as the log has it. The function has no effects while it runs (law
10); what it makes is only compared, until somebody applies it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import text_of
from pelton.events.errors import PeltonError
from pelton.events.ids import derive
from pelton.events.memories import JSON, Memory, Version, memories_as_of
from pelton.events.memory import CauseKind
from pelton.events.remembering import (
    LONGEST,
    ForgetMemory,
    MemoryCommand,
    MemoryConflict,
    ReviseMemory,
    check_text,
)
from pelton.events.subjects import ALL_MEMORY
from pelton.runtime.memories import Memories
from pelton.runtime.provenance import evidence_of
from pelton.runtime.replay.guard import no_effects
from pelton.runtime.replay.session import Reader
from pelton.runtime.replay.still import StillLoop
from pelton.runtime.said import said
from pelton.runtime.vault import ContentErased

_LONGEST: Final = 3_600.0  # virtual seconds


class ExtractionFailed(PeltonError):
    """The function that memory is made anew with has failed, or made no text; nothing is changed.

    The text names the memory. None says that there is nothing to remember.
    """

    code: ClassVar[str] = "extraction-failed"


class Source(NamedTuple):
    """What a memory is made of: what the function is given.

    `text` is the message's, `result` what the step returned that it came from, if it came from one.
    `content` is what the memory says now.
    """

    kind: CauseKind
    agent: str
    namespace: str
    text: str
    result: Any
    content: str


Extract = Callable[[Source], Any]
"""Returns what is to be remembered of a source, a text or None; or an awaitable of that."""


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A memory that would say something else than in its last version; None: be forgotten."""

    memory_id: str
    version: int
    before: str
    after: str | None


class Rebuilt(NamedTuple):
    """What the function makes: the memories that differ, and how many do not.

    `left` counts those that it says nothing about: of a person's, made of others, values under
    keys, and those whose evidence the log does not have, or is erased.
    """

    rewrites: tuple[Rewrite, ...]
    same: int
    left: int


async def rebuilt(reader: Reader, extract: Extract, *, now: str, agent: str = "") -> Rebuilt:
    """Return what a function makes of the evidence of all memories, or of those an agent wrote.

    `now` (RFC 3339) is by the clock of the log.

    Raises:
        ExtractionFailed: the function has failed.
        BlobMissing: evidence is in a blob that is gone.
    """
    records = [r async for batch in reader.scan(pattern=ALL_MEMORY) for r in batch]
    known = memories_as_of((r.sequence, r.subject, r.data) for r in records)
    found: list[tuple[Memory, Version, Source]] = []
    left = 0
    for memory in sorted(known.recallable(None, now), key=lambda each: each.id):
        version = memory.versions[-1]
        if agent and version.cause.agent != agent:
            continue
        try:
            text = await said(reader.vault, version.content, version.keyid)
            version = replace(version, content=text, keyid="")
            source = await _source(reader, memory, version)
        except ContentErased:
            source = None
        if source is None:
            left += 1
        else:
            found.append((memory, version, source))
    made = await asyncio.to_thread(_extracted, extract, [each for *_, each in found])
    rewrites = [
        Rewrite(memory_id=memory.id, version=version.number, before=version.content, after=text)
        for (memory, version, _), text in zip(found, made, strict=True)
        if text != version.content
    ]
    return Rebuilt(tuple(rewrites), len(found) - len(rewrites), left)


async def apply(memories: Memories, rewrites: Sequence[Rewrite], name: str) -> list[Rewrite]:
    """Let memories say what they would say, by the same cause; return those that had moved on.

    `name` says which function it was. To apply the same again changes nothing.

    Raises:
        PeltonError: a memory cannot be changed; those before it are.
    """
    moved: list[Rewrite] = []
    for rewrite in rewrites:
        memory = await memories.load(rewrite.memory_id)
        version = memory.version(rewrite.version)
        assert version is not None  # it is where the rewrite comes from
        text = "" if rewrite.after is None else rewrite.after
        number = str(rewrite.version)
        operation = derive("rebuilt", name, rewrite.memory_id, number, text)
        command: MemoryCommand = ReviseMemory(
            operation=operation,
            cause=version.cause,
            content=text,
            expires=version.expires,
            expect=rewrite.version,
        )
        if rewrite.after is None:
            command = ForgetMemory(
                operation=operation,
                cause=version.cause,
                reason=f"{name[:200]} finds nothing to remember",
                expect=rewrite.version,
            )
        try:
            await memories.by_person(rewrite.memory_id, command)
        except MemoryConflict:
            moved.append(rewrite)
    return moved


async def _source(reader: Reader, memory: Memory, version: Version) -> Source | None:
    """Return what a version was made of; None if it is for no function to say."""
    cause = version.cause
    if cause.kind is CauseKind.PERSON or version.sources or version.media_type == JSON:
        return None
    evidence = await evidence_of(reader, cause)
    if evidence.message is None or (cause.key and evidence.result is None):
        return None
    return Source(
        kind=cause.kind,
        agent=cause.agent,
        namespace=memory.namespace,
        text=text_of(evidence.message.parts),
        result=evidence.result,
        content=version.content,
    )


def _extracted(extract: Extract, sources: Sequence[Source]) -> list[str | None]:
    """Run a function over sources, one by one, without effects and on virtual time."""

    async def all_() -> list[str | None]:
        return [await _one(extract, source) for source in sources]

    with (
        no_effects(),
        asyncio.Runner(loop_factory=lambda: StillLoop(limit=_LONGEST)) as runner,
    ):
        return runner.run(all_())


async def _one(extract: Extract, source: Source) -> str | None:
    place = f"of the memory that says {source.content[:60]!r}"
    try:
        made = extract(source)
        if inspect.isawaitable(made):
            made = await made
    except Exception as error:
        raise ExtractionFailed(f"{type(error).__name__} {place}: {error}") from error
    if made is None:
        return None
    if not isinstance(made, str):
        raise ExtractionFailed(f"{place}, it returned a {type(made).__name__}, no text nor None")
    check_text(made, "content", LONGEST)
    return made
