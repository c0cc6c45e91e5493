"""What agents of Pydantic AI can do beside talking: give data, and have tools that are no steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic_ai import Agent, Tool
from pydantic_ai.models.test import TestModel

from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.pydantic_ai import PydanticAIAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.events.events import StepCompleted
from pelton.runtime.jetstream.log import JetStreamLog
from tests.adapters.frameworks.kits import TERMS
from tests.runtime.clients import Client, only, serving


@dataclass
class Weather:
    city: str
    rains: bool


async def seen(city: str) -> str:
    """See."""
    return city


async def unseen(city: str) -> str:
    """See what nobody records."""
    return city


AGENT: Agent[None, Weather] = Agent(
    TestModel(custom_output_args={"city": "Ulm", "rains": True}),
    name="The weather",
    output_type=Weather,
    tools=[Tool(seen), Tool(unseen, metadata={"pelton": False})],
)


@pytest.mark.accepts("AS-60")
async def test_what_is_no_text_is_an_artifact_of_data(log: JetStreamLog) -> None:
    adapter: Any = PydanticAIAdapter(AGENT)
    client = Client(log, "weather")
    async with serving(log, as_agent(adapter, name="weather", terms=TERMS)):
        context, id_ = await client.send("Ulm?")
        task = await client.settled(context, id_)
        events = await client.events(context)
    (part,) = only(task).parts
    assert part.data == {"city": "Ulm", "rains": True}
    keys = [e.key for e in events if isinstance(e, StepCompleted)]
    assert keys == ["model#1", "tool seen#1", "model#2"]


def test_a_reference_leads_to_an_agent() -> None:
    place = "tests.adapters.frameworks.test_pydantic_ai"
    assert load_agent(f"pydantic-ai:{place}:AGENT").name == "the-weather"
    with pytest.raises(InvalidInput, match=r"no `pydantic_ai.Agent`"):
        load_agent(f"pydantic-ai:{place}:TERMS")
