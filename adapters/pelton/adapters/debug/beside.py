"""Two tasks beside each other, and a fork beside its original: what the debugger's API tells."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from pelton.adapters.cli.timeline import describe
from pelton.adapters.debug import shapes
from pelton.adapters.debug.forks import Fork, Forking
from pelton.adapters.debug.route import Ask
from pelton.adapters.debug.trim import trim
from pelton.events.errors import TaskNotFound
from pelton.events.events import AnyEvent
from pelton.runtime.replay.changes import short
from pelton.runtime.replay.diff import Difference, Side, side_by_side
from pelton.runtime.replay.graph import graph
from pelton.runtime.replay.session import Session, task_session
from pelton.runtime.replay.unsealed import unsealed

_ROWS = 2_000
_FIELDS = 20


async def diff(ask: Ask) -> shapes.BesideView:
    """Two tasks side by side: what is alike, what differs, and where they first do."""
    query: shapes.Sides = ask.query
    left = await _session(ask, query.left, query.left_fork)
    right = await _session(ask, query.right, query.right_fork)
    rows, sides = await asyncio.to_thread(_compare, left, right, query)
    alike = sum(each.alike for each in rows)
    first = next((at for at, each in enumerate(rows) if not each.alike), -1)
    return shapes.BesideView(
        left=sides[0],
        right=sides[1],
        alike=alike,
        differ=len(rows) - alike,
        first=first,
        rows=tuple(_row(each) for each in rows[:_ROWS]),
        more=max(len(rows) - _ROWS, 0),
    )


async def _session(ask: Ask, task: str, fork: str) -> Session:
    reader = await ask.desk.reader(fork)
    found = await task_session(reader, task)
    return await unsealed(found) if found.vault is not None else found


def _compare(
    left: Session, right: Session, query: shapes.Sides
) -> tuple[list[Difference], tuple[shapes.SideView, shapes.SideView]]:
    return side_by_side(left, query.left, right, query.right), (
        _side(left, query.left, query.left_fork),
        _side(right, query.right, query.right_fork),
    )


def _side(session: Session, task: str, fork: str) -> shapes.SideView:
    for node in graph(session).nodes:
        if node.task == task:
            return shapes.SideView(
                task=task,
                fork=fork,
                context=node.context,
                agent=node.agent,
                state=node.state,
                text=node.text,
            )
    raise TaskNotFound(f"there is no task {task[:80]!r}")


def _row(each: Difference) -> shapes.BesideRow:
    what = each.left or each.right
    assert what is not None  # one of them has it
    return shapes.BesideRow(
        what=what.what,
        alike=each.alike,
        left=_event(each.left),
        right=_event(each.right),
        fields=tuple(
            shapes.ChangeView(path=e.path, before=trim(e.before), after=trim(e.after))
            for e in each.fields[:_FIELDS]
        ),
        changed=len(each.fields),
    )


def _event(side: Side | None) -> shapes.BesideEvent | None:
    if side is None:
        return None
    return shapes.BesideEvent(sequence=side.sequence, words=_words(side.event))


def _words(event: dict[str, Any]) -> str:
    """Return an event as a timeline has it, or else as it stands."""
    try:
        return describe(msgspec.convert(event, AnyEvent))
    except msgspec.ValidationError:
        return short(event)


async def list_forks(ask: Ask) -> shapes.ForkList:
    """List the forks that there are, the latest first."""
    return shapes.ForkList(items=tuple(await asyncio.to_thread(ask.desk.forks.all)))


async def fork(ask: Ask) -> Fork:
    """Go on with a task from a place, with something otherwise; it takes as long as that takes."""
    asked: Forking = ask.body
    return await ask.desk.forks.make(asked)
