"""Two tasks side by side: what both have, what one has alone, and the first difference.

Events are matched by what they are about in which turn, never by their place or their ids: so a
task and its fork match, and so do two tasks that were asked the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from pelton.events.errors import TaskNotFound
from pelton.events.events import (
    AnyEvent,
    DelegationReported,
    StepCompleted,
    TaskDelegated,
    TaskStatusUpdated,
    TurnEnded,
    name_of,
)
from pelton.events.ids import context_of
from pelton.events.memory import STEPS, result_of
from pelton.runtime.replay.changes import Change, changes
from pelton.runtime.replay.fork import DEADLINE
from pelton.runtime.replay.script import Entry, Script, piece, scripts, texts
from pelton.runtime.replay.session import Session

_IDS: Final = frozenset(
    {
        *("taskId", "contextId", "messageId", "artifactId", "commandId", "child"),
        *("deadline", "idempotencyKey"),
    }
)
"""Members that follow from who asked, and when, and tell nothing of what was done."""

_SAID: Final = frozenset({"result", "value", "data", "metadata"})
"""Members in which agents, tools and people have names of their own: all of it was done or said."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """An event of one of the two: `what` it is about, and the sequence of its commit."""

    what: str
    sequence: int
    event: dict[str, Any]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What the two have at one place; None where one of them has nothing there."""

    left: Side | None
    right: Side | None
    fields: tuple[Change, ...] = ()

    @property
    def alike(self) -> bool:
        """Whether both have it, and it is the same."""
        return self.left is not None and self.right is not None and not self.fields

    def lines(self) -> list[str]:
        """Return it for people."""
        what = self.left or self.right
        assert what is not None  # one of them has it
        where = [f"at {each.sequence}" if each else "nothing" for each in (self.left, self.right)]
        return [f"{what.what}: {where[0]} | {where[1]}", *(f"  {e.line()}" for e in self.fields)]


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """Two tasks: how many events are alike, and all that differs, the first difference first."""

    alike: int
    differences: tuple[Difference, ...]


def diff(left: Session, left_task: str, right: Session, right_task: str) -> Diff:
    """Return what differs between two tasks.

    Raises:
        TaskNotFound: one of the sessions has no turn of its task.
        InvalidInput: an id is not that of a task.
    """
    rows = side_by_side(left, left_task, right, right_task)
    differences = tuple(each for each in rows if not each.alike)
    return Diff(alike=len(rows) - len(differences), differences=differences)


def side_by_side(
    left: Session, left_task: str, right: Session, right_task: str
) -> list[Difference]:
    """Return all that two tasks have, matched, what is alike too, in the order of the left one.

    Raises:
        TaskNotFound: one of the sessions has no turn of its task.
        InvalidInput: an id is not that of a task.
    """
    ours, theirs = _sides(left, left_task), _sides(right, right_task)
    found: list[tuple[int, Difference]] = []
    mine, yours = _made(ours), _made(theirs)
    places = {what: at for at, what in enumerate(theirs)}
    for at, (what, side) in enumerate(ours.items()):
        other = theirs.get(what)
        fields = changes(_content(side.event, mine), _content(other.event, yours)) if other else ()
        found.append((at, Difference(left=side, right=other, fields=tuple(fields))))
    matched = [at for at, what in enumerate(ours) if what in theirs]
    before = sorted(places[what] for what in ours if what in theirs)
    for what, side in theirs.items():
        if what not in ours:
            passed = bisect_left(before, places[what])
            at = matched[passed - 1] + 1 if passed else 0
            found.append((at, Difference(left=None, right=side)))
    found.sort(key=lambda each: each[0])
    return [difference for _, difference in found]


def _sides(session: Session, task_id: str) -> dict[str, Side]:
    """Return the events of a task by what they are about."""
    context_id = context_of(task_id)
    for agent, id_ in session.contexts:
        if id_ == context_id:
            turns = scripts(agent, id_, session.commits(agent, id_), task_id)
            if turns:
                return _told(turns, session.blobs)
    raise TaskNotFound(f"no turn of a task {task_id[:80]!r} is recorded")


def _told(turns: Sequence[Script], blobs: Mapping[str, bytes]) -> dict[str, Side]:
    """Return what turns tell, by what it is about."""
    found: dict[str, Side] = {}
    for script in turns:
        counts: Counter[str] = Counter()
        for name, sequence, event in _events(script, blobs):
            about = f"turn {script.number} {name}".rstrip()
            counts[about] += 1
            what = about if counts[about] == 1 else f"{about} ({counts[about]})"
            found[what] = Side(what=what, sequence=sequence, event=event)
    return found


def _events(
    script: Script, blobs: Mapping[str, bytes]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield what a turn tells, each by its name, its sequence and its content.

    Artifacts come once, as they read in the end: a fork goes on in another attempt, which may have
    written them in other pieces.
    """
    last = 0
    for entry in script.entries:
        last = entry.sequence
        if isinstance(entry.event, TurnEnded):
            yield from _artifacts(script, last)
        deadline = entry.identity[1].startswith(DEADLINE)  # a time, which follows from the hour
        if not deadline and not piece(entry.event):
            yield f"{name_of(entry.event)} {_about(entry.event)}", last, _whole(entry, blobs)
    if script.ending != "agent":
        yield from _artifacts(script, last)


def _whole(entry: Entry, blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the content of an event, and in it what lies beside the log, if that is at hand."""
    event, found = entry.event, cast("dict[str, Any]", entry.content)
    if not isinstance(event, StepCompleted | DelegationReported) or event.blob is None:
        return found
    if event.blob.key or event.blob.sha256 not in blobs:
        return found
    member = "result" if isinstance(event, StepCompleted) else "outcome"
    there = {name: each for name, each in found.items() if name != "blob"}
    return {**there, member: msgspec.json.decode(blobs[event.blob.sha256])}


def _artifacts(script: Script, sequence: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for artifact in texts(script.artifacts).values():
        yield f"artifact {artifact.get('name', '')}", sequence, artifact


def _about(event: AnyEvent) -> str:
    match event:
        case TaskStatusUpdated(status=status):
            return status.state.removeprefix("TASK_STATE_").lower().replace("_", "-")
        case TaskDelegated():
            return f"{event.key} to {event.agent}"
        case _:
            return str(getattr(event, "key", ""))


def _made(sides: Mapping[str, Side]) -> dict[str, str]:
    """Return names for the memories that a task has made: their ids follow from who asked."""
    found: dict[str, str] = {}
    for side in sides.values():
        if str(side.event.get("key", "")).startswith(STEPS) and side.event.get("result"):
            made = result_of(side.event["result"]).made
            if made is not None and made.version == 1:
                found.setdefault(made.memory_id, f"memory {len(found) + 1} of the task")
    return found


def _content(event: dict[str, Any], made: Mapping[str, str]) -> Any:
    """Return an event without what follows from who asked when, and from where it is stored."""
    if str(event.get("key", "")).startswith(STEPS) and isinstance(event.get("result"), dict):
        result = {name: each for name, each in event["result"].items() if name != "sequence"}
        event = {**event, "result": result}
    return _left(event, made, _IDS)


def _left(value: Any, made: Mapping[str, str], ids: Collection[str]) -> Any:
    """Return a value without members that are `ids`, and with the names of what was `made`."""
    if isinstance(value, dict):
        return {
            name: _left(each, made, () if name in _SAID else ids)
            for name, each in cast("dict[str, Any]", value).items()
            if name not in ids
        }
    if isinstance(value, list | tuple):
        return [_left(each, made, ids) for each in cast("list[Any]", value)]
    return made.get(value, value) if isinstance(value, str) else value
