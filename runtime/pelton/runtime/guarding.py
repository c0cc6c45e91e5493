"""Where the guard of an attempt comes from, and what it is asked about the turn as a whole."""

from __future__ import annotations

from pelton.events.a2a import Message, TaskState, text_of
from pelton.events.context import Context
from pelton.events.done import NOTHING, Done, noted
from pelton.events.ruling import Point
from pelton.runtime.assignment import Assignment
from pelton.runtime.bulk import Blobs
from pelton.runtime.guard import CallDenied, Guard
from pelton.runtime.recorder import Recorder
from pelton.runtime.turn import Turn


def guarding(
    task: Assignment, recorder: Recorder, blobs: Blobs, state: Context, agent: str
) -> Guard:
    """Return the guard of an attempt, which the recorder tells of what the turn does."""
    turn = task.earlier.turn if task.earlier is not None else None

    def past() -> tuple[Done, tuple[Done, ...]]:
        known = state.tasks.get(task.id)
        done = known.done if known is not None else NOTHING
        for event in task.opening:
            done = noted(done, event, task.begun)
        return done, tuple(each.done for id_, each in state.tasks.items() if id_ != task.id)

    guard = Guard(
        task.outfit,
        recorder,
        blobs=blobs,
        agent=agent,
        actor=task.origin.actor,
        context_id=state.id,
        number=task.number,
        attempt=task.attempt,
        past=past,
        rulings={**task.rulings, **turn.rulings} if turn is not None else task.rulings,
    )
    recorder.note = guard.note
    if guard.holds:
        recorder.publish = guard.publish
    return guard


async def before_turn(guard: Guard, turn: Turn) -> None:
    """Let a turn begin.

    Raises:
        TurnEnd: it may not, and its task is rejected.
    """
    if not guard.asks(Point.TURN_BEFORE):
        return
    try:
        await guard.about(Point.TURN_BEFORE, "turn", {"text": turn.text})
    except CallDenied as denied:
        await turn.reject(str(denied))


async def after_turn(guard: Guard, state: TaskState, message: Message | None) -> None:
    """Let a turn end as its agent has ended it.

    Raises:
        CallDenied: it may not, and its task fails.
    """
    if not guard.asks(Point.TURN_AFTER):
        return
    text = text_of(message.parts) if message is not None else ""
    await guard.about(Point.TURN_AFTER, "turn", {"state": state.value, "text": text})
