"""Agents that act by themselves, beside the suite: processes that are kept, and refusals."""

from __future__ import annotations

from pathlib import Path

from pelton.adapters.frameworks.acting import ActingAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import text_of
from pelton.events.session import SessionInvalidated, SessionReason
from pelton.runtime.jetstream.log import JetStreamLog
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
