"""Steps: effects that are recorded, and served from the record on every later attempt (law 7).

A call is known by its name and its occurrence in the turn at the moment it is made, or by a key of
its own, never by its position: calls may run at the same time and end in any order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec
import structlog
from msgspec.structs import replace

from pelton.events.done import Used
from pelton.events.envelope import digest, encode
from pelton.events.errors import InvalidInput
from pelton.events.events import (
    Failure,
    FailureClass,
    StepCompleted,
    StepFailed,
    StepStarted,
    UsageReported,
    ValueRecorded,
)
from pelton.events.ids import derive
from pelton.events.memory import STEPS
from pelton.events.retries import NEVER, Retry, retry_of
from pelton.events.step import StepKind
from pelton.events.turns import Step
from pelton.events.turns import Turn as TurnFold
from pelton.runtime.budgets import Budgets
from pelton.runtime.bulk import THRESHOLD, Blobs
from pelton.runtime.failures import NondeterminismError, StepError, failure_of
from pelton.runtime.functions import called
from pelton.runtime.guard import PREFIX, Guard
from pelton.runtime.observer import UNOBSERVED, Observer
from pelton.runtime.pulse import Pulse
from pelton.runtime.recorder import WITHIN, Recorder, aside
from pelton.runtime.redaction import cleaned
from pelton.runtime.vault import ContentSealed

FINAL: Final = frozenset({FailureClass.VALIDATION, FailureClass.AUTHORISATION, FailureClass.POLICY})
"""Failures that no retry makes right."""

OUTCOME: Final = "outcome:"
"""How the keys of questions about steps begin: they are asked when need be, not by the agent."""

UNASKED: Final = (OUTCOME, PREFIX)
"""How the keys begin of all questions that are not the agent's own."""

F = TypeVar("F", bound=Callable[..., Any])

_key: ContextVar[str] = ContextVar("idempotency_key")
_running: ContextVar[str] = ContextVar("running_step")

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


def idempotency_key() -> str:
    """Return the key of the step that is running: the same for every run of that step (law 7).

    Hand it to services that take one, so that a repeated call has one effect.

    Raises:
        RuntimeError: no step is running.
    """
    try:
        return _key.get()
    except LookupError:
        raise RuntimeError("idempotency_key() is for functions that run as a step") from None


def within(key: str) -> str:
    """Return a key for a step that runs within the one that is running.

    It is recorded as every step is. But once the outer one has its result, nobody asks for it any
    more: a later attempt, or a re-run, is served that result alone.

    Raises:
        RuntimeError: no step is running.
    """
    try:
        return f"{WITHIN[1:]}{_running.get()}/{key}"
    except LookupError:
        raise RuntimeError("within() is for functions that run as a step") from None


class Doubt(msgspec.Struct, frozen=True):
    """What a person says of a step that may have had its effect: one of these, for `ask`."""

    choice: str
    """`run-again`, `done` or `give-up`."""
    result: Any = None
    """With `done`: what the step has returned."""


class Effect(NamedTuple):
    """A step as it is asked for: what is called with what, and on which terms."""

    key: str
    name: str
    kind: StepKind
    fn: Callable[..., Any]
    args: tuple[object, ...]
    idempotent: bool
    deadline: float | None
    """Seconds that each run of it has."""
    model: str = ""
    """Which model is asked, if it is known."""
    ask: str = ""
    """Why a person has to allow it, whatever policies say."""
    matter: str = ""
    """The key under which it is decided whether it may begin, if that is not its own."""


class Steps:
    """The recorded calls of one attempt; `earlier` is the turn as earlier attempts have left it.

    `now` tells the log's time, `doubt` asks a person about a step with an unknown outcome, `until`
    waits for a time of the log's under a key. `observer` hears of what `agent` runs, `guard` is
    asked before each step, and after it, and `budgets` before a model is.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        blobs: Blobs,
        number: int,
        attempt: int,
        earlier: TurnFold | None,
        pulse: Pulse,
        doubt: Callable[[str], Awaitable[Doubt]],
        until: Callable[[str, str], Awaitable[None]],
        guard: Guard,
        agent: str = "",
        observer: Observer = UNOBSERVED,
        budgets: Budgets | None = None,
    ) -> None:
        self._guard, self._budgets = guard, budgets
        self._recorder, self._blobs, self._pulse = recorder, blobs, pulse
        self._number, self._attempt = number, attempt
        self._earlier = earlier
        self._doubt, self._until = doubt, until
        self._agent, self._observer = agent, observer
        self._occurrences: Counter[str] = Counter()
        self._asked: set[str] = set()
        self._asking = 0
        self._model = ""

    def key(self, name: str) -> str:
        """Return the key of the next call of that name."""
        self._occurrences[name] += 1
        key = f"{name}#{self._occurrences[name]}"
        self._asked.add(key)
        return key

    def named(self, name: str, key: str) -> str:
        """Return the key of a call of that name which has one of its own."""
        key = f"{name}:{key}"
        self._asked.add(key)
        return key

    def latest(self, name: str) -> str:
        """Return the key of the last step of that name, or of that key.

        Raises:
            InvalidInput: this attempt has asked for none.
        """
        key = name if name in self._asked else f"{name}#{self._occurrences[name]}"
        if key not in self._asked:
            raise InvalidInput(f"this turn has no step {name[:80]!r}", field="step")
        return key

    def value(self, name: str, draw: Callable[[], Any], *, key: str = "") -> Any:
        """Return a value that every attempt gets alike: drawn the first time, then recorded."""
        key = self.named(name, key) if key else self.key(name)
        past = self._recorder.past(key, self._earlier)
        if past is not None and key in past.values:
            return its_own(past.values[key])
        value = self._drawn(key, draw)
        self._recorder.emit(ValueRecorded(task_id=self._recorder.task_id, key=key, value=value))
        return its_own(value)

    def spent(self, say: Callable[[str], UsageReported]) -> None:
        """Record what something took: within a step whenever it runs, else once for all attempts.

        `say` makes the event for a key.
        """
        running = _key.get(None)
        key = self.key("usage") if running is None else f"usage:{running}"
        if running is None and self._earlier is not None and key in self._earlier.used:
            return
        event = say(key)
        self._model = event.model or self._model
        self._recorder.emit(event if self._budgets is None else self._budgets.priced(event))

    async def reach(self, url: str) -> None:
        """Let the step that is running reach something at a URL.

        Raises:
            CallDenied: a policy does not allow it.
        """
        await self._guard.reach(url, _running.get(""))

    async def afford(self, model: str = "") -> None:
        """Let a model be asked; one that nobody names is taken for the one that was asked last.

        Raises:
            BudgetExceeded: a budget is used up.
        """
        if self._budgets is None:
            return
        task = self._recorder.context.tasks.get(self._recorder.task_id)
        used = task.done.used if task is not None else Used()
        used = replace(used, calls=used.calls + self._asking)
        await self._budgets.check(model or self._model, used)

    def run(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[object, ...],
        *,
        key: str,
        idempotent: bool,
        retry: Retry | None,
        deadline: float | None,
        kind: StepKind = StepKind.CODE,
        model: str = "",
        ask: str = "",
        matter: str = "",
    ) -> Coroutine[Any, Any, Any]:
        """Run a step or serve what is recorded of it; see `Turn.step`.

        Its key is given now and not when it is first waited for, so that no scheduler has a say.
        """
        key = self.named(name, key) if key else self.key(name)
        effect = Effect(key, name, kind, fn, args, idempotent, deadline, model, ask, matter)
        return self._run(effect, retry)

    async def _run(self, effect: Effect, retry: Retry | None) -> Any:
        key, call = effect.key, call_of(effect.args)
        past = self._recorder.past(key, self._earlier)
        recorded = past.steps.get(key) if past else None
        if recorded is not None:
            if recorded.call and call and recorded.call != call:
                raise NondeterminismError(
                    f"The step {key!r} is asked for with other arguments than the log has of it:"
                    " the first event that differs is its StepStarted."
                )
            if recorded.done:
                self._observer.served(self._agent)
                return await self._served(recorded)
            if not recorded.again_at and not recorded.idempotent:
                done, result = await self._doubtful(key, recorded.attempt)
                if done:
                    return result
            elif recorded.again_at:
                await self._until(key, recorded.again_at)
        failures = recorded.failures if recorded else 0
        intent = self._intent(effect, call)
        begun = recorded is not None
        args = await self._guard.step(
            intent, effect.args, begun=begun, ask=effect.ask, matter=effect.matter
        )
        effect = _with(effect, args)
        while True:
            self._recorder.emit(intent)
            await self._recorder.flush()  # it is stored before the effect
            try:
                return await self._once(effect, intent)
            except _Failed as failed:
                failures += 1
                again_at = self._again(
                    failed.failure, failures, retry, idempotent=effect.idempotent
                )
                failure = StepFailed(
                    task_id=self._recorder.task_id,
                    key=key,
                    failure=failed.failure,
                    again_at=again_at,
                )
                self._recorder.emit(failure)
                await self._recorder.flush()
                if not again_at:
                    raise StepError(failed.failure) from failed.__cause__
            await self._until(key, again_at)

    def _drawn(self, key: str, draw: Callable[[], Any]) -> Any:  # noqa: ARG002
        """Return a value that is recorded nowhere; a re-run has it by its key."""
        return draw()

    async def _called(
        self,
        key: str,  # noqa: ARG002
        fn: Callable[..., Any],
        args: tuple[object, ...],
    ) -> Any:
        """Return what the function of a step returns; a re-run has that by its key."""
        return await called(fn, *args)

    def unasked(self) -> NondeterminismError | None:
        """Return what is wrong if an earlier attempt did something that this one has not.

        To be asked once the agent has ended: then it has not done what it did before.
        """
        turn = self._earlier
        if turn is None:
            return None
        for what in (turn.steps, turn.timers, turn.questions, turn.delegations):
            for key in what:
                if key not in self._asked and not unforced(key):
                    return NondeterminismError(
                        f"The log has {key!r}, which the agent has not asked for this time: the"
                        " first event that differs is its beginning."
                    )
        return None

    def _intent(self, effect: Effect, call: str) -> StepStarted:
        return StepStarted(
            task_id=self._recorder.task_id,
            key=effect.key,
            name=effect.name,
            attempt=self._attempt,
            idempotent=effect.idempotent,
            idempotency_key=self._unique(effect.key),
            call=call,
            kind=effect.kind,
        )

    async def _once(self, effect: Effect, intent: StepStarted) -> Any:
        key = effect.key
        token, running = _key.set(self._unique(key)), _running.set(key)
        with self._observer.step(self._agent, effect.kind, effect.name, key) as seen:
            try:
                with self._pulse.running():
                    async with asyncio.timeout(effect.deadline):
                        result = await self._outcome(effect)
                data = msgspec.json.encode(result)
                if self._guard.sees(intent):
                    told = await self._guard.result(intent, msgspec.json.decode(data))
                    data = msgspec.json.encode(told)
            except ContentSealed:  # it is this process that lacks something, and no other
                raise
            except Exception as error:
                seen.how = "failed"
                logger.info("step-failed", key=key, exception=type(error).__name__)
                failure = cleaned(self._blobs.redactor, failure_of(error), key)
                raise _Failed(failure) from error
            finally:
                _running.reset(running)
                _key.reset(token)
            value = await self._completed(key, data, at_once=not effect.idempotent)
            seen.how = "completed"
            return value

    async def _outcome(self, effect: Effect) -> Any:
        """Return what a step comes to; a model is asked only while the budgets let it be."""
        if effect.kind is not StepKind.MODEL:
            return await self._called(effect.key, effect.fn, effect.args)
        await self.afford(effect.model)
        one = 1 if effect.model else 0  # a step that names none may be several calls, or wait
        self._asking += one
        try:
            return await self._called(effect.key, effect.fn, effect.args)
        finally:
            self._asking -= one

    async def _completed(self, key: str, data: bytes, *, at_once: bool) -> Any:
        """Record a result. One that may be had again waits for others to be written with."""
        task_id = self._recorder.task_id
        value = msgspec.json.decode(data)
        safe = cleaned(self._blobs.redactor, value, key)
        if safe is not value:
            value, data = safe, msgspec.json.encode(safe)
        sealed = self._blobs.seals and not key.startswith(STEPS)  # these name memories, no content
        if sealed or len(data) > THRESHOLD:
            ref = await self._blobs.put(data, "data")
            self._recorder.emit(StepCompleted(task_id=task_id, key=key, blob=ref))
        else:
            self._recorder.emit(StepCompleted(task_id=task_id, key=key, result=value))
        if at_once:
            await self._recorder.flush()
        return msgspec.json.decode(data)  # its own: whatever the agent does with it, that stays

    def _again(
        self, failure: Failure, failures: int, retry: Retry | None, *, idempotent: bool
    ) -> str:
        """Return when a step that has failed runs again, or nothing if it does not."""
        if retry is None:
            retry = retry_of(failure.kind, {}) if idempotent else NEVER
        elif failure.kind in FINAL:
            retry = NEVER
        delay = retry.delay(failures, self._recorder.chance.random())
        if delay is None:
            return ""
        return self._recorder.now(delay)

    async def _doubtful(self, key: str, attempt: int) -> tuple[bool, Any]:
        """Ask a person about a step that may have had its effect; say if it has its result now.

        `attempt` has begun it: each time that it was begun is a question of its own.
        """
        doubt = await self._doubt(f"{key}@{attempt}")
        if doubt.choice == "run-again":
            return False, None
        if doubt.choice == "done":
            data = msgspec.json.encode(doubt.result)
            return True, await self._completed(key, data, at_once=True)
        failure = Failure(
            kind=FailureClass.OUTCOME_UNKNOWN,
            message=f"The step {key!r} was begun and nobody knows whether it was done.",
        )
        self._recorder.emit(StepFailed(task_id=self._recorder.task_id, key=key, failure=failure))
        raise StepError(failure)

    async def _served(self, step: Step) -> Any:
        if step.failure is not None:
            raise StepError(step.failure)
        if step.blob is not None:
            return msgspec.json.decode(await self._blobs.get(step.blob))
        return its_own(step.result)

    def _unique(self, key: str) -> str:
        return derive(self._recorder.task_id, str(self._number), key)


def its_own(value: Any) -> Any:
    """Return JSON as a copy for an agent: whatever it does with that, what is recorded stays."""
    return deepcopy(cast("Any", value)) if isinstance(value, dict | list) else value


def fixed(fn: F) -> F:
    """Mark the function of a step that does not go by its arguments: nobody can change them."""
    fn.__dict__["pelton_fixed"] = True
    return fn


def _with(effect: Effect, args: tuple[object, ...]) -> Effect:
    """Return a step with the arguments that it is left with.

    Raises:
        StepError: they were changed, and cannot be.
    """
    if args is effect.args:
        return effect
    if getattr(effect.fn, "pelton_fixed", False):
        text = f"The arguments of {effect.name!r} were changed, which its framework cannot do."
        raise StepError(Failure(kind=FailureClass.POLICY, message=text))
    return effect._replace(args=args)


class _Failed(Exception):
    """A run of a step raised."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def unforced(key: str) -> bool:
    """Whether a call is none that every attempt has to ask for: aside, or asked when need be."""
    return key.startswith(UNASKED) or aside(key)


def call_of(args: tuple[object, ...]) -> str:
    """Return the hash of a call's arguments, or nothing if there are none, or they are no JSON."""
    if not args:
        return ""
    try:
        return digest(encode(args))
    except (TypeError, ValueError, OverflowError):
        return ""  # what cannot be compared is not compared
