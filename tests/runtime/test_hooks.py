"""Hooks on turns: their order, their limits and modes, and that nobody asks them twice (AS-58)."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pelton.events.a2a import TaskState, text_of
from pelton.events.events import FailureClass, StepStarted, TurnEnded
from pelton.events.ruling import CallRuled, Point, Ruling
from pelton.events.step import StepKind
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.equipment_settings import HookSettings
from pelton.runtime.guard import CallDenied
from pelton.runtime.hooks import Hook, Occasion, Reply, hook
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.outfit import STANDARD, Outfit
from pelton.runtime.replay.rerun import rerun
from pelton.runtime.replay.session import task_session
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

SOON = Terms(suspend_after=0.1)
Look = Callable[[Occasion], object]


def made(name: str, look: Look, *points: Point, **settings: Any) -> Hook:
    """Return a hook that calls a function."""

    async def run(occasion: Occasion) -> object:
        said = look(occasion)
        return await said if asyncio.iscoroutine(said) else said

    return Hook(name, run, HookSettings(run="here:it", points=points, **settings))


def program(text: str, *points: Point, **settings: Any) -> Hook:
    """Return a hook that is a program in Python."""
    command = (sys.executable, "-I", "-c", text)
    return hook("program", HookSettings(command=command, points=points, **settings))


def wearing(given: Agent, *hooks: Hook, **more: Any) -> Agent:
    """Return an agent that goes by hooks."""
    ordered = tuple(sorted(hooks, key=lambda each: each.rank))
    outfit = dataclasses.replace(STANDARD, hooks=ordered, **more)
    return dataclasses.replace(given, outfit=lambda: outfit)


def worker(ran: list[Any], **terms: Any) -> Agent:
    """Return an agent that calls a tool, and says what came of it."""

    async def pay(arguments: dict[str, Any]) -> str:
        ran.append(arguments)
        return f"paid {arguments['amount']}"

    @agent(name="echo", terms=Terms(suspend_after=0.1, **terms))
    async def working(turn: Turn) -> str:
        try:
            return await turn.step("tool pay", pay, {"amount": 3}, kind=StepKind.TOOL)
        except CallDenied as denied:
            return f"not paid: {denied}"

    return working


async def told(log: JetStreamLog, given: Agent, text: str = "go") -> tuple[Any, list[Any]]:
    """Return the task that a message leads to, and the events of its context."""
    client = Client(log)
    async with serving(log, given):
        context, task = await client.send(text)
        ended = await client.settled(context, task)
        return ended, await client.events(context)


def rulings(events: list[Any]) -> list[tuple[str, str, Ruling]]:
    return [(e.point.value, e.by, e.ruling) for e in events if isinstance(e, CallRuled)]


@pytest.mark.accepts("AS-58")
async def test_hooks_are_asked_in_their_order_each_with_what_the_one_before_has_changed(
    log: JetStreamLog,
) -> None:
    seen: list[tuple[str, Any]] = []
    ran: list[Any] = []

    def adding(name: str, number: int) -> Look:
        def look(occasion: Occasion) -> Reply:
            seen.append((name, occasion.content))
            return Reply(change={"amount": occasion.content["amount"] + number})

        return look

    point = Point.TOOL_BEFORE
    ended, events = await told(
        log,
        wearing(
            worker(ran),
            made("last", adding("last", 100), point, order=2),
            made("first", adding("first", 10), point, order=1),
        ),
    )
    assert seen == [("first", {"amount": 3}), ("last", {"amount": 13})]
    assert ran == [{"amount": 113}]
    assert reply(ended) == "paid 113"
    assert rulings(events) == [(point, "first", Ruling.ALLOW), (point, "last", Ruling.ALLOW)]


@pytest.mark.accepts("AS-58", "AS-71")
async def test_a_denial_keeps_a_tool_from_being_called(log: JetStreamLog) -> None:
    ran: list[Any] = []
    no = made("no", lambda _: Reply(ruling=Ruling.DENY, reason="Too much."), Point.TOOL_BEFORE)
    late = made("late", lambda _: pytest.fail("nobody is asked after a denial"), Point.TOOL_BEFORE)
    ended, events = await told(log, wearing(worker(ran), no, late))
    assert reply(ended) == "not paid: Too much."
    assert not ran
    assert not any(isinstance(each, StepStarted) for each in events)


@pytest.mark.accepts("AS-58")
@pytest.mark.parametrize("mode", ["deny", "allow"])
@pytest.mark.parametrize("way", ["raises", "hangs", "gibberish"])
@pytest.mark.parametrize("kind", ["function", "program"])
async def test_a_hook_that_fails_counts_as_its_mode_says_within_its_time(
    log: JetStreamLog, mode: str, way: str, kind: str
) -> None:
    async def hang(_: Occasion) -> None:
        await asyncio.Event().wait()

    def crash(_: Occasion) -> None:
        raise RuntimeError("secret detail")

    limits: dict[str, Any] = {"on_failure": mode, "timeout": 0.3 if way == "hangs" else 5.0}
    ways: dict[str, Look] = {"raises": crash, "hangs": hang, "gibberish": lambda _: {"no": 1}}
    texts = {
        "raises": "raise SystemExit(3)",
        "hangs": "import time; time.sleep(60)",
        "gibberish": "print('{\"no\": 1}')",
    }
    one = (
        made("one", ways[way], Point.TOOL_BEFORE, **limits)
        if kind == "function"
        else program(texts[way], Point.TOOL_BEFORE, **limits)
    )
    ran: list[Any] = []
    ended, events = await told(log, wearing(worker(ran), one))
    (ruled,) = [each for each in events if isinstance(each, CallRuled)]
    assert ruled.failed
    assert ruled.ruling is Ruling(mode)
    assert "secret" not in ruled.reason
    assert bool(ran) is (mode == "allow")
    assert ended.status.state is TaskState.COMPLETED


async def test_what_a_program_says_of_its_failure_is_for_operators(log: JetStreamLog) -> None:
    text = "raise SystemExit('there is no scanner in /opt')"
    ran: list[Any] = []
    with capture_logs() as lines:
        _, events = await told(log, wearing(worker(ran), program(text, Point.TOOL_BEFORE)))
    (ruled,) = [each for each in events if isinstance(each, CallRuled)]
    assert "scanner" not in ruled.reason
    (line,) = [each for each in lines if each["event"] == "hook-failed"]
    assert line["reason"].endswith("exit code 1: there is no scanner in /opt")


async def test_a_program_is_told_json_and_tells_json(log: JetStreamLog) -> None:
    text = (
        "import json, sys\n"
        "told = json.load(sys.stdin)\n"
        "print(json.dumps({'change': {'amount': told['content']['amount'] + len(told['name'])}}))"
    )
    ran: list[Any] = []
    ended, _ = await told(log, wearing(worker(ran), program(text, Point.TOOL_BEFORE)))
    assert reply(ended) == "paid 6"


@pytest.mark.accepts("AS-58", "AS-57")
@pytest.mark.parametrize("answer", ["yes", "no, never"])
async def test_a_person_who_is_asked_decides_and_another_process_goes_on(
    log: JetStreamLog, answer: str
) -> None:
    asked: list[str] = []
    ran: list[Any] = []

    def look(occasion: Occasion) -> Reply:
        asked.append(occasion.key)
        return Reply(ruling=Ruling.ASK, reason="It is money.", approvers=("boss",))

    given = wearing(worker(ran), made("gate", look, Point.TOOL_BEFORE))
    client = Client(log)
    async with serving(log, given):
        context, task = await client.send("go")
        waiting = await client.asked(context, task)
        assert waiting.status.message is not None
        assert "It is money." in text_of(waiting.status.message.parts)
        await client.until(context, lambda s: (t := s.tasks[task].turn) is not None and t.suspended)
    assert not ran
    async with serving(log, given):
        await client.send(answer, context, task=task, actor="somebody")  # not an approver
        await client.send(answer, context, task=task, actor="boss", reach="tenant")
        ended = await client.settled(context, task)
    assert asked == ["tool pay#1"]
    if answer == "yes":
        assert ran == [{"amount": 3}]
    else:
        assert not ran
        assert "Refused by boss" in reply(ended)


@pytest.mark.accepts("AS-58")
async def test_what_a_hook_has_said_is_served_to_later_attempts_and_to_re_runs(
    log: JetStreamLog,
) -> None:
    asked: list[Point] = []

    def look(occasion: Occasion) -> Reply | None:
        asked.append(occasion.point)
        if occasion.point is Point.TOOL_BEFORE:
            return Reply(ruling=Ruling.DENY, reason="No.")
        if occasion.point is Point.PUBLISH_BEFORE:
            return Reply(change=f"<{occasion.content}>")
        return None

    points = (Point.TURN_BEFORE, Point.TOOL_BEFORE, Point.PUBLISH_BEFORE)

    @agent(name="echo", terms=SOON)
    async def sleepy(turn: Turn) -> str:
        try:
            await turn.step("tool pay", print, "x", kind=StepKind.TOOL)
        except CallDenied as denied:
            await turn.sleep(0.4)
            return f"denied: {denied}"
        return "done"

    client = Client(log)
    given = wearing(sleepy, made("one", look, *points))
    async with serving(log, given):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert reply(ended) == "<denied: No.>"
    assert asked == list(points)
    session = await task_session(log, task)
    verdict = await asyncio.to_thread(rerun, session, task, sleepy)
    assert verdict.divergence is None
    assert asked == list(points), "a re-run asks nobody"


async def test_a_result_is_recorded_as_a_hook_leaves_it(log: JetStreamLog) -> None:
    ran: list[Any] = []
    hush = made("hush", lambda _: Reply(change="paid"), Point.TOOL_AFTER)
    ended, events = await told(log, wearing(worker(ran), hush))
    assert reply(ended) == "paid"
    assert rulings(events) == [(Point.TOOL_AFTER, "hush", Ruling.ALLOW)]


async def test_a_turn_may_not_begin(log: JetStreamLog) -> None:
    no = made("no", lambda _: Reply(ruling=Ruling.DENY, reason="Not now."), Point.TURN_BEFORE)
    ended, _ = await told(log, wearing(worker([]), no))
    assert ended.status.state is TaskState.REJECTED
    assert reply(ended) == "Not now."


async def test_a_turn_may_not_end_as_it_did(log: JetStreamLog) -> None:
    no = made("no", lambda _: Reply(ruling=Ruling.DENY, reason="Nonsense."), Point.TURN_AFTER)
    ended, events = await told(log, wearing(worker([]), no))
    assert ended.status.state is TaskState.FAILED
    (over,) = [each for each in events if isinstance(each, TurnEnded)]
    assert over.failure is not None
    assert over.failure.kind is FailureClass.POLICY


@pytest.mark.accepts("AS-71")
async def test_a_message_is_refused_before_it_is_a_turn(log: JetStreamLog) -> None:
    no = made("no", lambda _: Reply(ruling=Ruling.DENY, reason="Go away."), Point.COMMAND_RECEIVED)
    client = Client(log)
    async with serving(log, wearing(worker([]), no)):
        context, _ = await client.send("go")
        state = await client.until(context, lambda state: bool(state.rejected))
    (refused,) = state.rejected.values()
    assert (refused.code, refused.reason) == ("policy-denied", "Go away.")
    assert not state.tasks


async def test_what_is_streamed_is_held_back_until_a_hook_has_seen_it(log: JetStreamLog) -> None:
    @agent(name="echo")
    async def talking(turn: Turn) -> None:
        for piece in ("my ", "key ", "is ", "x"):
            await turn.stream(piece)

    hide = made("hide", lambda o: Reply(change=o.content.replace("x", "***")), Point.PUBLISH_BEFORE)
    ended, _ = await told(log, wearing(talking, hide))
    (artifact,) = ended.artifacts.values()
    assert text_of(artifact.parts) == "my key is ***"


async def test_a_text_may_be_withheld(log: JetStreamLog) -> None:
    no = made("no", lambda _: Reply(ruling=Ruling.DENY, reason="Secret."), Point.PUBLISH_BEFORE)
    ended, _ = await told(log, wearing(worker([]), no))
    assert reply(ended) == "Withheld: Secret."


def test_an_outfit_knows_who_is_asked_where() -> None:
    one = made("one", lambda _: None, Point.TOOL_BEFORE, names=("pay*",))
    outfit = Outfit(hooks=(one,))
    assert outfit.hears(Point.TOOL_BEFORE, "payment") == (one,)
    assert not outfit.hears(Point.TOOL_BEFORE, "read")
    assert not outfit.hears(Point.TOOL_AFTER, "pay")


@pytest.mark.parametrize(
    "given",
    [{}, {"run": "a:b", "command": ("c",), "points": (Point.TOOL_BEFORE,)}, {"run": "json:dumps"}],
)
def test_a_hook_that_is_none_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises(Exception, match="hook"):
        hook("it", HookSettings(**given))
