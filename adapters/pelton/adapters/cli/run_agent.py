"""`pelton run`: one agent by file, on a server that is there or one of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.check import File
from pelton.adapters.cli.output import Output


def run_agent(
    file: File,
    *,
    http: Annotated[
        str | None,
        typer.Option(
            "--http", metavar="HOST:PORT", help="Where the bridge listens, if there is no server."
        ),
    ] = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Run one agent: as an executor of the server that is named, or with all that it needs."""
    from pelton.adapters.cli.dev import everything
    from pelton.adapters.cli.serve import serve_part
    from pelton.runtime import agent_file

    agent_file.load(file)  # what is wrong with it is said before anything is started
    source = options.source(
        config, data=data, nats__url=nats, bridge__http=http, executor__agents=[str(file)]
    )
    output, settings = Output(json=json), source.read()
    if settings.nats.url is not None:
        serve_part("executor", source, output)
        return 0
    return everything(settings, source, executors=1, output=output)
