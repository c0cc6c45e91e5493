"""`pelton adapters`: the frameworks that agents may be made with, and what is there of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns

app = typer.Typer(help="Show the adapters, and install what they need.", no_args_is_help=True)


@app.command("list")
def list_(*, json: options.Json = False) -> None:
    """List the adapters: which are ready, in which version, and what the others need."""
    from pelton.adapters.frameworks.catalogue import catalogue

    rows: list[dict[str, Any]] = [entry._asdict() for entry in catalogue()]
    shown = ((row["reference"], row["version"] or "-", row["needs"] or "ready") for row in rows)
    Output(json=json).result(rows, columns([("ADAPTER", "VERSION", "NEEDS"), *shown]))


@app.command()
def install(
    name: Annotated[str, typer.Argument(help="crewai or hermes.")],
    *,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            help="Install into DIRECTORY/NAME: set executor.environments to it, too.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Install a framework into an environment of its own, or bring it up to date."""
    import asyncio
    import os

    from pelton.adapters.frameworks import environments

    output = Output(json=json)
    root = into.resolve() if into else environments.root(os.environ)
    found = asyncio.run(environments.install(name, root / name, say=output.note))
    value = {"name": name, "version": found.version, "folder": str(root / name)}
    output.result(value, [f"{name} {found.version} is installed in {root / name}"])
