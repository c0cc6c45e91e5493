"""`pelton schedules`: what is said to agents at which times."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns
from pelton.events.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from pelton.events.commands import ScheduleCommand
    from pelton.events.schedule import Schedule
    from pelton.events.schedules import Entry, Schedules
    from pelton.runtime.jetstream.log import JetStreamLog
    from pelton.runtime.settings import Settings

app = typer.Typer(
    help="Say things to agents at times: by cron expressions, or once.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_WITHIN: Final = 5.0
"""Seconds that an executor has to decide."""

T = TypeVar("T")

Agent = Annotated[str, typer.Argument(help="The agent's name.")]
Name = Annotated[str, typer.Argument(help="The schedule's name.")]


def _run(settings: Settings, call: Callable[[JetStreamLog], Awaitable[T]]) -> T:
    from pelton.adapters.cli.connect import on_log

    return on_log(settings, call)


async def _load(log: JetStreamLog, agent: str) -> Schedules:
    from pelton.events.ids import check_agent
    from pelton.runtime.aggregates import schedules_of
    from pelton.runtime.clock import RealWorld

    return await schedules_of(log, RealWorld()).load(check_agent(agent))


async def _existing(log: JetStreamLog, agent: str, name: str) -> tuple[Entry, Schedule]:
    from pelton.events.schedules import ScheduleNotFound

    entry = (await _load(log, agent)).entries.get(name)
    if entry is None or entry.schedule is None:
        raise ScheduleNotFound(
            f"the agent {agent!r} has no schedule {name!r}: pelton schedules list names them"
        )
    return entry, entry.schedule


async def _ask(log: JetStreamLog, settings: Settings, agent: str, change: Schedule | str) -> bool:
    """Ask for a schedule, or for the end of the one of that name; say whether it was decided.

    Raises:
        CommandFailed: it was refused.
    """
    import asyncio

    from pelton.events import subjects
    from pelton.events.commands import (
        RemoveSchedule,
        RemoveScheduleData,
        SetSchedule,
        SetScheduleData,
    )
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.timetable import ask, envelope

    tenant = settings.nats.tenant
    asked = envelope(RealWorld(), agent, actor="anonymous", tenant=tenant)
    command: ScheduleCommand
    if isinstance(change, str):
        command = RemoveSchedule(data=RemoveScheduleData(name=change), **asked)
    else:
        command = SetSchedule(data=SetScheduleData(schedule=change), **asked)
    moved = asyncio.Event()
    async with log.listen(subjects.schedule_commits(agent), lambda _: moved.set()):
        await ask(log, agent, command)
        try:
            async with asyncio.timeout(_WITHIN):
                while True:
                    moved.clear()
                    if command.id in (state := await _load(log, agent)).commands:
                        break
                    await moved.wait()
        except TimeoutError:
            return False
    if refused := state.rejected.get(command.id):
        raise CommandFailed(refused.reason, refused.code)
    return True


def _said(output: Output, agent: str, schedule: Schedule, *, decided: bool) -> None:
    import msgspec

    when = next(iter(_upcoming(schedule, 1)), "never") if schedule.enabled else "never: it is off"
    value = {"agent": agent, "schedule": msgspec.to_builtins(schedule), "decided": decided}
    output.result({**value, "next": when}, [f"{schedule.name} fires next: {when}"])
    if not decided:
        output.note("asked for: no executor of the agent is there, the next one decides")


def _upcoming(schedule: Schedule, count: int) -> list[str]:
    from itertools import islice

    from pelton.runtime.clock import RealWorld, rfc3339
    from pelton.runtime.slots import slots

    return list(islice(slots(schedule, rfc3339(RealWorld().now())), count))


@app.command("list")
def list_(
    agent: Annotated[str | None, typer.Argument(help="Only this agent's.")] = None,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the schedules of an agent, or of all."""
    from pelton.events import subjects

    settings = options.settings(config, data=data, nats__url=nats)

    async def run(log: JetStreamLog) -> list[Schedules]:
        if agent is not None:
            return [await _load(log, agent)]
        found = await log.latest(f"evt.*.{subjects.SCHEDULES}")
        return [await _load(log, subjects.parse(record.subject).agent) for record in found]

    found = [
        _entry(state.agent, entry, entry.schedule)
        for state in sorted(_run(settings, run), key=lambda state: state.agent)
        for _, entry in sorted(state.entries.items())
        if entry.schedule is not None
    ]
    rows = [
        [
            *(each["agent"], each["name"], each["cron"] or each["at"], each["zone"]),
            *(each["next"] or "never", each["last"] or "never", printable(each["text"])),
        ]
        for each in found
    ]
    head = ["AGENT", "NAME", "TIMES", "ZONE", "NEXT", "LAST", "SAYS"]
    lines = columns([head, *rows]) if rows else ["no schedules"]
    Output(json=json).result({"schedules": found}, lines)


def _entry(agent: str, entry: Entry, schedule: Schedule) -> dict[str, Any]:
    import msgspec

    from pelton.events.schedules import upcoming
    from pelton.runtime.slots import slots

    return {
        "agent": agent,
        **msgspec.to_builtins(schedule),
        "declared": entry.declared == schedule,
        "since": entry.since,
        "last": entry.last or None,
        "next": next(upcoming(entry, slots), None),
        "lastContext": entry.firings[-1].event.context_id if entry.firings else None,
    }


@app.command("set")
def set_(
    agent: Agent,
    name: Name,
    text: Annotated[str, typer.Argument(help="What it says to the agent.")],
    *,
    cron: Annotated[
        str, typer.Option("--cron", metavar="EXPR", help="When: '0 9 * * mon-fri', 5 or 6 fields.")
    ] = "",
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="When, once: 2026-12-24T18:00.")
    ] = "",
    zone: Annotated[
        str, typer.Option("--zone", metavar="ZONE", help="Time zone, as in Europe/Berlin.")
    ] = "UTC",
    context: Annotated[
        str,
        typer.Option("--context", metavar="ID", help="Go on with this conversation each time."),
    ] = "",
    missed: Annotated[
        str,
        typer.Option(
            "--missed", metavar="POLICY", help="Of slots nobody was there for: skip, once or all."
        ),
    ] = "skip",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100, help="With all: how many, at most.")
    ] = 10,
    grace: Annotated[
        int, typer.Option("--grace", min=0, help="Seconds after which a slot counts as missed.")
    ] = 60,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Set a schedule, or put another one in its place."""
    from pelton.events.ids import check_agent
    from pelton.events.schedule import Missed, Schedule
    from pelton.runtime.slots import check_times

    settings = options.settings(config, data=data, nats__url=nats)
    if missed not in set(Missed):
        raise CommandFailed(f"--missed is one of {', '.join(Missed)}, not {missed!r}", "usage")
    schedule = Schedule(
        name=name,
        text=text,
        cron=cron,
        at=at,
        zone=zone,
        context=context,
        missed=Missed(missed),
        limit=limit,
        grace=grace,
    )
    check_agent(agent)
    check_times(schedule)
    decided = _run(settings, lambda log: _ask(log, settings, agent, schedule))
    _said(Output(json=json), agent, schedule, decided=decided)


@app.command("remove")
def remove(
    agent: Agent,
    name: Name,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Remove a schedule; one that the agent's code declares comes back when the code changes it."""
    settings = options.settings(config, data=data, nats__url=nats)

    async def run(log: JetStreamLog) -> bool:
        await _existing(log, agent, name)
        return await _ask(log, settings, agent, name)

    decided = _run(settings, run)
    value = {"agent": agent, "name": name, "decided": decided}
    Output(json=json).result(value, [f"{name} is removed"])


@app.command("pause")
def pause(
    agent: Agent,
    name: Name,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Let a schedule have no slots until it is resumed."""
    _switch(agent, name, enabled=False, settings=_of(config, data, nats), json=json)


@app.command("resume")
def resume(
    agent: Agent,
    name: Name,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Let a schedule go on that was paused; what was in between is no slot of it."""
    _switch(agent, name, enabled=True, settings=_of(config, data, nats), json=json)


def _of(config: Path | None, data: str | None, nats: str | None) -> Settings:
    return options.settings(config, data=data, nats__url=nats)


def _switch(agent: str, name: str, *, enabled: bool, settings: Settings, json: bool) -> None:
    from msgspec.structs import replace

    async def run(log: JetStreamLog) -> tuple[Schedule, bool]:
        _, schedule = await _existing(log, agent, name)
        schedule = replace(schedule, enabled=enabled)
        return schedule, await _ask(log, settings, agent, schedule)

    schedule, decided = _run(settings, run)
    _said(Output(json=json), agent, schedule, decided=decided)


@app.command("next")
def next_(
    agent: Agent,
    name: Name,
    *,
    count: Annotated[int, typer.Option("--count", min=1, max=1000, help="How many.")] = 5,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Tell when a schedule fires next."""
    from itertools import islice

    from pelton.events.schedules import upcoming
    from pelton.runtime.slots import slots

    settings = options.settings(config, data=data, nats__url=nats)
    entry, _ = _run(settings, lambda log: _existing(log, agent, name))
    times = list(islice(upcoming(entry, slots), count))
    Output(json=json).result({"agent": agent, "name": name, "next": times}, times or ["never"])
