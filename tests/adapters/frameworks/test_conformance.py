"""One suite for all adapters (AS-60): with the real framework, and a scripted model on loopback."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pelton.adapters.frameworks.contract import Capability
from pelton.events.a2a import Message, Part, Role, TaskState, text_of
from pelton.events.context import TaskFold
from pelton.events.delegation import from_agent
from pelton.events.events import (
    FailureClass,
    StepCompleted,
    StepStarted,
    TaskArtifactUpdated,
    TurnEnded,
    UsageReported,
    ValueRecorded,
)
from pelton.events.ruling import Point
from pelton.events.session import SessionOpened, SessionReason, SessionStart
from pelton.events.step import StepKind
from pelton.runtime.equipment_settings import HookSettings, PolicySettings
from pelton.runtime.hooks import Hook, Occasion, Reply
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.outfit import Outfit
from pelton.runtime.policies import Policy
from pelton.runtime.replay.session import task_session
from pelton.testing import rerun
from pelton.testing.models import Asked, Play, ScriptedModel, call, calls, fail, say
from tests.adapters.frameworks.kits import KITS, SYSTEM, Kit
from tests.runtime.clients import PATIENCE, WORLD, Client, only, serving


@pytest.fixture(params=list(KITS))
def kit(request: pytest.FixtureRequest) -> Kit:
    kit = KITS[request.param]
    if not kit.there:
        pytest.skip(f"{kit.needs} is not installed: make test-frameworks")
    if kit.name == "claude" and find_spec("claude_agent_sdk") is None:
        pytest.skip("needs the Claude Agent SDK: make test-frameworks ONLY=claude")
    kit.make("http://127.0.0.1")  # what it imports, before anybody waits for this process
    return kit


def can(kit: Kit, *wanted: Capability) -> None:
    """Skip what an adapter does not declare; the table in the documentation says so too."""
    missing = set(wanted) - (kit.capabilities - kit.without)
    if missing:
        pytest.skip(f"{kit.name} does not declare {', '.join(sorted(missing))}")


def answer(task: TaskFold) -> str:
    return text_of(only(task).parts)


def leaves(value: Any) -> set[Any]:
    """Return what stands in JSON, numbers that are texts as numbers."""
    found = set[Any]()
    if hasattr(value, "values"):
        return found.union(*map(leaves, value.values()))
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        return found.union(*map(leaves, value))
    return {int(value) if isinstance(value, str) and value.isdecimal() else value}


async def ask(client: Client, text: str, context: str | None = None) -> TaskFold:
    """Send a message and return its task once it rests."""
    context, task = await client.send(text, context)
    return await client.settled(context, task, within=30)


@pytest.mark.accepts("AS-60")
async def test_it_starts_and_tells_how_it_is_and_stops(kit: Kit, model: ScriptedModel) -> None:
    adapter = kit.make(model.url)
    assert (await adapter.health()).ok, "no agent in a file is started before it is known to be"
    await adapter.start()
    assert (await adapter.health()).ok
    await adapter.stop()


@pytest.mark.accepts("AS-60")
async def test_it_answers(kit: Kit, model: ScriptedModel, log: JetStreamLog) -> None:
    model.script(say("Hello yourself."))
    async with kit.served(log, model.url):
        task = await ask(Client(log, kit.name), "hello")
    assert task.status.state is TaskState.COMPLETED
    assert answer(task) == "Hello yourself."
    assert task.status.message is None, "it has said so already"
    said = [line.text for line in model.asked[0].lines if line.role == "user"]
    assert said[-1].endswith("hello")  # CrewAI puts something before it


@pytest.mark.accepts("AS-60")
async def test_it_streams(kit: Kit, model: ScriptedModel, log: JetStreamLog) -> None:
    can(kit, Capability.STREAM)
    model.script(say("one two three", delay=0.1))
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        task = await ask(client, "count")
        events = await client.events(task.context_id)
    pieces = [e.artifact for e in events if isinstance(e, TaskArtifactUpdated)]
    assert len(pieces) > 2
    assert answer(task) == "one two three"


@pytest.mark.accepts("AS-60")
async def test_it_calls_tools(
    kit: Kit, model: ScriptedModel, log: JetStreamLog, effects: Path
) -> None:
    can(kit, Capability.TOOLS)
    wanted = calls(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4}), text="Let me see.")
    model.script(wanted, say("3 and 7."))
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        task = await ask(client, "add")
        events = await client.events(task.context_id)
    assert answer(task).endswith("3 and 7.")
    assert effects.read_text() == "add\nadd\n"
    assert [line.text for line in model.asked[1].lines if line.role == "tool"] == ["3", "7"]
    done = [
        leaves(e.result)
        for e in events
        if isinstance(e, StepCompleted) and e.key.startswith("tool")
    ]
    assert [3 in each for each in done].count(True) == 1
    assert [7 in each for each in done].count(True) == 1
    begun = [(e.kind, e.name) for e in events if isinstance(e, StepStarted)]
    assert [name for kind, name in begun if kind is StepKind.TOOL] == ["tool add", "tool add"]
    passages = 3 if kit.apart else 2  # which end where a call begins
    assert [kind for kind, _ in begun].count(StepKind.MODEL) == passages


@pytest.mark.accepts("AS-60", "AS-58", "AS-71")
async def test_a_tool_that_a_policy_denies_is_not_called_and_its_model_reads_why(
    kit: Kit, model: ScriptedModel, log: JetStreamLog, effects: Path
) -> None:
    can(kit, Capability.TOOLS)
    if kit.apart:
        pytest.skip("its process calls tools by itself: what it asks people can be refused")
    model.script(calls(("add", {"a": 1, "b": 2})), say("I may not."))
    outfit = Outfit(policies=(Policy(PolicySettings(tools=("pay",))),))
    client = Client(log, kit.name)
    agent = replace(kit.agent(model.url), outfit=lambda: outfit)
    async with kit.served(log, model.url, agent):
        task = await ask(client, "add")
    assert answer(task).endswith("I may not.")
    assert not effects.read_text()
    (told,) = [line.text for line in model.asked[1].lines if line.role == "tool"]
    assert "'add' is not among those that may be called" in told


@pytest.mark.accepts("AS-60", "AS-58")
async def test_hooks_are_asked_where_the_table_says_and_its_model_is_told_what_they_leave(
    kit: Kit, model: ScriptedModel, log: JetStreamLog, effects: Path
) -> None:
    asked = list[Occasion]()

    async def look(occasion: Occasion) -> Reply | None:
        asked.append(occasion)
        if occasion.point is not Point.PROMPT_BUILT:
            return None
        return Reply(change=f"{occasion.content} Be brief.")

    tools = Capability.TOOLS in kit.capabilities - kit.without
    model.script(*([call("add", a=1, b=2)] if tools else []), say("Three."))
    settings = HookSettings(run="here:it", points=tuple(Point))
    outfit = Outfit(hooks=(Hook("all", look, settings),))
    client = Client(log, kit.name)
    async with (
        kit.executor(model.url) as gateway,
        serving(log, replace(kit.agent(model.url), outfit=lambda: outfit), gateway=gateway),
    ):
        task = await ask(client, "1 + 2?")
    assert answer(task).endswith("Three.")
    wanted = kit.points - (set() if tools else {Point.TOOL_BEFORE, Point.TOOL_AFTER})
    assert {each.point for each in asked} - {Point.STEP_BEFORE} == wanted
    told = [line.text for line in model.asked[0].lines if line.role != "assistant"]
    assert "\n".join(told).count(" Be brief.") == 1
    (built,) = [each for each in asked if each.point is Point.PROMPT_BUILT]
    assert built.content == (SYSTEM if kit.name.startswith("model") else "1 + 2?")


@pytest.mark.accepts("AS-60")
async def test_what_its_model_takes_is_counted(
    kit: Kit, model: ScriptedModel, log: JetStreamLog
) -> None:
    can(kit, Capability.USAGE)
    first = [call("add", a=1, b=2)] if Capability.TOOLS in kit.capabilities else []
    model.script(*first, say("It is three."))
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        task = await ask(client, "1 + 2?")
    used = [e for e in await client.events(task.context_id) if isinstance(e, UsageReported)]
    read = [sum(len(line.text.split()) for line in asked.lines) for asked in model.asked]
    if kit.apart:  # it tells of a turn as a whole, and not of which model
        assert sum(e.input_tokens for e in used) == sum(read)
    else:
        assert [(e.model, e.input_tokens) for e in used] == [("scripted", each) for each in read]
        assert used[-1].output_tokens == 3
    assert all(e.duration < 10_000 for e in used)


@pytest.mark.accepts("AS-60")
async def test_a_turn_is_run_with_the_options_it_has_recorded(
    kit: Kit, model: ScriptedModel, log: JetStreamLog
) -> None:
    can(kit, Capability.OPTIONS)
    model.script(say("Yes."))
    agent = kit.agent(model.url)
    others = {**agent.options, "model": "other", "prompt": "Be brief.", "temperature": 0.5}
    client = Client(log, kit.name)
    async with serving(log, replace(agent, options=others)):
        task = await ask(client, "hello")
    (asked,) = model.asked
    assert (asked.model, asked.said[0], asked.body["temperature"]) == (
        "other",
        ("system", "Be brief."),
        0.5,
    )
    values = [e for e in await client.events(task.context_id) if isinstance(e, ValueRecorded)]
    assert [e.value for e in values] == [others]


@pytest.mark.accepts("AS-45", "AS-60")
async def test_a_conversation_goes_on_from_the_log_alone(kit: Kit, log: JetStreamLog) -> None:
    """Each turn is run by another adapter, which has nothing of the one before."""
    can(kit, Capability.HISTORY)
    told: tuple[str, ...] = ("I am Ada.", "Who am I?", "How often?")
    answers: dict[str, str] = dict(
        zip(told, ("Nice to meet you.", "You said it.", "Often."), strict=True)
    )

    def heard(asked: Asked) -> str:
        """Return what the model is told, if it is not a question of the framework's own."""
        last = [line.text for line in asked.lines if line.role == "user"][-1]
        return next((text for text in told if last.endswith(text)), "")

    client, context = Client(log, kit.name), None
    async with ScriptedModel(lambda asked: say(answers.get(heard(asked), "Well."))) as model:
        for text in told:
            async with kit.served(log, model.url):
                task = await ask(client, text, context)
                context = task.context_id
        (last,) = [asked for asked in model.asked if heard(asked) == told[2]]
    whole = "\n".join(line.text for line in last.lines)
    for text in (*told, "Nice to meet you.", "You said it."):
        assert whole.count(text) == 1
    assert context is not None
    opened = [e for e in await client.events(context) if isinstance(e, SessionOpened)]
    assert [e.start for e in opened] == [SessionStart.FRESH, *[SessionStart.RESUME] * 2]


@pytest.mark.accepts("AS-43", "AS-60")
async def test_a_conversation_of_another_kind_of_agent_is_rebuilt(
    kit: Kit, model: ScriptedModel, log: JetStreamLog
) -> None:
    can(kit, Capability.HISTORY)
    model.script(say("Nice to meet you."), say("Ada."))
    other = KITS["cli" if kit.name != "cli" else "model"]._replace(name=kit.name)
    client = Client(log, kit.name)
    async with serving(log, other.agent(model.url)):
        task = await ask(client, "I am Ada.")
    async with kit.served(log, model.url):
        task = await ask(client, "Who am I?", task.context_id)
    whole = "\n".join(line.text for line in model.asked[1].lines)
    for text in ("I am Ada.", "Nice to meet you.", "Who am I?"):
        assert whole.count(text) == 1
    opened = [e for e in await client.events(task.context_id) if isinstance(e, SessionOpened)]
    assert opened[1].start is SessionStart.REBUILD
    assert opened[1].reason is SessionReason.OTHER_ADAPTER


@pytest.mark.accepts("AS-21", "AS-23", "AS-60")
async def test_what_is_recorded_runs_again_without_any_effect(
    kit: Kit, model: ScriptedModel, log: JetStreamLog, effects: Path
) -> None:
    """Two turns, with tools where there are such: nobody is asked anything the second time."""
    can(kit, Capability.RERUN)
    tools = Capability.TOOLS in kit.capabilities
    first = [call("add", a=1, b=2)] if tools else []
    model.script(*first, say("That is three."), say("I said three."))
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        one = await ask(client, "1 + 2?")
        two = await ask(client, "What?", one.context_id)
    asked = len(model.asked)
    effects.write_text("")
    for task in (one, two):
        session = await task_session(log, task.id)
        verdict = await asyncio.to_thread(rerun, session, task.id, kit.agent(model.url))
        assert verdict.divergence is None
    assert not effects.read_text()
    assert len(model.asked) == asked


@pytest.mark.accepts("AS-60")
async def test_it_pauses_for_a_person_and_another_process_goes_on(
    kit: Kit, model: ScriptedModel, log: JetStreamLog, effects: Path
) -> None:
    can(kit, Capability.ASK)
    model.script(call("pay", amount=5), *([call("pay", amount=5)] * kit.apart), say("Paid."))
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        context, id_ = await client.send("pay")
        await client.asked(context, id_)
        await client.until(context, lambda state: not state.turning)  # it is suspended
    assert not effects.read_text()
    async with kit.served(log, model.url):
        await client.send("approved", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
    assert answer(task) == "Paid."
    assert effects.read_text() == "pay\n"
    assert len(model.asked) == 2 + kit.apart, "what is recorded is not asked again"


@pytest.mark.accepts("AS-60")
async def test_it_is_cancelled_within_two_seconds(
    kit: Kit, model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(say("a beginning", stall=True))
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        context, id_ = await client.send("go on")
        asked = await model.until(1, within=PATIENCE)
        began = WORLD.monotonic()
        await client.cancel(context, id_)
        task = await client.settled(context, id_)
        await asked.gone.wait()
        assert WORLD.monotonic() - began < 2
    assert task.status.state is TaskState.CANCELED


FAILURES = {
    "rate limit": (fail(429), FailureClass.PROVIDER, 3),
    "overloaded": (fail(529), FailureClass.PROVIDER, 3),
    "broken": (fail(500), FailureClass.PROVIDER, 3),
    "not allowed": (fail(401), FailureClass.AUTHORISATION, 1),
    "bad request": (fail(400), FailureClass.VALIDATION, 1),
    "garbled": (Play(garbled="<html>"), FailureClass.PROVIDER, 3),
    "cut": (say("one two three", cut=2), FailureClass.PROVIDER, 3),
}


@pytest.mark.accepts("AS-60")
@pytest.mark.parametrize("case", FAILURES)
async def test_each_failure_has_its_class(kit: Kit, log: JetStreamLog, case: str) -> None:
    can(kit, Capability.REPLAY)
    if kit.wilful:
        pytest.skip(f"how {kit.name} fails is its own affair")
    play, kind, tries = FAILURES[case]
    client = Client(log, kit.name)
    async with ScriptedModel(lambda _: play) as model, kit.served(log, model.url):
        task = await ask(client, "hello")
        assert len(model.asked) == tries or (kit.needs and len(model.asked) > tries)
    assert task.status.state is TaskState.FAILED
    (ended,) = [e for e in await client.events(task.context_id) if isinstance(e, TurnEnded)]
    assert ended.failure is not None
    assert ended.failure.kind is kind


@pytest.mark.accepts("AS-60")
async def test_what_passes_is_tried_again_and_said_once(
    kit: Kit, model: ScriptedModel, log: JetStreamLog
) -> None:
    if kit.wilful:
        pytest.skip(f"how {kit.name} fails is its own affair")
    model.script(fail(429), say("one two three", cut=3), say("one two three"))
    async with kit.served(log, model.url):
        task = await ask(Client(log, kit.name), "count")
    assert answer(task) == "one two three"


@pytest.mark.accepts("AS-47", "AS-60")
async def test_an_empty_answer_is_one(kit: Kit, model: ScriptedModel, log: JetStreamLog) -> None:
    if kit.wilful and kit.apart:
        pytest.skip(f"what {kit.name} makes of an empty answer is its own affair")
    model.script(say(""), say(""))  # some ask once more themselves
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        task = await ask(client, "hello")
    assert task.status.state is TaskState.COMPLETED
    (ended,) = [e for e in await client.events(task.context_id) if isinstance(e, TurnEnded)]
    assert ended.empty


@pytest.mark.accepts("AS-52", "AS-60")
async def test_what_an_agent_says_is_marked(
    kit: Kit, model: ScriptedModel, log: JetStreamLog
) -> None:
    model.script(say("No."))
    plain = Message(message_id="m", role=Role.USER, parts=(Part(text="Obey."),))
    said = Message(
        message_id="m", role=Role.USER, parts=plain.parts, metadata=from_agent(plain, "boss", "t")
    )
    client = Client(log, kit.name)
    async with kit.served(log, model.url):
        context, task = await client.send("", message=said)
        await client.settled(context, task)
    heard = [line.text for line in model.asked[0].lines if line.role == "user"]
    assert heard[-1].endswith("[from the agent 'boss', not from a person]\nObey.")
