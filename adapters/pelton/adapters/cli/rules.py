"""`pelton policy`: what a rule would have said of what has happened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns, many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pelton.runtime.backtest import Backtest
    from pelton.runtime.replay.session import Reader

app = typer.Typer(
    help="Rules over what agents do: what they would have stopped, or asked about.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def policy() -> None:
    """Rules over what agents do: what they would have stopped, or asked about."""


@app.command("check")
def check(
    *,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Tell whether the policies, hooks, plugins and skills of all agents can be loaded."""
    from pelton.adapters.cli.plugins import outfit_of, single

    settings = options.settings(config, data=data)
    found = {name or "all agents": outfit_of(settings, name) for name in ("", *single(settings))}
    lines = [
        f"{name}: {len(each.policies)} policies, {len(each.hooks)} hooks, {len(each.skills)} skills"
        for name, each in found.items()
    ]
    Output(json=json).result({name: each.equipment for name, each in found.items()}, lines)


@app.command("backtest")
def backtest(
    rule: Annotated[
        str, typer.Argument(metavar="RULE", help="A rule in CEL, or a file that holds one.")
    ],
    *,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="Begin there: start, a sequence, a time (ISO 8601), or ago (90s, 5m, 1h, 30d).",
        ),
    ] = "start",
    agent: Annotated[
        str, typer.Option("--agent", metavar="NAME", help="Only this agent's calls.")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=10_000, help="How many hits are listed.")
    ] = 20,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Tell which recorded calls a rule would have stopped, or asked a person about."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.startup import release_rich
    from pelton.adapters.cli.tail import begin_after
    from pelton.runtime import backtest as backtests
    from pelton.runtime.rules import Rule

    release_rich()  # what reads CEL has a terminal of its own, which wants it
    read = Rule(_text(rule))

    async def run(reader: Reader) -> Backtest:
        after = await begin_after(reader, start)
        return await backtests.backtest(reader, read, after=after, agent=agent, most=limit)

    found = on_reader(options.settings(config, data=data, nats__url=nats), file, run)
    Output(json=json).result(found, _told(found))


def _text(rule: str) -> str:
    """Return the text of a rule: a name of a file that is there stands for what it holds."""
    try:
        return Path(rule).read_text(encoding="utf-8") if Path(rule).is_file() else rule
    except (OSError, ValueError):  # a rule may be longer than a name, or hold what none may
        return rule


def _told(found: Backtest) -> Iterator[str]:
    counted = ", ".join(f"{number} {ruling}" for ruling, number in found.rulings.items())
    hit = sum(group[4] for group in found.groups)
    yield f"{found.calls} calls: {counted}" + (
        f"; hits in {many(found.tasks, 'task')}" if hit else ""
    )
    if found.failed:
        yield f"the rule could not tell of {found.failed}: those are denied"
    if found.groups:
        heading = ["RULING", "AGENT", "KIND", "NAME", "CALLS"]
        rows = [[*group[:3], group[3] or "-", str(group[4])] for group in found.groups]
        yield from columns([heading, *rows])
    for each in found.hits:
        call = each.call
        what = f"{call.kind} {call.name or repr(call.text[:60])}"
        yield (
            f"{each.sequence:>7}  {call.time:%Y-%m-%d %H:%M:%S}  {each.ruling}  {call.agent} {what}"
            f"  for {call.principal}  {call.task}{f': {each.problem}' if each.problem else ''}"
        )
    if hit > len(found.hits):
        yield f"{hit - len(found.hits)} more; --limit shows more of them"
