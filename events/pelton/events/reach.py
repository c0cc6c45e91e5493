"""Who may touch what: one rule for whoever decides a command and for whoever asks before (S4).

A context belongs to the actor whose message opened its first task, with all tasks in it. To others
it is not there, save to those who reach all of the tenant, and a task to those whom it has asked by
name: they may read it and answer, as long as it waits for them (AS-57).
"""

from __future__ import annotations

from pelton.events.commands import CancelTask, Command, ReportTask
from pelton.events.context import Context
from pelton.events.errors import InvalidInput, NotAuthorised, TaskNotFound
from pelton.events.turns import Question


def reaches(context: Context, actor: str, task: str = "", *, every: bool) -> bool:
    """Return whether an actor may read a context and go on with it, or with a task of it.

    `every` says that it may do so with all of the tenant.
    """
    if every or context.owner in ("", actor):
        return True
    known = context.tasks.get(task)
    asked = () if known is None or known.turn is None else known.turn.asked.values()
    return any(actor in question.approvers for question in asked)


def allowed(context: Context, command: Command) -> bool:
    """Return whether a command is about what its actor may touch.

    What executors report to each other is: it follows from what was decided.
    """
    if isinstance(command, ReportTask):
        return True
    task = "" if isinstance(command, CancelTask) else command.data.message.task_id
    return reaches(context, command.actor, task, every=command.reach == "tenant")


def check_reach(context: Context, command: Command) -> None:
    """Refuse a command about what its actor may not touch: to it, another's task is not there.

    Raises:
        TaskNotFound, InvalidInput: it is.
    """
    if allowed(context, command):
        return
    if isinstance(command, CancelTask | ReportTask) or command.data.message.task_id:
        raise TaskNotFound("there is no such task in this context")
    raise foreign_context()


def check_answer(context: Context, command: Command, question: Question) -> None:
    """Refuse an answer to a question that was put to somebody else.

    Whoever reaches the task may answer, unless it asks some by name: then only they may, and those
    who decide for all of the tenant.

    Raises:
        NotAuthorised: it was.
    """
    if question.approvers:
        may = command.decides or command.actor in question.approvers
    else:
        may = reaches(context, command.actor, every=command.reach == "tenant")
    if not may:
        raise NotAuthorised("somebody else has to answer this question")


def foreign_context() -> InvalidInput:
    """Return the refusal of a message into a context that somebody else has opened."""
    return InvalidInput(
        "this context id cannot be used: choose another, or leave it out",
        field="message.contextId",
    )
