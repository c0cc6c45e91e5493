"""What a turn does in the world and asks of it, recorded: steps, time, chance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar, TypeVarTuple, overload
from uuid import UUID

from pelton.events.errors import InvalidInput
from pelton.events.memory import STEPS
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.recorder import Recorder
from pelton.runtime.steps import Steps

Ts = TypeVarTuple("Ts")
R = TypeVar("R")


class Effects:
    """The part of a turn that every later attempt is served from the log."""

    _recorder: Recorder

    @property
    def _steps(self) -> Steps:
        raise NotImplementedError

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[[*Ts], Awaitable[R]],
        *args: *Ts,
        idempotent: bool = False,
        retry: Retry | None = None,
        deadline: float | None = None,
        key: str = "",
        kind: StepKind = StepKind.CODE,
        model: str = "",
        ask: str = "",
        matter: str = "",
    ) -> R: ...
    @overload
    async def step(
        self,
        name: str,
        fn: Callable[[*Ts], R],
        *args: *Ts,
        idempotent: bool = False,
        retry: Retry | None = None,
        deadline: float | None = None,
        key: str = "",
        kind: StepKind = StepKind.CODE,
        model: str = "",
        ask: str = "",
        matter: str = "",
    ) -> R: ...
    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: object,
        idempotent: bool = False,
        retry: Retry | None = None,
        deadline: float | None = None,
        key: str = "",
        kind: StepKind = StepKind.CODE,
        model: str = "",
        ask: str = "",
        matter: str = "",
    ) -> Coroutine[Any, Any, Any]:
        """Run `fn(*args)` and record its result; serve a recorded result without running (law 7).

        The call is known by its name and its occurrence in the turn at the moment it is made, or by
        a `key` of its own such as the id of a tool call, so steps may run at the same time and end
        in any order. A plain function runs in a thread. What is returned went through JSON and has
        no secrets (`docs/privacy.md`), the first time as on every later attempt. `deadline` is in
        seconds, for each run.

        `kind` says what it calls: a step of the kind `tool` is named `tool <the tool's name>`, so
        that hooks and policies know it (`docs/hooks.md`). One of the kind `model` is held to the
        budgets of models (`docs/gateway.md`), by what that `model` costs. With `ask`, which says
        why, a person is asked too, unless hooks or policies deny it. What is decided counts for all
        steps of one `matter`.

        A step that raises is tried again as `retry` says; without, if it is `idempotent`, by the
        class of its failure (`pelton.events.retries`), else never.

        A step that an earlier attempt has begun and that has no result may have had its effect. It
        is run again only if it is `idempotent`: reading is, and so is a call that carries
        `idempotency_key()` to a service that heeds it. Otherwise the turn asks a person, who says
        `run-again`, `done` with its result, or `give-up`.

        Raises:
            StepError: `fn` raised, now or on the attempt that ran it, for the last time.
            NondeterminismError: an earlier attempt has called it with other arguments.
        """
        if name.startswith(STEPS):
            raise InvalidInput(f"the names of steps of memory begin with {STEPS!r}", field="name")
        return self._steps.run(
            *(name, fn, args),
            key=key,
            idempotent=idempotent,
            retry=retry,
            deadline=deadline,
            kind=kind,
            model=model,
            ask=ask,
            matter=matter,
        )

    async def reach(self, url: str) -> None:
        """Let the step that is running ask something of a URL; see `docs/policy.md`: for adapters.

        Raises:
            CallDenied: no policy has its host among those that may be reached (`egress`).
        """
        await self._steps.reach(url)

    async def afford(self, model: str = "") -> None:
        """Let a model be asked within a step of another kind; see `docs/gateway.md`: for adapters.

        Raises:
            BudgetExceeded: a budget is used up.
        """
        await self._steps.afford(model)

    def begun(self, name: str, *, key: str) -> bool:
        """Return whether the log has the beginning of a step that has a key of its own."""
        turn = self._recorder.turn
        return turn is not None and f"{name}:{key}" in turn.steps

    def now(self) -> datetime:
        """Return the time in UTC by the log's clock, in milliseconds, alike on every attempt."""
        return datetime.fromisoformat(self._steps.value("now", self._recorder.now))

    def random(self) -> float:
        """Return a random number from 0 up to 1, alike on every attempt."""
        return float(self._steps.value("random", self._recorder.chance.random))

    def uuid(self) -> UUID:
        """Return a random UUID (version 4), alike on every attempt."""
        bits = self._recorder.chance.getrandbits
        return UUID(self._steps.value("uuid", lambda: str(UUID(int=bits(128), version=4))))
