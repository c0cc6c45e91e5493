"""What a worker and its executor say to each other, as types; the methods are in `session`.

`docs/worker-protocol.md` is the reference for those who write workers in other languages.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from pelton.events.events import FailureClass
from pelton.events.step import StepKind

VERSION: Final = 1
"""The protocol's version: a worker that speaks another one is not started."""


class Started(msgspec.Struct, frozen=True):
    """A worker's answer to `start`: the agent is there. `format` is that of what it stores."""

    protocol: int
    name: str = ""
    description: str = ""
    format: int = 1


class Line(msgspec.Struct, frozen=True):
    """What somebody has said."""

    role: Literal["user", "assistant", "tool"]
    text: str


class Told(msgspec.Struct, frozen=True):
    """What `turn` says: the last of `lines` is what is said now, `entries` what was stored."""

    task: str
    context: str
    number: int
    session: str
    lines: tuple[Line, ...]
    entries: dict[str, Any]
    message: Any


class Ended(msgspec.Struct, frozen=True):
    """A worker's answer to `turn`. The answer is not said again if it was the last to be said."""

    answer: str = ""
    data: Any = msgspec.UNSET


class Step(msgspec.Struct, frozen=True):
    """`step`: run something and record it.

    With `speaks`, its result has the `text` that it says, piece by piece, while it runs.
    """

    name: str
    args: list[Any] = msgspec.field(default_factory=list)
    key: str = ""
    idempotent: bool = False
    speaks: bool = False
    deadline: float | None = None
    kind: StepKind = StepKind.CODE


class Ask(msgspec.Struct, frozen=True):
    """`ask`: ask a person."""

    question: str
    choices: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    within: float | None = None


class Approve(msgspec.Struct, frozen=True):
    """`approve`: ask a person whether something may be done."""

    what: str
    tool: str = ""
    args: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    approvers: tuple[str, ...] = ()
    within: float | None = None


class Delegate(msgspec.Struct, frozen=True):
    """`delegate`: hand a text to another agent."""

    agent: str
    text: str
    within: float | None = None


class Sleep(msgspec.Struct, frozen=True):
    """`sleep`: wait."""

    seconds: float


class Put(msgspec.Struct, frozen=True):
    """`put`: store a value for the turns to come."""

    key: str
    value: Any


class Artifact(msgspec.Struct, frozen=True):
    """`artifact`: write one, of text or of data."""

    name: str
    text: str | None = None
    data: Any = None


class Text(msgspec.Struct, frozen=True):
    """`say` and `status`: a text."""

    text: str


class Usage(msgspec.Struct, frozen=True):
    """`usage`: what a call of a model took; `seconds` is how long."""

    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0


class Fault(msgspec.Struct, frozen=True):
    """The data of an error: its class, if the text is for clients to read, and what caused it.

    The `cause` is the id of the request whose error was let out.
    """

    kind: FailureClass | None = None
    cause: int | str | None = None
