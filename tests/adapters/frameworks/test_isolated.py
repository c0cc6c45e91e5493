"""What frameworks in environments of their own do beside the suite: `make test-frameworks`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pelton.adapters.frameworks.acp import AcpAdapter
from pelton.adapters.frameworks.codex import CodexAdapter
from pelton.adapters.frameworks.contract import Adapter
from pelton.adapters.frameworks.crewai import CrewAIAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import StepCompleted
from pelton.runtime.equipment_settings import PolicySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.outfit import Outfit
from pelton.runtime.policies import Policy
from pelton.testing.models import ScriptedModel, call, say
from tests.adapters.frameworks.kits import KITS, QUICK, TERMS
from tests.runtime.clients import WORLD, Client, only, serving


def crewai(name: str, url: str) -> Adapter:
    if not KITS["crewai"].there:
        pytest.skip("crewai is not installed: make test-frameworks")
    return CrewAIAdapter(
        f"crew:{name}",
        retry=QUICK,
        idempotent=["add"],
        directory=str(Path(__file__).with_name("isolated")),
        more={"TEST_MODEL": f"{url}/v1"},
    )


async def test_a_crew_of_crewai(model: ScriptedModel, log: JetStreamLog, effects: Path) -> None:
    model.script(call("add", a=1, b=2), say("I think it is 3."), say("It is 3."))
    client = Client(log, "crew")
    async with serving(log, as_agent(crewai("crew", model.url), name="crew", terms=TERMS)):
        context, id_ = await client.send("1 + 2?")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert text_of(only(task).parts) == "It is 3.", "the last task's agent alone is heard"
    assert effects.read_text() == "add\n"
    keys = [e.key for e in events if isinstance(e, StepCompleted)]
    assert [key.partition("#")[0].partition(":")[0] for key in keys] == [
        *("model", "tool add", "model", "model"),
    ]


async def test_a_flow_of_crewai(model: ScriptedModel, log: JetStreamLog) -> None:
    model.script(say("begun"), say("ended"))
    client = Client(log, "flow")
    async with serving(log, as_agent(crewai("Flow", model.url), name="flow", terms=TERMS)):
        context, id_ = await client.send("now")
        task = await client.settled(context, id_)
    assert text_of(only(task).parts) == "ended"
    assert [asked.said[-1][1] for asked in model.asked] == ["begin now", "end begun"]


async def test_a_person_reviews_what_a_task_of_crewai_came_to(
    model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(say("A draft."), say("Better."))
    client = Client(log, "one")
    agent = as_agent(crewai("reviewed", model.url), name="one", terms=TERMS)
    async with serving(log, agent):
        context, id_ = await client.send("write")
        asked = await client.asked(context, id_)
        assert asked.status.message is not None
        assert "A draft." in text_of(asked.status.message.parts)
        await client.send("no, shorter", context, task=id_, id_=WORLD.new_id())
        await model.until(2)
        await client.asked(context, id_)
        await client.send("yes", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
    assert task.status.state is TaskState.COMPLETED


async def test_codex_asks_before_each_command_and_each_change(
    model: ScriptedModel, log: JetStreamLog, tmp_path: Path
) -> None:
    """A person, or a policy: what it denies is not done. Harmless commands are no exception."""
    kit = KITS["codex-cli"]
    if not kit.there:
        pytest.skip("codex is not installed: make test-frameworks")
    patch = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
    model.script(
        call("exec_command", cmd="touch it-was-here"),
        call("exec_command", cmd=f"apply_patch <<'EOF'\n{patch}\nEOF\n"),
        say("Done."),
    )
    adapter = kit.make(model.url)
    assert isinstance(adapter, CodexAdapter)
    adapter.directory, adapter.policy = str(tmp_path), True
    adapter.thread["sandbox"] = "workspace-write"
    rules = {
        "no-commands": "call.tool == 'shell' ? 'deny' : 'allow'",
        "no-changes-unseen": "call.tool == 'change files' ? 'ask' : 'allow'",
    }
    outfit = Outfit(policies=(Policy(PolicySettings(rules=rules)),))
    agent = replace(as_agent(adapter, name=kit.name), outfit=lambda: outfit)
    client = Client(log, kit.name)
    async with serving(log, agent):
        context, id_ = await client.send("touch it")
        asked = await client.asked(context, id_)
        assert asked.status.message is not None
        assert "change files" in text_of(asked.status.message.parts)
        await client.send("yes", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
    assert text_of(only(task).parts).endswith("Done.")
    assert [path.name for path in tmp_path.iterdir()] == ["new.txt"]


async def test_gemini_runs_a_shell_command_that_a_person_allows(
    model: ScriptedModel, log: JetStreamLog, tmp_path: Path
) -> None:
    kit = KITS["gemini"]
    if not kit.there:
        pytest.skip("gemini is not installed: make test-frameworks")
    model.script(call("run_shell_command", command="touch it-was-here"), say("Done."))
    adapter = kit.make(model.url)
    assert isinstance(adapter, AcpAdapter)
    adapter.directory = str(tmp_path)
    client = Client(log, kit.name)
    async with serving(log, as_agent(adapter, name=kit.name)):
        context, id_ = await client.send("touch it")
        await client.asked(context, id_)
        assert not (tmp_path / "it-was-here").exists()
        await client.send("yes", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert (tmp_path / "it-was-here").exists()
    assert text_of(only(task).parts).endswith("Done.")
    assert any(e.key.startswith("tool") for e in events if isinstance(e, StepCompleted))
