"""Failures: what an agent's code may raise, and what is recorded of what it raises."""

from __future__ import annotations

from typing import ClassVar

from pelton.events.delegation import DelegationRefused
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import Failure, FailureClass
from pelton.runtime.log import LogError
from pelton.runtime.vault import ContentErased, ContentSealed


class AgentError(PeltonError):
    """Raised by an agent's code to say how it failed: `kind` decides whether it is tried again.

    The text is for clients to read. `pelton.events.retries` tells what is tried again, how often.
    """

    code: ClassVar[str] = "agent-failed"

    def __init__(self, message: str, *, kind: FailureClass = FailureClass.AGENT) -> None:
        super().__init__(message)
        self.kind = kind


class RecallUnavailable(AgentError):
    """What an agent remembers cannot be searched now: see `RecallFailed`, which agents meet."""

    code: ClassVar[str] = "recall-unavailable"

    def __init__(self) -> None:
        super().__init__("Memory cannot be searched now.", kind=FailureClass.DEPENDENCY)


class RecordedError(PeltonError):
    """The root of errors that stand in the log: every later attempt meets the same one."""

    code: ClassVar[str] = "recorded"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StepError(RecordedError):
    """A step failed; `failure` is what is recorded of it, on this attempt or an earlier one."""

    code: ClassVar[str] = "step-failed"


class NondeterminismError(RecordedError):
    """An attempt asked for something else than the log says was asked for before, at one place.

    The text names the first event that differs. Make the agent's code depend on nothing but its
    message and what the turn gives it: `turn.now()`, `turn.random()`, `turn.uuid()`, steps.
    """

    code: ClassVar[str] = "nondeterminism"

    def __init__(self, message: str) -> None:
        super().__init__(Failure(kind=FailureClass.NONDETERMINISM, message=message))


_KINDS: tuple[tuple[type[BaseException], FailureClass, str], ...] = (
    (TimeoutError, FailureClass.TIMEOUT, "It took too long."),
    (ConnectionError, FailureClass.DEPENDENCY, "Something that it needs cannot be reached."),
    (PermissionError, FailureClass.AUTHORISATION, "It may not do what it tried."),
)


def failure_of(error: BaseException) -> Failure:
    """Return what is recorded of an exception that an agent's code let out.

    Its text stays out of the log and away from clients, since nobody has checked it for secrets;
    the executor's own log has it whole. An error of ours is meant to be read.
    """
    name = type(error).__name__
    match error:
        case RecordedError():
            return error.failure
        case AgentError():
            return Failure(kind=error.kind, message=str(error), exception=name)
        case InvalidInput():
            return Failure(kind=FailureClass.VALIDATION, message=str(error), exception=name)
        case DelegationRefused() | ContentErased():
            return Failure(kind=FailureClass.POLICY, message=str(error), exception=name)
        case ContentSealed():  # another executor may have the keys
            message = "What was said is sealed, and it has no key of it."
            return Failure(kind=FailureClass.DEPENDENCY, message=message, exception=name)
        case LogError():
            message = "The log cannot do what it asked for."
            return Failure(kind=FailureClass.DEPENDENCY, message=message, exception=name)
        case PeltonError():
            return Failure(kind=FailureClass.AGENT, message=str(error), exception=name)
        case _:
            pass
    for kind, class_, message in _KINDS:
        if isinstance(error, kind):
            return Failure(kind=class_, message=message, exception=name)
    return Failure(kind=FailureClass.AGENT, message=f"The agent failed ({name}).", exception=name)
