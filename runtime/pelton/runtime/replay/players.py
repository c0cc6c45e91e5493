"""Who plays the others when a task is gone on with: agents and people, as the record has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Task, TaskState, TaskStatus, text_of
from pelton.events.commands import SendMessage
from pelton.events.delegation import TaskOutcome, elsewhere
from pelton.events.errors import DamagedRecord
from pelton.events.events import (
    AgentRegistered,
    AnyEvent,
    DelegationReported,
    Failure,
    FailureClass,
    MessageReceived,
    QuestionAnswered,
    TaskDelegated,
)
from pelton.events.ids import context_of, derive
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.agents import Agent, agent
from pelton.runtime.bulk import fetch, inline
from pelton.runtime.failures import AgentError
from pelton.runtime.remote import RemoteFailed
from pelton.runtime.replay.session import Session
from pelton.runtime.turn import Turn


class Said(NamedTuple):
    """What somebody has said to a task: `answers` is the key of the question, if it was one."""

    parts: tuple[Part, ...]
    answers: str = ""


def people(session: Session, task: str, after: int) -> list[Said]:
    """Return what was said to a task by commands after a sequence, and taken in, in order."""
    context_id, answers, taken = context_of(task), dict[str, str](), set[str]()
    for event in _events(session):
        if isinstance(event, QuestionAnswered) and event.task_id == task:
            answers[event.message.message_id] = event.key
        elif isinstance(event, MessageReceived) and event.task_id == task:
            taken.add(event.message.message_id)
    found: list[Said] = []
    for record in session.records:
        subject = subjects.parse(record.subject)
        if record.sequence <= after or (subject.kind, subject.context) != ("cmd", context_id):
            continue
        try:
            command = decode_command(record.data)
        except DamagedRecord:
            continue
        if isinstance(command, SendMessage) and command.data.message.task_id == task:
            message = command.data.message
            if message.message_id in taken or message.message_id in answers:
                found.append(Said(message.parts, answers.get(message.message_id, "")))
    return found


def helpers(session: Session, task: str, other: Session | None = None) -> list[Agent]:
    """Return agents that stand for those which the context of a task has handed work to.

    Each answers a message as its namesake has, by what it says, in this session or else in the
    `other`; what the record does not have it refuses.
    """
    context_id = context_of(task)
    names = dict[str, None]()
    for record in session.records:
        subject = subjects.parse(record.subject)
        if (subject.kind, subject.context) == ("evt", context_id):
            for event in decode_commit(record.data).data.events:
                if isinstance(event, TaskDelegated) and not elsewhere(event.agent):
                    names[event.agent] = None
    return [stand_in(session, name, other) for name in names]


def stand_in(session: Session, name: str, other: Session | None = None) -> Agent:
    """Return an agent that answers as its namesake has, by what it is told."""
    reports = [each for each in _reports(session) if each.agent == name]
    more = [each for each in _reports(other) if each.agent == name] if other is not None else []
    profile = next(
        (e.profile for e in _events(session) if isinstance(e, AgentRegistered) and _of(e, name)),
        None,
    )

    async def answer(turn: Turn) -> None:
        for source, there in ((session, reports), (other, more)):
            if source is None:
                continue
            known = [
                each
                for each in there
                if (await inline(source, each.message)).parts == turn.message.parts
            ]
            if len(known) > 1:  # the last one stands for all that follow
                there.remove(known[0])
            if known:
                await _repeat(turn, await _outcome(source, known[0].report))
                return
        raise AgentError("The record has no such message to it.", kind=FailureClass.POLICY)

    made = agent(name=name)(answer)
    return made if profile is None else dataclasses.replace(made, profile=profile)


class Abroad:
    """Stands for agents elsewhere, as a client of them: each answers as it has, by what it is told.

    Nobody is asked. What the record does not have is refused. See `pelton.runtime.remote.Remote`.
    """

    def __init__(self, *sessions: Session) -> None:
        self._known = [
            (session, report)
            for session in sessions
            for report in _reports(session)
            if elsewhere(report.agent)
        ]
        self._tasks: dict[str, Task] = {}

    def allows(self, url: str) -> bool:
        """Whether the record has anything of the agent at a URL."""
        return any(report.agent == url for _, report in self._known)

    async def send(self, url: str, message: Message, *, deadline: str) -> Task:  # noqa: ARG002
        """Take a message; what comes of it is known."""
        known = [
            each
            for each in self._known
            if each[1].agent == url
            and (await inline(each[0], each[1].message)).parts == message.parts
        ]
        if not known:
            raise RemoteFailed(_UNKNOWN, passes=False)
        if len(known) > 1:  # the last one stands for all that follow
            self._known.remove(known[0])
        return await self._task(*known[0])

    async def find(self, url: str, message: Message) -> Task | None:  # noqa: ARG002
        """Return nothing: whatever was sent, it can be sent again."""
        return None

    async def get(self, url: str, task_id: str) -> Task:
        """Return the end of a task that was sent here, or that the record has."""
        if task_id in self._tasks:
            return self._tasks[task_id]
        for session, report in self._known:
            task = await self._task(session, report)
            if (report.agent, task.id) == (url, task_id):
                return task
        raise RemoteFailed(_UNKNOWN, passes=False)

    async def changed(self, url: str, task_id: str) -> None:
        """Return at once: all has ended."""

    async def cancel(self, url: str, task_id: str) -> None:
        """Do nothing: nobody works at it."""

    async def _task(self, session: Session, report: _Report) -> Task:
        if report.report.failure is not None:
            raise RemoteFailed(report.report.failure, passes=False)
        outcome = await _outcome(session, report.report)
        task = Task(
            id=outcome.task_id or derive("abroad", report.message.message_id),
            status=TaskStatus(state=outcome.state, message=outcome.message),
            artifacts=outcome.artifacts,
        )
        self._tasks[task.id] = task
        return task


_UNKNOWN: Final = Failure(
    kind=FailureClass.POLICY, message="The record has no such message to the agent elsewhere."
)


async def _repeat(turn: Turn, outcome: TaskOutcome) -> None:
    """End a turn as an outcome says."""
    for each in outcome.artifacts:
        await turn.artifact(
            each.parts,
            name=each.name,
            description=each.description,
            artifact_id=each.artifact_id,
            metadata=each.metadata,
        )
    parts = outcome.message.parts if outcome.message is not None else ()
    match outcome.state:
        case TaskState.COMPLETED if parts:
            await turn.reply(parts)
        case TaskState.COMPLETED:
            pass
        case TaskState.INPUT_REQUIRED:
            await turn.require_input(parts or "?")
        case TaskState.AUTH_REQUIRED:
            await turn.require_auth(parts or "?")
        case TaskState.REJECTED:
            await turn.reject(parts or "It was refused.")
        case _:
            await turn.fail(text_of(parts) or "It failed.")


class _Report(NamedTuple):
    """What was handed to an agent, and what it reported."""

    agent: str
    message: Message
    report: DelegationReported


def _reports(session: Session) -> Iterator[_Report]:
    """Yield what was handed on and has come back, in the order in which it was handed on."""
    handed: dict[tuple[str, str], TaskDelegated] = {}
    back: dict[str, DelegationReported] = {}
    order: list[TaskDelegated] = []
    for event in _events(session):
        if isinstance(event, TaskDelegated):
            handed[event.task_id, event.key] = event  # a later turn may use the key again
            order.append(event)
        elif isinstance(event, DelegationReported) and not event.late:
            back[handed[event.task_id, event.key].command_id] = event
    for event in order:
        if event.command_id in back:
            yield _Report(event.agent, event.message, back[event.command_id])


async def _outcome(session: Session, report: DelegationReported) -> TaskOutcome:
    outcome = report.outcome
    if outcome is None:
        assert report.blob is not None  # a report has the one or the other
        data = await fetch(session, report.blob)
        outcome = msgspec.json.decode(data, type=TaskOutcome)
    return outcome


def _of(event: AgentRegistered, name: str) -> bool:
    return event.profile.name == name


def _events(session: Session) -> Iterator[AnyEvent]:
    for record in session.records:
        if record.subject.startswith("evt."):
            yield from decode_commit(record.data).data.events
