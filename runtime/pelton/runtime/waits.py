"""Waits of a turn: for a time, a person, another agent. They outlive the process (law 7).

While the attempt lives it waits here; when nothing else goes on it is suspended, and a later
attempt finds in the log what has come meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import Message, TaskState, TaskStatus
from pelton.events.context import Context
from pelton.events.decide import fired
from pelton.events.delegation import TaskOutcome
from pelton.events.events import (
    AnyEvent,
    Failure,
    QuestionAsked,
    TaskDelegated,
    TaskStatusUpdated,
    TimerSet,
)
from pelton.events.turns import Delegated, Question, Timer
from pelton.events.turns import Turn as TurnFold
from pelton.runtime.bulk import Blobs, inline, offload
from pelton.runtime.pulse import Pulse
from pelton.runtime.recorder import Recorder

LONGEST: Final = 366 * 86_400.0
"""Seconds that a turn may wait for at most."""

_NAP: Final = 60.0  # seconds until the clock is looked at again

W = TypeVar("W", Timer, Question, Delegated)

_told: ContextVar[Callable[[], None] | None] = ContextVar("told_of_waits", default=None)


def tell_of_waits(told: Callable[[], None]) -> None:
    """Have `told` called whenever something in this context begins to wait, for a person perhaps.

    For adapters whose framework cannot wait so long within what it does.
    """
    _told.set(told)


class Waits:
    """The waits of one attempt; `earlier` is the turn as earlier attempts have left it.

    `hand_over` sends what a delegation calls for, given what earlier attempts know of it.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        hand_over: Callable[[TaskDelegated, Delegated | None], Coroutine[Any, Any, None]],
        blobs: Blobs,
        earlier: TurnFold | None,
        pulse: Pulse,
    ) -> None:
        self._recorder, self._hand_over, self._blobs = recorder, hand_over, blobs
        self._earlier, self._pulse = earlier, pulse
        self._open: dict[str, asyncio.Future[TurnFold]] = {}
        self._asking: set[str] = set()

    def resolved(self, turn: TurnFold) -> None:
        """Wake whoever waits for what has come, by the turn as it stands now."""
        for key, future in tuple(self._open.items()):
            wait = turn.timers.get(key) or turn.questions.get(key) or turn.delegations.get(key)
            if wait is not None and wait.done and not future.done():
                future.set_result(turn)

    async def until(self, key: str, time: str) -> None:
        """Wait for a time (RFC 3339) under a key that the log knows otherwise."""
        with self._pulse.waiting(key):
            await self._time_comes(time)

    async def sleep(self, key: str, seconds: float) -> None:
        """Wait for so long, counted from the first time."""
        timer = self._known(lambda turn: turn.timers, key)
        if timer is None:
            timer = Timer(due=self._after(seconds))
            self._recorder.emit(TimerSet(task_id=self._recorder.task_id, key=key, due=timer.due))
            with self._pulse.running():
                await self._recorder.flush()
        if not timer.done:
            await self._wait(key, self._fire(timer.due))

    async def ask(
        self,
        key: str,
        message: Message,
        *,
        approvers: Sequence[str],
        within: float | None,
        state: TaskState,
    ) -> Question:
        """Ask a person, and return the question once it is answered or has expired."""
        question = self._known(lambda turn: turn.questions, key)
        if question is None:
            with self._pulse.running():
                question = Question(
                    message=await offload(self._blobs, message),
                    approvers=tuple(approvers),
                    expires="" if within is None else self._after(within),
                )
                self._say(key, question, state)
                await self._recorder.flush()
        if not question.done:
            self._asking.add(key)
            self._recorder.state = state
            beside = self._fire(question.expires) if question.expires else None
            try:
                question = (await self._wait(key, beside)).questions[key]
            finally:
                self._asking.discard(key)
            if not self._asking:
                self._recorder.state = TaskState.WORKING
        answer = question.answer
        return (
            question
            if answer is None
            else replace(question, answer=await inline(self._blobs, answer))
        )

    def _say(self, key: str, question: Question, state: TaskState) -> None:
        task_id = self._recorder.task_id
        status = TaskStatus(state=state, message=question.message, timestamp=self._recorder.now())
        self._recorder.emit(TaskStatusUpdated(task_id=task_id, status=status))
        self._recorder.emit(
            QuestionAsked(
                task_id=task_id,
                key=key,
                message=question.message,
                approvers=question.approvers,
                expires=question.expires,
            )
        )

    async def delegate(
        self, event: TaskDelegated, begun: Callable[[], None] = lambda: None
    ) -> tuple[TaskOutcome, Failure | None]:
        """Hand a message to another agent, and return what came of it.

        The command that follows from the event is sent by every attempt that does not know of an
        outcome. The failure is why an agent elsewhere could not be asked, or not be heard. `begun`
        is called once the log knows of it.
        """
        known = self._known(lambda turn: turn.delegations, event.key)
        if known is not None:
            begun()
        if known is not None and known.done:
            return await self._outcome(known)
        with self._pulse.running():  # others may only wait: it is not to be suspended before
            event = replace(event, message=await offload(self._blobs, event.message))
            if known is None:
                self._recorder.emit(event)
                await self._recorder.flush()
                begun()
        turn = await self._wait(event.key, self._hand_over(event, known))
        return await self._outcome(turn.delegations[event.key])

    async def _outcome(self, known: Delegated) -> tuple[TaskOutcome, Failure | None]:
        outcome = known.outcome
        if outcome is None:
            assert known.blob is not None  # a report has the one or the other
            data = await self._blobs.get(known.blob)
            outcome = msgspec.json.decode(data, type=TaskOutcome)
        complete = TaskOutcome(
            task_id=outcome.task_id,
            state=outcome.state,
            message=outcome.message and await inline(self._blobs, outcome.message),
            artifacts=tuple([await inline(self._blobs, each) for each in outcome.artifacts]),
        )
        return complete, known.failure

    async def _wait(self, key: str, beside: Coroutine[Any, Any, None] | None) -> TurnFold:
        """Wait until the log has an end of the wait under a key; `beside` sees to that."""
        future: asyncio.Future[TurnFold] = asyncio.get_running_loop().create_future()
        self._open[key] = future
        aide = None if beside is None else asyncio.create_task(beside, name=f"wait {key}")
        turn = self._recorder.turn
        if turn is not None:
            self.resolved(turn)  # it may have come already
        if not future.done() and (told := _told.get()) is not None:
            told()
        try:
            with self._pulse.waiting(key):
                if aide is None:
                    return await future
                await asyncio.wait((future, aide), return_when="FIRST_COMPLETED")
                if not future.done():
                    aide.result()  # raises what keeps it from writing
                return await future
        finally:
            del self._open[key]
            if aide is not None:
                aide.cancel()
                await asyncio.wait((aide,))
                if not aide.cancelled():
                    aide.exception()  # nobody waits for what it was to see to

    async def _fire(self, due: str) -> None:
        await self._time_comes(due)

        def events(state: Context) -> Sequence[AnyEvent]:
            return fired(state.tasks[self._recorder.task_id], self._recorder.now())

        await self._recorder.decide(events)
        turn = self._recorder.turn
        if turn is not None:
            self.resolved(turn)

    async def _time_comes(self, time: str) -> None:
        until, left = datetime.fromisoformat(time), _NAP
        while left > 0:  # timers come early now and then
            left = (until - self._recorder.log_time()).total_seconds()
            await asyncio.sleep(max(0.0, min(left, _NAP)))

    def _after(self, seconds: float) -> str:
        return self._recorder.now(min(max(seconds, 0.0), LONGEST))

    def _known(self, of: Callable[[TurnFold], dict[str, W]], key: str) -> W | None:
        past = self._recorder.past(key, self._earlier)
        return of(past).get(key) if past is not None else None
