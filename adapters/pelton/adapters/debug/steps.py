"""The steps of a conversation: what its turns had done outside, when, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pelton.events.errors import DamagedRecord
from pelton.events.events import StepCompleted, StepFailed, StepStarted, TurnStarted
from pelton.events.subjects import parse
from pelton.events.upcast import decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.changes import short


class StepRow(msgspec.Struct, kw_only=True, rename="camel"):
    """A step: what began it and what ended it, by their sequences and places, and how long it took.

    `result` is cut off where it is long; `size` is that of the blob which holds it, if one does.
    `state` is `running`, `done`, `failed`, or `retry` while it waits for another try.
    """

    task: str
    agent: str
    turn: int
    key: str
    name: str
    call: str
    idempotent: bool
    sequence: int
    place: int
    began: int
    tries: int = 1
    attempts: int = 1
    state: str = "running"
    ended: int = 0
    end: tuple[int, int] | None = None
    result: str = ""
    size: int = 0
    failure: Any = None


def steps_of(records: Iterable[Record]) -> list[StepRow]:
    """Return the steps that commits tell of, in the order in which they began."""
    found: dict[tuple[str, str, int, str], StepRow] = {}
    turns: dict[tuple[str, str], int] = {}
    for record in records:
        if not record.subject.startswith("evt."):
            continue
        try:
            commit = decode_commit(record.data)
        except DamagedRecord:
            continue  # it is shown where the records are
        agent, time = parse(record.subject).agent, record.received_ns // 1_000_000
        for place, event in enumerate(commit.data.events, 1):
            match event:
                case TurnStarted():
                    turns[agent, event.task_id] = event.turn
                case StepStarted():
                    turn = turns.get((agent, event.task_id), 0)
                    known = found.get((agent, event.task_id, turn, event.key))
                    if known is not None:
                        known.tries += 1
                        known.attempts = event.attempt
                        known.state = "running"
                        continue
                    found[agent, event.task_id, turn, event.key] = StepRow(
                        task=event.task_id,
                        agent=agent,
                        turn=turn,
                        key=event.key,
                        name=event.name,
                        call=event.call,
                        idempotent=event.idempotent,
                        sequence=record.sequence,
                        place=place,
                        began=time,
                        attempts=event.attempt,
                    )
                case StepCompleted() | StepFailed():
                    turn = turns.get((agent, event.task_id), 0)
                    if row := found.get((agent, event.task_id, turn, event.key)):
                        row.ended, row.end = time, (record.sequence, place)
                        _ended(row, event)
                case _:
                    pass
    return list(found.values())


def _ended(row: StepRow, event: StepCompleted | StepFailed) -> None:
    if isinstance(event, StepFailed):
        row.state = "retry" if event.again_at else "failed"
        row.failure = event.failure
        return
    row.state, row.failure = "done", None
    if event.blob is not None:
        row.size = event.blob.size
    else:
        row.result = short(event.result)
