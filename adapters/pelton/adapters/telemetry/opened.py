"""The telemetry of a part, as the settings want it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from pelton.adapters.telemetry.families import Part
from pelton.adapters.telemetry.metrics import Reading
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.adapters.telemetry.traces import UNTRACED, Traces, open_traces
from pelton.runtime.clock import World
from pelton.runtime.jetstream.profiles import profile
from pelton.runtime.redaction import redactor_of
from pelton.runtime.settings import Settings


@asynccontextmanager
async def open_telemetry(
    settings: Settings, part: Part, *, world: World
) -> AsyncGenerator[Telemetry]:
    """Give the telemetry of a part, while the context lasts; spans are exported at its end.

    A bridge has a listener already; the others serve their metrics if the settings say where.

    Raises:
        SettingsError: they cannot be served there; or there are to be spans, and what these need is
            not installed.
    """
    given = settings.telemetry
    release, chosen = version("pelton"), profile(settings.nats.profile)
    info = ("pelton_info", (release, part, chosen.name, chosen.sync), 1.0)

    async def about() -> list[Reading]:
        return [info]

    async with AsyncExitStack() as stack:
        traces: Traces = UNTRACED
        if given.traces:
            traces = stack.enter_context(
                open_traces(part=part, version=release, redactor=redactor_of(settings))
            )
        token = given.token.reveal() if given.token is not None else ""
        telemetry = Telemetry(traces, world=world, token=token)
        telemetry.read(about)
        if given.metrics is not None and part != "bridge":  # else nobody waits for a web server
            from pelton.adapters.telemetry.listener import serve_metrics  # noqa: PLC0415

            telemetry.url = await stack.enter_async_context(
                serve_metrics(given, given.metrics, telemetry)
            )
        yield telemetry
