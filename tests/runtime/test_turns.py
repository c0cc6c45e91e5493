"""What turns survive: failures, waits without a process, deadlines, other messages."""

from __future__ import annotations

import asyncio

import pytest

from pelton.events.a2a import TaskState
from pelton.events.commands import WhenBusy
from pelton.events.context import Context
from pelton.events.events import (
    AttemptEnd,
    AttemptEnded,
    FailureClass,
    TaskDeadLettered,
    TurnStarted,
)
from pelton.events.retries import Retry
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.clock import rfc3339
from pelton.runtime.failures import AgentError
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

SOON = Terms(suspend_after=0.1)
QUICK = Retry(attempts=3, first=0.05)


async def test_values_are_alike_on_every_attempt(log: JetStreamLog) -> None:
    seen: list[list[str]] = []

    @agent(name="echo", terms=SOON)
    async def drawing(turn: Turn) -> str:
        values = [turn.now().isoformat(), str(turn.uuid()), str(turn.random())]
        seen.append(values)
        await turn.sleep(0.4)
        return " ".join(values)

    client = Client(log)
    async with serving(log, drawing):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert reply(ended) == " ".join(seen[0])


async def test_a_turn_that_asks_for_something_else_than_before_fails(log: JetStreamLog) -> None:
    runs: list[int] = []

    async def effect(number: int) -> int:
        return number

    @agent(name="echo", terms=SOON)
    async def fickle(turn: Turn) -> None:
        runs.append(1)
        await turn.step("do", effect, len(runs))
        await turn.sleep(0.4)

    @agent(name="forgetful", terms=SOON)
    async def forgetful(turn: Turn) -> None:
        runs.append(1)
        if len(runs) == 1:
            await turn.step("do", effect, 1)
        await turn.sleep(0.4)

    for failing, said in ((fickle, "other arguments"), (forgetful, "has not asked for")):
        runs.clear()
        client = Client(log, failing.name)
        async with serving(log, failing):
            context, task = await client.send("go")
            ended = await client.settled(context, task)
        assert ended.status.state is TaskState.FAILED
        assert said in reply(ended)
        assert "'do#1'" in reply(ended)
        (dead,) = [e for e in await client.events(context) if isinstance(e, TaskDeadLettered)]
        assert dead.failure.kind is FailureClass.NONDETERMINISM


@pytest.mark.accepts("AS-15")
async def test_a_turn_whose_failure_may_pass_is_tried_again_and_then_dead(
    log: JetStreamLog,
) -> None:
    tries: list[int] = []

    @agent(name="echo", terms=Terms(retries={FailureClass.PROVIDER: QUICK}))
    async def failing(turn: Turn) -> str:
        tries.append(1)
        if len(tries) == 3 and turn.text == "in the end":
            return "it passed"
        raise AgentError("the provider is busy", kind=FailureClass.PROVIDER)

    client = Client(log)
    async with serving(log, failing):
        context, task = await client.send("in the end")
        assert reply(await client.settled(context, task)) == "it passed"
        tries.clear()
        context, task = await client.send("never")
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.FAILED
    assert reply(ended) == "the provider is busy"
    assert len(tries) == 3
    events = await client.events(context)
    ends = [e for e in events if isinstance(e, AttemptEnded)]
    assert [e.end for e in ends] == [AttemptEnd.FAILED] * 2
    (dead,) = [e for e in events if isinstance(e, TaskDeadLettered)]
    assert dead.attempts == 3
    assert dead.failure.kind is FailureClass.PROVIDER


async def test_failures_that_no_retry_makes_right_are_not_tried_again(log: JetStreamLog) -> None:
    tries: list[int] = []

    @agent(name="echo")
    async def failing(_: Turn) -> None:
        tries.append(1)
        raise AgentError("not with these words", kind=FailureClass.VALIDATION)

    client = Client(log)
    async with serving(log, failing):
        context, task = await client.send("go")
        assert (await client.settled(context, task)).status.state is TaskState.FAILED
    assert tries == [1]


async def test_progress_renews_the_tries(log: JetStreamLog) -> None:
    """Twice it fails, makes a step, and may fail twice again."""
    tries: list[int] = []

    async def effect() -> None:
        pass

    @agent(name="echo", terms=Terms(retries={FailureClass.PROVIDER: QUICK}))
    async def failing(turn: Turn) -> str:
        tries.append(1)
        if len(tries) > 2:
            await turn.step("on", effect)
        if len(tries) < 5:
            raise AgentError("busy", kind=FailureClass.PROVIDER)
        return "done"

    client = Client(log)
    async with serving(log, failing):
        context, task = await client.send("go")
        assert reply(await client.settled(context, task)) == "done"
    assert len(tries) == 5


async def test_a_sleep_needs_no_process(nats_url: str, log: JetStreamLog) -> None:
    woke: list[str] = []

    def sleeper(name: str) -> Agent:
        @agent(name="echo", terms=SOON)
        async def sleeping(turn: Turn) -> str:
            await turn.sleep(1.0)
            woke.append(name)
            return "slept"

        return sleeping

    client = Client(log)
    async with JetStreamLog.open(nats_url) as one, JetStreamLog.open(nats_url) as two:
        async with serving(one, sleeper("one")):
            context, task = await client.send("go")
            await client.until(context, lambda s: bool(s.open and s.open.turn.suspended))  # type: ignore[union-attr]
        async with serving(two, sleeper("two")):
            ended = await client.settled(context, task)
    assert reply(ended) == "slept"
    assert woke == ["two"]
    starts = [e for e in await client.events(context) if isinstance(e, TurnStarted)]
    assert [e.attempt for e in starts] == [1, 2]


@pytest.mark.accepts("AS-46")
async def test_a_turn_without_progress_fails_and_one_with_progress_lives(
    log: JetStreamLog,
) -> None:
    terms = Terms(inactivity=0.4, retries={FailureClass.TIMEOUT: Retry(attempts=1)})

    @agent(name="echo", terms=terms)
    async def working(turn: Turn) -> str:
        if turn.text == "still":
            await asyncio.Event().wait()
        for number in range(6):
            await asyncio.sleep(0.15)
            await turn.stream(f"{number} ")
        return "alive"

    client = Client(log)
    async with serving(log, working):
        context, task = await client.send("still")
        ended = await client.settled(context, task)
        assert ended.status.state is TaskState.FAILED
        assert "no progress" in reply(ended)
        context, task = await client.send("busy")
        assert reply(await client.settled(context, task)) == "alive"


def ended(context: Context) -> bool:
    """Whether all tasks of a context have ended."""
    return bool(context.tasks) and all(task.ended for task in context.tasks.values())


async def test_a_turn_ends_at_its_deadline_whether_or_not_it_runs(log: JetStreamLog) -> None:
    @agent(name="echo", terms=Terms(suspend_after=0.1))
    async def late(turn: Turn) -> None:
        if turn.text == "runs":
            while True:
                await turn.status("on")
                await asyncio.sleep(0.05)
        await turn.ask("Really?")

    client = Client(log)
    async with serving(log, late):
        for text in ("runs", "waits"):
            soon = log.now.timestamp() + 0.7
            deadline = rfc3339(log.now.fromtimestamp(soon, log.now.tzinfo))
            context, _ = await client.send(text, deadline=deadline)
            state = await client.until(context, ended)
            (late_one,) = state.tasks.values()
            assert late_one.status.state is TaskState.FAILED
            assert reply(late_one) == "It did not end in time."


async def test_messages_for_a_busy_context_wait_or_not_as_they_say(log: JetStreamLog) -> None:
    hold = asyncio.Event()
    running = asyncio.Event()

    @agent(name="echo")
    async def busy(turn: Turn) -> str:
        if turn.text == "long":
            running.set()
            await hold.wait()
        if turn.text == "steered":
            running.set()
            while (message := await turn.received()) is None:
                await asyncio.sleep(0.02)
            return f"took {message.parts[0].text}"
        return f"did {turn.text}"

    client = Client(log)
    async with serving(log, busy):
        context, first = await client.send("long")
        await asyncio.wait_for(running.wait(), 5)
        await client.send("no", context, id_="refused", when_busy=WhenBusy.REJECT)
        state = await client.until(context, lambda s: "refused" in s.rejected)
        assert state.rejected["refused"].code == "busy"
        _, waiting = await client.send("queued", context)
        _, urgent = await client.send("now", context, when_busy=WhenBusy.INTERRUPT)
        assert (await client.settled(context, first)).status.state is TaskState.CANCELED
        assert reply(await client.settled(context, waiting)) == "did queued"
        assert reply(await client.settled(context, urgent)) == "did now"

        running.clear()
        context, first = await client.send("steered")
        await asyncio.wait_for(running.wait(), 5)
        await client.send("this", context, id_="taken", when_busy=WhenBusy.STEER)
        ended = await client.settled(context, first)
        assert reply(ended) == "took this"
        state = await client.contexts.load("echo", context)
        assert state.commands["taken"] == first
        assert len(state.tasks) == 1


@pytest.mark.accepts("S4")
async def test_no_stranger_ends_or_steers_a_turn(log: JetStreamLog) -> None:
    hold, running = asyncio.Event(), asyncio.Event()

    @agent(name="echo")
    async def busy(turn: Turn) -> str:
        running.set()
        await hold.wait()
        return f"did {turn.text} {await turn.received()}"

    client = Client(log)
    async with serving(log, busy):
        context, task = await client.send("long")
        await asyncio.wait_for(running.wait(), 5)
        await client.until(context, lambda s: s.open is not None)
        for mode in WhenBusy:
            await client.send("mine", context, id_=mode.value, when_busy=mode, actor="stranger")
        await client.cancel(context, task, id_="cancel", actor="stranger")
        state = await client.until(context, lambda s: "cancel" in s.rejected)
        assert state.open is not None
        hold.set()
        assert reply(await client.settled(context, task)) == "did long None"
        state = await client.until(context, lambda s: {*WhenBusy} <= set(s.rejected))
    assert state.rejected["cancel"].code == "task-not-found"
    assert {state.rejected[mode].code for mode in WhenBusy} == {"validation-denied"}


async def test_what_no_turn_takes_has_its_own(log: JetStreamLog) -> None:
    hold, running = asyncio.Event(), asyncio.Event()

    @agent(name="echo", terms=Terms(when_busy=WhenBusy.STEER))
    async def deaf(turn: Turn) -> str:
        running.set()
        if turn.text == "first":
            await hold.wait()
        return f"did {turn.text}"

    client = Client(log)
    async with serving(log, deaf):
        context, first = await client.send("first")
        await asyncio.wait_for(running.wait(), 5)
        _, second = await client.send("second", context)
        hold.set()
        assert reply(await client.settled(context, first)) == "did first"
        assert reply(await client.settled(context, second)) == "did second"


@pytest.mark.accepts("AS-33")
async def test_a_cancellation_names_a_turn(log: JetStreamLog) -> None:
    running = asyncio.Event()

    @agent(name="echo")
    async def waiting(_: Turn) -> None:
        running.set()
        await asyncio.Event().wait()

    client = Client(log)
    async with serving(log, waiting):
        context, task = await client.send("go")
        await asyncio.wait_for(running.wait(), 5)
        await client.cancel(context, task, turn=2, id_="wrong")
        state = await client.until(context, lambda s: "wrong" in s.rejected)
        assert state.rejected["wrong"].code == "task-not-cancelable"
        assert not state.tasks[task].ended
        await client.cancel(context, task, turn=1)
        ended = await client.settled(context, task, within=2.0)
    assert ended.status.state is TaskState.CANCELED


async def test_an_agent_that_says_nothing_is_noticed(log: JetStreamLog) -> None:
    @agent(name="echo")
    async def silent(_: Turn) -> None:
        pass

    client = Client(log)
    async with serving(log, silent):
        context, task = await client.send("go")
        await client.settled(context, task)
    (ended,) = [e for e in await client.events(context) if type(e).__name__ == "TurnEnded"]
    assert ended.empty
