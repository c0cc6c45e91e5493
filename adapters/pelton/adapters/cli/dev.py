"""`pelton dev`: everything in one terminal."""

from __future__ import annotations

import contextlib
from typing import Annotated, Final

import typer
from msgspec.structs import replace

from pelton.adapters.cli import options
from pelton.adapters.cli.output import FAILED, OK, Output
from pelton.runtime.setting_source import Source
from pelton.runtime.settings import Settings

HELLO: Final = "pelton.adapters.cli.hello:hello"
"""The agent that runs when none is named."""

_SAME: Final = 0.5
"""Seconds within which a second signal is the first one again: shells and `timeout` send two."""
_SLACK: Final = 3.0
"""Seconds that the parts have beyond the executors' own budget."""


def dev(
    agents: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[AGENT]...",
            help="module:name, path/to/file.py[:name], agent.toml, an entry point of"
            " pelton.agents, or an agent of another kind: model:PROVIDER/NAME,"
            " cli:PROGRAM ARGUMENT…, and sdk:, langgraph: or pydantic-ai: before module:name;"
            " without any, a hello agent.",
        ),
    ] = None,
    *,
    agent: options.Agent = None,
    http: Annotated[
        str | None, typer.Option("--http", metavar="HOST:PORT", help="Where the bridge listens.")
    ] = None,
    grpc: options.Grpc = None,
    legacy: options.Legacy = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="P", help="Durability: durable (default) or relaxed."),
    ] = None,
    executors: Annotated[
        int, typer.Option("--executors", min=1, max=64, help="How many executor processes.")
    ] = 1,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Run everything in this terminal: nats-server, bridge, projector and executors."""
    source = options.source(
        config,
        data=data,
        bridge__http=http,
        bridge__grpc=grpc,
        bridge__a2a_03=legacy or None,
        nats__profile=profile,
        executor__agents=[*(agents or ()), *(agent or ())] or None,
    )
    return everything(source.read(), source, executors=executors, output=Output(json=json))


def everything(settings: Settings, source: Source, *, executors: int, output: Output) -> int:
    """Run everything until told to stop; return the exit code. `source` is watched for changes.

    Raises:
        SettingsError: the profile is not for one machine.
    """
    import asyncio

    from pelton.runtime.settings import SettingsError

    if settings.nats.profile == "cluster":
        raise SettingsError("--profile: cluster is for pelton serve against three servers")
    given = settings.executor.agents or (HELLO,)
    _take_turns()
    return asyncio.run(_dev(settings, source, given, executors, output))


def _take_turns() -> None:
    """Have no part interrupt another when it wakes up; on Linux, and children inherit it.

    A message goes through the parts one after the other, and they share the processors. One that
    may finish what it has hands on more at once: two processors with 64 clients did a tenth more,
    with half of the switches between processes, and a fifth less work for the nats-server.
    """
    import os
    import sys

    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may refuse it: then as it was
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def _dev(
    settings: Settings, source: Source, agents: tuple[str, ...], executors: int, output: Output
) -> int:
    import asyncio
    import secrets
    import signal

    from pelton.adapters.cli.orders import hung_up
    from pelton.adapters.cli.parts import quiet
    from pelton.adapters.cli.stack import Stack, printer
    from pelton.adapters.identity.admission import far_names
    from pelton.runtime.jetstream.profiles import profile as profile_of

    quiet()
    profile = profile_of(settings.nats.profile)
    output.result(
        {"event": "profile", "name": profile.name, "survives": profile.survives},
        [f"profile {profile.name}: an accepted message survives {profile.survives}"],
    )
    if settings.log.format == "auto" and not output.json:
        settings = replace(settings, log=replace(settings.log, format="console"))
    say = printer(_stderr, names=["nats-server", "projector", f"executor-{executors}"])
    stopping, hurry = asyncio.Event(), asyncio.Event()

    signals: list[float] = []

    def signalled() -> None:
        now = asyncio.get_running_loop().time()
        if signals and now - signals[0] > _SAME:
            hurry.set()
        signals.append(now)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    token = "" if far_names(settings) else secrets.token_urlsafe(24)
    async with Stack(
        settings, agents=agents, executors=executors, say=say, source=source, debug=token
    ) as stack:
        hangup = hung_up(signalled, stack.reload)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup)
        starting = asyncio.create_task(stack.start())
        told = asyncio.create_task(stopping.wait())
        await asyncio.wait((starting, told), return_when="FIRST_COMPLETED")
        told.cancel()
        if not starting.done():  # told to stop before it was ready
            starting.cancel()
            await asyncio.wait((starting,))
            return OK
        starting.result()
        output.result(
            {"event": "ready", "url": stack.http, "debug": stack.debug},
            [f"ready {stack.http}", *([f"debug {stack.debug}"] if stack.debug else [])],
        )
        await stopping.wait()
        output.note("stopping: what runs may end; once more to end at once")
        ending = asyncio.create_task(stack.stop(within=settings.executor.stop_within + _SLACK))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((ending, hurried), return_when="FIRST_COMPLETED")
        in_order = ending.done() and ending.result()
        hurried.cancel()
        ending.cancel()
    output.result(
        {"event": "stopped", "inOrder": in_order}, ["stopped" if in_order else "stopped at once"]
    )
    return OK if in_order else FAILED


def _stderr(text: str) -> None:
    import sys

    sys.stderr.write(text)
