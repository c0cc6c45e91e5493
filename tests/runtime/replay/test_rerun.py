"""Recorded turns, run again: equal without any effect, or the first event that differs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pelton.events.a2a import TaskState, text_of
from pelton.events.commands import WhenBusy
from pelton.events.commit import Commit
from pelton.events.context import Context
from pelton.events.errors import InvalidInput, TaskNotFound
from pelton.events.retries import Retry
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.answers import Report
from pelton.runtime.failures import StepError
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.replay import script
from pelton.runtime.replay.graph import graph
from pelton.runtime.replay.guard import EffectRefused, no_effects
from pelton.runtime.replay.rerun import rerun
from pelton.runtime.replay.session import ContextNotFound, Session, task_session
from pelton.runtime.replay.verdict import Verdict
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

SOON = Terms(suspend_after=0.1)


async def again(session: Session, task: str, agent_: Agent) -> Verdict:
    """Run a task again, in a thread: a re-run has an event loop of its own."""
    return await asyncio.to_thread(rerun, session, task, agent_)


def effects(ran: list[str], *, stubbed: bool) -> Callable[[str], Awaitable[str]]:
    """Return a function with an effect, or a stub that fails (AS-21)."""

    async def effect(text: str) -> str:
        assert not stubbed, "an effect"
        ran.append(text)
        return f"<{text}>"

    return effect


def talker(ran: list[str], *, stubbed: bool = False) -> Agent:
    """Return an agent that does all that a turn can do but delegate."""
    effect = effects(ran, stubbed=stubbed)

    @agent(name="echo", terms=SOON)
    async def talk(turn: Turn) -> str:
        await turn.status("begun")
        values = [turn.now().isoformat(), str(turn.uuid()), turn.random()]
        both = await turn.gather(*(turn.step(name, effect, turn.text) for name in "ab"))
        await turn.stream(f"{both} ")
        await turn.sleep(0.3)
        await turn.artifact("x" * 40_000, name="bulk")
        answer = await turn.ask("who?")
        await turn.stream(answer, last=True)
        approval = await turn.approve("do it", tool="do", args={"n": 1})
        await turn.step("last", effect, "z" * 40_000, idempotent=True)
        return f"{values} {answer} {approval.approved}"

    return talk


async def talked(log: JetStreamLog, ran: list[str]) -> tuple[Session, str]:
    client = Client(log)
    async with serving(log, talker(ran)):
        context, task = await client.send("go")
        await client.asked(context, task)
        await client.send("Ada", context, task=task)
        await client.until(
            context, lambda s: bool((t := s.tasks[task].turn) and "approve#1" in t.asked)
        )
        await client.send("yes", context, task=task)
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.COMPLETED
    return await task_session(log, task), task


@pytest.mark.accepts("AS-21", "AS-23")
async def test_a_turn_runs_again_from_its_record_alone(log: JetStreamLog) -> None:
    ran: list[str] = []
    session, task = await talked(log, ran)
    assert len(ran) == 3
    verdict = await again(session, task, talker(ran, stubbed=True))
    assert verdict.divergence is None
    (turn,) = verdict.turns
    assert turn.attempts > 1
    assert turn.events == 20
    assert len(ran) == 3


async def ran_once(log: JetStreamLog, agent_: Agent, text: str = "go") -> tuple[Session, str]:
    """Return the session of a task that an agent has done."""
    client = Client(log)
    async with serving(log, agent_):
        context, task = await client.send(text)
        await client.settled(context, task)
    return await task_session(log, task), task


async def double(number: int) -> int:
    return 2 * number


def calling(*script: Any, name: str = "echo") -> Agent:
    """Return an agent that does what a script says, step by step."""

    @agent(name=name)
    async def follow(turn: Turn) -> str:
        for what in script:
            match what:
                case ("step", step, number):
                    await turn.step(step, double, number, idempotent=True)
                case ("status", text):
                    await turn.status(text)
                case ("stream", text):
                    await turn.stream(text)
                case ("connect",):
                    await asyncio.open_connection("127.0.0.1", 9)
                case ("thread",):
                    await asyncio.to_thread(sum, ())
                case ("process",):
                    subprocess.run(["true"], check=True)
                case ("fail", text):
                    await turn.fail(text)
                case ("raise",):
                    raise ValueError("odd")
                case ("wait",):
                    await asyncio.Event().wait()
                case _:
                    raise AssertionError(what)
        return "done"

    return follow


def first(told: Any) -> tuple[str, str]:
    """Return the type of an event, and what it is about."""
    event = told.event
    about = event.get("key") or event.get("status", {}).get("message", {}).get("parts", [{}])[0]
    return event["type"].partition(".")[0], about if isinstance(about, str) else about.get("text")


RECORDED = (("step", "a", 1), ("status", "half"), ("step", "b", 2), ("stream", "text"))


@pytest.mark.accepts("AS-21", "AS-23")
@pytest.mark.parametrize(
    ("script", "recorded", "found", "path"),
    [
        ((("step", "a", 9), *RECORDED[1:]), ("StepStarted", "a#1"), ("StepStarted", "a#1"), "call"),
        (
            (*RECORDED[:2], ("step", "new", 1), *RECORDED[2:]),
            ("StepStarted", "b#1"),
            ("StepStarted", "new#1"),
            None,
        ),
        (
            (RECORDED[0], *RECORDED[2:]),
            ("TaskStatusUpdated", "half"),
            ("StepStarted", "b#1"),
            None,
        ),
        (
            (RECORDED[0], ("status", "other"), *RECORDED[2:]),
            ("TaskStatusUpdated", "half"),
            ("TaskStatusUpdated", "other"),
            "status.message.parts[0].text",
        ),
        (RECORDED[:3], ("TaskArtifactUpdated", None), ("TaskStatusUpdated", "done"), None),
        (
            (RECORDED[2], RECORDED[1], RECORDED[0], RECORDED[3]),
            ("StepStarted", "a#1"),
            ("StepStarted", "b#1"),
            None,
        ),
        (
            (RECORDED[1], RECORDED[0], *RECORDED[2:]),
            ("TaskStatusUpdated", "half"),
            ("StepStarted", "a#1"),
            None,
        ),
        ((*RECORDED, ("fail", "no")), ("TaskStatusUpdated", "done"), None, "status.state"),
        ((*RECORDED, ("wait",)), ("TaskStatusUpdated", "done"), None, None),
        (
            (*RECORDED[:2], ("thread",), *RECORDED[2:]),
            ("StepStarted", "b#1"),
            ("TaskDeadLettered", None),
            None,
        ),
        (
            (*RECORDED[:2], ("process",), *RECORDED[2:]),
            ("StepStarted", "b#1"),
            ("TaskDeadLettered", None),
            None,
        ),
        ((*RECORDED, ("raise",)), ("TaskStatusUpdated", "done"), ("TaskDeadLettered", None), None),
        (
            (("connect",), *RECORDED),
            ("StepStarted", "a#1"),
            ("TaskDeadLettered", None),
            None,
        ),
    ],
)
async def test_the_first_divergence_is_told_with_both_events(
    log: JetStreamLog, script: Any, recorded: Any, found: Any, path: str | None
) -> None:
    session, task = await ran_once(log, calling(*RECORDED))
    assert (await again(session, task, calling(*RECORDED))).equal
    divergence = (await again(session, task, calling(*script))).divergence
    assert divergence is not None
    print(divergence)
    assert divergence.recorded is not None
    assert first(divergence.recorded) == recorded
    assert divergence.recorded.sequence
    if found:
        assert divergence.found is not None
        assert first(divergence.found) == found
    if path:
        assert path in [each.path for each in divergence.fields]


QUICK = Retry(attempts=3, first=0.05)


async def test_steps_that_failed_fail_again_as_often(log: JetStreamLog) -> None:
    tries: list[int] = []

    def flaky(*, stubbed: bool) -> Agent:
        async def call() -> str:
            assert not stubbed
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError
            return "there"

        async def never() -> None:
            raise PermissionError

        @agent(name="echo")
        async def run(turn: Turn) -> str:
            found = await turn.step("call", call, retry=QUICK)
            (refused,) = await turn.gather(turn.step("never", never, retry=QUICK))
            assert isinstance(refused, StepError)
            return f"{found} {refused.failure.kind}"

        return run

    session, task = await ran_once(log, flaky(stubbed=False))
    verdict = await again(session, task, flaky(stubbed=True))
    assert verdict.equal, verdict
    assert len(tries) == 3


@pytest.mark.accepts("AS-23")
async def test_an_agent_that_gives_up_sooner_differs(log: JetStreamLog) -> None:
    tries: list[int] = []

    def flaky(retry: Retry) -> Agent:
        async def call() -> str:
            tries.append(1)
            if len(tries) < 2:
                raise ConnectionError
            return "there"

        @agent(name="echo")
        async def run(turn: Turn) -> str:
            return await turn.step("call", call, retry=retry)

        return run

    session, task = await ran_once(log, flaky(QUICK))
    divergence = (await again(session, task, flaky(Retry(attempts=1)))).divergence
    assert divergence is not None
    assert [each.path for each in divergence.fields] == ["againAt"]


@pytest.mark.accepts("AS-21", "AS-23")
async def test_delegations_and_every_turn_of_a_task(log: JetStreamLog) -> None:
    @agent(name="worker")
    async def worker(turn: Turn) -> str:
        await turn.artifact("x" * 40_000, name="bulk")
        return f"worked on {turn.text}"

    @agent(name="echo", terms=SOON)
    async def boss(turn: Turn) -> str:
        if len(turn.history) == 0:
            await turn.require_input("what?")
        reports = await turn.gather(*(turn.delegate("worker", each) for each in ("a", "b")))
        return " ".join(each.text for each in reports if isinstance(each, Report))

    client = Client(log)
    async with serving(log, boss, worker):
        context, task = await client.send("go")
        await client.settled(context, task)
        await client.send("this", context, task=task)
        await client.until(context, lambda s: s.tasks[task].ended)
    session = await task_session(log, task)
    assert {name for name, _ in session.contexts} == {"echo", "worker"}
    verdict = await again(session, task, boss)
    assert verdict.equal, verdict
    assert [each.number for each in verdict.turns] == [1, 2]
    helpers = [node.task for node in graph(session).nodes if node.agent == "worker"]
    assert len(helpers) == 2
    for helper in helpers:
        assert (await again(session, helper, worker)).equal


@pytest.mark.accepts("AS-23")
async def test_messages_that_a_turn_took_while_it_ran_come_again(log: JetStreamLog) -> None:
    heard = asyncio.Event()

    @agent(name="echo", terms=Terms(when_busy=WhenBusy.STEER))
    async def steered(turn: Turn) -> str:
        await turn.status("ready")
        await turn.step("hear", heard.wait)
        while (message := await turn.received()) is None:
            await asyncio.sleep(0.01)
        assert await turn.received() is None
        return text_of(message.parts)

    client = Client(log)
    async with serving(log, steered):
        context, task = await client.send("go")
        await client.until(context, lambda s: task in s.tasks)
        await client.send("left", context)
        heard.set()
        ended = await client.settled(context, task)
    assert reply(ended) == "left"
    verdict = await again(await task_session(log, task), task, steered)
    assert verdict.equal, verdict


async def test_of_a_turn_that_is_cancelled_or_open_all_is_compared_that_is_recorded(
    log: JetStreamLog,
) -> None:
    agent_ = calling(RECORDED[0], ("wait",))
    client = Client(log)
    async with serving(log, agent_):
        context, task = await client.send("go")
        await client.until(context, lambda s: "a#1" in done(s, task))
        open_ = await task_session(log, task)
        await client.cancel(context, task)
        await client.until(context, lambda s: s.tasks[task].ended)
    cut = await task_session(log, task)
    for session, ending in ((open_, "open"), (cut, "cut")):
        verdict = await again(session, task, agent_)
        assert verdict.equal, verdict
        (turn,) = verdict.turns
        assert turn.ending == ending
        assert (await again(session, task, calling(*RECORDED))).equal  # which would go on
        assert not (await again(session, task, calling(("step", "other", 1)))).equal
        assert not (await again(session, task, calling())).equal


def done(state: Context, task: str) -> list[str]:
    """Return the steps of a task's open turn that have their results."""
    turn = state.tasks[task].turn if task in state.tasks else None
    return [key for key, each in turn.steps.items() if each.done] if turn else []


@pytest.mark.accepts("AS-23")
async def test_what_several_attempts_have_written_is_compared_as_it_reads(
    log: JetStreamLog,
) -> None:
    def waiting(text: str) -> Agent:
        @agent(name="echo", terms=SOON)
        async def run(turn: Turn) -> str:
            await turn.stream("one ")
            await turn.sleep(0.3)
            await turn.stream(text)
            return "done"

        return run

    session, task = await ran_once(log, waiting("two"))
    assert (await again(session, task, waiting("two"))).equal
    divergence = (await again(session, task, waiting("three"))).divergence
    assert divergence is not None
    (field,) = divergence.fields
    assert (field.before, field.after) == ("one two", "one three")


async def test_a_task_without_a_turn_cannot_be_run_again(log: JetStreamLog) -> None:
    context, task = await Client(log).send("to nobody")
    session = await task_session(log, task)
    with pytest.raises(TaskNotFound):
        await again(session, task, calling())
    with pytest.raises(ContextNotFound):
        await task_session(log, f"{context}x-0123456789abcdef")
    with pytest.raises(InvalidInput):
        await task_session(log, "no task")


@pytest.mark.accepts("AS-21")
def test_effects_are_refused_only_while_code_runs_again() -> None:
    one, two = socket.socketpair()
    with one, two, no_effects(), pytest.raises(EffectRefused):
        one.connect("nowhere")
    with no_effects(), pytest.raises(EffectRefused):
        subprocess.run(["true"], check=True)
    subprocess.run(["true"], check=True)


async def test_a_run_reads_what_it_has_written_once(
    log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = calling(*(("step", "double", n) for n in range(60)))
    session, task = await ran_once(log, many)
    decoded: list[int] = []

    def counted(data: bytes) -> Commit:
        decoded.append(len(data))
        return decode_commit(data)

    monkeypatch.setattr(script, "decode_commit", counted)
    assert (await again(session, task, many)).equal
    assert len(decoded) <= 2 * len(session.records), "or a long task is never done"
