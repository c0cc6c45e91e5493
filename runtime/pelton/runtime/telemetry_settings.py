"""The settings of what is measured and traced."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from pelton.runtime.setting_types import Address, Secret, Section


class TelemetrySettings(Section, frozen=True, kw_only=True):
    """What operators see of the processes: metrics and traces."""

    metrics: Annotated[
        Address | None,
        Meta(
            description="Where an executor or a projector serves `/metrics`, `HOST:PORT`; port 0"
            " takes any free port. Without it, not at all. Elsewhere than on loopback only with"
            " `telemetry.token`. A bridge has `/metrics` where it listens."
        ),
    ] = None
    token: Annotated[
        Secret | None,
        Meta(
            description="With it, `/metrics` of every part is for whoever shows it as a bearer"
            " token; a bridge shows all its tenants then.",
        ),
    ] = None
    traces: Annotated[
        bool,
        Meta(
            description="Whether spans are made and exported as the variables of OpenTelemetry say"
            " (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER` and so on). Needs the extra"
            " `pelton[telemetry]`."
        ),
    ] = False
