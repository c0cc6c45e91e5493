"""Deciding commands: a pure function of the aggregate's state and a command into events.

Who decides appends the events expecting the state they were decided on (law 3); the loser of a race
decides again. Refusals are events too, so that whoever waits for an answer gets one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from pelton.events import hitl
from pelton.events.a2a import Message, Part, Role, TaskState, TaskStatus
from pelton.events.commands import CancelTask, Command, ReportTask, SendMessage
from pelton.events.commit import Commit, CommitData
from pelton.events.context import Context, TaskFold, apply
from pelton.events.delegation import DelegationRefused, check_chain
from pelton.events.errors import (
    Busy,
    ContentTypeNotSupported,
    InvalidInput,
    NotAuthorised,
    PeltonError,
    TaskNotCancelable,
    TaskNotFound,
    UnsupportedOperation,
)
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    DelegationReported,
    Failure,
    FailureClass,
    MessageReceived,
    Outcome,
    QuestionAnswered,
    QuestionExpired,
    TaskDeadLettered,
    TaskRedriven,
    TaskStatusUpdated,
    TaskSubmitted,
    TimerFired,
    TurnEnded,
)
from pelton.events.ids import check_id, derive, task_id
from pelton.events.reach import check_answer, check_reach
from pelton.events.turns import Turn


def decide(context: Context, command: Command, *, time: str) -> tuple[AnyEvent, ...]:
    """Return the events that a command leads to; none if it was decided before (law 6).

    `time` is RFC 3339 in UTC, the timestamp of a status that the decision sets. A message that
    opens or goes on with a task is not yet a turn: whoever runs the agent adds `TurnStarted`.
    """
    if command.id in context.commands:
        return ()
    try:
        check_reach(context, command)
        match command:
            case CancelTask():
                return _cancel(context, command, time)
            case ReportTask():
                return _report(context, command)
            case SendMessage():
                return _send(context, command, time)
    except PeltonError as refusal:
        return (reject(command.id, refusal, about(context, command)),)


def ahead(context: Context, command: Command) -> bool:
    """Whether a command is decided as it comes, while others wait for the turn that runs.

    It is if it is about something that waits for it: a question, another task, or a task's end.
    """
    match command:
        case CancelTask():
            return command.data.task_id in context.tasks
        case ReportTask():
            return True
        case SendMessage():
            task = context.tasks.get(command.data.message.task_id)
            return task is not None and task.turn is not None and bool(task.turn.asked)


def fired(task: TaskFold, now: str) -> tuple[AnyEvent, ...]:
    """Return what has come to an open turn just because it is `now` (RFC 3339).

    These are the timers that fire and the questions that expire; its own deadline is not.
    """
    turn = task.turn
    if turn is None:
        return ()
    events: list[AnyEvent] = [
        TimerFired(task_id=task.id, key=key)
        for key, timer in turn.timers.items()
        if not timer.done and now >= timer.due
    ]
    expired = {key for key, each in turn.asked.items() if each.expires and now >= each.expires}
    events += [QuestionExpired(task_id=task.id, key=key) for key in sorted(expired)]
    if expired and set(turn.asked) == expired:
        events.append(_working(task.id, now))
    return tuple(events)


LATE: Final = Failure(kind=FailureClass.TIMEOUT, message="It did not end in time.")
"""Why a turn fails whose deadline has passed."""


def dead(
    task: str, context: str, ended: TurnEnded, *, command_id: str, attempts: int, now: str
) -> tuple[AnyEvent, ...]:
    """Return the end of a task that fails for good without its agent's wish (AS-15).

    `ended` is the end of its turn, with the failure; `attempts` counts those in a row that failed.
    """
    failure = ended.failure
    assert failure is not None  # what else
    message = Message(
        message_id=derive(task, str(ended.turn), "failure"),
        role=Role.AGENT,
        context_id=context,
        task_id=task,
        parts=(Part(text=failure.message),),
    )
    status = TaskStatus(state=TaskState.FAILED, message=message, timestamp=now)
    return (
        TaskDeadLettered(task_id=task, command_id=command_id, failure=failure, attempts=attempts),
        TaskStatusUpdated(task_id=task, status=status),
        ended,
    )


def given_up(task: TaskFold, turn: Turn, failure: Failure, now: str) -> tuple[AnyEvent, ...]:
    """Return the end of a turn that nobody has in hand."""
    ended = TurnEnded(
        task_id=task.id,
        turn=turn.number,
        attempt=turn.attempt,
        outcome=Outcome.FAILED,
        failure=failure,
    )
    return dead(
        task.id,
        task.context_id,
        ended,
        command_id=turn.cause.causationid,
        attempts=max(turn.failures, 1),
        now=now,
    )


def interrupt(task: TaskFold, turn: Turn, time: str) -> tuple[AnyEvent, ...]:
    """Return the end of a turn, and its task, that somebody wants to have ended."""
    status = TaskStatus(state=TaskState.CANCELED, timestamp=time)
    return (
        TaskStatusUpdated(task_id=task.id, status=status),
        TurnEnded(
            task_id=task.id, turn=turn.number, attempt=turn.attempt, outcome=Outcome.CANCELED
        ),
    )


def reject(command_id: str, refusal: PeltonError, task: str = "") -> CommandRejected:
    """Return the event that says a command was refused."""
    return CommandRejected(
        command_id=command_id, code=refusal.code, reason=str(refusal), task_id=task
    )


_REFUSALS: Final[Mapping[str, type[PeltonError]]] = {
    each.code: each
    for each in (
        Busy,
        ContentTypeNotSupported,
        DelegationRefused,
        InvalidInput,
        NotAuthorised,
        TaskNotCancelable,
        TaskNotFound,
        UnsupportedOperation,
    )
}


def refusal(event: CommandRejected) -> PeltonError:
    """Return the error that a refused command is for whoever asked."""
    return _REFUSALS.get(event.code, PeltonError)(event.reason)


def about(context: Context, command: Command) -> str:
    """Return the id of the task that a command is about, whether or not there is one."""
    if isinstance(command, CancelTask):
        return command.data.task_id
    if isinstance(command, ReportTask):
        return command.data.delegation.task_id
    return command.data.message.task_id or task_id(context.id, command.id)


def foresee(context: Context, command: Command) -> Context:
    """Return the context as it reads while a command waits to be decided.

    An accepted message counts from when it is appended: its task is submitted (design, *A message's
    way*). Everything else counts once it is decided.
    """
    if not isinstance(command, SendMessage):
        return context
    events = decide(context, command, time=command.time)
    if events:
        commit, waiting, tasks = _unwritten(context, command), context.waiting + 1, {}
        for event in events:
            if isinstance(event, MessageReceived | QuestionAnswered):
                context = _said(context, event)
            elif not isinstance(event, TaskStatusUpdated | TaskRedriven):
                context = apply(context, event, commit)
            if isinstance(event, TaskSubmitted):
                opened = replace(context.tasks[event.task_id], position=waiting)
                tasks = {opened.id: opened}
        context = replace(
            context,
            commands={**context.commands, command.id: about(context, command)},
            tasks={**context.tasks, **tasks},
            waiting=waiting,
        )
    return context


def _said(context: Context, event: MessageReceived | QuestionAnswered) -> Context:
    """Return the context with a message that nobody has taken in yet: what was asked still is."""
    task = context.tasks[event.task_id]
    task = replace(task, history=(*task.history, event.message))
    return replace(
        context,
        tasks={**context.tasks, task.id: task},
        messages=(*context.messages, event.message),
    )


def _unwritten(context: Context, command: Command) -> Commit:
    return Commit(
        id=command.id,
        source=command.source,
        subject=command.subject,
        time=command.time,
        tenant=command.tenant,
        actor=command.actor,
        correlationid=command.correlationid,
        causationid=command.id,
        sequence=context.sequence + 1,
        prevhash=context.hash,
        data=CommitData(events=()),
    )


def _existing(context: Context, task: str) -> TaskFold:
    found = context.tasks.get(task)
    if found is None or found.answer is not None:
        raise TaskNotFound("there is no such task in this context")
    return found


def _send(context: Context, command: SendMessage, time: str) -> tuple[AnyEvent, ...]:
    data = command.data
    message = _checked(context, data.message)
    if message.task_id:
        task = _existing(context, message.task_id)
        if task.ended:
            raise UnsupportedOperation("the task has ended: send the message without its taskId")
        if task.turn is not None and task.turn.asked:
            return _answer(context, task, command, message, time)
        if data.answers:
            raise InvalidInput("the task has asked no such question", field="answers")
        return (MessageReceived(task_id=task.id, message=message, delegation=data.delegation),)
    if data.delegation is not None:
        check_chain(data.delegation.chain, context.agent)
    opened = task_id(context.id, command.id)
    message = replace(message, task_id=opened)
    submitted = TaskSubmitted(
        task_id=opened,
        message=message,
        metadata=data.metadata,
        deadline=data.deadline,
        delegation=data.delegation,
        redrives=data.redrives,
    )
    if not data.redrives:
        return (submitted,)
    failed = _existing(context, data.redrives)
    if failed.status.state is not TaskState.FAILED or failed.redriven:
        raise UnsupportedOperation("only a task that has failed is redriven, and only once")
    return (submitted, TaskRedriven(task_id=failed.id, by=opened))


def steer(context: Context, command: SendMessage, task: str) -> tuple[AnyEvent, ...]:
    """Return what comes of a message that a running turn of a task takes for its own.

    Raises:
        InvalidInput: it is no message that the agent could be handed.
    """
    message = _checked(context, command.data.message)
    return (MessageReceived(task_id=task, message=replace(message, task_id=task)),)


def _answer(
    context: Context, task: TaskFold, command: SendMessage, message: Message, time: str
) -> tuple[AnyEvent, ...]:
    """Return what an answer to a question leads to; the first one is meant if none is named."""
    asked = task.turn.asked if task.turn is not None else {}
    key = command.data.answers or hitl.answered(message) or next(iter(asked))
    question = asked.get(key)
    if question is None:
        raise InvalidInput("the task has asked no such question", field="answers")
    check_answer(context, command, question)
    answered = QuestionAnswered(
        task_id=task.id,
        key=key,
        message=message,
        by=command.actor,
        delegation=command.data.delegation,
    )
    if len(asked) > 1:
        return (answered,)
    return (answered, _working(task.id, time))


def _working(task: str, time: str) -> TaskStatusUpdated:
    status = TaskStatus(state=TaskState.WORKING, timestamp=time)
    return TaskStatusUpdated(task_id=task, status=status)


def _report(context: Context, command: ReportTask) -> tuple[AnyEvent, ...]:
    """Return what a report leads to; if nobody waits for it any more, it is kept as late."""
    waits = command.data.delegation
    task = _existing(context, waits.task_id)
    turn = task.turn
    waited = turn is not None and turn.number == waits.turn and waits.key in turn.delegated
    reported = DelegationReported(
        task_id=task.id,
        turn=waits.turn,
        key=waits.key,
        outcome=command.data.outcome,
        blob=command.data.blob,
        failure=command.data.failure,
        late=not waited,
    )
    return (reported,)


def _checked(context: Context, message: Message) -> Message:
    check_id(message.message_id, "message.messageId")
    if message.context_id and message.context_id != context.id:
        raise InvalidInput("the message names another context", field="message.contextId")
    if message.role is not Role.USER:
        raise InvalidInput("a message to an agent has the role ROLE_USER", field="message.role")
    if not message.parts:
        raise InvalidInput("a message has at least one part", field="message.parts")
    return replace(message, context_id=context.id)


def _cancel(context: Context, command: CancelTask, time: str) -> tuple[AnyEvent, ...]:
    task = _existing(context, command.data.task_id)
    if task.ended:
        raise TaskNotCancelable("the task has already ended")
    if command.data.turn and (task.turn is None or task.turn.number != command.data.turn):
        raise TaskNotCancelable("that turn of the task is not open")
    if task.turn is not None:
        return interrupt(task, task.turn, time)
    status = TaskStatus(state=TaskState.CANCELED, timestamp=time)
    return (TaskStatusUpdated(task_id=task.id, status=status),)
