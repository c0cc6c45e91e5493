"""A small and always equal share of what `make fuzz` does with a bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fuzz.serving import Place, bridge
from tests.fuzz.sockets import Speaker, bodies

SEEDS = 5
"""Any route that is added makes other requests of the same seed."""


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with bridge(tmp_path) as found:
        yield found


@pytest.mark.timeout(300)
@pytest.mark.accepts("AS-26", "AS-28", "AS-29", "AS-38", "AS-42")
@pytest.mark.parametrize(
    ("document", "least", "examples"), [("a2a.openapi.json", 500, 3), ("openapi.json", 200, 10)]
)
async def test_any_request_has_an_answer_of_the_document(
    place: Place, document: str, least: int, examples: int
) -> None:
    """Every run must hold; links are followed by chance, so that up to `SEEDS` of them are made."""
    for seed in range(1, SEEDS + 1):
        ran = await place.schemathesis(
            *(document, "--seed", str(seed), "--generation-deterministic"),
            *("--max-examples", str(examples)),
        )
        assert ran.held, ran.said
        assert ran.requests > least, ran.said
        if ran.links:
            return
    pytest.fail(f"no link was followed with {SEEDS} seeds")


@pytest.mark.accepts("AS-26", "AS-42")
async def test_any_body_has_a_json_rpc_answer_on_the_same_connection(place: Place) -> None:
    async with Speaker(place.url, place.key) as speaker:
        for body in bodies(1):
            await speaker.ask(body)
