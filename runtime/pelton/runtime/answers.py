"""What comes back from people and from other agents, as an agent's code gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import msgspec

from pelton.events.a2a import Artifact, Message, TaskState, text_of
from pelton.events.delegation import TaskOutcome
from pelton.events.events import Failure, FailureClass
from pelton.events.hitl import Reply
from pelton.runtime.failures import RecordedError


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Whether something may be done, the reason if one was given, and who decided."""

    approved: bool
    reason: str = ""
    by: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What another agent's task came to; one that answered without a task has no `task_id`.

    Everything in it is that agent's words, not a user's: whoever puts it into a prompt says so.
    """

    agent: str
    context_id: str
    task_id: str
    state: TaskState
    message: Message | None = None
    artifacts: tuple[Artifact, ...] = ()

    @classmethod
    def of(cls, agent: str, context_id: str, outcome: TaskOutcome) -> Self:
        """Return the report that an outcome is."""
        return cls(
            agent=agent,
            context_id=context_id,
            task_id=outcome.task_id,
            state=outcome.state,
            message=outcome.message,
            artifacts=outcome.artifacts,
        )

    @property
    def text(self) -> str:
        """The text of its artifacts and then of its last message."""
        parts = [part for artifact in self.artifacts for part in artifact.parts]
        if self.message is not None:
            parts += self.message.parts
        return text_of(tuple(parts))


class AnswerExpired(RecordedError):
    """Nobody has answered the question in time."""

    code = "answer-expired"

    def __init__(self) -> None:
        message = "Nobody answered the question in time."
        super().__init__(Failure(kind=FailureClass.TIMEOUT, message=message))


class DelegationFailed(RecordedError):
    """A task in the hands of another agent failed, was refused or canceled: `report` says it.

    `failure` says of which class; it may be that an agent elsewhere could not even be asked.
    """

    code = "delegation-failed"

    def __init__(self, report: Report, failure: Failure | None = None) -> None:
        message = f"The agent {report.agent!r} ended its task as {report.state}."
        super().__init__(failure or Failure(kind=FailureClass.DEPENDENCY, message=message))
        self.report = report


def fitting(reply: Reply, shape: type[Any], choices: Sequence[str]) -> tuple[Any, str]:
    """Return a person's answer as a type, or why it does not fit."""
    if shape is str:
        text = reply.text.strip()
        if choices and text not in choices:
            return None, f"choose one of {', '.join(choices)}"
        return text, "" if text else "it is empty"
    try:
        if reply.data is not msgspec.UNSET:
            return msgspec.convert(reply.data, shape), ""
        try:
            return msgspec.json.decode(reply.text, type=shape), ""
        except msgspec.DecodeError:
            return msgspec.convert(reply.text.strip(), shape, strict=False), ""
    except msgspec.ValidationError as error:
        return None, str(error)
