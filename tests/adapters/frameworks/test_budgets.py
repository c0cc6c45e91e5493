"""Budgets hold for every adapter, whichever way its agents ask their models."""

from __future__ import annotations

import pytest

from pelton.events.a2a import TaskState
from pelton.events.events import FailureClass, StepFailed, UsageReported
from pelton.runtime.budgets import Budgets
from pelton.runtime.gateway_settings import GatewaySettings, PriceSettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import ScriptedModel, call, say
from tests.adapters.frameworks.kits import KITS
from tests.runtime.clients import Client, failure_in

HERE = (
    *("model", "model-anthropic", "langgraph", "pydantic-ai", "openai-agents"),
    *("openai-agents-chat", "google-adk", "worker"),
)
"""Those whose calls of models are steps, each of its own."""
PRICES = {"script*": PriceSettings(input=1, output=2)}


@pytest.mark.parametrize("name", HERE)
async def test_a_task_ends_when_its_budget_is_used_up(
    name: str, model: ScriptedModel, log: JetStreamLog
) -> None:
    """The call of a tool is recorded, and what it leads to is not asked any more."""
    kit, given = KITS[name], GatewaySettings(task_cost=1e-9, prices=PRICES)
    model.script(call("add", a=2, b=3), say("It is 5."))
    client = Client(log, kit.name)
    async with Budgets(given, log) as budgets, kit.served(log, model.url, budgets=budgets):
        context, task = await client.send("2 + 3?")
        ended = await client.settled(context, task, within=30)
        events = await client.events(context)
    assert ended.status.state is TaskState.FAILED
    failure = failure_in(events)
    assert failure.kind is FailureClass.POLICY
    assert "gateway.task_cost" in failure.message
    assert [each for each in events if isinstance(each, StepFailed)], "the log tells it"
    [used] = [each for each in events if isinstance(each, UsageReported)]
    assert (used.model, used.cost) == (
        "scripted",
        (used.input_tokens + 2 * used.output_tokens) * 1000,
    )
    assert len(model.asked) == 1


@pytest.mark.parametrize("name", ["webhook", "acp", "codex"])
async def test_who_asks_elsewhere_is_not_asked_when_a_budget_is_used_up(
    name: str, model: ScriptedModel, log: JetStreamLog
) -> None:
    """What their calls took is known once they report it."""
    kit, given = KITS[name], GatewaySettings(tenant_tokens=1)
    model.script(say("One."), say("Two."))
    client = Client(log, kit.name)
    states: list[TaskState] = []
    for text in ("one", "two"):
        async with Budgets(given, log) as budgets, kit.served(log, model.url, budgets=budgets):
            context, task = await client.send(text)
            states.append((await client.settled(context, task, within=30)).status.state)
    assert states == [TaskState.COMPLETED, TaskState.FAILED]
    assert len(model.asked) == 1
