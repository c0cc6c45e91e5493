"""What took the place of the memories of a conversation, and what these were made of.

Whoever puts one memory in the place of several may do so elsewhere: an agent in a conversation of
its own, or a person. Without that memory, one who has the conversation alone would still find those
that nobody recalls any more.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Final

from pelton.events import subjects
from pelton.events.memory import MemoryBegun, MemoryConsolidated
from pelton.events.upcast import decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.session import Reader, Session, task_session, with_keys

MOST: Final = 1000
"""So many memories are taken along of those that others were made of, the nearest first."""


async def played_session(reader: Reader, task_id: str) -> Session:
    """Return the conversation that a task is part of, as it is to be played: with its lineage.

    Turns that recall anew find what took the place of a memory, and no memory that gave way.

    Raises:
        InvalidInput: this is not the id of a task.
        ContextNotFound: there is no such conversation.
        BlobMissing: a blob is gone or damaged.
        LogUnavailable: the log did not answer in time.
    """
    return await with_lineage(reader, await task_session(reader, task_id))


async def with_lineage(reader: Reader, session: Session, *, sources: bool = True) -> Session:
    """Return a session with every memory that took the place of one in it, directly or in the end.

    With `sources`, with those too that any of them was made of, all the way down.

    Raises:
        LogUnavailable: the log did not answer in time.
    """
    known: dict[str, list[Record]] = defaultdict(list)
    for record in session.records:
        if (place := subjects.parse(record.subject)).agent == subjects.MEMORY:
            known[place.beside].append(record)
    if not known:
        return session
    heirs = await _heirs(reader, min(records[0].sequence for records in known.values()))
    wanted = deque(known)
    while wanted:
        for heir in heirs.get(wanted.popleft(), ()):
            if heir not in known:
                known[heir] = list(await reader.read(subjects.memory(heir)))
                wanted.append(heir)
    wanted, most = deque(known if sources else ()), len(known) + MOST
    while wanted:
        for source in _sources(known[wanted.popleft()]):
            if source not in known and len(known) < most:
                known[source] = list(await reader.read(subjects.memory(source)))
                wanted.append(source)
    records = {*session.records, *(record for found in known.values() for record in found)}
    return await with_keys(Session(records, session.blobs, session.vault), reader.vault)


async def _heirs(reader: Reader, after: int) -> dict[str, dict[str, None]]:
    """Return by which memories others were replaced after a sequence, by the ids of these."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    async for batch in reader.scan(after=after, pattern=subjects.ALL_MEMORY):
        for record in batch:
            if b"MemoryConsolidated" in record.data:
                for event in decode_commit(record.data).data.events:
                    if isinstance(event, MemoryConsolidated):
                        for source in event.sources:
                            found[source.memory_id][event.memory_id] = None
    return found


def _sources(records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        for event in decode_commit(record.data).data.events:
            if isinstance(event, MemoryBegun):
                for source in event.sources:
                    yield source.memory_id
