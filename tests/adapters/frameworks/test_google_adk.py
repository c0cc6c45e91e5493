"""What agents of Google's ADK do beside talking: in parallel, with state, with people and data."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.adk import agents
from google.adk.agents import LlmAgent
from google.adk.code_executors.unsafe_local_code_executor import UnsafeLocalCodeExecutor
from google.adk.models.google_llm import Gemini
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.function_tool import FunctionTool
from google.adk.tools.long_running_tool import LongRunningFunctionTool
from google.adk.tools.tool_context import ToolContext
from google.genai import Client as Genai
from pydantic import BaseModel

from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.contract import AdapterError
from pelton.adapters.frameworks.google_adk import GoogleADKAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import text_of
from pelton.events.errors import InvalidInput
from pelton.events.events import StepCompleted
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.replay.session import task_session
from pelton.testing import rerun
from pelton.testing.models import Asked, Play, ScriptedModel, call, say
from tests.adapters.frameworks.kits import CLOSE, TERMS, add
from tests.runtime.clients import WORLD, Client, only, serving


class Weather(BaseModel):
    city: str
    rains: bool


def gemini(url: str) -> Gemini:
    options: Any = {"base_url": url, "httpx_async_client": httpx.AsyncClient(headers=CLOSE)}
    return Gemini(model="scripted", client=Genai(api_key="test", http_options=options))


def served(agent: Any) -> Any:
    return as_agent(GoogleADKAdapter(agent), name="tester", terms=TERMS)


def remember(word: str, tool_context: ToolContext) -> str:
    """Remember a word."""
    tool_context.state["word"] = word
    return "done"


def order(what: str) -> None:
    """Order something, which takes its time."""


class Toolset(BaseToolset):
    async def get_tools(self, *_: Any, **__: Any) -> list[BaseTool]:
        return [FunctionTool(add)]


ADK: Any = agents
"""With what is deprecated: there is nothing in its place for most yet."""
SOON_GONE = "ignore:.* is deprecated in favor of Workflow:DeprecationWarning"


@pytest.mark.accepts("AS-60")
@pytest.mark.filterwarnings(SOON_GONE)
async def test_agents_run_side_by_side_and_again_without_any_effect(
    log: JetStreamLog, effects: Path
) -> None:
    """What a call of a tool has done to the session is done again, though the tool is not run."""

    def play(asked: Asked) -> Play:
        if asked.lines[-1].role == "tool":
            return say("later", delay=0.1) if asked.tools == ("remember",) else say("at once")
        if asked.tools == ("remember",):
            return call("remember", word="tea")
        return call("add", a=1, b=2) if asked.tools else say(asked.said[0][1])

    def made(url: str) -> Any:
        left = LlmAgent(name="left", model=gemini(url), tools=[remember])
        right = LlmAgent(name="right", model=gemini(url), tools=[Toolset()])
        last = LlmAgent(name="last", model=gemini(url), instruction="The word is {word}.")
        both = ADK.ParallelAgent(name="both", sub_agents=[left, right])
        return served(ADK.SequentialAgent(name="all", sub_agents=[both, last]))

    client = Client(log, "tester")
    async with ScriptedModel(play) as model:
        async with serving(log, made(model.url)):
            context, id_ = await client.send("go")
            task = await client.settled(context, id_)
            events = await client.events(context)
        assert text_of(only(task).parts).startswith("The word is tea.")
        names = [e.key.partition(":")[0] for e in events if isinstance(e, StepCompleted)]
        assert sorted(names) == ["model"] * 5 + ["tool add", "tool remember"]
        asked = len(model.asked)
        session = await task_session(log, id_)
        verdict = await asyncio.to_thread(rerun, session, id_, made(model.url))
        assert verdict.divergence is None
        assert len(model.asked) == asked
    assert effects.read_text() == "add\n"


@pytest.mark.accepts("AS-60")
@pytest.mark.filterwarnings(SOON_GONE)
async def test_those_who_run_side_by_side_answer_in_their_order(log: JetStreamLog) -> None:
    def play(asked: Asked) -> Play:
        slow = asked.said[0][1].startswith("slow")
        return say("later", delay=0.1) if slow else say("at once")

    client = Client(log, "tester")
    async with ScriptedModel(play) as model:
        pair = [
            LlmAgent(name=name, model=gemini(model.url), instruction=name)
            for name in ("slow", "quick")
        ]
        async with serving(log, served(ADK.ParallelAgent(name="both", sub_agents=pair))):
            context, id_ = await client.send("go")
            task = await client.settled(context, id_)
    assert task.status.message is not None
    assert text_of(task.status.message.parts) == "later\n\nat once"


@pytest.mark.accepts("AS-60")
async def test_what_takes_its_time_is_asked_of_a_person(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(call("order", what="tea"), say("It comes."))
    client = Client(log, "tester")
    agent = LlmAgent(name="it", model=gemini(model.url), tools=[LongRunningFunctionTool(order)])
    async with serving(log, served(agent)):
        context, id_ = await client.send("tea")
        await client.asked(context, id_)
        await client.until(context, lambda state: not state.turning)
    agent = LlmAgent(name="it", model=gemini(model.url), tools=[LongRunningFunctionTool(order)])
    async with serving(log, served(agent)):
        await client.send("ordered", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
    assert text_of(only(task).parts) == "It comes."
    assert [line.text for line in model.asked[1].lines if line.role == "tool"] == ["ordered"]


@pytest.mark.accepts("AS-60")
async def test_what_is_no_text_is_an_artifact_of_data(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(say('{"city": "Ulm", "rains": true}'))
    agent = LlmAgent(name="it", model=gemini(model.url), output_schema=Weather)
    client = Client(log, "tester")
    async with serving(log, served(agent)):
        context, id_ = await client.send("Ulm?")
        task = await client.settled(context, id_)
    (part,) = only(task).parts
    assert part.data == {"city": "Ulm", "rains": True}


@pytest.mark.filterwarnings(SOON_GONE)
async def test_what_cannot_be_recorded_is_refused() -> None:
    agent = LlmAgent(name="it", model="gemini-x", code_executor=UnsafeLocalCodeExecutor())
    with pytest.raises(AdapterError, match="code executor of 'it'"):
        await GoogleADKAdapter(ADK.SequentialAgent(name="all", sub_agents=[agent])).start()


def test_a_reference_leads_to_an_agent() -> None:
    place = "tests.adapters.frameworks.test_google_adk"
    assert load_agent(f"google-adk:{place}:AGENT").name == "the-weather"
    with pytest.raises(InvalidInput, match="no agent of ADK"):
        load_agent(f"google-adk:{place}:TERMS")


AGENT = LlmAgent(name="the_weather", model=gemini("http://127.0.0.1"))
