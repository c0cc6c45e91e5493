"""Agents that ask models by themselves: what the gateway makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pelton.adapters.gateway.server import Gateway
from pelton.events.a2a import TaskState, text_of
from pelton.events.context import TaskFold
from pelton.events.events import (
    FailureClass,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskArtifactUpdated,
    TurnEnded,
    TurnStarted,
    UsageReported,
)
from pelton.events.ruling import CallRuled
from pelton.runtime.agents import Agent, agent
from pelton.runtime.budgets import Budgets
from pelton.runtime.equipment_settings import PolicySettings
from pelton.runtime.gateway_settings import GatewaySettings, PriceSettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import Conflict
from pelton.runtime.outfit import Outfit
from pelton.runtime.policies import Policy
from pelton.runtime.replay.session import task_session
from pelton.runtime.turn import Turn
from pelton.testing import rerun
from pelton.testing.models import ScriptedModel, fail, say
from tests.adapters.gateway.conftest import KEYS, asker, environ
from tests.runtime.clients import Client, only, serving
from tests.secrets import PREFIXED

DIALECTS = ("messages", "chat", "responses", "generate")


@asynccontextmanager
async def served(
    log: JetStreamLog, url: str, agent: Agent, **settings: Any
) -> AsyncGenerator[Client]:
    """Serve an agent whose executor has a gateway to a model."""
    given = GatewaySettings(**settings)
    async with (
        Gateway(given, environ=environ(url)) as gateway,
        Budgets(given, log) as budgets,
        serving(log, agent, gateway=gateway, budgets=budgets),
    ):
        yield Client(log, agent.name)


async def run(
    log: JetStreamLog, url: str, agent: Agent, text: str = "go", **settings: Any
) -> tuple[TaskFold, list[Any]]:
    """Have an agent do a task; return how it ended, and what happened."""
    async with served(log, url, agent, **settings) as client:
        context, task = await client.send(text)
        ended = await client.settled(context, task, within=20)
        return ended, await client.events(context)


def calls(events: list[Any], kind: type[Any] = StepCompleted) -> list[Any]:
    """Return the events of a kind that are about calls of models."""
    return [e for e in events if isinstance(e, kind) and e.key.startswith("model:")]


def failure(events: list[Any]) -> tuple[FailureClass, str]:
    (ended,) = [e for e in events if isinstance(e, TurnEnded)]
    assert ended.failure is not None
    return ended.failure.kind, ended.failure.message


def said(task: TaskFold) -> str:
    return "".join(text_of(only(task).parts).split("\n"))


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_call_is_streamed_through_and_recorded(
    log: JetStreamLog, model: ScriptedModel, dialect: str
) -> None:
    model.script(say("one two three", delay=0.1))
    task, events = await run(log, model.url, asker(f"{dialect}:count"))
    assert said(task) == "one two three"
    pieces = [e for e in events if isinstance(e, TaskArtifactUpdated)]
    assert len(pieces) > 2, "it came as it was said"
    assert model.asked[0].said == [("user", "count")]
    (begun,), (done,) = calls(events, StepStarted), calls(events)
    assert begun.name == "model"
    assert begun.key == done.key
    assert "one two three" in json.dumps(done.result), "what is recorded is joined"
    assert "count" in json.dumps(done.result["question"])
    (used,) = [e for e in events if isinstance(e, UsageReported)]
    assert (used.model, used.input_tokens, used.output_tokens) == ("scripted", 1, 3)
    assert task.done.used.calls == 1


@pytest.mark.accepts("S11")
async def test_no_key_reaches_the_agent_or_the_log(
    log: JetStreamLog, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another")
    monkeypatch.setenv("COPY_OF_A_KEY", KEYS["OPENAI_API_KEY"])
    model.script(*(say("yes") for _ in DIALECTS))
    task, events = await run(log, model.url, asker(*(f"{each}:hi" for each in DIALECTS), "env"))
    own = dict(json.loads(said(task).removeprefix("yes" * 4)))
    assert not {"ANTHROPIC_AUTH_TOKEN", "COPY_OF_A_KEY"} & own.keys()
    assert own["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    whole = str(events) + str(own)
    assert not [key for key in KEYS.values() if key in whole]
    shown = [
        each.headers.get("x-api-key")
        or each.headers.get("authorization")
        or each.headers["x-goog-api-key"]
        for each in model.asked
    ]
    openai = f"Bearer {KEYS['OPENAI_API_KEY']}"
    assert shown == [KEYS["ANTHROPIC_API_KEY"], openai, openai, KEYS["GEMINI_API_KEY"]]


@pytest.mark.accepts("AS-40")
async def test_what_is_recorded_has_no_secrets(log: JetStreamLog, model: ScriptedModel) -> None:
    key = PREFIXED["github-token"]
    model.script(say(f"It is {key}, I think"))
    _, events = await run(log, model.url, asker(f"messages:is it {key}?"))
    assert key not in str(events)
    assert "(redacted:github-token), I think" in str(calls(events)[0].result)
    assert f"is it {key}?" in str(model.asked[0].said), "the model was asked what was asked"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, FailureClass.AUTHORISATION),
        (400, FailureClass.VALIDATION),
        (529, FailureClass.PROVIDER),
    ],
)
async def test_a_failure_of_the_provider_is_the_agents(
    log: JetStreamLog, model: ScriptedModel, status: int, kind: FailureClass
) -> None:
    """It says more than that the command has ended with 1; and the client gets it as it came."""
    model.script(fail(status))
    task, events = await run(log, model.url, asker("messages:hi", again=False))
    assert failure(events) == (kind, f"The model's endpoint has answered {status}.")
    assert f"{status} " in said(task)
    assert "as scripted" in said(task)
    (failed,) = calls(events, StepFailed)
    assert failed.failure.kind is kind


async def test_what_has_failed_is_asked_again(log: JetStreamLog, model: ScriptedModel) -> None:
    model.script(fail(429), say("one two three", cut=3), say("one two three"))
    task, events = await run(log, model.url, asker("messages:count"))
    assert said(task) == "one two three"
    assert len(calls(events, StepFailed)) == 2
    assert [e.key.rpartition("#")[2] for e in calls(events, StepStarted)] == ["1", "2", "3"]


async def test_nobody_there_is_a_dependency_that_is_unavailable(log: JetStreamLog) -> None:
    task, events = await run(log, "http://127.0.0.1:1", asker("chat:hi", again=False))
    assert failure(events)[0] is FailureClass.DEPENDENCY
    assert '502 {"error":{"message":"The model\'s endpoint cannot be reached."' in said(task)


async def test_to_cancel_closes_what_was_opened(log: JetStreamLog, model: ScriptedModel) -> None:
    model.script(say("a beginning", stall=True))
    async with served(log, model.url, asker("messages:go on")) as client:
        context, task = await client.send("go")
        asked = await model.until(1)
        await client.cancel(context, task)
        ended = await client.settled(context, task)
        await asyncio.wait_for(asked.gone.wait(), 5)
    assert ended.status.state is TaskState.CANCELED


async def test_what_was_answered_is_served_to_an_agent_that_begins_anew(
    log: JetStreamLog, model: ScriptedModel, tmp_path: Path
) -> None:
    """Its process has died; the provider has nothing more to say."""
    model.script(say("four"), say("five"))
    steps = ("messages:2 + 2?", "chat:2 + 3?", f"once:{tmp_path / 'died'}")
    task, events = await run(log, model.url, asker(*steps))
    assert said(task) == "fourfive"
    assert len(model.asked) == 2
    assert len(calls(events)) == 2
    assert len([e for e in events if isinstance(e, StepStarted) and e.key == "run#1"]) == 2
    assert len([e for e in events if isinstance(e, UsageReported)]) == 2


async def test_another_question_in_its_place_is_told(
    log: JetStreamLog, model: ScriptedModel, tmp_path: Path
) -> None:
    model.script(say("four"), say("five"))
    asked, died = tmp_path / "asked", tmp_path / "died"
    asked.write_text("at 10:01: 2 + 2?")
    steps = (f"messages:@{asked}", "chat:2 + 3?", f"once:{died}")

    async def later() -> None:
        while not died.exists():
            await asyncio.sleep(0.005)
        asked.write_text("at 10:02: 2 + 2?")

    changing = asyncio.create_task(later())
    task, events = await run(log, model.url, asker(*steps))
    await changing
    assert said(task) == "fourfive"
    assert len(model.asked) == 2
    (told,) = [
        e for e in events if isinstance(e, StepCompleted) and e.key.startswith("divergence:")
    ]
    assert told.result["served"] == calls(events)[0].key


@pytest.mark.accepts("AS-21")
async def test_what_is_recorded_can_be_run_again(log: JetStreamLog, model: ScriptedModel) -> None:
    model.script(say("four"))
    agent = asker("messages:2 + 2?")
    task, _ = await run(log, model.url, agent)
    session = await task_session(log, task.id)
    verdict = await asyncio.to_thread(rerun, session, task.id, agent)
    assert verdict.equal, verdict.lines()


# Budgets


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"task_calls": 1}, "gateway.task_calls"),
        ({"task_tokens": 3}, "gateway.task_tokens"),
        ({"tenant_calls": 1}, "gateway.tenant_calls"),
        ({"tenant_tokens": 3}, "gateway.tenant_tokens"),
        (
            {"task_cost": 1e-9, "prices": {"script*": PriceSettings(input=1, output=2)}},
            "gateway.task_cost",
        ),
    ],
)
async def test_a_budget_ends_the_task(
    log: JetStreamLog, model: ScriptedModel, settings: dict[str, Any], named: str
) -> None:
    model.script(say("one two three"), say("four"))
    task, events = await run(log, model.url, asker("messages:a", "messages:b"), **settings)
    kind, message = failure(events)
    assert kind is FailureClass.POLICY
    assert named in message
    assert len(model.asked) == 1
    assert '403 {"type":"error","error":{"type":"permission_error"' in said(task)


async def test_what_costs_nobody_knows_what_is_not_asked_with_a_budget_of_cost(
    log: JetStreamLog, model: ScriptedModel
) -> None:
    _, events = await run(log, model.url, asker("messages:a"), tenant_cost=5.0)
    assert "no price of 'scripted'" in failure(events)[1]
    assert not model.asked


async def test_a_tenants_budget_counts_what_others_have_used(
    log: JetStreamLog, model: ScriptedModel
) -> None:
    model.script(say("one"), say("two"))
    _, before = await run(log, model.url, asker("messages:a"), tenant_calls=1)
    assert calls(before)
    _, events = await run(log, model.url, asker("messages:b"), tenant_calls=1)
    assert "tenant_calls" in failure(events)[1]
    assert len(model.asked) == 1


async def test_a_provider_that_no_policy_lets_agents_reach_is_not_asked(
    log: JetStreamLog, model: ScriptedModel
) -> None:
    policy = Policy(PolicySettings(egress=("api.example.com",)))
    agent = replace(asker("messages:a"), outfit=lambda: Outfit(policies=(policy,)))
    task, events = await run(log, model.url, agent)
    kind, message = failure(events)
    assert kind is FailureClass.POLICY
    assert "policy.egress" in message
    assert [each.by for each in events if isinstance(each, CallRuled)] == ["policy"]
    assert '403 {"type":"error"' in said(task)
    assert not model.asked


# Who is refused


async def post(url: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    """Ask as an agent would; return the status and the answer."""
    given: dict[str, Any] = {"json": body or {"model": "scripted", "messages": []}, **more}
    async with aiohttp.ClientSession() as client, client.post(url, **given) as response:
        return response.status, await response.json()


async def test_what_is_no_question_is_refused_in_the_dialects_own_shape(
    log: JetStreamLog, model: ScriptedModel
) -> None:
    found: list[tuple[int, Any]] = []

    async def asking(turn: Turn) -> None:
        assert turn.models is not None
        async with turn.models.route() as route:
            messages = f"{route.url('anthropic')}/v1/messages"
            found.append(await post(messages, headers={"host": "evil.example"}))
            found.append(await post(messages, headers={"content-encoding": "gzip"}))
            found.append(await post(messages, json=None, data=b"{"))
            found.append(await post(f"{route.url('openai')}/models"))
            found.append(await post(messages.replace(route.token, "x" * 43)))

    @agent(name="cli")
    async def prober(turn: Turn) -> str:
        await turn.step("run", asking, turn)
        return "done"

    await run(log, model.url, prober)
    assert [status for status, _ in found] == [421, 415, 400, 404, 403]
    assert found[0][1]["type"] == "error"
    assert found[3][1]["error"]["type"] == "invalid_request_error"
    assert not model.asked


async def test_who_outlives_the_attempt_is_refused(log: JetStreamLog, model: ScriptedModel) -> None:
    urls: list[str] = []

    async def asking(turn: Turn) -> None:
        assert turn.models is not None
        async with turn.models.route() as route:
            urls.append(f"{route.url('anthropic')}/v1/messages")

    @agent(name="cli")
    async def leaver(turn: Turn) -> str:
        await turn.step("run", asking, turn)
        return "done"

    async with served(log, model.url, leaver) as client:
        context, task = await client.send("go")
        await client.settled(context, task)
        status, body = await post(urls[0])
    assert (status, body["error"]["type"]) == (403, "permission_error")
    assert not model.asked


async def test_who_is_fenced_asks_nothing(
    log: JetStreamLog, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another executor has the turn: the call cannot be recorded, so it is not made."""
    found: list[tuple[int, Any]] = []
    append = log.append

    async def asking(turn: Turn) -> None:
        assert turn.models is not None
        if turn.attempt > 1:
            return
        async with turn.models.route() as route:
            monkeypatch.setattr(log, "append", fenced)
            asked = asyncio.create_task(post(f"{route.url('anthropic')}/v1/messages"))
            try:
                await asyncio.shield(asked)
            finally:
                found.append(await asked)

    async def fenced(subject: str, data: bytes, **more: Any) -> int:
        monkeypatch.setattr(log, "append", append)
        raise Conflict(subject, more["expect"], more["expect"] + 1)

    @agent(name="cli")
    async def zombie(turn: Turn) -> str:
        await turn.step("run", asking, turn, idempotent=True)
        return "done"

    async with served(log, model.url, zombie) as client:
        context, task = await client.send("go")
        await client.settled(context, task, within=20)
        events = await client.events(context)
    assert [status for status, _ in found] == [403]
    assert not model.asked
    assert len([e for e in events if isinstance(e, TurnStarted)]) == 2
