"""`pelton doctor`: what is wrong, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pelton.adapters.cli import options
from pelton.adapters.cli.output import FAILED, OK, CommandFailed, Output

if TYPE_CHECKING:
    from pelton.runtime.diagnosis import Check

MARKS: Final = {"ok": "ok     ", "warn": "warn   ", "wrong": "WRONG  ", "unknown": "unknown"}
"""How lines about checks begin."""


def doctor(
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Look for what is wrong with the server, the log and this machine, and say what to do."""
    import asyncio
    from pathlib import Path

    from pelton.adapters.cli.connect import with_log
    from pelton.adapters.cli.parts import quiet, sealed_with
    from pelton.adapters.cli.stack import running
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.diagnosis import diagnose, wrong
    from pelton.runtime.jetstream.profiles import profile
    from pelton.runtime.settings import Settings

    given = options.settings(config, data=data, nats__url=nats)
    output = Output(json=json)
    quiet()
    try:
        settings = with_log(given)
    except CommandFailed as error:
        missing = wrong("server", str(error), "start pelton dev, or set nats.url")
        return _verdict([missing], output, shown=False)
    dev = running(settings.directory) if given.nats.url is None else None

    async def run(settings: Settings) -> list[Check]:
        assert settings.nats.url is not None  # see with_log
        checks: list[Check] = []
        async for check in diagnose(
            settings.nats.url.reveal().split(","),
            profile=profile(dev.profile if dev else settings.nats.profile),
            credentials=Path(settings.nats.credentials) if settings.nats.credentials else None,
            monitoring=dev.monitoring if dev else settings.nats.monitoring,
            data=settings.directory,
            world=RealWorld(),
            sealing=sealed_with(settings),
        ):
            checks.append(check)
            if not output.json:
                output.result(None, lines_of(check))
        return checks

    return _verdict(asyncio.run(run(settings)), output, shown=True)


def _verdict(checks: list[Check], output: Output, *, shown: bool) -> int:
    wrong = [check.name for check in checks if check.state == "wrong"]
    lines = [] if shown else [line for check in checks for line in lines_of(check)]
    verdict = f"wrong: {', '.join(wrong)}" if wrong else "nothing is wrong"
    output.result({"ok": not wrong, "checks": checks}, [*lines, verdict])
    return FAILED if wrong else OK


def lines_of(check: Check) -> list[str]:
    """Return what a check says, and what to do, for people."""
    line = f"{MARKS[check.state]}  {check.name:<12} {check.says}"
    return [line, f"{'':21} do: {check.remedy}"] if check.remedy else [line]
