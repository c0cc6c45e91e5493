"""What one process tells its operators: it hears of what is done, counts, measures and traces."""

from __future__ import annotations

import hmac
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

import msgspec

from pelton.adapters.a2a.asked import Asked
from pelton.adapters.telemetry.metrics import Metrics, Read
from pelton.adapters.telemetry.traces import UNSEEN, UNTRACED, Span, Traces
from pelton.runtime.clock import World
from pelton.runtime.observer import Attempted, Seen

BAD: Final = frozenset({"failed", "lost", "retried"})
"""How what failed has ended, as traces show it; what is fenced or handed back goes on elsewhere."""

_UNFOLLOWED: Final = nullcontext()
_ATTEMPT: Final = "pelton_attempt_seconds"


class Telemetry:
    """The observer of a process; also what a bridge tells of requests. `token` reads all of it."""

    def __init__(self, traces: Traces = UNTRACED, *, world: World, token: str = "") -> None:
        self._world = world
        self.metrics: Final = Metrics()
        self.traces: Final = traces
        self.url = ""
        """Where the metrics are served, if they have a listener of their own."""
        self._token = token.encode()

    def read(self, read: Read) -> None:
        """Ask somebody too whenever the metrics are read."""
        self.metrics.readers.append(read)

    def opens(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request's headers have the token that opens all metrics."""
        given = headers.get(b"authorization", b"")
        return bool(self._token) and hmac.compare_digest(given, b"Bearer " + self._token)

    # Of requests, at a bridge.

    def request(self, asked: Asked) -> AbstractContextManager[None]:
        """Follow a request while the context lasts; what follows from it goes on with its trace."""
        return _UNFOLLOWED if self.traces is UNTRACED else self._follow(asked)

    @contextmanager
    def _follow(self, asked: Asked) -> Generator[None]:
        with self.traces.span(
            "A2A", "server", {}, parent=asked.traceparent, trace=asked.id
        ) as span:
            if span.traceparent is not msgspec.UNSET:
                asked.traceparent = span.traceparent
            try:
                yield
            finally:
                named = asked.method or asked.binding or "request"
                values = {"binding": asked.binding, "tenant": asked.tenant, "code": asked.code}
                span.end(
                    asked.outcome,
                    failed=asked.outcome == "failed",
                    name=f"A2A {named}",
                    correlation=asked.id,
                    **{name: value for name, value in values.items() if value},
                )

    def answered(self, asked: Asked) -> None:
        """Take note of an answer, or of how a stream began."""
        asked.answered = True
        where = asked.tenant, asked.binding, asked.method
        took = self._world.monotonic() - asked.began
        self.metrics.took("pelton_request_seconds", took, *where, asked.outcome)
        if asked.code:
            self.metrics.count("pelton_request_errors", *where, asked.code)

    def pushed(self, tenant: str, outcome: str) -> None:
        """Take note of an attempt to post a notification."""
        self.metrics.count("pelton_push_deliveries", tenant, outcome)

    # Of work, as `Observer` has it.

    def appended(self, seconds: float, how: str) -> None:
        """Take note of how long an append took."""
        self.metrics.took("pelton_append_seconds", seconds, how)

    def rang(self, agent: str, *, again: bool) -> None:
        """Take note of a bell."""
        self.metrics.count("pelton_bells", agent, "again" if again else "first")

    def fenced(self, agent: str) -> None:
        """Take note of a context that was left to another executor."""
        self.metrics.count("pelton_fenced", agent)

    def restarted(self, loop: str) -> None:
        """Take note of a loop that begins again."""
        self.metrics.count("pelton_loop_restarts", loop)

    def served(self, agent: str) -> None:
        """Take note of a step that was served from the log."""
        self.metrics.count("pelton_steps_served", agent)

    def attempt(self, begun: Attempted) -> AbstractContextManager[Seen]:
        """Follow an attempt of a turn."""
        again = begun.attempt > 1
        self.metrics.count("pelton_attempts", begun.agent, "again" if again else "first")
        if self.traces is UNTRACED:
            return self._watched(UNSEEN, _ATTEMPT, begun.agent)
        return self._traced(begun)

    @contextmanager
    def _traced(self, begun: Attempted) -> Generator[Seen]:
        place = ("attempt", begun.task, str(begun.turn))
        with (
            self.traces.span(
                f"turn {begun.agent}",
                "consumer",
                {
                    "pelton.agent": begun.agent,
                    "pelton.context": begun.context,
                    "pelton.task": begun.task,
                    "pelton.turn": begun.turn,
                    "pelton.attempt": begun.attempt,
                    "pelton.correlation": begun.correlationid,
                },
                parent=begun.traceparent,
                trace=begun.correlationid,
                place=(*place, str(begun.attempt)),
                before=(*place, str(begun.attempt - 1)) if begun.attempt > 1 else (),
            ) as span,
            self._watched(span, _ATTEMPT, begun.agent) as seen,
        ):
            yield seen

    @contextmanager
    def step(self, agent: str, kind: str, name: str, key: str) -> Generator[Seen]:
        """Follow a run of a step's function."""
        values = {"pelton.agent": agent, "pelton.kind": kind, "pelton.step": key}
        with (
            self.traces.span(f"step {name}", "internal", values) as span,
            self._watched(span, "pelton_step_seconds", agent, kind) as seen,
        ):
            yield seen

    @contextmanager
    def delegation(self, agent: str, to: str, key: str) -> Generator[Seen]:
        """Follow how work is handed on; its command goes on with the trace."""
        values = {"pelton.agent": agent, "pelton.to": to, "pelton.key": key}
        with self.traces.span(f"delegate {to}", "producer", values) as span:
            seen = Seen(span.traceparent)
            try:
                yield seen
            finally:
                self.metrics.count("pelton_delegations", agent, seen.how)
                span.end(seen.how, failed=seen.how in BAD)

    def _watched(self, span: Span, metric: str, *labels: str) -> _Watched:
        return _Watched(self.metrics, span, metric, labels, self._world)


class _Watched:
    """Something that lasts: measured, and its span told how it has ended."""

    __slots__ = ("_began", "_labels", "_metric", "_metrics", "_seen", "_span", "_world")

    def __init__(
        self, metrics: Metrics, span: Span, metric: str, labels: tuple[str, ...], world: World
    ) -> None:
        self._metrics, self._span, self._world = metrics, span, world
        self._metric, self._labels = metric, labels

    def __enter__(self) -> Seen:
        self._seen, self._began = Seen(self._span.traceparent), self._world.monotonic()
        return self._seen

    def __exit__(self, *_: object) -> None:
        how, took = self._seen.how, self._world.monotonic() - self._began
        self._metrics.took(self._metric, took, *self._labels, how)
        self._span.end(how, failed=how in BAD)
