"""Memories as the debugger shows them: what each said as of a sequence, why, and to whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol, TypeVar

from pelton.adapters.api.memories import list_memories, memory_view, version_view, why_view
from pelton.adapters.api.memory_shapes import (
    MemoryList,
    MemoryReadView,
)
from pelton.adapters.api.route import shown
from pelton.adapters.debug import shapes
from pelton.adapters.debug.conversation import Conversation
from pelton.adapters.debug.route import Ask
from pelton.events import subjects
from pelton.events.errors import DamagedRecord
from pelton.events.events import StepCompleted
from pelton.events.ids import check_memory
from pelton.events.memories import Memory, MemoryNotFound, fold
from pelton.events.memory import STEPS, result_of
from pelton.events.subjects import parse
from pelton.events.upcast import decode_commit
from pelton.projections.pages import Page
from pelton.runtime import said
from pelton.runtime.replay.session import Reader

_MOST: Final = 100
"""Memories of a conversation, versions, and readers that are shown."""
_PAGES: Final = 20
_TEXT: Final = 2_000


class _Placed(Protocol):
    @property
    def sequence(self) -> int: ...


E = TypeVar("E", bound=_Placed)


async def list_all(ask: Ask) -> MemoryList:
    """List memories, those first that fit the words best, or that have changed last."""
    return await list_memories(ask.api)


async def closely(ask: Ask) -> shapes.MemoryCloseView:
    """A memory as of a sequence: its versions, what that one came from, who was given it."""
    query: shapes.AsOf = ask.query
    memory_id = check_memory(ask.names[0])
    tenant = ask.desk.tenant
    await tenant.lists.fresh()
    models = tenant.account.models.memories
    memory = await models.memory(memory_id)
    if memory is None:
        raise MemoryNotFound("there is no such memory")
    versions = await _upto(
        query.until,
        lambda cursor: models.versions(memory_id, page_size=_MOST, cursor=cursor),
    )
    readers = await _upto(
        query.until,
        lambda cursor: models.readers(memory_id, page_size=_MOST, cursor=cursor),
    )
    why = await models.why(memory_id, versions[0].version) if versions else None
    return shapes.MemoryCloseView(
        memory=await memory_view(tenant, memory),
        until=query.until,
        versions=tuple([await version_view(tenant, each) for each in versions]),
        readers=tuple(shown(MemoryReadView, each) for each in readers),
        why=await why_view(tenant, why) if why else None,
    )


async def _upto(until: int | None, page: Callable[[str], Awaitable[Page[E]]]) -> list[E]:
    """Return the latest of what pages hold, the latest first, as of a sequence."""
    found: list[E] = []
    cursor = ""
    for _ in range(_PAGES):
        got = await page(cursor)
        found += [each for each in got.items if until is None or each.sequence <= until]
        cursor = got.next
        if not cursor or len(found) >= _MOST:
            break
    return found[:_MOST]


async def in_conversation(ask: Ask) -> shapes.TouchedList:
    """The memories that a conversation had written or been given, by a sequence, as of it."""
    query: shapes.OfTask = ask.query
    touches = await ask.look(lambda found, query: list(_touches(found, query)))
    by_memory: dict[str, list[shapes.Touch]] = {}
    for memory_id, touch in touches:
        by_memory.setdefault(memory_id, []).append(touch)
    reader = await ask.desk.reader(query.fork)
    latest = sorted(by_memory.items(), key=lambda each: -each[1][-1].sequence)
    items = [await _touched(reader, *each, query.until) for each in latest[:_MOST]]
    return shapes.TouchedList(items=tuple(items), total=len(by_memory))


def _touches(found: Conversation, query: shapes.OfTask) -> Iterator[tuple[str, shapes.Touch]]:
    """Yield where a conversation wrote or was given memories, by their ids."""
    for record in found.records:
        if query.until is not None and record.sequence > query.until:
            break
        if not record.subject.startswith("evt.") or b'"memory.' not in record.data:
            continue
        try:
            events = decode_commit(record.data).data.events
        except DamagedRecord:
            continue  # it is shown where the records are
        for place, event in enumerate(events, 1):
            if not isinstance(event, StepCompleted) or not event.key.startswith(STEPS):
                continue
            if event.result is None or (query.task and event.task_id != query.task):
                continue
            result = result_of(event.result)
            refs = [(ref, False) for ref in dict.fromkeys(result.given)]
            for ref, made in [*refs, *([(result.made, True)] if result.made else [])]:
                yield (
                    ref.memory_id,
                    shapes.Touch(
                        made=made,
                        version=ref.version,
                        sequence=record.sequence,
                        place=place,
                        agent=parse(record.subject).agent,
                        task=event.task_id,
                        key=event.key,
                    ),
                )


async def _touched(
    reader: Reader, memory_id: str, touches: list[shapes.Touch], until: int | None
) -> shapes.Touched:
    memory = Memory(id=memory_id)
    for record in await reader.read(subjects.memory(memory_id)):
        if until is None or record.sequence <= until:
            memory = fold(memory, record.sequence, record.data)
    last = memory.current
    if last is not None:
        last = await said.shown(reader.vault, last)
    return shapes.Touched(
        id=memory_id,
        scope=memory.scope,
        owner=memory.owner,
        namespace=memory.namespace,
        key=memory.key,
        version=last.number if last else 0,
        content=last.content[:_TEXT] if last else "",
        forgotten=last is not None and last.forgotten,
        expires=last.expires if last else "",
        cause=last.cause if last else None,
        sources=last.sources if last else (),
        touches=tuple(touches[-_MOST:]),
    )
