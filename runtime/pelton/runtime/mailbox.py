"""Commands that come for a context while a turn has it, and what is done before their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from pelton.events.a2a import Message
from pelton.events.commands import CancelTask, Command, SendMessage, WhenBusy
from pelton.events.commit import Origin
from pelton.events.context import Context
from pelton.events.decide import about, ahead, decide, reject, steer
from pelton.events.errors import Busy, InvalidInput
from pelton.events.events import AnyEvent, ValueRecorded
from pelton.events.reach import allowed
from pelton.runtime.agents import Terms
from pelton.runtime.assignment import Assignment
from pelton.runtime.log import LogError
from pelton.runtime.reception import Reception, receive
from pelton.runtime.recorder import Closed, Recorder
from pelton.runtime.waits import Waits
from pelton.runtime.writer import Writer

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Canceled(NamedTuple):
    """A cancellation was asked for, by the command at a stream sequence."""

    command: CancelTask
    sequence: int


class Interrupted(NamedTuple):
    """Another message is to have its turn instead."""

    command: SendMessage


class Mailbox:
    """The commands of one attempt. `interrupt` is told what ends the attempt.

    `mind` is the work; whoever calls it owns it. `waits`, once there are any, hear of what comes.
    """

    def __init__(
        self,
        writer: Writer,
        recorder: Recorder,
        task: Assignment,
        source: str,
        terms: Terms,
        *,
        interrupt: Callable[[Canceled | Interrupted], None],
    ) -> None:
        self._writer, self._recorder, self._task = writer, recorder, task
        self._source, self._terms, self._interrupt = source, terms, interrupt
        self._heard: set[int] = set()
        self._mail: asyncio.Queue[tuple[Command, int]] = asyncio.Queue()
        self._steering: deque[tuple[SendMessage, int]] = deque()
        self._news = asyncio.Event()
        self.waits: Waits | None = None
        self.touched = {task.id}
        """The tasks that something was written about."""

    @property
    def quiet(self) -> bool:
        """Whether nothing has come."""
        return not self._heard

    def put(self, command: Command, sequence: int) -> None:
        """Take in the command at a stream sequence; it may come twice."""
        if sequence not in self._heard:
            self._heard.add(sequence)
            self._mail.put_nowait((command, sequence))

    async def mind(self) -> None:
        """See to commands as they come, until nothing can be written any more."""
        while True:
            command, sequence = await self._mail.get()
            try:
                await self._handle(command, sequence)
            except (Closed, LogError) as error:  # the recorder has told of what matters
                logger.info("left-for-later", task=self._task.id, sequence=sequence, why=str(error))
                return

    async def _handle(self, command: Command, sequence: int) -> None:
        state = self._writer.state
        if state.decided(sequence) or command.id in state.commands:  # it may have come twice
            return
        if command.id == self._task.command_id:  # this turn is its own, if not yet in the log
            return
        if (
            isinstance(command, CancelTask)
            and command.data.task_id == self._task.id
            and self._may(command)
        ):
            if command.data.turn in {0, self._task.number}:
                self._interrupt(Canceled(command, sequence))
                return
        elif not ahead(state, command):
            if isinstance(command, SendMessage):
                await self._busy(command, sequence)
            return

        now = self._recorder.now()
        outfit = self._task.outfit
        refusal, rulings = await receive(
            outfit, state, command, decide(state, command, time=now), now
        )

        def events(state: Context) -> Sequence[AnyEvent]:
            if not ahead(state, command):  # it was, until just now: it has its turn later
                return ()
            if refusal is not None:
                return (refusal,)
            return (*decide(state, command, time=now), *rulings)

        await self._decide(command, sequence, events)

    def _may(self, command: Command) -> bool:
        """Whether a command is about what its actor may touch; this turn may open the context."""
        state = self._writer.state
        if not state.owner:  # its first commit is not written yet
            state = replace(state, owner=self._task.origin.actor)
        return allowed(state, command)

    async def _busy(self, command: SendMessage, sequence: int) -> None:
        """See to a message that comes while this turn has the context."""
        if not self._may(command):
            return  # it is refused when its turn comes
        match command.data.when_busy or self._terms.when_busy:
            case WhenBusy.REJECT:
                await self._decide(command, sequence, lambda state: (busy(state, command),))
            case WhenBusy.INTERRUPT:
                self._interrupt(Interrupted(command))
            case WhenBusy.STEER if self._may_take(command):
                self._steering.append((command, sequence))
                self._news.set()
            case _:
                pass  # it has its turn when this one is over

    def _may_take(self, command: SendMessage) -> bool:
        """Whether the running turn may have a message: not if it is for, or is to be, another task.

        Somebody may wait for just that task.
        """
        data = command.data
        own = data.message.task_id in {"", self._task.id}
        return own and data.delegation is None and not data.redrives

    async def _decide(
        self,
        command: Command,
        sequence: int,
        events: Callable[[Context], Sequence[AnyEvent]],
    ) -> None:
        """Decide a command before its turn, and wake what waited for it."""
        await self._recorder.decide(
            lambda state: () if state.decided(sequence) else events(state),
            command=sequence,
            origin=Origin.caused_by(command, self._source),
        )
        self.touched.add(about(self._writer.state, command))
        turn = self._recorder.turn
        if turn is not None and self.waits is not None:
            self.waits.resolved(turn)

    @property
    def waiting(self) -> Sequence[Message]:
        """The messages that are for the running turn, and not taken yet."""
        return [command.data.message for command, _ in self._steering]

    async def _received(self, command: SendMessage) -> Reception:
        """Ask about a message that the running turn is to take."""
        state = self._writer.state
        foreseen = steer(state, command, self._task.id)
        return await receive(self._task.outfit, state, command, foreseen, self._recorder.now())

    def _take(
        self,
        taken: list[AnyEvent],
        key: str,
        command: SendMessage,
        rulings: Sequence[AnyEvent],
        state: Context,
    ) -> Sequence[AnyEvent]:
        """Let the running turn take a message; `taken` tells that it has."""
        value = ValueRecorded(task_id=self._task.id, key=key, value=command.id)
        taken += (*steer(state, command, self._task.id), value, *rulings)
        return taken

    async def receive(self, key: str, *, within: float = 0.0) -> Message | None:
        """Take the next message that is for the running turn; every attempt gets the same ones.

        If there is none, the one that comes within so many seconds.
        """
        task = self._task.earlier
        earlier = self._recorder.past(key, task.turn if task else None)
        if earlier is not None and key in earlier.values:
            command_id = earlier.values[key]
            return earlier.received[command_id] if command_id else None
        if not self._steering and within:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._news.wait()
        while self._steering:
            command, sequence = self._steering.popleft()
            taken: list[AnyEvent] = []

            try:
                reception = await self._received(command)
                if reception.refusal is None:
                    take = partial(self._take, taken, key, command, reception.rulings)
                    await self._decide(command, sequence, take)
            except InvalidInput:
                continue  # it is refused when its turn comes
            if taken:
                return command.data.message
        self._recorder.emit(ValueRecorded(task_id=self._task.id, key=key, value=None))
        return None


def busy(context: Context, command: SendMessage) -> AnyEvent:
    """Return the refusal of a message that does not want to wait for the turn that is open."""
    refusal = Busy("a turn of this context is open: send the message again when it is over")
    return reject(command.id, refusal, about(context, command))
