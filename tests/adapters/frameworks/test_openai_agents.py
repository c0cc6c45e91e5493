"""What agents of OpenAI's Agents SDK do beside talking: hand over, give data, be refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    Model,
    OpenAIResponsesModel,
    function_tool,
    handoff,
)
from agents.mcp import MCPServerStdio
from openai import AsyncOpenAI

from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.contract import AdapterError
from pelton.adapters.frameworks.openai_agents import OpenAIAgentsAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import TaskState, text_of
from pelton.events.errors import InvalidInput
from pelton.events.events import FailureClass, StepCompleted, TurnEnded
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import ScriptedModel, call, say
from tests.adapters.frameworks.kits import CLOSE, TERMS
from tests.runtime.clients import WORLD, Client, only, serving


@dataclass
class Weather:
    city: str
    rains: bool


def asked(url: str) -> Model:
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, default_headers=CLOSE)
    return OpenAIResponsesModel("scripted", client)


def served(agent: Agent[Any]) -> Any:
    return as_agent(OpenAIAgentsAdapter(agent), name="tester", terms=TERMS)


@function_tool
def forecast(city: str) -> Weather:
    """Tell the weather."""
    return Weather(city, rains=True)


@function_tool(needs_approval=True)
def book(city: str) -> str:
    """Book."""
    return f"booked {city}"


@pytest.mark.accepts("AS-60")
async def test_what_an_agent_hands_over_to_is_recorded_too(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(
        call("transfer_to_expert"), call("forecast", city="Ulm"), call("transfer_to_desk"), say("!")
    )
    desk = Agent(name="desk", model=asked(model.url))
    expert = Agent(name="expert", model=asked(model.url), tools=[forecast], handoffs=[desk])
    desk.handoffs = [handoff(expert)]  # in a circle
    client = Client(log, "tester")
    async with serving(log, served(desk)):
        context, id_ = await client.send("Ulm?")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert text_of(only(task).parts) == "!"
    keys = [e.key for e in events if isinstance(e, StepCompleted)]
    assert keys == ["model#1", "model#2", "tool forecast:call_2_0", "model#3", "model#4"]
    assert [asked.tools for asked in model.asked][:2] == [
        ("transfer_to_expert",),
        ("forecast", "transfer_to_desk"),
    ]


@pytest.mark.accepts("AS-60")
async def test_what_is_no_text_is_an_artifact_of_data(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(call("forecast", city="Ulm"), say('{"response": {"city": "Ulm", "rains": true}}'))
    agent = Agent(name="it", model=asked(model.url), tools=[forecast], output_type=Weather)
    client = Client(log, "tester")
    async with serving(log, served(agent)):
        context, id_ = await client.send("Ulm?")
        task = await client.settled(context, id_)
    (part,) = only(task).parts
    assert part.data == {"city": "Ulm", "rains": True}
    assert "Ulm" in next(line.text for line in model.asked[1].lines if line.role == "tool")


@pytest.mark.accepts("AS-60")
async def test_a_person_may_refuse(model: ScriptedModel, log: JetStreamLog) -> None:
    model.script(call("book", city="Ulm"), say("Not booked."))
    client = Client(log, "tester")
    async with serving(log, served(Agent(name="it", model=asked(model.url), tools=[book]))):
        context, id_ = await client.send("Book it.")
        await client.asked(context, id_)
        await client.send("denied", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
    assert text_of(only(task).parts) == "Not booked."
    told = [line.text for line in model.asked[1].lines if line.role == "tool"]
    assert told == ["A person has refused this."]


async def nothing(*_: object) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)


NOTHING_PASSES: InputGuardrail[Any] = InputGuardrail(guardrail_function=nothing)


@pytest.mark.accepts("AS-60")
async def test_a_guardrail_that_stops_an_agent_is_a_policy(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    agent: Agent[Any] = Agent(name="it", model=asked(model.url), input_guardrails=[NOTHING_PASSES])
    model.script(say("Never mind."))
    client = Client(log, "tester")
    async with serving(log, served(agent)):
        context, id_ = await client.send("hello")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert task.status.state is TaskState.FAILED
    (ended,) = [e for e in events if isinstance(e, TurnEnded)]
    assert ended.failure is not None
    assert ended.failure.kind is FailureClass.POLICY


async def test_what_cannot_be_recorded_is_refused() -> None:
    server = MCPServerStdio({"command": "nothing"})
    within = Agent(name="within", tools=[book])
    for agent, says in (
        (Agent(name="it", mcp_servers=[server]), "MCP servers of 'it'"),
        (Agent(name="it", tools=[within.as_tool("asks", None)]), "a question within 'asks'"),
    ):
        over = Agent(name="over", handoffs=[agent])
        with pytest.raises(AdapterError, match=says):
            await OpenAIAgentsAdapter(over).start()


def test_a_reference_leads_to_an_agent() -> None:
    place = "tests.adapters.frameworks.test_openai_agents"
    assert load_agent(f"openai-agents:{place}:AGENT").name == "the-weather"
    with pytest.raises(InvalidInput, match=r"no `agents.Agent`"):
        load_agent(f"openai-agents:{place}:TERMS")


AGENT: Agent[Any] = Agent(name="The weather", tools=[forecast])
