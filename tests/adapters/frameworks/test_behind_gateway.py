"""Agents that act by themselves ask their models through the gateway, for as long as they live."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pelton.adapters.frameworks.acp import AcpAdapter
from pelton.adapters.frameworks.codex import CodexAdapter
from pelton.adapters.frameworks.contract import Adapter
from pelton.adapters.frameworks.crewai import CrewAIAdapter
from pelton.adapters.frameworks.hermes import HermesAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.worker import WorkerAdapter
from pelton.adapters.gateway.server import Gateway
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import FailureClass, StepCompleted, UsageReported
from pelton.runtime.budgets import Budgets
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import ScriptedModel, call, say
from tests.adapters.frameworks.kits import FRAMEWORKS, KITS
from tests.runtime.clients import Client, failure_in, only, serving

NAMES = pytest.mark.parametrize("name", ["acp", "codex", "worker"])
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


WORKER = """
import json, os, urllib.error, urllib.request
from pelton_worker import serve

def ask():
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    head = {"content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), head)):
            return 200
    except urllib.error.HTTPError as error:
        return error.code

at_first = ask()

async def agent(turn):
    found = await turn.step("ask", ask)
    return json.dumps([at_first, found, os.environ["OPENAI_API_KEY"]])

serve(agent)
"""


async def test_a_worker_has_no_key_and_asks_only_while_it_has_a_turn(
    model: ScriptedModel, log: JetStreamLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is started before it has one; what it asks in any step is counted."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("A_COPY", KEY)
    (tmp_path / "worker.py").write_text(WORKER)
    adapter = WorkerAdapter([sys.executable, "worker.py"], directory=str(tmp_path))
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{model.url}/v1"}
    model.script(say("yes"), say("yes"))
    async with (
        Gateway(GatewaySettings(), environ=environ) as gateway,
        serving(log, as_agent(adapter, name="worker"), gateway=gateway),
    ):
        client = Client(log, "worker")
        told, used = list[Any](), list[Any]()
        for _ in range(2):
            context, task = await client.send("go")
            ended = await client.settled(context, task, within=20)
            told.append(json.loads(text_of(only(ended).parts)))
            events = await client.events(context)
            used.append([each for each in events if isinstance(each, UsageReported)])
    assert [each[:2] for each in told] == [[403, 200], [403, 200]]
    assert told[0] == told[1], "one process, with one token"
    assert KEY not in told[0]
    assert {each.headers["authorization"] for each in model.asked} == {f"Bearer {KEY}"}
    assert [len(each) for each in used] == [1, 1]


async def test_why_a_workers_model_has_failed_is_the_gateways_word(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    """The worker says of 403 that it is not authorised; there is no price of its model."""
    async with served("worker", log, model, task_cost=1.0) as client:
        context, task = await client.send("2 + 3?")
        await client.settled(context, task, within=30)
        events = await client.events(context)
    failure = failure_in(events)
    assert (failure.kind, len(model.asked)) == (FailureClass.POLICY, 0)
    assert "no price of 'scripted'" in failure.message


def _gemini() -> Adapter:
    command = ("gemini", "--acp", "--model", "gemini-2.5-flash")
    return AcpAdapter(command, name="gemini", auth="gemini-api-key")


def _codex() -> Adapter:
    return CodexAdapter(thread={"model": "scripted", "sandbox": "read-only"})


def _crewai() -> Adapter:
    isolated = str(Path(__file__).with_name("isolated"))
    return CrewAIAdapter("crew:led", directory=isolated, more={"TEST_MODEL": "http://127.0.0.1:1"})


def _hermes() -> Adapter:
    return HermesAdapter("http://127.0.0.1:1/v1", "scripted", key="another", routed=True)


@pytest.mark.parametrize(
    ("name", "make"),
    [("codex", _codex), ("crewai", _crewai), ("gemini", _gemini), ("hermes", _hermes)],
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
