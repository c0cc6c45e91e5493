"""`pelton serve`: one part, against any NATS server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output
from pelton.runtime.setting_source import Source


def serve(
    part: Annotated[options.Part, typer.Argument(help="bridge, executor or projector.")],
    agents: Annotated[
        list[str] | None,
        typer.Argument(metavar="[AGENT]...", help="For an executor: the agents it runs."),
    ] = None,
    *,
    agent: options.Agent = None,
    nats: options.Nats = None,
    http: Annotated[
        str | None, typer.Option("--http", metavar="HOST:PORT", help="Where a bridge listens.")
    ] = None,
    grpc: options.Grpc = None,
    legacy: options.Legacy = False,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Run one part until SIGTERM, against the NATS server of the settings."""
    from pelton.adapters.cli.output import CommandFailed

    named = [*(agents or ()), *(agent or ())]
    if named and part != "executor":
        raise CommandFailed(f"a {part} runs no agents", "usage")
    source = options.source(
        config,
        data=data,
        nats__url=nats,
        bridge__http=http,
        bridge__grpc=grpc,
        bridge__a2a_03=legacy or None,
        executor__agents=named or None,
    )
    serve_part(part, source, Output(json=json))


def serve_part(part: options.Part, source: Source, output: Output) -> None:
    """Run a part until SIGTERM, and say when it is ready; SIGHUP reads files anew."""
    from pelton.adapters.cli.parts import run_part

    def ready(facts: Mapping[str, object]) -> None:
        detail = f" {facts['url']}" if "url" in facts else ""
        output.result({"event": "ready", **facts}, [f"ready{detail}"])

    run_part(part, source.read(), source, ready=ready)
