"""The options that commands share, and the settings that they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import typer

from pelton.runtime.setting_source import Source
from pelton.runtime.settings import Settings

Part = Literal["bridge", "executor", "projector"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, errors too.")]
Data = Annotated[
    str | None, typer.Option("--data", metavar="DIR", help="Data directory; default .pelton.")
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file; default pelton.toml."),
]
Agent = Annotated[
    list[str] | None,
    typer.Option("--agent", metavar="AGENT", help="Another way to name an agent, any number of."),
]
Grpc = Annotated[
    str | None,
    typer.Option("--grpc", metavar="HOST:PORT", help="Where a bridge listens for gRPC too."),
]
Legacy = Annotated[
    bool, typer.Option("--a2a-0.3", help="Let a bridge speak A2A 0.3 too, beside 1.0.")
]
Nats = Annotated[
    str | None,
    typer.Option(
        "--nats",
        metavar="URL",
        help="NATS server; default: that of the running pelton dev. Others on this machine can"
        " read your command lines: a password is better kept in PELTON_NATS_URL.",
    ),
]

File = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="A session file, in the place of a server."),
]

Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="How many.")]
After = Annotated[
    str, typer.Option("--after", metavar="CURSOR", help="Go on where a page has ended.")
]


def settings(config: Path | None, **flags: object) -> Settings:
    """Return the settings, with flags named as the settings are, `__` for the dot."""
    return source(config, **flags).read()


def source(config: Path | None, **flags: object) -> Source:
    """Return where the settings are from, to read them more than once."""
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return Source(config, os.environ, named)
