"""`pelton check`: whether an agent by file could be started here, and what it lacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.doctor import lines_of
from pelton.adapters.cli.output import FAILED, OK, UNAVAILABLE, Output

if TYPE_CHECKING:
    from pelton.runtime.agent_file import Described
    from pelton.runtime.diagnosis import Check
    from pelton.runtime.settings import Settings

File = Annotated[Path, typer.Argument(metavar="FILE", help="The agent file, agent.toml.")]

_SERVER: Final = "server"


def check(
    file: File,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Look whether an agent could be started here: variables, packages, files, programs, server."""
    import asyncio

    from pelton.adapters.cli.parts import quiet
    from pelton.adapters.cli.startup import release_rich
    from pelton.runtime import agent_file

    release_rich()  # what reads CEL has a terminal of its own, which wants it
    quiet()
    settings = options.settings(config, data=data, nats__url=nats)
    described = agent_file.load(file)
    checks = asyncio.run(_checks(described, settings))
    return verdict(described.says.name, checks, Output(json=json))


async def _checks(described: Described, settings: Settings) -> tuple[Check, ...]:
    from pelton.adapters.cli.detours import models
    from pelton.adapters.cli.preflight import look, times
    from pelton.adapters.cli.references import environ_of
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.diagnosis import disk

    agent, checks = await look(described, environ_of(settings))
    if agent is not None:
        led = models(described.reference, settings.gateway, os.environ)
        checks = (*checks, *times(agent, RealWorld()), *([] if led is None else [led]))
    return (*checks, disk(settings.directory), await _server(settings))


async def _server(settings: Settings) -> Check:
    """Look whether the server of the settings answers, if they name one or one runs here."""
    from pelton.adapters.cli.connect import with_log
    from pelton.adapters.cli.output import CommandFailed
    from pelton.adapters.cli.parts import open_log
    from pelton.events.errors import PeltonError
    from pelton.runtime.diagnosis import ok, wrong

    try:
        async with open_log(with_log(settings), name="check"):
            return ok(_SERVER, "it answers, and has the log")
    except CommandFailed:
        return ok(_SERVER, "none is named: pelton run starts one of its own")
    except PeltonError as error:
        return wrong(_SERVER, str(error), "start it, or mend nats.url: pelton doctor says more")


def verdict(agent: str, checks: tuple[Check, ...], output: Output) -> int:
    """Print what was looked at; return the exit code that says the same."""
    wrong = [each.name for each in checks if each.state == "wrong"]
    warned = sum(each.state == "warn" for each in checks)
    said = f"{agent} is not ready: {', '.join(wrong)}" if wrong else f"{agent} is ready"
    if warned and not wrong:
        said += f", with {warned} warning{'s' if warned > 1 else ''}"
    lines = [line for each in checks for line in lines_of(each)]
    output.result({"ok": not wrong, "agent": agent, "checks": checks}, [*lines, said])
    if not wrong:
        return OK
    return UNAVAILABLE if wrong == [_SERVER] else FAILED
