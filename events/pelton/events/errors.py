"""The errors of the domain: by whose fault, and what to do next.

One root, `PeltonError`. Every class carries a stable `code` for machines; the bridge maps codes to
A2A and HTTP in one place, the command line maps them to exit codes. An error's text says what
happened and what to do; it never holds a path, a host, a token or a driver's text.
"""

from __future__ import annotations

from typing import ClassVar


class PeltonError(Exception):
    """The root of all errors that pelton raises on purpose."""

    code: ClassVar[str] = "internal"


class InvalidInput(PeltonError):
    """The caller sent something that no retry will make right: correct it and send it again.

    `field` is the path of the offending member (`message.parts[0].text`), or empty.
    """

    code = "validation-denied"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class UnknownAgent(PeltonError):
    """No agent of that name has registered on this log: start its executor, or mend the name."""

    code = "agent-not-found"


class TaskNotFound(PeltonError):
    """The task does not exist, or is not the caller's to see (both look the same)."""

    code = "task-not-found"


class TaskNotCancelable(PeltonError):
    """The task has already ended."""

    code = "task-not-cancelable"


class UnsupportedOperation(PeltonError):
    """The operation is not possible: the task has ended, or the capability is switched off."""

    code = "unsupported-operation"


class NotAuthorised(PeltonError):
    """The caller is known and may not do this: ask somebody who may."""

    code = "policy-denied"


class Busy(PeltonError):
    """A turn of the context is open, and the message asked to be refused then: send it again."""

    code = "busy"


class ContentTypeNotSupported(PeltonError):
    """A part's media type is outside the agent's input modes."""

    code = "content-type-not-supported"


class IllegalTransition(PeltonError):
    """An event does not fit the state it meets: in our own log, a writer broke the contract."""

    code = "illegal-transition"


class DamagedRecord(PeltonError):
    """Bytes in the log that are no record of this contract, or whose hash chain breaks."""

    code = "damaged-record"


class UnknownVersion(DamagedRecord):
    """A record written by a newer pelton: upgrade this one before it reads on."""

    code = "unknown-version"
