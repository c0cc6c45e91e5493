"""The connection of one simulated client: what takes time, gets lost, and comes back in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from pelton.runtime.simulation.faults import Faults
from pelton.runtime.simulation.loop import running
from pelton.runtime.simulation.server import SimulatedServer

_T = TypeVar("_T")

_INSTANT: Final = 1e-6
_RECONNECTING: Final = 0.25
"""Seconds that a client needs to find a server that is there again, at most."""


_OUTSIDE: Final = Context()
"""Where what is on its way is: in no process."""


class _Parcel(NamedTuple):
    connection: int
    open: Callable[[], None]


class Link:
    """A connection to the server that may be slow, lose single requests, and break.

    What the server sends by itself arrives in order, and is lost only when the connection breaks.
    """

    def __init__(self, server: SimulatedServer, name: str, faults: Faults) -> None:
        self.connected = server.up
        self._server, self._faults = server, faults
        self._random = server.world.part(f"link {name}").random
        self._loop = running()
        self._connection = 0
        self._severed_until = 0.0
        self._inbox: deque[_Parcel] = deque()
        self._outbox: list[Callable[[], None]] = []
        """Requests made while there was no connection: sent when it is back, wanted or not."""
        self._last_arrival = 0.0
        self._restored: dict[int, Callable[[], None]] = {}
        self._keys = 0
        server.clients.append(self)

    def ask(self, act: Callable[[], _T]) -> asyncio.Future[_T]:
        """Let the server do something; the answer may never come."""
        answer: asyncio.Future[_T] = self._loop.create_future()

        def arrive() -> None:
            outcome: Callable[[], None]
            try:
                value = act()
            except Exception as error:  # noqa: BLE001  # whatever it is, the client gets it
                refusal = error
                outcome = lambda: answer.set_exception(refusal)  # noqa: E731
            else:
                outcome = lambda: answer.set_result(value)  # noqa: E731
            if not self._strikes("lost reply", self._faults.lost_replies):
                self._later(partial(self._reply, self._connection, answer, outcome))

        if not self.connected:
            self._outbox.append(arrive)
        elif not self._strikes("lost request", self._faults.lost_requests):
            self._to_server(arrive)
        return answer

    def tell(self, act: Callable[[], Any]) -> None:
        """Let the server do something, without an answer; lost only with the connection."""
        if self.connected:
            self._to_server(act)

    def inbound(self, open: Callable[[_T], None]) -> Callable[[_T], None]:
        """Return what the server calls to have `open` called here, in the caller's process."""
        context = copy_context()

        def send(content: _T) -> None:
            if not self.connected:
                return
            self._last_arrival = max(
                self._last_arrival + _INSTANT, self._loop.time() + self._delay()
            )
            self._inbox.append(_Parcel(self._connection, lambda: open(content)))
            self._loop.call_at(self._last_arrival, self._unpack, context=context.copy())

        return send

    def on_restored(self, restored: Callable[[], None]) -> Callable[[], None]:
        """Call `restored` whenever the connection is back; returns what ends that."""
        self._keys += 1
        key, context = self._keys, copy_context()
        self._restored[key] = lambda: self._call(restored, context)
        return lambda: self._restored.pop(key, None) and None

    def sever(self, seconds: float) -> None:
        """Break the connection for some seconds; the server may not notice."""
        self._severed_until = max(self._severed_until, self._loop.time() + seconds)
        self.lost()
        if self._random.random() < 0.5:
            self._later(lambda: self._server.forget(self))
        self._later(self.returned, seconds + _INSTANT)

    def close(self) -> None:
        """Break the connection for ever, as the end of the process does: the server notices."""
        self._severed_until = float("inf")
        self.lost()
        self._later(lambda: self._server.forget(self))

    def lost(self) -> None:
        """Drop everything that is on its way."""
        self.connected = False
        self._connection += 1

    def returned(self) -> None:
        """Find the server again, after a while."""
        connection = self._connection
        wait = self._random.uniform(0.0, _RECONNECTING)
        self._later(lambda: self._reconnect(connection), wait)

    def _reconnect(self, connection: int) -> None:
        severed = self._loop.time() < self._severed_until
        if connection == self._connection and self._server.up and not severed:
            self.connected = True
            self._server.forget(self)
            outbox, self._outbox = self._outbox, []
            for act in outbox:
                self._to_server(act)
            for restored in list(self._restored.values()):
                restored()

    def _call(self, restored: Callable[[], None], context: Context) -> None:
        self._loop.call_soon(restored, context=context.copy())

    def _unpack(self) -> None:
        parcel = self._inbox.popleft()
        if parcel.connection == self._connection:
            parcel.open()

    def _reply(
        self, connection: int, answer: asyncio.Future[Any], outcome: Callable[[], None]
    ) -> None:
        if connection == self._connection and not answer.done():
            outcome()

    def _to_server(self, act: Callable[[], object]) -> None:
        life = self._server.lives

        def arrive() -> None:
            if self._server.up and self._server.lives == life:
                act()

        self._later(arrive)

    def _later(self, act: Callable[[], object], seconds: float | None = None) -> None:
        delay = self._delay() if seconds is None else seconds
        self._loop.call_later(delay, act, context=_OUTSIDE)

    def _delay(self) -> float:
        return self._faults.delay(self._random)

    def _strikes(self, kind: str, rate: float) -> bool:
        return self._faults.strikes(kind, rate, self._random)
