"""One attempt of a turn: runs the agent, writes what it says, ends the turn or leaves it open."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Final

import structlog

from pelton.events.a2a import Message, TaskState, TaskStatus
from pelton.events.commands import SendMessage
from pelton.events.commit import Origin
from pelton.events.decide import LATE, dead, decide, interrupt
from pelton.events.events import (
    AnyEvent,
    AttemptEnd,
    AttemptEnded,
    Failure,
    FailureClass,
    MessageAnswered,
    Outcome,
    TaskDelegated,
    TaskStatusUpdated,
    TurnEnded,
)
from pelton.events.memory import CauseKind, MemoryCause
from pelton.events.retries import retry_of
from pelton.events.turns import Delegated
from pelton.runtime.agents import Agent
from pelton.runtime.assignment import Assignment, Host
from pelton.runtime.bulk import PatientBlobs
from pelton.runtime.errand import Errand
from pelton.runtime.failures import RecordedError, failure_of
from pelton.runtime.guarding import after_turn, before_turn, guarding
from pelton.runtime.log import Conflict
from pelton.runtime.mailbox import Canceled, Interrupted, Mailbox
from pelton.runtime.memory import TurnMemory
from pelton.runtime.observer import ATTEMPTED, Attempted, Seen
from pelton.runtime.pulse import Pulse
from pelton.runtime.recorder import Recorder
from pelton.runtime.steps import Doubt, Steps
from pelton.runtime.toolbox import Tools
from pelton.runtime.turn import Turn, TurnEnd
from pelton.runtime.vault import ContentErased
from pelton.runtime.waits import Waits
from pelton.runtime.writer import Writer

logger: structlog.stdlib.BoundLogger = structlog.get_logger()

SETTLE: Final = 2.0
"""Seconds that an agent has to end once it is told to."""

_OUTCOMES: Final = {
    TaskState.COMPLETED: Outcome.COMPLETED,
    TaskState.FAILED: Outcome.FAILED,
    TaskState.REJECTED: Outcome.REJECTED,
    TaskState.INPUT_REQUIRED: Outcome.INPUT_REQUIRED,
    TaskState.AUTH_REQUIRED: Outcome.AUTH_REQUIRED,
}


class End(enum.Enum):
    """How an attempt ended, as far as its executor has to know."""

    DONE = "done"
    """The turn is over, and the log says how."""
    OPEN = "open"
    """The turn goes on later, and the log says when."""
    HANDED_BACK = "handed back"
    """The turn is open for the next attempt."""


class _Why(enum.Enum):
    """Why else an attempt ends."""

    ENDED = "the agent has returned or raised"
    STOPPED = "its executor stops"
    WAITS = "it does nothing but wait"
    STALLED = "it makes no progress"
    LATE = "its deadline has passed"


_Interruption = _Why | Canceled | Interrupted | BaseException
"""Why an attempt ends; an exception keeps it from writing."""


class Attempt:
    """Runs one attempt of a turn to its end.

    `outlived` is awaited once, if the turn outlives its first commit. `run` raises what keeps it
    from writing: `Conflict` when another executor has taken over.
    """

    def __init__(
        self,
        agent: Agent,
        writer: Writer,
        task: Assignment,
        host: Host,
        *,
        outlived: Callable[[Attempt], Awaitable[None]],
    ) -> None:
        self._agent, self._writer, self._task, self._host = agent, writer, task, host
        self._outlived = outlived
        self._interruption: asyncio.Future[_Interruption] = (
            asyncio.get_running_loop().create_future()
        )
        self.task_id: Final = task.id
        self.after: Final = task.after
        """Commands above this stream sequence may be about the running turn."""
        terms = agent.terms
        self._pulse = Pulse(
            host.world, suspend_after=terms.suspend_after, inactivity=terms.inactivity
        )
        self._blobs = PatientBlobs(host.log, agent.name, writer.state.id)
        self._recorder = Recorder(
            writer,
            task.id,
            task.opening,
            earlier=task.earlier,
            blobs=self._blobs,
            origin=task.origin,
            attempt=task.attempt,
            command=task.command,
            outlived=self._outlive,
            failed=self._interrupt,
            pulse=self._pulse,
            clock=lambda: host.log.now,
            chance=host.world.random,
        )
        self._guard = guarding(task, self._recorder, self._blobs, writer.state, agent.name)
        open_ = task.earlier.turn if task.earlier else None
        self.delegates = open_ is not None and bool(open_.delegations)
        """Whether it has handed on work to other agents, or an earlier attempt has."""
        self._aides: list[asyncio.Task[None]] = []
        self._seen = Seen()

    @cached_property
    def mailbox(self) -> Mailbox:
        """Where commands go that come for the context while the turn runs; most turns need none."""
        return Mailbox(
            self._writer,
            self._recorder,
            self._task,
            self._host.source,
            self._agent.terms,
            interrupt=self._interrupt,
        )

    @property
    def quiet(self) -> bool:
        """Whether no command has come for the context while it ran."""
        return "mailbox" not in self.__dict__ or self.mailbox.quiet

    @property
    def touched(self) -> set[str]:
        """The tasks that it has written about."""
        return self.mailbox.touched if "mailbox" in self.__dict__ else {self.task_id}

    def hand_back(self) -> None:
        """Stop here and leave the turn open for the next attempt."""
        self._interrupt(_Why.STOPPED)

    def _interrupt(self, why: _Interruption) -> None:
        if not self._interruption.done():
            self._interruption.set_result(why)

    async def run(self) -> End:
        """Run the agent until the turn has ended, is left open, or is somebody else's.

        Raises:
            Conflict: another executor has taken over (the fence held).
            LogError: the log refuses what the turn writes.
        """
        task, origin = self._task, self._task.origin
        about = self._agent.name, self._writer.state.id, task.id, task.number, task.attempt
        begun = Attempted(*about, origin.correlationid, origin.traceparent)
        named = ATTEMPTED.set(begun)
        try:
            with self._host.observer.attempt(begun) as self._seen:
                return await self._run()
        finally:
            ATTEMPTED.reset(named)

    async def _run(self) -> End:
        running: asyncio.Task[object] | None = None
        try:
            if self._task.attempt > 1:
                await self._recorder.flush()  # the fence first: the one before may still be alive
            turn = self._make_turn()
            running = asyncio.create_task(self._call(turn), name=f"agent {self._agent.name}")
            running.add_done_callback(lambda _: self._interrupt(_Why.ENDED))
            if self._task.attempt == 1:
                asyncio.get_running_loop().call_soon(self._begun, running)
            why = await self._interruption
            await self._dismiss_aides()
            return await self._conclude(why, turn, running)
        except Conflict:
            self._seen.how = "fenced"
            raise
        finally:
            self._recorder.abandon()
            self._guard.leave()
            self._interruption.cancel()
            await self._dismiss_aides()
            if running is not None:
                await self._dismiss(running)

    def _begun(self, running: asyncio.Task[object]) -> None:
        """Let a silent agent be seen to work, unless it has ended at once: many do."""
        if not (running.done() or self._interruption.done()):
            self._recorder.linger()

    def _make_turn(self) -> Turn:
        task = self._task
        return Turn(
            self._recorder,
            tools=self._tools,
            receive=self._receive,
            waiting=lambda: self.mailbox.waiting,
            peers=self._host,
            remember=self._remember,
            blobs=self._blobs,
            gateway=self._host.gateway,
            agent=self._agent.name,
            actor=task.origin.actor,
            traceparent=task.origin.traceparent or "",
            context_id=self._writer.state.id,
            number=task.number,
            attempt=task.attempt,
            message=task.message,
            history=task.history,
            metadata=task.metadata,
            deadline=task.deadline,
            chain=task.delegation.chain if task.delegation else (),
            options=self._agent.options,
            guard=self._guard,
        )

    def _remember(self, steps: Steps) -> TurnMemory:
        task = self._task
        place = MemoryCause(
            kind=CauseKind.MESSAGE,
            agent=self._agent.name,
            context_id=self._writer.state.id,
            task_id=task.id,
            turn=task.number,
            message_id=task.message.message_id,
        )
        return TurnMemory(self._host.memories, steps, place=place, origin=task.origin)

    async def _receive(self, key: str, within: float = 0.0) -> Message | None:
        return await self.mailbox.receive(key, within=within)

    def _tools(self, doubt: Callable[[str], Awaitable[Doubt]]) -> Tools:
        """Return what the turn records and waits with; made when it is used first."""
        task = self._task
        earlier = self._recorder.turn if task.attempt > 1 else None
        waits = self.mailbox.waits = Waits(
            self._recorder,
            hand_over=self._hand_over,
            blobs=self._blobs,
            earlier=earlier,
            pulse=self._pulse,
        )
        steps = self._host.steps(
            self._recorder,
            blobs=self._blobs,
            number=task.number,
            attempt=task.attempt,
            earlier=earlier,
            pulse=self._pulse,
            doubt=doubt,
            until=waits.until,
            agent=self._agent.name,
            observer=self._host.observer,
            budgets=self._host.budgets,
            guard=self._guard,
        )
        return Tools(steps, waits)

    async def _call(self, turn: Turn) -> object:
        await turn.begin()
        await before_turn(self._guard, turn)
        return await self._agent.run(turn)

    # What goes on beside the agent, once the turn outlives its first commit.

    async def _outlive(self) -> None:
        await self._outlived(self)
        if self._interruption.done():  # it is being concluded: nobody would dismiss them
            return
        self._aides = [
            asyncio.create_task(self._watch(), name=f"watch {self.task_id}"),
            asyncio.create_task(self.mailbox.mind(), name=f"mail {self.task_id}"),
        ]

    async def _dismiss_aides(self) -> None:
        aides, self._aides = self._aides, []
        for aide in aides:
            aide.cancel()
        if aides:
            await asyncio.wait(aides)
        for aide in aides:
            if not aide.cancelled() and (error := aide.exception()):
                raise error

    async def _watch(self) -> None:
        """See that the turn ends in time and makes progress."""
        deadline, left = self._task.deadline, None
        if deadline:
            left = (datetime.fromisoformat(deadline) - self._host.log.now).total_seconds()
        try:
            async with asyncio.timeout(left):
                waits = await self._pulse.stalled()
        except TimeoutError:
            self._interrupt(_Why.LATE)
        else:
            self._interrupt(_Why.WAITS if waits else _Why.STALLED)

    async def _hand_over(self, event: TaskDelegated, known: Delegated | None) -> None:
        """Send what was delegated; if its agent is elsewhere, wait for its report too."""
        self.delegates = True
        errand = Errand(self._agent.name, self._task, self._recorder, self._pulse, self._host)
        await errand.run(event, known)

    # The end.

    async def _conclude(self, why: _Interruption, turn: Turn, running: asyncio.Task[object]) -> End:
        match why:
            case BaseException():
                raise why
            case Canceled(command, sequence):
                await self._recorder.drain()
                events = decide(self._writer.state, command, time=self._recorder.now())
                origin = Origin.caused_by(command, self._host.source)
                await self._recorder.close(events, command=sequence, origin=origin)
                self._seen.how = "canceled"
                logger.info("canceled")
                return End.DONE
            case Interrupted(command):
                return await self._interrupted(command)
            case _Why.STOPPED:
                await self._recorder.close((self._attempt_ended(AttemptEnd.HANDED_BACK),))
                return End.HANDED_BACK
            case _Why.WAITS if not self._pulse.still:  # it woke just now
                await self._recorder.close((self._attempt_ended(AttemptEnd.HANDED_BACK),))
                return End.HANDED_BACK
            case _Why.WAITS:
                ended = self._attempt_ended(AttemptEnd.SUSPENDED, waits=self._pulse.waits)
                await self._recorder.close((ended,))
                return End.OPEN
            case _Why.LATE:
                return await self._fail(LATE)
            case _Why.STALLED:
                seconds = self._agent.terms.inactivity
                failure = Failure(
                    kind=FailureClass.TIMEOUT, message=f"It made no progress for {seconds:g} s."
                )
                return await self._fail_or_retry(failure)
            case _Why.ENDED:
                return await self._ended(turn, running)

    async def _interrupted(self, command: SendMessage) -> End:
        """End the turn as canceled, for another message to have its own."""
        await self._recorder.drain()
        state = self._writer.state
        task = state.tasks[self.task_id]
        assert task.turn is not None  # it runs
        origin = Origin.caused_by(command, self._host.source)
        await self._recorder.close(interrupt(task, task.turn, self._recorder.now()), origin=origin)
        self._seen.how = "canceled"
        logger.info("interrupted")
        return End.DONE

    async def _ended(self, turn: Turn, running: asyncio.Task[object]) -> End:
        """Write how the agent has ended the turn."""
        state, message, failure, bare = TaskState.COMPLETED, None, None, False
        try:
            try:
                message, of_task = await turn.finish(running.result())
                bare = not of_task
            except TurnEnd as end:
                state, message, failure = end.state, end.message, end.failure
            if (unasked := turn.unasked()) is not None:
                raise unasked
            await self._recorder.settle()
            await after_turn(self._guard, state, message)
        except asyncio.CancelledError:
            if not running.cancelled():  # it is we who are to end here
                raise
            kind, text = FailureClass.INTERNAL, "The agent was cancelled."
            return await self._fail(Failure(kind=kind, message=text))
        except RecordedError as error:
            return await self._fail(error.failure)
        except Exception as error:
            logger.exception("agent-failed")
            return await self._fail_or_retry(failure_of(error))
        return await self._end(state, message, failure, bare=bare)

    async def _end(
        self, state: TaskState, message: Message | None, failure: Failure | None, *, bare: bool
    ) -> End:
        events: list[AnyEvent] = []
        if bare and message is not None:
            events.append(MessageAnswered(task_id=self.task_id, message=message))
            message = None
        empty = state is TaskState.COMPLETED and not (bare or message or self._recorder.spoken)
        status = TaskStatus(state=state, message=message, timestamp=self._recorder.now())
        events.append(TaskStatusUpdated(task_id=self.task_id, status=status))
        ended = TurnEnded(
            task_id=self.task_id,
            turn=self._task.number,
            attempt=self._task.attempt,
            outcome=_OUTCOMES[state],
            failure=failure,
            empty=empty,
        )
        await self._recorder.close((*events, ended))
        self._seen.how = ended.outcome.value
        self._host.ended(self._agent.name, ended)
        return End.DONE

    async def _fail_or_retry(self, failure: Failure) -> End:
        """End the attempt, and with it the turn unless its failure may pass (AS-15)."""
        retry = retry_of(failure.kind, self._agent.terms.retries)
        if retry.attempts > 1:
            await self._recorder.flush()  # what was done counts as progress
        turn = self._recorder.turn
        failures = 1 + (turn.failures if turn is not None else 0)
        delay = retry.delay(failures, self._host.world.random.random())
        if delay is None:
            return await self._fail(failure)
        again_at = self._recorder.now(delay)
        logger.warning("attempt-failed", failure=failure.kind, again_at=again_at)
        ended = self._attempt_ended(AttemptEnd.FAILED, failure=failure, again_at=again_at)
        await self._recorder.close((ended,))
        return End.OPEN

    async def _fail(self, failure: Failure) -> End:
        """End the turn and fail the task, for good and without the agent's wish."""
        with suppress(ContentErased):  # what is streamed and not sealed yet goes nowhere then
            await self._recorder.settle()
        turn = self._recorder.turn
        logger.warning("dead-lettered", failure=failure.kind, reason=failure.message)
        ended = TurnEnded(
            task_id=self.task_id,
            turn=self._task.number,
            attempt=self._task.attempt,
            outcome=Outcome.FAILED,
            failure=failure,
        )
        await self._recorder.close(
            dead(
                self.task_id,
                self._writer.state.id,
                ended,
                command_id=self._task.command_id,
                attempts=1 + (turn.failures if turn is not None else 0),
                now=self._recorder.now(),
            )
        )
        self._seen.how = "failed"
        self._host.ended(self._agent.name, ended)
        return End.DONE

    def _attempt_ended(
        self,
        end: AttemptEnd,
        *,
        waits: tuple[str, ...] = (),
        failure: Failure | None = None,
        again_at: str = "",
    ) -> AttemptEnded:
        self._seen.how = "retried" if end is AttemptEnd.FAILED else end.value
        return AttemptEnded(
            task_id=self.task_id,
            turn=self._task.number,
            attempt=self._task.attempt,
            end=end,
            waits=waits,
            failure=failure,
            again_at=again_at,
        )

    async def _dismiss(self, running: asyncio.Task[object]) -> None:
        """End the agent's task; what it raises on the way out concerns nobody any more."""
        if not running.done():
            running.cancel()
            await asyncio.wait((running,), timeout=SETTLE)
        if not running.done():
            logger.error("agent-does-not-end", after=SETTLE)
        elif not running.cancelled():
            running.exception()  # it has been heard, or concerns nobody any more
