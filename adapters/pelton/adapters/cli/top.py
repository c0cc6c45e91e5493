"""`pelton top`: how all agents stand, looked at again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns

if TYPE_CHECKING:
    from pelton.projections.read import ReadModels
    from pelton.runtime.log import Log

HEAD: Final = (
    *("AGENT", "STATUS", "EXEC", "RUN", "WAIT", "QUEUE", "CMD/S", "TURN/S", "RETRY/S"),
    *("DEAD", "TOKENS", "COST"),
)
_RATES: Final = ("commands", "turns", "retries")


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An agent. `running` are its turns in hand, `waiting` its others; `queue` are commands.

    `counts` are those of `pelton status`; `rates` how much these have grown a second since the look
    before, if there was one; `tokens` are input and output, `cost` in the operator's currency.
    """

    name: str
    status: str
    executors: int
    running: int
    waiting: int
    queue: int
    counts: dict[str, int]
    rates: dict[str, float]
    tokens: int
    cost: float

    def cells(self) -> tuple[str, ...]:
        """Return what a table shows of it."""
        rates = [f"{self.rates[name]:.1f}" if self.rates else "-" for name in _RATES]
        return (
            *(self.name, self.status, str(self.executors), str(self.running), str(self.waiting)),
            *(str(self.queue), *rates, str(self.counts.get("dead-letters", 0))),
            *(str(self.tokens), f"{self.cost:.2f}"),
        )


class Look(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How everything stands. `lag` is how many records the read models are behind the log.

    `trouble` says why, if not all could be looked at.
    """

    position: int = 0
    lag: int = 0
    questions: int = 0
    dead_letters: int = 0
    damaged: int = 0
    agents: tuple[Row, ...] = ()
    trouble: str = ""

    def line(self) -> str:
        """Return what stands above the table."""
        if self.trouble:
            return f"cannot look: {self.trouble}"
        said = (
            f"read up to {self.position}, lag {self.lag}; open questions {self.questions};"
            f" dead letters {self.dead_letters}"
        )
        return f"{said}; damaged records {self.damaged}" if self.damaged else said


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once, and print that.")] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.2, help="Between two looks.")
    ] = 2.0,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Show how agents stand, what runs and waits, rates and spend, until interrupted.

    With --json, or where the output is no terminal, it looks once.
    """
    import asyncio
    import contextlib
    import sys

    from pelton.adapters.cli.connect import open_log, read_models

    settings = options.settings(config, data=data, nats__url=nats)

    async def run() -> None:
        async with open_log(settings) as log, read_models(settings) as models:
            if once or json or not sys.stdout.isatty():
                found = await look(log, models)
                lines = [found.line(), "", *columns([HEAD, *(row.cells() for row in found.agents)])]
                Output(json=json).result(found, lines)
            else:
                await watch(log, models, every)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


async def look(
    log: Log, models: ReadModels, before: Look | None = None, since: float = 0.0
) -> Look:
    """Return how everything stands; with the look before, so many seconds ago, rates too."""
    from pelton.adapters.cli.agents import standings
    from pelton.adapters.telemetry.standing import RUNNING, AgentStanding
    from pelton.adapters.telemetry.standing import look as look_at

    standing = await look_at(log, models)
    earlier = {row.name: row.counts for row in before.agents} if before is not None else {}
    rows: list[Row] = []
    for state, seen in await standings(log):
        name = state.agent
        agent = standing.agents.get(name, AgentStanding())
        grown = earlier.get(name)
        rates = (
            {each: (agent.counts.get(each, 0) - grown.get(each, 0)) / since for each in _RATES}
            if grown is not None
            else {}
        )
        running = agent.turns.get(RUNNING, 0)
        rows.append(
            Row(
                name=name,
                status=str(seen["status"]),
                executors=len(seen["executors"]),
                running=running,
                waiting=sum(agent.turns.values()) - running,
                queue=agent.queue.commands,
                counts=agent.counts,
                rates=rates,
                tokens=agent.input_tokens + agent.output_tokens,
                cost=agent.cost / 1e9,
            )
        )
    return Look(
        position=standing.position,
        lag=standing.lag,
        questions=standing.questions,
        dead_letters=standing.dead_letters,
        damaged=standing.damaged,
        agents=tuple(rows),
    )


async def watch(log: Log, models: ReadModels, every: float) -> None:
    """Show it on the terminal, for ever; what cannot be looked at now is looked at again."""
    import asyncio

    from pelton.adapters.cli.startup import release_rich

    release_rich()
    from rich.console import Console
    from rich.live import Live

    from pelton.events.errors import PeltonError
    from pelton.runtime.clock import RealWorld

    world = RealWorld()
    last, at = Look(), world.monotonic()
    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        while True:
            now = world.monotonic()
            try:
                found = await look(log, models, last if last.position else None, now - at)
            except PeltonError as error:
                found = msgspec.structs.replace(last, trouble=str(error))
            else:
                last, at = found, now
            live.update(_shown(found), refresh=True)
            await asyncio.sleep(every)


def _shown(found: Look) -> Any:
    """Return it as rich draws it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(HEAD[0], overflow="fold")  # gives way where the terminal is narrow
    table.add_column(HEAD[1], no_wrap=True)
    for name in HEAD[2:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.agents:
        table.add_row(*(Text(cell) for cell in row.cells()))  # no markup of an agent's making
    return Group(Text(found.line()), Text(""), table)
