"""What an adapter is: it runs the agents of one framework, turn by turn, on the log.

An `Adapter` is started once in each process, and opens a `Session` for each attempt of a turn. The
way to the outside is the turn itself: steps, streams, questions to people, `turn.session` for what
the framework keeps of its own. So whatever holds for agents in Python holds for all frameworks.

Why an attempt fails is said by an error of `runtime.failures` or one of those here; none of the
framework's own leaves its adapter.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from pelton.events.errors import PeltonError
from pelton.events.events import FailureClass
from pelton.events.session import SessionReason
from pelton.runtime.agents import Health as Health  # noqa: PLC0414  what an adapter says
from pelton.runtime.failures import AgentError
from pelton.runtime.guard import CallDenied
from pelton.runtime.model_gateway import ModelGateway
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn


class Capability(enum.StrEnum):
    """What an adapter declares, and the conformance suite proves."""

    STREAM = "stream"
    """Text reaches clients as it comes."""
    TOOLS = "tools"
    """The agent calls tools, and the log has each call and its result."""
    REPLAY = "replay"
    """What is recorded is not done again: each call of a model or a tool is a step."""
    RERUN = "rerun"
    """Its code can be run again against the record, with no effect (`pelton rerun`)."""
    HISTORY = "history"
    """The conversation goes on from the log alone, on any machine."""
    ASK = "ask"
    """It pauses for a person, and any process goes on with the answer."""
    USAGE = "usage"
    """What its calls of a model take is counted."""
    OPTIONS = "options"
    """Its model and its prompt are recorded with each turn, and a fork may put others there."""


class AdapterError(PeltonError):
    """An adapter cannot start: the text says what it lacks, and what to do about it."""

    code: ClassVar[str] = "adapter-unavailable"
    kind: ClassVar[FailureClass] = FailureClass.DEPENDENCY


def assured(health: Health) -> None:
    """Go on only if it is well.

    Raises:
        AdapterError: it is not.
    """
    if not health.ok:
        raise AdapterError(f"{health.detail} ({health.fix})" if health.fix else health.detail)


class SessionBroken(AgentError):
    """The framework's session is not to be gone on with: the next attempt begins another one."""

    code: ClassVar[str] = "session-broken"
    reason: ClassVar[SessionReason] = SessionReason.LOST


class SessionLost(SessionBroken):
    """The framework does not know the session it was given; it is rebuilt from the log, once."""

    code: ClassVar[str] = "session-lost"
    reason: ClassVar[SessionReason] = SessionReason.LOST

    def __init__(self, message: str = "The framework has lost its session.") -> None:
        super().__init__(message, kind=FailureClass.SESSION_LOST)


class AgentDied(SessionBroken):
    """The agent's process has died: what it had in hand may be what killed it."""

    code: ClassVar[str] = "agent-died"
    reason: ClassVar[SessionReason] = SessionReason.PROCESS_DIED

    def __init__(self, message: str = "The agent's process has died.") -> None:
        super().__init__(message, kind=FailureClass.INTERNAL)


def not_done(denied: CallDenied) -> str:
    """Return what a model reads of a call that was denied, in the place of its result."""
    return f"This was not done. {denied}"


class Session(Protocol):
    """One attempt of a turn in the hands of a framework."""

    async def turn(self, turn: Turn) -> object:
        """Run the turn; what is returned is its reply, as with an agent in Python.

        Raises:
            SessionBroken: the session has to be begun anew.
            AgentError: it failed otherwise; its kind says whether it is tried again.
        """
        ...

    async def cancel(self) -> None:
        """Stop what runs, in the way the framework likes best; the task is cancelled right after.

        It has `serving.CANCEL` seconds.
        """
        ...

    async def close(self) -> None:
        """Give up what the attempt held: processes, private directories. Always called, once."""
        ...


class Adapter(Protocol):
    """A framework with one agent of it. `format` counts the ways it has stored its sessions in."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        ...

    @property
    def format(self) -> int:
        """The version of what it stores in sessions: another one is not read, but rebuilt."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """What its turns record of how they are run, as JSON: `model`, `prompt` and their like.

        A session reads them from `Turn.options`: a fork may have put others in their place.
        """
        ...

    async def start(self) -> None:
        """Make ready to open sessions.

        Raises:
            AdapterError: it cannot, as long as somebody does not do what the text says.
        """
        ...

    async def health(self) -> Health:
        """Look whether a turn could be run now, at no cost and within a few seconds.

        Before `start`, whether it could be started. What is not well and not `passing` keeps an
        agent from being started.
        """
        ...

    def here(self, turn: Turn) -> bool:
        """Whether all of the turn's session that is not in the log is on this machine."""
        ...

    async def open(self, turn: Turn, opening: Opening) -> Session:
        """Open the session of a turn, as the gate has decided.

        Raises:
            SessionBroken: it cannot be gone on with after all.
        """
        ...

    async def stop(self) -> None:
        """End all that it has started; nothing may be left."""
        ...


@runtime_checkable
class Led(Protocol):
    """An adapter that starts processes before they have a turn, and without a provider's key."""

    def led(self, gateway: ModelGateway | None) -> None:
        """Learn where they are to ask their models, before `start`."""
        ...
