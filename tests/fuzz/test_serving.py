"""A small and always equal share of what `make fuzz` does with a bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fuzz.serving import Place, bridge
from tests.fuzz.sockets import Speaker, bodies


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
    """Of its own API it takes a few more for links to be among them: few operations have some."""
    ran = await place.schemathesis(
        document, "--seed", "1", "--generation-deterministic", "--max-examples", str(examples)
    )
    assert ran.held, ran.said
    assert ran.requests > least, ran.said
    assert ran.links, ran.said


@pytest.mark.accepts("AS-26", "AS-42")
async def test_any_body_has_a_json_rpc_answer_on_the_same_connection(place: Place) -> None:
    async with Speaker(place.url, place.key) as speaker:
        for body in bodies(1):
            await speaker.ask(body)
