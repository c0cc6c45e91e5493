"""Spans of OpenTelemetry, if the settings want any: only `open_traces` imports its SDK.

The context is in every record of the log: the `traceparent` of the command that began a turn is the
parent of all its attempts, wherever they run. Ids of attempts follow from what they are the
attempts of, and the trace of a request that came without one from its correlation id: so an
executor that takes over goes on with the same trace, and can name the attempt before it, which may
have died without a word.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.metadata import entry_points
from os import environ
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from pelton.events.envelope import digest
from pelton.events.redact import STANDARD, Redactor
from pelton.runtime.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanContext

Kind = Literal["server", "consumer", "producer", "internal"]
Values = Mapping[str, str | int]


class Span(Protocol):
    """Something that lasts, as a trace shows it."""

    @property
    def traceparent(self) -> str | msgspec.UnsetType:
        """What says to others that they go on with it."""
        ...

    def end(self, how: str, *, failed: bool = False, name: str = "", **values: str) -> None:
        """Say how it ended, and with `name` what it was, if that is known only now."""
        ...


class Traces(Protocol):
    """Makes spans."""

    def span(
        self,
        name: str,
        kind: Kind,
        values: Values,
        *,
        parent: str | msgspec.UnsetType = msgspec.UNSET,
        trace: str = "",
        place: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> AbstractContextManager[Span]:
        """Give a span that lasts as long as the context, and is current in it.

        `parent` is a traceparent; without one it is a part of the current span or, if there is
        none, of the trace that follows from `trace`. Its own id follows from `place`, if given, and
        it is linked to the span whose id follows from `before`.
        """
        ...


class _Nothing:
    """A span that nobody sees."""

    @property
    def traceparent(self) -> msgspec.UnsetType:
        return msgspec.UNSET

    def end(self, how: str, *, failed: bool = False, name: str = "", **values: str) -> None:
        """Say nothing."""


UNSEEN: Final[Span] = _Nothing()
"""A span that nobody sees."""


class Untraced:
    """Makes no spans."""

    _nothing: Final[AbstractContextManager[Span]] = nullcontext(UNSEEN)

    def span(
        self,
        name: str,  # noqa: ARG002
        kind: Kind,  # noqa: ARG002
        values: Values,  # noqa: ARG002
        *,
        parent: str | msgspec.UnsetType = msgspec.UNSET,  # noqa: ARG002
        trace: str = "",  # noqa: ARG002
        place: tuple[str, ...] = (),  # noqa: ARG002
        before: tuple[str, ...] = (),  # noqa: ARG002
    ) -> AbstractContextManager[Span]:
        """Give what nobody sees."""
        return self._nothing


UNTRACED: Final = Untraced()

_wanted: ContextVar[tuple[int, int]] = ContextVar("ids", default=(0, 0))
"""The ids of trace and span that the next span is to have; 0 is any."""


def _number(bits: int, *names: str) -> int:
    """Return an id that follows from names."""
    return int(digest("\0".join(names).encode())[: bits // 4], 16)


@contextmanager
def open_traces(
    *,
    part: str,
    version: str,
    redactor: Redactor = STANDARD,
    processor: SpanProcessor | None = None,
) -> Generator[Traces]:
    """Give what makes spans, and exports them as OpenTelemetry's variables say.

    What is still to be exported is, when the context ends. With `processor`, that hears of them.

    Raises:
        SettingsError: the SDK or the exporter is not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415  only whoever wants spans has it
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "telemetry.traces needs more: pip install 'pelton[telemetry]'"
        ) from error

    class Ids(RandomIdGenerator):
        """Ids that were wanted, else random ones."""

        def generate_trace_id(self) -> int:
            return _wanted.get()[0] or super().generate_trace_id()

        def generate_span_id(self) -> int:
            return _wanted.get()[1] or super().generate_span_id()

    resource = Resource.create({"service.version": version, "pelton.part": part})
    if "OTEL_SERVICE_NAME" not in environ:
        resource = resource.merge(Resource({"service.name": f"pelton-{part}"}))
    provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    for each in [processor] if processor is not None else _exporters():
        provider.add_span_processor(each)
    if processor is None and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)  # what agents trace themselves is exported with it
    try:
        yield OtelTraces(provider, version, redactor)
    finally:
        provider.shutdown()


def _exporters() -> list[SpanProcessor]:
    """Return what exports spans: `OTEL_TRACES_EXPORTER` says what, each exporter's own where to."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    made: list[SpanProcessor] = []
    for name in environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        if name.strip() == "none":
            continue
        wanted = "otlp_proto_http" if name.strip() == "otlp" else name.strip()
        found = entry_points(group="opentelemetry_traces_exporter", name=wanted)
        if not found:
            raise SettingsError(
                f"OTEL_TRACES_EXPORTER: there is no exporter {wanted[:80]!r}: pip install"
                " 'pelton[telemetry]', or what has it"
            )
        made.append(BatchSpanProcessor(next(iter(found)).load()()))
    return made


class OtelTraces:
    """Makes spans with a provider of the SDK. What they say goes through `redactor` (AS-40)."""

    def __init__(self, provider: TracerProvider, version: str, redactor: Redactor) -> None:
        from opentelemetry import trace  # noqa: PLC0415

        self._trace: Any = trace
        self._tracer = provider.get_tracer("pelton", version)
        self._redactor = redactor

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        values: Values,
        *,
        parent: str | msgspec.UnsetType = msgspec.UNSET,
        trace: str = "",
        place: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> Generator[Span]:
        """Give a span; see `Traces`."""
        context = None
        if parent is not msgspec.UNSET and (known := self._context_of(parent)) is not None:
            context = self._trace.set_span_in_context(self._trace.NonRecordingSpan(known))
            trace_id = known.trace_id
        else:
            current = self._trace.get_current_span().get_span_context()
            trace_id = current.trace_id if current.is_valid else _number(128, "trace", trace)
        links = [self._trace.Link(self._context(trace_id, *before))] if before else []
        wanted = trace_id if trace else 0, _number(64, *place) if place else 0
        token = _wanted.set(wanted)
        try:
            span = self._tracer.start_span(
                self._redactor.text(name),
                context=context,
                kind=self._trace.SpanKind[kind.upper()],
                attributes={key: self._safe(value) for key, value in values.items()},
                links=links,
            )
        finally:
            _wanted.reset(token)
        with self._trace.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            yield _OtelSpan(span, self._redactor)

    def _safe(self, value: str | int) -> str | int:
        return self._redactor.text(value) if isinstance(value, str) else value

    def _context_of(self, traceparent: str) -> SpanContext | None:
        _, trace_id, span_id, flags = traceparent.split("-")
        found = self._trace.SpanContext(
            *(int(trace_id, 16), int(span_id, 16)),
            is_remote=True,
            trace_flags=self._trace.TraceFlags(int(flags, 16)),
        )
        return found if found.is_valid else None

    def _context(self, trace_id: int, *place: str) -> SpanContext:
        """Return the context of a span whose id follows from its place."""
        found: SpanContext = self._trace.SpanContext(
            *(trace_id, _number(64, *place)), is_remote=True
        )
        return found


class _OtelSpan:
    """A span of the SDK."""

    def __init__(self, span: Any, redactor: Redactor) -> None:
        self._span, self._redactor = span, redactor

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def end(self, how: str, *, failed: bool = False, name: str = "", **values: str) -> None:
        if name:
            self._span.update_name(name)
        for key, value in (("outcome", how), *values.items()):
            self._span.set_attribute(f"pelton.{key}", self._redactor.text(value))
        if failed:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

            self._span.set_status(Status(StatusCode.ERROR))
