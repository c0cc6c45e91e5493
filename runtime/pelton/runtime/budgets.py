"""Budgets: how often models may be asked, for how many tokens, and for how much money.

One place decides, before each step that asks a model, whichever way its agent does: by itself and
through the gateway, by an adapter in this process, or by a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from fnmatch import fnmatchcase
from typing import ClassVar, Final, NamedTuple, Self

from msgspec.structs import replace

from pelton.events.done import Used
from pelton.events.errors import DamagedRecord
from pelton.events.events import UNIT, FailureClass, UsageReported
from pelton.events.upcast import decode_commit
from pelton.runtime.failures import AgentError
from pelton.runtime.gateway_settings import GatewaySettings, PriceSettings
from pelton.runtime.log import Log, Record

_MILLION: Final = 1_000_000


class BudgetExceeded(AgentError):
    """A task, or its tenant, has used up what it may: models are not asked for it any more.

    Raise the setting that the text names, or wait for the next day if it is a tenant's.
    """

    code: ClassVar[str] = "budget-exceeded"

    def __init__(self, message: str) -> None:
        super().__init__(message, kind=FailureClass.POLICY)


class Prices:
    """What models cost."""

    def __init__(self, prices: Mapping[str, PriceSettings]) -> None:
        self._prices = sorted(prices.items(), key=lambda each: -len(each[0]))

    def of(self, model: str) -> PriceSettings | None:
        """Return what a model costs, if that is known."""
        found = (price for pattern, price in self._prices if fnmatchcase(model, pattern))
        return next(found, None)

    def cost(self, event: UsageReported) -> float:
        """Return what a call has cost; 0 if the price is not known."""
        price = self.of(event.model)
        if price is None:
            return 0.0
        cached = price.input if price.cached is None else price.cached
        new = max(0, event.input_tokens - event.cached_tokens)
        whole = (
            new * price.input + event.cached_tokens * cached + event.output_tokens * price.output
        )
        return whole / _MILLION


class Limits(NamedTuple):
    """How much may be used; 0 is no limit. `cost` is in the unit of currency."""

    calls: int
    tokens: int
    cost: float

    def passed(self, used: Used) -> str:
        """Return what is used up, if anything is."""
        if self.calls and used.calls >= self.calls:
            return "calls"
        if self.tokens and used.tokens >= self.tokens:
            return "tokens"
        if self.cost and used.cost >= round(self.cost * UNIT):
            return "cost"
        return ""


class Budgets:
    """Says before each call whether it may be made; `async with` it while it does.

    What a tenant uses is read from the log, where all its executors write, from the beginning of
    the day on. Calls that are made at the same time may pass a limit together.
    """

    def __init__(self, settings: GatewaySettings, log: Log) -> None:
        self._prices = Prices(settings.prices)
        self._task = Limits(settings.task_calls, settings.task_tokens, settings.task_cost)
        self._tenant = Limits(settings.tenant_calls, settings.tenant_tokens, settings.tenant_cost)
        self._log = log
        self._day = ""
        self._today = Used()
        self._known = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to read what the tenant uses, if that has a limit."""
        if any(self._tenant):
            self._following = asyncio.create_task(self._follow(), name="budgets")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Read no more.

        Raises:
            LogError: the log has refused to be read.
        """
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait((self._following,))
            if not self._following.cancelled():
                self._following.result()

    def priced(self, event: UsageReported) -> UsageReported:
        """Return a report with what it has cost, if nobody has said, and the price is known."""
        if event.cost:
            return event
        cost = self._prices.cost(event)
        return replace(event, cost=round(cost * UNIT)) if cost else event

    async def check(self, model: str, used: Used) -> None:
        """Let a model be asked for a task that has used so much; `model` is empty if unknown.

        Raises:
            BudgetExceeded: it may not be.
        """
        if model and (self._task.cost or self._tenant.cost) and self._prices.of(model) is None:
            raise BudgetExceeded(
                f"There is a budget of cost, and no price of {model[:80]!r} in gateway.prices."
            )
        if passed := self._task.passed(used):
            raise BudgetExceeded(f"The task has used up its budget: gateway.task_{passed}.")
        if any(self._tenant) and (passed := self._tenant.passed(await self._used_today())):
            raise BudgetExceeded(
                f"The tenant has used up its budget of today: gateway.tenant_{passed}."
            )

    async def _used_today(self) -> Used:
        assert self._following is not None, "started before it is asked"
        waiting = asyncio.ensure_future(self._known.wait())
        await asyncio.wait((waiting, self._following), return_when="FIRST_COMPLETED")
        waiting.cancel()
        if self._following.done():
            self._following.result()  # what is not known may be too much
        return self._today if self._day == _day(self._log.now) else Used()

    async def _follow(self) -> None:
        """Add up what is reported, from the first record of the day on."""
        after = await _before(self._log, _day(self._log.now))
        async with aclosing(self._log.scan(after=after, pattern="evt.>", live=True)) as batches:
            async for batch in batches:
                for record in batch:
                    self._take(record)
                if not batch:  # this is all there is so far
                    self._known.set()

    def _take(self, record: Record) -> None:
        day = _day(record.received)
        if day != self._day:
            self._day, self._today = day, Used()
        if b"UsageReported" not in record.data:
            return
        try:
            events = decode_commit(record.data).data.events
        except DamagedRecord:  # whoever folds it says so; it reports nothing
            return
        for event in events:
            if isinstance(event, UsageReported):
                self._today = self._today.plus(event)


def _day(moment: datetime) -> str:
    return moment.date().isoformat()


async def _before(log: Log, day: str) -> int:
    """Return a sequence that everything of a day comes after, by halving the log."""
    extent = await log.extent()
    low, high = extent.first - 1, extent.last
    while low < high:
        middle = (low + high + 1) // 2
        record = await log.at(middle)
        if record is not None and _day(record.received) < day:
            low = middle
        else:
            high = middle - 1
    return max(0, low)
