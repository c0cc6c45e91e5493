"""What came of something bad, in the API: tasks and memories that can have known of it."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from pelton.adapters.api import memory_shapes, shapes
from pelton.adapters.api.route import Ask, RecordNotFound, Route, sequence_of
from pelton.events.principal import Scope
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.runtime import provenance

_LONGEST: Final = 64  # characters of what names a record
_UNREAD: Final = 100


async def list_taint(ask: Ask) -> memory_shapes.TaintList:
    """List what came of a record (`SEQUENCE`), or of a version of a memory (`ID@VERSION`)."""
    query: shapes.Pages = ask.query
    log, named = ask.tenant.account.log, ask.name[:_LONGEST]
    after = (0, "")
    if query.page_token:
        sequence, name = read_cursor(query.page_token, ("taint", named), 2)
        after = (sequence_of(sequence), name)
    source = sequence_of(named) if named.isdecimal() else await provenance.place_of(log, named)
    if await log.at(source) is None:
        raise RecordNotFound("there is no record of that sequence")
    found = await ask.tenant.taints.of(source)
    views = [
        *(memory_shapes.TaintView(**structs.asdict(each)) for each in found.tasks),
        *(memory_shapes.TaintView(**structs.asdict(each)) for each in found.memories),
    ]
    left = sorted((each for each in views if _place(each) > after), key=_place)
    page = left[: query.page_size]
    following = ""
    if len(left) > len(page):
        last, name = _place(page[-1])
        following = write_cursor((str(last), name), ("taint", named))
    return memory_shapes.TaintList(
        source=source,
        items=tuple(page),
        next_page_token=following,
        total_size=len(views),
        unread=tuple(found.unread[:_UNREAD]),
    )


def _place(each: memory_shapes.TaintView) -> tuple[int, str]:
    """Return where something stands in the list: by its record, and by what it is."""
    return each.sequence, f"{each.agent}/{each.task_id}/{each.memory_id}@{each.version}"


TAINT_ROUTES: Final = (
    Route(
        *("listTaint", "taint", "event", Scope.INSPECT),
        *(shapes.Pages, memory_shapes.TaintList, list_taint),
    ),
)
"""The routes of taint; each takes GET and HEAD."""
