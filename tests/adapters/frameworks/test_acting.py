"""Agents that act by themselves, beside the suite: processes that are kept, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.acting import ActingAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import TaskState, text_of
from pelton.events.errors import InvalidInput
from pelton.events.events import QuestionAsked, StepStarted
from pelton.events.session import SessionInvalidated, SessionReason
from pelton.events.step import StepKind
from pelton.runtime.agents import Agent
from pelton.runtime.equipment_settings import PolicySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.outfit import Outfit
from pelton.runtime.policies import Policy
from pelton.testing.models import ScriptedModel, call, say
from tests.adapters.frameworks.kits import KITS, TERMS
from tests.runtime.clients import WORLD, Client, only, serving


async def test_a_process_is_kept_for_its_conversation(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    """It is told what is new alone; one that has heard less than was said is not gone on with."""
    model.script(say("Hello."), say("Ada."), say("Yes."))
    client, adapter = Client(log, "acp"), KITS["acp"].make(model.url)
    async with serving(log, as_agent(adapter, name="acp", terms=TERMS)):
        context, id_ = await client.send("I am Ada.")
        await client.settled(context, id_)
        context, id_ = await client.send("Who am I?", context)
        await client.settled(context, id_)
    assert [line.text for line in model.asked[1].lines[1:]] == ["I am Ada.", "Hello.", "Who am I?"]


async def test_a_session_that_the_agent_has_forgotten_is_rebuilt_once(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(say("Hello."), say("Ada."))
    client, adapter = Client(log, "acp"), KITS["acp"].make(model.url)
    async with serving(log, as_agent(adapter, name="acp", terms=TERMS)):
        context, id_ = await client.send("I am Ada. Then forget.")
        await client.settled(context, id_)
        context, id_ = await client.send("Who am I?", context)
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert text_of(only(task).parts) == "Ada."
    (lost,) = [e for e in events if isinstance(e, SessionInvalidated)]
    assert lost.reason is SessionReason.LOST
    assert '"text":"I am Ada. Then forget."' in model.asked[1].lines[-1].text


async def test_what_a_person_refuses_is_not_done(
    model: ScriptedModel, log: JetStreamLog, effects: Path
) -> None:
    for name in ("acp", "codex"):
        model.script(call("pay", amount=5), say("As you wish."))
        client, adapter = Client(log, name), KITS[name].make(model.url)
        assert isinstance(adapter, ActingAdapter)
        async with serving(log, as_agent(adapter, name=name)):
            context, id_ = await client.send("pay")
            await client.asked(context, id_)
            await client.send("no", context, task=id_, id_=WORLD.new_id())
            task = await client.settled(context, id_)
        assert text_of(only(task).parts) == "As you wish."
    assert not effects.read_text()


PAYS = {"acp": "pay", "codex": "shell"}
"""What each calls what it asks about."""


def ruled(name: str, url: str, rule: str, *, policy: bool = False) -> Agent:
    adapter = KITS[name].make(url)
    assert isinstance(adapter, ActingAdapter)
    adapter.policy = policy
    rules = {"one": f"call.tool == '{PAYS[name]}' ? '{rule}' : 'allow'"}
    outfit = Outfit(policies=(Policy(PolicySettings(rules=rules)),))
    return replace(as_agent(adapter, name=name, terms=TERMS), outfit=lambda: outfit)


@pytest.mark.accepts("AS-58")
@pytest.mark.parametrize("name", PAYS)
async def test_what_a_policy_denies_is_not_done_and_nobody_is_asked(
    model: ScriptedModel, log: JetStreamLog, effects: Path, name: str
) -> None:
    model.script(call("pay", amount=5), say("I may not."))
    client = Client(log, name)
    async with serving(log, ruled(name, model.url, "deny")):
        context, id_ = await client.send("pay")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert task.status.state is TaskState.COMPLETED
    assert text_of(only(task).parts) == "I may not."
    assert not effects.read_text()
    assert not [e for e in events if isinstance(e, QuestionAsked)]


@pytest.mark.accepts("AS-58")
@pytest.mark.parametrize("name", PAYS)
async def test_what_it_asks_about_policies_may_decide(
    model: ScriptedModel, log: JetStreamLog, effects: Path, name: str
) -> None:
    model.script(call("pay", amount=5), say("Paid."))
    client = Client(log, name)
    async with serving(log, ruled(name, model.url, "allow", policy=True)):
        context, id_ = await client.send("pay")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert text_of(only(task).parts) == "Paid."
    assert effects.read_text() == "pay\n"
    assert not [e for e in events if isinstance(e, QuestionAsked)]
    tools = [e.name for e in events if isinstance(e, StepStarted) and e.kind is StepKind.TOOL]
    assert f"tool {PAYS[name]}" in tools


@pytest.mark.accepts("AS-57", "AS-58")
@pytest.mark.parametrize("name", PAYS)
async def test_what_a_policy_asks_a_person_about_is_asked_once(
    model: ScriptedModel, log: JetStreamLog, effects: Path, name: str
) -> None:
    """It is answered once its process has gone; another one asks for the same, and has it."""
    model.script(call("pay", amount=5), call("pay", amount=5), say("Paid."))
    client = Client(log, name)
    async with serving(log, ruled(name, model.url, "ask")):
        context, id_ = await client.send("pay")
        await client.asked(context, id_)
        await client.until(context, lambda state: not state.turning)  # it is suspended
    async with serving(log, ruled(name, model.url, "ask")):
        await client.send("approved", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert text_of(only(task).parts) == "Paid."
    assert effects.read_text() == "pay\n"
    assert len([e for e in events if isinstance(e, QuestionAsked)]) == 1


@pytest.mark.parametrize("reference", ["acp:", "acp+again:", "acp: ", "acp:'", "acp+nothing:x"])
def test_a_reference_without_a_program_is_refused(reference: str) -> None:
    with pytest.raises(InvalidInput):
        load_agent(reference)
