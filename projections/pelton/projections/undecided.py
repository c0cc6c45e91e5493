"""Commands that wait to be decided: how they show already.

A message that was accepted counts from when it is appended: its task is there and submitted. What
it leads to is foreseen by `pelton.events.decide`, kept in rows that are marked, and made anew each
time the context moves on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from pelton.events.commands import CancelTask, Command
from pelton.events.commit import Commit, CommitData
from pelton.events.context import REDRIVEN, Context, TaskFold
from pelton.events.decide import about, foresee
from pelton.events.turns import Question, Turn
from pelton.projections.rows import SOMETHING, UNDECIDED, Cells, ContextRow, TaskRow, message_cells

Waiting = tuple[int, Command]
"""A command with its stream sequence."""


def target(context: ContextRow, command: Command) -> str:
    """Return the id of the task that a command is about, whether or not there is one."""
    return about(Context(agent=context.agent, id=context.id), command)


def show(
    context: ContextRow,
    tasks: Mapping[str, TaskRow],
    asked: Mapping[tuple[str, str], Mapping[str, Question]],
    waiting: Sequence[Waiting],
    decided: Collection[str],
) -> tuple[list[TaskRow], list[Cells]]:
    """Return the tasks and messages that waiting commands will make, if nothing intervenes.

    `tasks` holds those that the commands are about, `asked` what these have open, by id and agent,
    `decided` the ids of commands among the waiting that were decided before: the same command twice
    is one.
    """
    state = Context(
        agent=context.agent,
        id=context.id,
        owner=context.owner,
        commands=dict.fromkeys(decided, ""),
        tasks={row.id: _fold(row, asked.get((row.id, row.agent), {})) for row in tasks.values()},
    )
    opened: dict[str, TaskRow] = {}
    messages: list[Cells] = []
    for sequence, command in waiting:
        if isinstance(command, CancelTask):
            continue
        id_ = target(context, command)
        before = state.tasks.get(id_)
        state = foresee(state, command)
        after = state.tasks.get(id_)
        if after is None or after is before:
            continue
        row = tasks.get(id_) or opened.get(id_)
        if row is None:
            row = opened[id_] = _opened(context, after, sequence, state.owner)
        messages.append(
            message_cells(row, UNDECIDED + sequence, sequence, command.id, after.history[-1])
        )
    return list(opened.values()), messages


def _fold(row: TaskRow, questions: Mapping[str, Question]) -> TaskFold:
    """Return as much of a task as decisions depend on; an answer is decided by what it answers."""
    asked = {key: questions[key] for key in row.waits if key in questions}
    return TaskFold(
        id=row.id,
        context_id=row.context_id,
        status=row.status,
        command_id=row.command_id,
        answer=None if row.answer is None else SOMETHING,
        redriven=(row.metadata or {}).get(REDRIVEN, ""),
        turn=replace(_TURN, number=row.turns, questions=asked) if asked else None,
    )


_COMMIT = Commit(
    id="",
    source="",
    subject="",
    time="",
    tenant="",
    actor="",
    correlationid="",
    causationid="",
    sequence=0,
    prevhash="",
    data=CommitData(events=()),
)
_TURN = Turn(number=0, attempt=1, message_id="", executor="", cause=_COMMIT)


def _opened(context: ContextRow, task: TaskFold, sequence: int, owner: str) -> TaskRow:
    return TaskRow(
        id=task.id,
        agent=context.agent,
        context_id=context.id,
        command_id=task.command_id,
        status=task.status,
        metadata=task.view(history=0, artifacts=False).metadata,
        pending=sequence,
        created=sequence,
        updated=sequence,
        owner=owner,
    )
