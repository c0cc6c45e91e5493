"""`pelton status`: what waits for people, and what was counted for each agent (AS-18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns

if TYPE_CHECKING:
    from pelton.projections.read import ReadModels


def status(
    *,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Tell what waits for people, and count commands, duplicates, retries and dead letters."""
    import asyncio

    from pelton.adapters.cli.connect import read_models
    from pelton.projections.ledger import COUNTS

    settings = options.settings(config, data=data)

    async def run() -> dict[str, Any]:
        async with read_models(settings) as models:
            return await _counted(models)

    found = asyncio.run(run())
    rows = [
        [name, *(str(counts.get(each, 0)) for each in COUNTS)]
        for name, counts in found["agents"].items()
    ]
    lines = [
        *columns(
            [
                ["read up to", str(found["position"])],
                ["damaged records", str(found["damaged"])],
                ["open questions", f"{found['questions']} (pelton inbox)"],
                ["dead letters", f"{found['deadLetters']} (pelton dead-letters list)"],
            ]
        ),
        "",
        *columns([["AGENT", *(each.upper() for each in COUNTS)], *rows]),
    ]
    Output(json=json).result(found, lines)


async def _counted(models: ReadModels) -> dict[str, Any]:
    from pelton.projections.ledger import COUNTS

    counts = await models.ledgers.counts()
    return {
        "position": (await models.position()).sequence,
        "damaged": await models.damaged(),
        "questions": (await models.ledgers.inbox(page_size=1)).total,
        "deadLetters": (await models.ledgers.dead_letters(page_size=1)).total,
        "agents": {
            agent: {each: named.get(each, 0) for each in COUNTS} for agent, named in counts.items()
        },
    }
