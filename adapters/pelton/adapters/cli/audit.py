"""`pelton audit`: who did what, and what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns

if TYPE_CHECKING:
    from pelton.projections.pages import Page
    from pelton.runtime.audit import AuditEntry


_NOTHING = ("nothing was done", "nothing was refused")


def audit(
    *,
    principal: Annotated[
        str, typer.Option("--principal", metavar="ID", help="Only what this one did.")
    ] = "",
    agent: Annotated[
        str, typer.Option("--agent", metavar="NAME", help="Only what was asked of this agent.")
    ] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="Begin later: a sequence, a time (ISO 8601), or ago (90s, 5m, 1h, 2d).",
        ),
    ] = None,
    limit: options.Limit = 50,
    after: options.After = "",
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List who did what, as the log has it: what was asked, by whom, and what was decided."""
    from msgspec import structs

    from pelton.adapters.api.shapes import (
        AuditView,
    )
    from pelton.adapters.cli.connect import on_reader, read_models
    from pelton.adapters.cli.tail import begin_after
    from pelton.runtime.audit import Wanted, models_of
    from pelton.runtime.audit import audit as audited
    from pelton.runtime.replay.session import Reader, Session

    settings = options.settings(config, data=data, nats__url=nats)
    wanted = Wanted(principal=principal, agent=agent, refused=refused)

    async def run(reader: Reader) -> Page[AuditEntry]:
        begin = await begin_after(reader, start) if start else 0
        own = models_of(reader) if isinstance(reader, Session) else read_models(settings)
        async with own as models:
            return await audited(models, reader, wanted, after=begin, size=limit, cursor=after)

    page = on_reader(settings, file, run)
    rows = [
        [
            *(str(each.sequence), each.time, each.principal, each.agent or "-"),
            *(each.command or ", ".join(each.events), each.task_id or each.context_id or "-"),
            f"{each.decision}{f': {each.code}, {each.reason}' if each.code else ''}",
        ]
        for each in page.items
    ]
    heading = ["SEQUENCE", "TIME", "WHO", "AGENT", "WHAT", "OF", "DECIDED"]
    lines = columns([heading, *rows]) if rows else [_NOTHING[refused]]
    if page.next:
        lines.append(f"{page.total} in all; go on with --after {page.next}")
    shown = [AuditView(**structs.asdict(each)) for each in page.items]
    Output(json=json).result({"audit": shown, "total": page.total, "next": page.next}, lines)
