"""What a task waits for, and what a person can do about it: as `show` and `tasks` say it."""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.adapters.cli.timeline import quoted
from pelton.events import hitl
from pelton.events.a2a import TaskState
from pelton.events.context import TaskFold
from pelton.events.events import AttemptEnd
from pelton.events.states import INTERRUPTED
from pelton.events.turns import Turn
from pelton.projections.read import TaskEntry


class Wait(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that a task waits for: a question, a delegation, a timer, the retry of a step.

    `until` (RFC 3339) is when it is over at the latest, empty if that is never.
    """

    key: str
    kind: str
    says: str
    until: str = ""
    approvers: tuple[str, ...] = ()


def waits(task: TaskFold) -> list[Wait]:
    """Return what a task waits for."""
    turn = task.turn
    if turn is None:
        if task.status.state in INTERRUPTED:
            message = task.status.message
            says = quoted(message.parts) if message else "the next message"
            return [Wait(key="", kind="question", says=says)]
        return []
    found = [
        Wait(
            key=key,
            kind="approval" if hitl.approves(each.message) else "question",
            says=quoted(each.message.parts),
            until=each.expires,
            approvers=each.approvers,
        )
        for key, each in turn.asked.items()
    ]
    found += [
        Wait(key=key, kind="delegation", says=f"task {each.child} of {each.agent}")
        for key, each in turn.delegated.items()
    ]
    found += [
        Wait(key=key, kind="timer", says="a time", until=each.due)
        for key, each in turn.timers.items()
        if not each.done
    ]
    found += [
        Wait(key=key, kind="retry", says="the next try", until=each.again_at)
        for key, each in turn.steps.items()
        if not each.done and each.again_at
    ]
    return found


def next_step(task: TaskFold) -> str:
    """Return what a person can do now that would move a task, or nothing."""
    asked = [each for each in waits(task) if each.kind in ("question", "approval")]
    if asked:
        which = f" --question {asked[0].key}" if len(asked) > 1 else ""
        say = "--approve, or --reject REASON" if asked[0].kind == "approval" else "TEXT"
        who = f", as one of {', '.join(asked[0].approvers)} (--as)" if asked[0].approvers else ""
        return f"pelton answer {task.id}{which} {say}{who}"
    if task.redriven:
        return f"pelton show {task.redriven}"
    if task.status.state is TaskState.FAILED:
        return f"pelton dead-letters redrive {task.id}"
    handed = task.turn.delegated.values() if task.turn is not None else ()
    return next((f"pelton show {each.child}" for each in handed), "")


def rows(task: TaskFold) -> list[list[str]]:
    """Return the lines of `show` about what is to come, in two columns."""
    found: list[list[str]] = []
    if task.turn is not None:
        found.append(["turn", _turn(task.turn)])
    for each in waits(task):
        until = f", until {each.until}" if each.until else ""
        who = f", of {', '.join(each.approvers)}" if each.approvers else ""
        found.append(["waits for", f"{each.key} {each.says}{who}{until}".lstrip()])
    if task.redriven:
        found.append(["redriven", f"as {task.redriven}"])
    if step := next_step(task):
        found.append(["next", step])
    return found


def _turn(turn: Turn) -> str:
    said = f"{turn.number}, attempt {turn.attempt}"
    if turn.over is None:
        said += f", executor {turn.executor}"
    elif turn.over.end is AttemptEnd.FAILED and turn.over.failure is not None:
        failure = turn.over.failure
        said += f": {failure.kind}, tried again at {turn.over.again_at} ({failure.message})"
    else:
        said += f": {turn.over.end}, no process holds it"
    return said + (f"; deadline {turn.deadline}" if turn.deadline else "")


def value(task: TaskFold) -> dict[str, Any]:
    """Return the same as JSON shows it."""
    turn = task.turn
    found: dict[str, Any] = {"waits": waits(task), "next": next_step(task)}
    if task.redriven:
        found["redriven"] = task.redriven
    if turn is not None:
        found["turn"] = {
            "number": turn.number,
            "attempt": turn.attempt,
            "executor": turn.executor,
            "suspended": turn.suspended,
            "againAt": turn.over.again_at if turn.over else "",
            "deadline": turn.deadline,
        }
    return found


def brief(entry: TaskEntry) -> str:
    """Return in a few words what a task waits for, as the read models know it."""
    if entry.pause == AttemptEnd.FAILED:
        return f"the next attempt, at {entry.again_at}"
    keys = [key or "the next message" for key in entry.waits]
    until = min((due for due in entry.waits.values() if due), default="")
    return ", ".join(keys) + (f", until {until}" if until else "")
