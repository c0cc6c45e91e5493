"""What a request waits for in a context: the answer to its command, or all that a stream shows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import Message, StreamResponse, TaskState, TaskStatus, TaskStatusUpdateEvent
from pelton.events.commit import Commit
from pelton.events.context import Context, TaskFold, apply
from pelton.events.decide import refusal
from pelton.events.errors import PeltonError
from pelton.events.events import (
    AnyEvent,
    MessageAnswered,
    MessageReceived,
    QuestionAnswered,
    QuestionAsked,
    TaskEvent,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnEnded,
)
from pelton.events.states import INTERRUPTED
from pelton.events.stream import shown

BACKLOG: Final = 4 * 1024 * 1024
"""How many bytes may wait for a slow reader before it is cut off."""


class SlowReader(PeltonError):
    """The client reads more slowly than its agent writes: it is cut off, and may come again."""

    code = "slow-reader"


def _rests(task: TaskFold, events: Sequence[AnyEvent]) -> bool:
    """Whether `events` left the task waiting for somebody outside: a turn ended, or has asked.

    The state alone does not say so: until the turn begins, a task that was sent a further message
    still reads input-required.
    """
    if task.status.state not in INTERRUPTED or (task.turn is not None and not task.turn.asked):
        return False
    ends = TurnEnded if task.turn is None else QuestionAsked | QuestionAnswered
    return any(isinstance(event, ends) and event.task_id == task.id for event in events)


def _demands(task: str, events: Sequence[AnyEvent]) -> bool:
    """Whether `events` say that somebody is to sign in, while the task's turn goes on (§7.6)."""
    return any(
        isinstance(event, TaskStatusUpdated)
        and event.task_id == task
        and event.status.state is TaskState.AUTH_REQUIRED
        for event in events
    )


def bare(message: Message) -> Message:
    """Return an answer as clients see it, for whom there is no task."""
    return replace(message, task_id="")


class Waiting:
    """Waits until a command is decided, or with `settle` until its task has come to rest."""

    __slots__ = ("_command", "_decided", "_future", "_head", "_settle", "task")

    def __init__(self, command: str, task: str, *, settle: bool) -> None:
        self._command, self._settle = command, settle
        self.task = task
        """The id of the task that it is about."""
        self._decided = False
        self._head = 0
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def within(self, seconds: float) -> None:
        """Wait until it is so, or so long.

        Raises:
            PeltonError: the command was refused.
        """
        timer = asyncio.get_running_loop().call_later(seconds, self.give_up)
        try:
            await self._future
        finally:
            timer.cancel()

    @property
    def over(self) -> bool:
        """Whether it waits no longer."""
        return self._future.done()

    def give_up(self) -> None:
        """Wait no longer."""
        if not self._future.done():
            self._future.set_result(None)

    def took(self, before: Context, commit: Commit, after: Context) -> None:  # noqa: ARG002
        """See whether it is so; a commit that was seen before says nothing."""
        if after.head <= self._head:
            return
        self._head = after.head
        if not self._decided:
            if self._command not in after.commands:
                return
            self._decided = True
            if rejected := after.rejected.get(self._command):
                self.failed(refusal(rejected))
                return
            self.task = after.commands[self._command]  # a running turn may have taken it
        task, events = after.tasks[self.task], commit.data.events
        rests = task.ended or task.answer or _rests(task, events) or _demands(task.id, events)
        if not self._settle or rests:
            self.give_up()

    def failed(self, error: PeltonError) -> None:
        """Fail with it."""
        if not self._future.done():
            self._future.set_exception(error)


class Update(NamedTuple):
    """One event of a client's stream. `sequence` is the task's own, and names the event."""

    sequence: int
    response: Any
    """The event: a `StreamResponse` in all streams of A2A."""


class Updates:
    """What a stream shows of a task, in order, from its beginning or from a position on.

    With `command`, nothing is shown before that command is decided, then, unless something is known
    already, the task as the command made it. With `rests` the stream ends when the task rests, else
    when it has ended.
    """

    def __init__(
        self, context: str, task: str, *, command: str = "", after: int = 0, rests: bool = False
    ) -> None:
        self._context, self.task, self._command = context, task, command
        self._rests = rests
        self._begun = not command
        self.introduced = after > 0
        self._at = after
        self._head = 0
        self._queue: deque[tuple[Update, int]] = deque()
        self.size = 0
        """How many bytes wait to be read."""
        self._news = asyncio.Event()
        self._error: PeltonError | None = None
        self._ended = False
        self.complete = False
        """Whether the task has ended: nothing comes after what is here."""

    async def next(self, within: float) -> Update | None:
        """Return the next event; None if there was none for so many seconds, or the stream ended.

        Raises:
            SlowReader: too much has piled up.
            PeltonError: the command was refused.
        """
        if not self._queue and not self._ended:
            self._news.clear()
            try:
                async with asyncio.timeout(within):
                    await self._news.wait()
            except TimeoutError:
                return None
        if isinstance(self._error, SlowReader):
            raise self._error
        if self._queue:
            update, size = self._queue.popleft()
            self.size -= size
            return update
        if self._error is not None:
            raise self._error
        return None

    @property
    def waiting(self) -> bool:
        """Whether an event waits to be read."""
        return bool(self._queue)

    @property
    def over(self) -> bool:
        """Whether nothing is left to show."""
        return self._ended and not self._queue and self._error is None

    def introduce(self, task: TaskFold, head: int) -> None:
        """Show the task as it stands at a head; commits up to there are not shown again."""
        self.introduced = True
        self._head = max(self._head, head)
        self._at = max(self._at, task.sequence)
        self._push(task.sequence, StreamResponse(task=task.view()))

    def give_up(self) -> None:
        """End the stream, as if there were no more."""
        self._ended = True
        self._news.set()

    def failed(self, error: PeltonError) -> None:
        """End the stream with an error."""
        self._error = error
        self.give_up()

    def took(self, before: Context, commit: Commit, after: Context) -> None:
        """Show what a commit brings; one that was shown before brings nothing."""
        if self._ended or after.head <= self._head:
            return
        self._head = after.head
        if not self._begun:
            if self._command not in after.commands:
                return
            if rejected := after.rejected.get(self._command):
                self.failed(refusal(rejected))
                return
            self.task = after.commands[self._command]  # a running turn may have taken it
        task = after.tasks.get(self.task)
        if task is not None:
            self._show(before, commit, task)

    def _show(self, before: Context, commit: Commit, task: TaskFold) -> None:
        self.complete = task.ended or task.answer is not None
        if task.answer is not None and not self.introduced:
            self._push(task.sequence, StreamResponse(message=bare(task.answer)))
            self.give_up()
            return
        known = before.tasks.get(self.task)
        sequence = known.sequence if known else 0
        state = before
        for event in commit.data.events:
            if not self._begun:
                state = apply(state, event, commit)
            if not isinstance(event, TaskEvent) or event.task_id != self.task:
                continue
            sequence += 1
            if not self._begun:
                if isinstance(event, TaskSubmitted | MessageReceived | QuestionAnswered):
                    self._begun = True
                    if not self.introduced:
                        self.introduce(state.tasks[self.task], self._head)
            elif sequence > self._at and (response := self._shown(event, commit)):
                self._push(sequence, response)
        if self.complete or (self._rests and _rests(task, commit.data.events)):
            self.give_up()

    def _shown(self, event: AnyEvent, commit: Commit) -> StreamResponse | None:
        if isinstance(event, MessageAnswered):
            # A stream that began with a task goes on with updates of it, never a message (§3.1.2).
            status = TaskStatus(
                state=TaskState.COMPLETED, message=event.message, timestamp=commit.time
            )
            return StreamResponse(
                status_update=TaskStatusUpdateEvent(
                    task_id=self.task, context_id=self._context, status=status
                )
            )
        return shown(event, self._context)

    def _push(self, sequence: int, response: StreamResponse) -> None:
        size = len(msgspec.json.encode(response))
        self._queue.append((Update(sequence, response), size))
        self.size += size
        if self.size > BACKLOG and len(self._queue) > 1:
            self._queue.clear()
            self.failed(SlowReader("the stream was read too slowly"))
        self._news.set()
