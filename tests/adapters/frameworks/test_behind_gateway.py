"""Agents that act by themselves ask their models through the gateway, for as long as they live."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pelton.adapters.frameworks.acp import AcpAdapter
from pelton.adapters.frameworks.codex import CodexAdapter
from pelton.adapters.frameworks.contract import Adapter
from pelton.adapters.frameworks.hermes import HermesAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.gateway.server import Gateway
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import FailureClass, StepCompleted, UsageReported
from pelton.runtime.budgets import Budgets
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import ScriptedModel, call, say
from tests.adapters.frameworks.kits import FRAMEWORKS, KITS
from tests.runtime.clients import Client, failure_in, only, serving

NAMES = pytest.mark.parametrize("name", ["acp", "codex"])
KEY = "key-of-the-provider"


@asynccontextmanager
async def served(
    name: str, log: JetStreamLog, model: ScriptedModel, **settings: Any
) -> AsyncGenerator[Client]:
    """Serve an agent whose model is where its environment, or what it is told, says."""
    given = GatewaySettings(**settings)
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{model.url}/v1"}
    async with (
        Gateway(given, environ=environ) as gateway,
        Budgets(given, log) as budgets,
        serving(log, KITS[name].agent("-"), gateway=gateway, budgets=budgets),
    ):
        yield Client(log, name)


@NAMES
async def test_a_process_that_is_kept_goes_on_asking_through_it(
    name: str, model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(call("add", a=2, b=3), say("It is 5."), say("Ada."))
    async with served(name, log, model) as client:
        context, task = await client.send("I am Ada. 2 + 3?")
        await client.settled(context, task, within=30)
        context, task = await client.send("Who am I?", context)
        ended = await client.settled(context, task, within=30)
        events = await client.events(context)
    assert text_of(only(ended).parts) == "Ada."
    assert model.asked[2].lines[-1].text == "Who am I?", "it was told what is new alone"
    assert {each.headers["authorization"] for each in model.asked} == {f"Bearer {KEY}"}
    calls = [
        each.key
        for each in events
        if isinstance(each, StepCompleted) and each.key.startswith("model:tool/")
    ]
    used = [each.key for each in events if isinstance(each, UsageReported)]
    assert len(calls) == 3, "each is recorded"
    assert len(used) == 3, "and counted once"


def _gemini() -> Adapter:
    command = ("gemini", "--acp", "--model", "gemini-2.5-flash")
    return AcpAdapter(command, name="gemini", auth="gemini-api-key")


def _codex() -> Adapter:
    return CodexAdapter(thread={"model": "scripted", "sandbox": "read-only"})


def _hermes() -> Adapter:
    return HermesAdapter("http://127.0.0.1:1/v1", "scripted", key="another", routed=True)


@pytest.mark.parametrize(
    ("name", "make"), [("codex", _codex), ("gemini", _gemini), ("hermes", _hermes)]
)
async def test_programs_as_they_are_go_where_they_are_led(
    name: str, make: Callable[[], Adapter], model: ScriptedModel, log: JetStreamLog
) -> None:
    """They have no key, and no other way to a model: `make test-frameworks` has them."""
    if name not in os.environ.get(FRAMEWORKS, "").split(","):
        pytest.skip(f"{name} is not installed: make test-frameworks")
    model.script(say("Hello yourself."))
    environ = {
        **dict.fromkeys(("OPENAI_API_KEY", "GEMINI_API_KEY"), KEY),
        "OPENAI_BASE_URL": f"{model.url}/v1",
        "GOOGLE_GEMINI_BASE_URL": model.url,
    }
    async with (
        Gateway(GatewaySettings(), environ=environ) as gateway,
        serving(log, as_agent(make(), name="coder"), gateway=gateway),
    ):
        client = Client(log, "coder")
        context, task = await client.send("hello")
        ended = await client.settled(context, task, within=50)
        events = await client.events(context)
    assert text_of(only(ended).parts) == "Hello yourself."
    told = model.asked[0].headers
    assert KEY in (
        told.get("x-goog-api-key"),
        told.get("authorization", "").removeprefix("Bearer "),
    )
    assert [each for each in events if isinstance(each, UsageReported)], "it is counted"
    kinds = [each.key.partition("/")[0] for each in events if isinstance(each, StepCompleted)]
    assert "model:tool" in kinds, "it is recorded"


def test_hermes_is_told_its_executors_way_to_a_model() -> None:
    adapter = HermesAdapter("https://api.example.com/v1", "m", key=KEY, routed=True)
    route: Any = SimpleNamespace(url="http://{}".format, token="t", leads_to=bool)
    told = (adapter.furnished(route) or {})["config.yaml"]
    assert KEY not in told
    assert '"base_url":"http://openai","api_key":"t"' in told
    assert KEY in (adapter.furnished(None) or {})["config.yaml"]


@NAMES
async def test_what_ends_its_calls_ends_the_task(
    name: str, model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(call("add", a=2, b=3), say("It is 5."))
    async with served(name, log, model, task_calls=1) as client:
        context, task = await client.send("2 + 3?")
        ended = await client.settled(context, task, within=30)
        events = await client.events(context)
    assert ended.status.state is TaskState.FAILED
    failure = failure_in(events)
    assert (failure.kind, len(model.asked)) == (FailureClass.POLICY, 1)
    assert "gateway.task_calls" in failure.message
