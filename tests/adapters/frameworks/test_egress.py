"""What is asked for an agent goes where its policy lets it go, and nowhere else (S13)."""

from __future__ import annotations

import dataclasses

import pytest

from pelton.events.a2a import TaskState
from pelton.events.events import FailureClass
from pelton.events.ruling import CallRuled, Ruling
from pelton.runtime.equipment_settings import PolicySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.outfit import Outfit
from pelton.runtime.policies import Policy
from pelton.testing.models import ScriptedModel, say
from tests.adapters.frameworks.kits import KITS
from tests.runtime.clients import Client, failure_in, serving


@pytest.mark.parametrize("name", ["model", "webhook"])
@pytest.mark.parametrize("egress", ["127.0.0.1", "*.example.com"])
async def test_hosts_that_no_policy_names_are_not_reached(
    name: str, egress: str, model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(say("Hello."))
    policy = Policy(PolicySettings(egress=(egress, "localhost")))
    agent = dataclasses.replace(
        KITS[name].agent(model.url), outfit=lambda: Outfit(policies=(policy,))
    )
    client = Client(log, name)
    async with serving(log, agent):
        context, task = await client.send("hello")
        ended = await client.settled(context, task, within=30)
        events = await client.events(context)
    ruled = [each for each in events if isinstance(each, CallRuled)]
    if egress == "127.0.0.1":
        assert ended.status.state is TaskState.COMPLETED
        assert not ruled
        return
    assert [(each.ruling, each.by) for each in ruled] == [(Ruling.DENY, "policy")]
    failure = failure_in(events)
    assert failure.kind is FailureClass.POLICY
    assert "'127.0.0.1'" in failure.message
    assert "policy.egress" in failure.message
    assert not model.asked
