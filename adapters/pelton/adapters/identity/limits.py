"""How much a tenant and each of its principals may ask, whichever bridge they ask (AS-37, S24).

Each has a token bucket: `rate` requests a second, and `burst` at once. Every bridge keeps all
buckets, takes from its own, and tells the others every `EVERY` seconds what was taken, which they
take from theirs, into debt if need be. So nothing waits for anybody, and in the long run `rate` is
what is let in by all together. At once it can be more: what other bridges let in while the news
travels, at most their `burst` each. News that is lost is not told again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import msgspec
import structlog

from pelton.adapters.a2a.errors import RateLimited
from pelton.events.errors import PeltonError
from pelton.runtime.clock import World
from pelton.runtime.log import Log

EVERY: Final = 0.05
"""Seconds between two tellings."""
REMEMBERED: Final = 50_000
"""How many buckets a bridge keeps; whoever asked longest ago is forgotten, and has a full one."""
DEBT: Final = 8.0
"""By how many bursts a bucket may be in debt."""
TOPIC: Final = "rates"

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.identity")


class Rate(NamedTuple):
    """So many requests a second, and so many at once. A rate of 0 is no limit."""

    rate: float
    burst: float


UNLIMITED: Final = Rate(0.0, 0.0)


class Rates(NamedTuple):
    """What a tenant may ask, each of its principals, and each address that asks for tokens.

    `open_of_tenant` and `open_of_principal` are how many requests and streams a bridge may have in
    hand; 0 is no limit.
    """

    tenant: Rate = UNLIMITED
    principal: Rate = UNLIMITED
    address: Rate = UNLIMITED
    open_of_tenant: int = 0
    open_of_principal: int = 0


def _nothing() -> None:
    """Put down what was not counted."""


class _Bucket:
    __slots__ = ("at", "level")

    def __init__(self, level: float, at: float) -> None:
        self.level, self.at = level, at

    def fill(self, limit: Rate, now: float) -> None:
        self.level = min(limit.burst, self.level + (now - self.at) * limit.rate)
        self.at = now


class _Told(msgspec.Struct, array_like=True):
    """What a bridge says: who it is, and how much was taken from which bucket."""

    bridge: str
    used: dict[str, int]


_told: Final = msgspec.json.Decoder(_Told)


class Limits:
    """The buckets of one tenant; `tell` for as long as the bridge lives."""

    def __init__(self, rates: Rates, *, world: World) -> None:
        self._rates, self._world = rates, world
        self._name = world.new_id()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._used: dict[str, int] = {}
        self._any = rates != Rates()
        self._open: Counter[str] = Counter()

    def take(self, principal: str) -> None:
        """Let a principal's request in.

        Raises:
            RateLimited: it, or its tenant, has asked too much.
        """
        if not self._any:
            return
        now, rates, name = self._world.monotonic(), self._rates, f"p{principal}"
        whole = self._ready("t", rates.tenant, now)
        own = self._ready(name, rates.principal, now)
        self._spend("t", whole)
        self._spend(name, own)

    def enter(self, principal: str) -> Callable[[], None]:
        """Have a request of a principal in hand; returns what puts it down.

        Raises:
            RateLimited: it, or its tenant, has too many open.
        """
        if not self._any:
            return _nothing
        rates = self._rates
        for name, most in (("", rates.open_of_tenant), (principal, rates.open_of_principal)):
            if most and self._open[name] >= most:
                raise RateLimited(most, 1.0)
        self._open[""] += 1
        self._open[principal] += 1
        return partial(self._leave, principal)

    def _leave(self, principal: str) -> None:
        for name in ("", principal):
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def take_address(self, address: str) -> None:
        """Let a request for a token in, by where it comes from.

        Raises:
            RateLimited: too many came from there.
        """
        name = f"a{address}"
        self._spend(name, self._ready(name, self._rates.address, self._world.monotonic()))

    def _ready(self, name: str, limit: Rate, now: float) -> _Bucket | None:
        """Return a bucket that has enough, or None if there is no limit."""
        if not limit.rate:
            return None
        bucket = self._bucket(name, limit, now)
        if bucket.level < 1.0:
            raise RateLimited(limit.burst, (1.0 - bucket.level) / limit.rate)
        return bucket

    def _spend(self, name: str, bucket: _Bucket | None) -> None:
        if bucket is not None:
            bucket.level -= 1.0
            self._used[name] = self._used.get(name, 0) + 1

    def _limit(self, name: str) -> Rate:
        rates = self._rates
        return {"t": rates.tenant, "p": rates.principal}.get(name[:1], rates.address)

    def _bucket(self, name: str, limit: Rate, now: float) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(limit.burst, now)
            if len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
            bucket.fill(limit, now)
        return bucket

    def news(self) -> bytes | None:
        """Return what was taken since the last time, if anything was."""
        if not self._used:
            return None
        used, self._used = self._used, {}
        return msgspec.json.encode(_Told(self._name, used))

    def hear(self, data: bytes) -> None:
        """Take what another bridge has let in from our buckets too."""
        try:
            told = _told.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            logger.warning("rates-not-understood", size=len(data))
            return
        if told.bridge == self._name:
            return
        for name, count in told.used.items():
            limit = self._limit(name) if name else UNLIMITED
            if limit.rate and count > 0:
                bucket = self._bucket(name, limit, self._world.monotonic())
                bucket.level = max(-DEBT * limit.burst, bucket.level - count)

    async def tell(self, log: Log) -> None:
        """Tell the other bridges of the tenant, and hear them; for ever."""
        if not self._any:
            return
        while True:
            try:
                async with log.told(TOPIC, self.hear):
                    while True:
                        await asyncio.sleep(EVERY)
                        if (news := self.news()) is not None:
                            log.tell(TOPIC, news)
            except PeltonError as error:
                logger.warning("rates-not-told", code=error.code)
                await asyncio.sleep(1.0 + self._world.random.random())
