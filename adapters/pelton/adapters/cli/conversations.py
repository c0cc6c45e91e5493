"""`pelton sessions`: which conversations there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns, words

if TYPE_CHECKING:
    from pelton.projections.conversations import ConversationEntry
    from pelton.projections.pages import Page

_WORDS = 60
"""So many characters of what a conversation began with are printed."""


def sessions(
    agent: Annotated[str, typer.Argument(help="Only this agent's.")] = "",
    *,
    find: Annotated[
        str,
        typer.Option(
            "--find", metavar="TEXT", help="Only where this was said, or whose id begins with it."
        ),
    ] = "",
    handed_on: Annotated[
        bool, typer.Option("--handed-on", help="Those too that one agent has with another.")
    ] = False,
    limit: options.Limit = 50,
    after: options.After = "",
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List conversations, the latest record first, from the read models."""
    import asyncio

    from pelton.adapters.cli.connect import read_models
    from pelton.events.a2a import TaskState

    settings = options.settings(config, data=data)

    async def run() -> Page[ConversationEntry]:
        async with read_models(settings) as models:
            return await models.conversations.page(
                agent, find=find, handed_on=handed_on, page_size=limit, cursor=after
            )

    page = asyncio.run(run())
    rows = [
        [
            *(each.id, each.agent, str(each.tasks)),
            *(words(TaskState(each.state)) if each.state else "-", each.time),
            repr(each.text if len(each.text) <= _WORDS else f"{each.text[: _WORDS - 1]}…"),
        ]
        for each in page.items
    ]
    heading = ["CONTEXT", "AGENT", "TASKS", "LATEST", "SINCE", "BEGAN WITH"]
    lines = columns([heading, *rows]) if rows else ["no conversations"]
    if page.next:
        lines.append(f"{page.total} in all; go on with --after {page.next}")
    value = {"sessions": page.items, "total": page.total, "next": page.next}
    Output(json=json).result(value, lines)
