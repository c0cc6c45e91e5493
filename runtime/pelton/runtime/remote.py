"""Agents elsewhere: what the runtime needs of them, and how work is handed to one and followed.

The contract is that of agents on the log: the intent is an event before, the identity of what is
sent follows from it, and the end comes back as a command, once. What differs is that an agent
elsewhere does not come of itself: it is asked, by whoever has the waiting turn in hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final, NamedTuple, Protocol, TypeVar

import structlog

from pelton.events.a2a import Message, Part, Role, Task, TaskState
from pelton.events.delegation import TaskOutcome
from pelton.events.errors import PeltonError
from pelton.events.events import Failure, FailureClass
from pelton.events.ids import derive
from pelton.events.retries import Retry
from pelton.events.states import INTERRUPTED, SETTLED
from pelton.events.turns import Delegated
from pelton.runtime.clock import World
from pelton.runtime.patience import why

SENDING: Final = Retry(attempts=10, first=0.5, longest=30.0)
"""How often a message is sent to an agent that cannot be reached: two minutes or so."""

AWAY: Final = 3600.0
"""Seconds that an agent may be away which has taken a task, before it is given up."""

_RECALL: Final = 10.0  # seconds for the end of a task that nobody waits for any more
_SOON: Final = 0.2  # seconds until a task is looked at again, at first
_LATER: Final = 10.0  # and at the longest

T = TypeVar("T")

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class RemoteFailed(PeltonError):
    """An agent elsewhere did not do what it was asked: `failure` says why.

    `passes` says that it may be asked again, since nothing is known to be wrong for good.
    """

    code: ClassVar[str] = "remote-failed"

    def __init__(self, failure: Failure, *, passes: bool) -> None:
        super().__init__(failure.message)
        self.failure, self.passes = failure, passes


class Remote(Protocol):
    """A client of agents elsewhere; its methods raise `RemoteFailed` and nothing else."""

    def allows(self, url: str) -> bool:
        """Whether the settings allow to ask the agent at a URL."""
        ...

    async def send(self, url: str, message: Message, *, deadline: str) -> Task | Message:
        """Send a message, its id as the key of idempotency; return as soon as it is taken."""
        ...

    async def find(self, url: str, message: Message) -> Task | None:
        """Return the task that a message was sent for, or None if the agent knows of none."""
        ...

    async def get(self, url: str, task_id: str) -> Task:
        """Return a task as it stands, with the latest message of its history at least."""
        ...

    async def changed(self, url: str, task_id: str) -> None:
        """Return when a task may have come to rest, or at once if the agent cannot tell."""
        ...

    async def cancel(self, url: str, task_id: str) -> None:
        """Ask for a task's end."""
        ...


class End(NamedTuple):
    """What came of a task elsewhere; the failure is why it could not be asked or heard, if so."""

    outcome: TaskOutcome
    failure: Failure | None = None


class Remotes:
    """Hands work to agents elsewhere, through a `Remote`; without one, none is allowed."""

    def __init__(self, remote: Remote | None, *, world: World) -> None:
        self._remote, self._world = remote, world

    def allows(self, url: str) -> bool:
        """Return whether the settings allow to ask the agent at a URL."""
        return self._remote is not None and self._remote.allows(url)

    async def hand_over(
        self, url: str, message: Message, *, deadline: str, again: bool
    ) -> str | End:
        """Send a message, and return the id of the task that it is there, or its end at once.

        If it may have been sent before (`again`), its task is looked for first; an agent that does
        not know of one gets the same message under the same key.
        """
        remote, failures = self._remote, 0
        if remote is None or not remote.allows(url):
            return _failed(message.task_id, _NOT_ALLOWED)
        while True:
            try:
                found = await remote.find(url, message) if again else None
                if found is None:
                    again = True
                    answer = await remote.send(url, message, deadline=deadline)
                    if isinstance(answer, Message):
                        return End(
                            TaskOutcome(task_id="", state=TaskState.COMPLETED, message=answer)
                        )
                    found = answer
                return found.id
            except RemoteFailed as error:
                failures += 1
                delay = SENDING.delay(failures, self._world.random.random())
                if not error.passes or delay is None:
                    return _failed(message.task_id, error.failure)
                logger.info("remote-away", failure=error.failure.kind, again_in=delay)
            await asyncio.sleep(delay)

    async def end(self, url: str, task_id: str, message_id: str) -> End:
        """Return what a task comes to, after the message with that id, however long it takes."""
        remote, pause = self._remote, _SOON
        if remote is None:
            return _failed(task_id, _NOT_ALLOWED)
        heard = self._world.monotonic()
        while True:
            began = self._world.monotonic()
            try:
                task = await remote.get(url, task_id)
                heard = self._world.monotonic()
                if _rests(task, message_id):
                    return End(
                        TaskOutcome(
                            task_id=task_id,
                            state=task.status.state,
                            message=task.status.message,
                            artifacts=task.artifacts,
                        )
                    )
                await remote.changed(url, task_id)
            except RemoteFailed as error:
                if not error.passes or self._world.monotonic() - heard > AWAY:
                    return _failed(task_id, error.failure)
            if self._world.monotonic() - began > 2 * pause:  # it tells when something happens
                pause = _SOON
            await asyncio.sleep(pause * (0.5 + self._world.random.random()))
            pause = min(2 * pause, _LATER)

    async def recall(self, orphan: Delegated) -> None:
        """Ask for the end of a task that nobody waits for any more, for some seconds."""
        remote = self._remote
        if remote is None:
            return
        url, child = orphan.agent, orphan.child
        try:
            async with asyncio.timeout(_RECALL):
                if not child:
                    sent = Message(
                        message_id=orphan.command_id,
                        role=Role.USER,
                        parts=(),
                        context_id=orphan.context_id,
                    )
                    found = await self._patiently(lambda: remote.find(url, sent))
                    child = found.id if found else ""
                if child:
                    await self._patiently(lambda: remote.cancel(url, child))
        except (RemoteFailed, TimeoutError) as error:
            logger.warning("cannot-recall", reason=why(error))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call returns, tried again while it fails in a way that passes."""
        while True:  # ends: the caller has a deadline
            try:
                return await call()
            except RemoteFailed as error:
                if not error.passes:
                    raise
            await asyncio.sleep(_SOON)


_NOT_ALLOWED: Final = Failure(
    kind=FailureClass.POLICY,
    message="No agent at that URL may be asked: see the setting executor.remotes.",
)


def _failed(task_id: str, failure: Failure) -> End:
    message = Message(
        message_id=derive("remote-failed", task_id, failure.message),
        role=Role.AGENT,
        parts=(Part(text=failure.message),),
    )
    return End(TaskOutcome(task_id=task_id, state=TaskState.FAILED, message=message), failure)


def _rests(task: Task, message_id: str) -> bool:
    """Return whether a task has come to rest after a message.

    One that waited and has got the message may still be shown as waiting, before its agent takes it
    up: then the message is the last of its history, and the question is no longer its status.
    """
    state = task.status.state
    if state not in SETTLED:
        return False
    last = task.history[-1].message_id if task.history else ""
    return not (state in INTERRUPTED and task.status.message is None and last == message_id)
