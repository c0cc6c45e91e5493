"""What the simulation has found, each as small as it can be told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from pelton.events import subjects
from pelton.events.a2a import TaskState, text_of
from pelton.events.commands import WhenBusy
from pelton.events.context import TaskFold
from pelton.events.events import (
    CommandRejected,
    MessageReceived,
    StepStarted,
    TaskStatusUpdated,
    TurnStarted,
)
from pelton.events.ids import task_id
from pelton.runtime.agents import Terms, agent
from pelton.runtime.answers import DelegationFailed
from pelton.runtime.simulation import SimulatedWorld, run
from pelton.runtime.turn import Turn
from tests.simulation.stage import Stage

SOON = Terms(suspend_after=0.5)
Play = Callable[[Stage], Coroutine[Any, Any, None]]


def staged(body: Play) -> Callable[[], None]:
    """Make a test of a coroutine: it plays in five worlds."""

    def test() -> None:
        async def main(world: SimulatedWorld) -> None:
            await body(Stage(world))

        for seed in range(5):
            run(seed, main, limit=3_600.0)

    test.__name__ = body.__name__
    return test


def reply(task: TaskFold) -> str:
    """Return the text that a task ended with."""
    assert task.status.message is not None
    return text_of(task.status.message.parts)


@staged
async def test_an_executor_does_not_go_on_with_a_log_that_lost_records(stage: Stage) -> None:
    """Law 13."""

    @agent(name="echo")
    async def echo(turn: Turn) -> str:
        await asyncio.sleep(0.2)
        return turn.text

    async with stage.serving(echo):
        await stage.ended(await stage.send("first"))
        subject = subjects.commits("echo", "c1")
        known = stage.server.read(subject, 0, None, decisive=True)
        assert len(known) > 1
        stage.server.kill()
        stage.server.truncate(known[-1].sequence - 1)  # as a flipped bit does: nobody says a word
        stage.server.start()
        with capture_logs() as logs:
            await stage.send("second")
            await asyncio.sleep(20.0)
        assert "context-failed" in {each["event"] for each in logs}
    after = known[-2].sequence
    assert stage.server.read(subject, after, None, decisive=True) == []


@staged
async def test_a_message_behind_an_answer_is_not_taken_by_the_turn_that_asked(
    stage: Stage,
) -> None:
    @agent(name="echo", terms=SOON)
    async def asking(turn: Turn) -> str | None:
        if turn.text == "more":
            return "more"
        await turn.ask("which?")
        await turn.require_input("and then?")
        return None

    async with stage.serving(asking):
        task = await stage.send("go")
        await stage.asked(task)
        await stage.until(lambda: task in stage.context().aside)
    await stage.send("this one", task=task)
    await stage.send("more", task=task)
    async with stage.serving(asking):
        assert reply(await stage.ended(task)) == "more"
    assert stage.context().tasks[task].turns == 2


@staged
async def test_a_refusal_that_comes_before_its_turn_is_reported(stage: Stage) -> None:
    @agent(name="echo", terms=SOON)
    async def boss(turn: Turn) -> str:
        try:
            return (await turn.delegate("busy", "go", context_id="held")).text
        except DelegationFailed as failed:
            return failed.report.state

    @agent(name="busy", terms=Terms(suspend_after=0.5, when_busy=WhenBusy.REJECT))
    async def busy(turn: Turn) -> str:
        await turn.sleep(60.0)
        return "slept"

    async with stage.serving(boss, busy):
        held = await stage.send("hold", "held", agent="busy")
        await stage.until(lambda: stage.context("held", "busy").due)
        await asyncio.sleep(2.0)  # it is suspended
        task = await stage.send("go")
        assert reply(await stage.ended(task)) == TaskState.REJECTED
        assert not stage.context("held", "busy").tasks[held].ended


@staged
async def test_the_doubt_about_a_step_is_asked_anew_for_each_run_and_is_no_divergence(
    stage: Stage,
) -> None:
    runs: list[int] = []

    async def pay() -> int:
        runs.append(1)
        if len(runs) < 3:
            await asyncio.Event().wait()  # the executor stops while it runs
        return 7

    @agent(name="echo", terms=SOON)
    async def paying(turn: Turn) -> str:
        paid = await turn.step("pay", pay)
        await turn.sleep(5.0)
        return str(paid)

    async with stage.serving(paying):
        task = await stage.send("go")
        await stage.until(lambda: len(runs) == 1)
    async with stage.serving(paying):
        await stage.asked(task, "outcome:pay#1@1")
        await stage.send("run-again", task=task)
        await stage.until(lambda: len(runs) == 2)
    async with stage.serving(paying):
        await stage.asked(task, "outcome:pay#1@2")
        assert len(runs) == 2, "one answer is for one run"
        await stage.send("done 42", task=task)
        assert reply(await stage.ended(task)) == "42"
    assert len(runs) == 2


@pytest.mark.accepts("G5")
@staged
async def test_the_intent_of_a_step_is_in_the_log_before_its_effect(stage: Stage) -> None:
    seen: list[int] = []

    async def effect() -> None:
        seen.append(len([e for e in stage.events() if isinstance(e, StepStarted)]))

    @agent(name="echo")
    async def doing(turn: Turn) -> str:
        for _ in range(3):
            await turn.step("do", effect)
        return "done"

    async with stage.serving(doing):
        await stage.ended(await stage.send("go"))
    assert seen == [1, 2, 3]


@staged
async def test_a_message_for_another_task_steers_nobody(stage: Stage) -> None:
    @agent(name="echo", terms=Terms(suspend_after=0.5, when_busy=WhenBusy.STEER))
    async def steered(turn: Turn) -> str | None:
        if turn.text == "ask":
            await turn.require_input("which?")
        await asyncio.sleep(3.0 if turn.text == "work" else 0.0)
        message = await turn.received()
        return text_of(message.parts) if message else turn.text

    @agent(name="boss", terms=SOON)
    async def boss(turn: Turn) -> str:
        return (await turn.delegate("echo", "for you", context_id="c1")).text

    async with stage.serving(steered, boss):
        waiting = await stage.send("ask")
        await stage.until(lambda: waiting in stage.context().tasks)
        working = await stage.send("work")
        await stage.until(lambda: stage.context().open)
        await stage.send("this one", task=waiting)
        handing = await stage.send("go", "b", agent="boss")
        assert reply(await stage.ended(working)) == "work"
        assert reply(await stage.ended(waiting)) == "this one"
        assert reply(await stage.ended(handing, "b", "boss")) == "for you"


@pytest.mark.accepts("AS-9")
@staged
async def test_a_message_that_comes_twice_disturbs_no_turn(stage: Stage) -> None:
    @agent(name="echo")
    async def slow(turn: Turn) -> str:
        await asyncio.sleep(400.0)
        return turn.text

    async with stage.serving(slow, patience=3.0):
        for mode in (WhenBusy.INTERRUPT, WhenBusy.REJECT, WhenBusy.STEER):
            context = f"c-{mode}"
            task = await stage.send("go", context, id_=f"m-{mode}", when_busy=mode)
            await asyncio.sleep(150.0)  # the server has forgotten the id
            await stage.send("go", context, id_=f"m-{mode}", when_busy=mode)
            async with asyncio.timeout(600.0):
                while not stage.context(context).tasks[task].ended:
                    await asyncio.sleep(1.0)
            assert reply(stage.context(context).tasks[task]) == "go"
            events = stage.events(context)
            assert not [e for e in events if isinstance(e, CommandRejected | MessageReceived)]
            assert len([e for e in events if isinstance(e, TurnStarted)]) == 1


@pytest.mark.accepts("AS-9")
@pytest.mark.parametrize("mode", [WhenBusy.INTERRUPT, WhenBusy.REJECT, WhenBusy.STEER])
def test_a_message_that_comes_twice_at_once_disturbs_not_its_own_turn(mode: WhenBusy) -> None:
    """The second comes before the log has the first commit of the turn."""

    async def main(world: SimulatedWorld) -> None:
        stage = Stage(world)
        stage.server.window = 0.0  # as if the server forgot ids at once

        @agent(name="echo")
        async def slow(turn: Turn) -> str:
            await asyncio.sleep(1.0)
            return turn.text

        await stage.send("go", id_="m", when_busy=mode)
        await stage.send("go", id_="m", when_busy=mode)
        async with stage.serving(slow):
            assert reply(await stage.ended(task_id("c1", "m"))) == "go"
            await stage.until(lambda: stage.context().decided(2))
        events = stage.events()
        assert not [e for e in events if isinstance(e, CommandRejected | MessageReceived)]
        assert len([e for e in events if isinstance(e, TurnStarted)]) == 1

    for seed in range(5):
        run(seed, main, limit=3_600.0)


@staged
async def test_a_cancellation_that_was_refused_cancels_nothing_when_it_comes_again(
    stage: Stage,
) -> None:
    @agent(name="echo")
    async def slow(turn: Turn) -> str:
        if turn.text == "ask":
            await turn.require_input("which?")
        await asyncio.sleep(160.0)
        return turn.text

    async with stage.serving(slow):
        task = await stage.send("ask")
        await stage.until(lambda: task in stage.context().tasks)
        await stage.cancel(task, id_="early", turn=2)
        await stage.until(lambda: "early" in stage.context().rejected)
        await asyncio.sleep(130.0)
        await stage.send("go on", task=task)
        await stage.until(lambda: stage.context().open)
        await stage.cancel(task, id_="early", turn=2)
        await asyncio.sleep(60.0)
        assert reply(await stage.ended(task)) == "go on"
    assert len([e for e in stage.events() if isinstance(e, TurnStarted)]) == 2


@pytest.mark.accepts("AS-50")
@staged
async def test_an_agent_may_answer_what_the_one_it_delegated_to_asks(stage: Stage) -> None:
    @agent(name="echo", terms=SOON)
    async def boss(turn: Turn) -> str:
        report = await turn.delegate("asking", "go")
        assert report.state is TaskState.INPUT_REQUIRED
        return (await turn.delegate("asking", "blue", task=report.task_id)).text

    @agent(name="asking", terms=SOON)
    async def asking(turn: Turn) -> str:
        return "painted " + await turn.ask("which colour?")

    async with stage.serving(boss, asking):
        assert reply(await stage.ended(await stage.send("go"))) == "painted blue"


@pytest.mark.accepts("AS-59")
@staged
async def test_calls_side_by_side_have_the_same_keys_on_every_attempt(stage: Stage) -> None:
    """A seed decides which of them runs first, and which looks first whether the agent exists."""

    @agent(name="echo", terms=SOON)
    async def boss(turn: Turn) -> str:
        names = [f"worker-{number}" for number in range(4)]
        found = await turn.gather(*(turn.delegate(name, name) for name in names))
        await turn.sleep(1.0)
        return " ".join(each.text for each in found if not isinstance(each, Exception))

    @agent(name="asker", terms=SOON)
    async def asker(turn: Turn) -> str:
        numbers = await turn.gather(*(turn.ask(f"{n}?", schema=int) for n in range(2)))
        return " ".join(map(str, numbers))

    async def work(turn: Turn) -> str:
        await turn.sleep(2.0)
        return turn.text

    workers = [agent(name=f"worker-{number}")(work) for number in range(4)]
    async with stage.serving(boss, asker, *workers):
        task = await stage.send("go")
        assert reply(await stage.ended(task)) == "worker-0 worker-1 worker-2 worker-3"
        asking = await stage.send("go", "a", agent="asker")
        await stage.asked(asking, "ask#2", "a", "asker")
        for key, text in (("ask#2", "two"), ("ask#2#1", "2"), ("ask#1", "one"), ("ask#1#1", "1")):
            await stage.asked(asking, key, "a", "asker")
            await stage.send(text, "a", agent="asker", task=asking, answers=key)
        assert reply(await stage.ended(asking, "a", "asker")) == "1 2"


@staged
async def test_progress_around_a_question_is_reported_once(stage: Stage) -> None:
    @agent(name="echo", terms=SOON)
    async def telling(turn: Turn) -> str:
        await turn.status("one")
        answer = await turn.ask("which?")
        await turn.status("two")
        await turn.sleep(2.0)
        await turn.status("three")
        await turn.sleep(2.0)
        return answer

    async with stage.serving(telling):
        task = await stage.send("go")
        await stage.until(lambda: task in stage.context().aside)
        await stage.send("this", task=task)
        await stage.ended(task)
    said = [
        text_of(e.status.message.parts)
        for e in stage.events()
        if isinstance(e, TaskStatusUpdated) and e.status.message
    ]
    assert said == ["one", "which?", "two", "three", "this"]


@staged
async def test_what_is_due_aside_rings_no_bells_while_another_turn_has_the_context(
    stage: Stage,
) -> None:
    @agent(name="echo", terms=SOON)
    async def waiting(turn: Turn) -> str:
        if turn.text == "ask":
            return str((await turn.approve("may I?", within=5.0)).approved)
        await turn.sleep(120.0)
        return "slept"

    @agent(name="late", terms=Terms(suspend_after=0.5, deadline=10.0))
    async def late(turn: Turn) -> str:
        return await turn.ask("which?") if turn.text == "ask" else await work(turn)

    async def work(turn: Turn) -> str:
        await turn.sleep(5.0)
        return "slept"

    async with stage.serving(waiting, late):
        asking = await stage.send("ask")
        await stage.until(lambda: asking in stage.context().aside)
        sleeping = await stage.send("sleep")
        await stage.until(lambda: stage.context().due > stage.context().tasks[asking].turn.due)  # type: ignore[union-attr]
        leases: Counter[str] = Counter()
        take = stage.server.take_lease

        def taking(key: str, token: str, ttl: float) -> bool:
            leases[key] += 1
            return take(key, token, ttl)

        stage.server.take_lease = taking  # type: ignore[method-assign]
        await stage.ended(asking)
        assert stage.context().tasks[sleeping].ended
        assert leases["echo.c1"] < 30


@staged
async def test_a_report_outlives_an_executor_and_what_the_server_forgets(stage: Stage) -> None:
    """A killed server forgets how often a bell has rung: that tells nothing (law 5)."""

    @agent(name="echo", terms=SOON)
    async def boss(turn: Turn) -> str:
        return (await turn.delegate("worker", "go")).text

    @agent(name="worker")
    async def worker(_: Turn) -> str:
        return "done"

    async with stage.serving(boss):
        process = stage.process(worker)
        append = stage.server.append

        def killing(subject: str, data: bytes, id: str, expect: int | None) -> int:
            at = append(subject, data, id, expect)
            if subject.startswith("evt.worker.") and b"TurnEnded" in data:
                process.kill()
                stage.server.kill()
            return at

        stage.server.append = killing  # type: ignore[method-assign]
        task = await stage.send("go")
        await process.ended
        await asyncio.sleep(1.0)
        stage.server.start()
        async with stage.serving(worker):
            assert reply(await stage.ended(task)) == "done"


@staged
async def test_a_server_that_was_started_again_is_told_at_once_who_is_there(stage: Stage) -> None:
    """It has forgotten all heartbeats, and the next one would be seconds away."""

    @agent(name="echo")
    async def echo(_: Turn) -> str:
        return "done"

    async with stage.serving(echo):
        stage.server.kill()
        await asyncio.sleep(0.1)
        stage.server.start()
        await asyncio.sleep(1.0)
        assert [beat.agent for beat in await stage.log.beats()] == ["echo"]
