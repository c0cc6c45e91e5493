"""`pelton usage`: what turns took, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns

if TYPE_CHECKING:
    from pelton.projections.ledgers import UsageEntry
    from pelton.projections.pages import Page

Sums = Literal["total", "agent", "context", "model", "principal", "day"]


def usage(
    *,
    by: Annotated[
        Sums,
        typer.Option(
            "--by", metavar="BY", help="total, agent, context, model, principal or day (UTC)."
        ),
    ] = "agent",
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="Only this agent's turns.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="WHEN", help="From that day on: a time (ISO 8601), or ago (24h, 30d)."
        ),
    ] = None,
    limit: options.Limit = 50,
    after: options.After = "",
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Add up what turns took: tokens, cost and time, from the read models."""
    import asyncio

    from pelton.adapters.api.shapes import (
        UsageView,
    )
    from pelton.adapters.cli.connect import read_models
    from pelton.adapters.cli.tail import moment
    from pelton.projections.ledgers import By

    settings = options.settings(config, data=data)
    since = moment(start).strftime("%Y-%m-%d") if start else ""

    async def run() -> Page[UsageEntry]:
        async with read_models(settings) as models:
            return await models.ledgers.usage(
                By(by), agent=agent, since=since, page_size=limit, cursor=after
            )

    page = asyncio.run(run())
    found = [UsageView.of(each) for each in page.items]
    rows = [
        [
            *(each.name or "-", str(each.turns), f"{each.busy_seconds:.1f} s", str(each.calls)),
            *(str(each.input_tokens), str(each.cached_tokens), str(each.output_tokens)),
            *(f"{each.cost:.4f}", f"{each.call_seconds:.1f} s"),
        ]
        for each in found
    ]
    heading = [by.upper(), "TURNS", "WORKED", "CALLS", "TOKENS IN", "CACHED", "OUT", "COST", "TOOK"]
    lines = columns([heading, *rows]) if rows else ["nothing was used"]
    if page.next:
        lines.append(f"{page.total} in all; go on with --after {page.next}")
    Output(json=json).result({"usage": found, "total": page.total, "next": page.next}, lines)
