"""Work that is handed on to other agents: once, completely, and not in circles."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from pelton.events.a2a import TaskState
from pelton.events.context import Context
from pelton.events.delegation import ORIGIN, origin
from pelton.events.events import DelegationReported, TaskDelegated, TaskSubmitted
from pelton.events.turns import Delegated
from pelton.runtime.agents import Terms, agent
from pelton.runtime.answers import DelegationFailed, Report
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.turn import Turn
from tests.runtime.clients import WORLD, Client, reply, serving

SOON = Terms(suspend_after=0.1)


@agent(name="worker")
async def worker(turn: Turn) -> str:
    """Work, or fail, as told."""
    if turn.text == "fail":
        await turn.fail("cannot")
    if turn.text.startswith("slow"):
        await turn.sleep(1.0)
    await turn.artifact("x" * 40_000, name="bulk")
    return f"worked on {turn.text} for {origin(turn.message)}"


@pytest.mark.accepts("AS-50", "AS-52")
async def test_a_delegation_comes_back_complete_and_says_who_spoke(log: JetStreamLog) -> None:
    @agent(name="boss")
    async def boss(turn: Turn) -> str:
        report = await turn.delegate("worker", turn.text)
        bulk = report.artifacts[0].parts[0].text
        return f"{report.state} {len(str(bulk))} {report.text[40_000:]}"

    client = Client(log, "boss")
    async with serving(log, boss, worker):
        context, task = await client.send("it")
        ended = await client.settled(context, task)
    assert reply(ended) == "TASK_STATE_COMPLETED 40000 worked on it for boss"
    (handed,) = [e for e in await client.events(context) if isinstance(e, TaskDelegated)]
    child = Client(log, "worker")
    (submitted,) = [
        e for e in await child.events(handed.context_id) if isinstance(e, TaskSubmitted)
    ]
    assert submitted.task_id == handed.child
    assert submitted.message.metadata is not None
    assert submitted.message.metadata[ORIGIN] == {"agent": "boss", "taskId": task}


def delegated(state: Context, task: str) -> list[Delegated]:
    """Return what a task waits for."""
    turn = state.tasks[task].turn
    return list(turn.delegated.values()) if turn is not None else []


@pytest.mark.accepts("S4", "AS-52")
async def test_what_is_handed_on_belongs_to_the_owner_and_ends_whoever_ends_it(
    log: JetStreamLog,
) -> None:
    @agent(name="worker")
    async def endless(turn: Turn) -> str:
        await asyncio.Event().wait()
        return turn.text

    @agent(name="boss", terms=SOON)
    async def boss(turn: Turn) -> str:
        if turn.text == "ask":
            await turn.require_input("what?")
        return (await turn.delegate("worker", turn.text)).text

    client, child = Client(log, "boss"), Client(log, "worker")
    async with serving(log, boss, endless):
        context, task = await client.send("ask")
        await client.settled(context, task)
        await client.send("it", context, task=task, actor="operator", reach="tenant")
        state = await client.until(context, lambda s: bool(delegated(s, task)))
        [handed] = delegated(state, task)
        other = await child.until(handed.context_id, lambda s: handed.child in s.tasks)
        assert other.owner == state.owner == "somebody"
        await client.cancel(context, task, actor="operator", reach="tenant")
        ended = await child.until(handed.context_id, lambda s: s.tasks[handed.child].ended)
    assert ended.tasks[handed.child].status.state is TaskState.CANCELED


@pytest.mark.accepts("AS-50")
async def test_the_report_finds_a_caller_that_was_down(nats_url: str, log: JetStreamLog) -> None:
    starts: Counter[str] = Counter()

    @agent(name="boss", terms=SOON)
    async def boss(turn: Turn) -> str:
        starts["boss"] += 1
        report = await turn.delegate("worker", "slow")
        return report.text[-20:]

    client = Client(log, "boss")
    async with JetStreamLog.open(nats_url) as one, serving(one, worker):
        async with JetStreamLog.open(nats_url) as two, serving(two, boss):
            context, task = await client.send("go")
            await client.until(context, lambda s: bool(s.open and s.open.turn.delegated))  # type: ignore[union-attr]
        # nobody serves the boss while the worker reports
        state = await client.contexts.load("boss", context)
        turn = state.tasks[task].turn
        assert turn is not None
        (handed,) = turn.delegations.values()
        await Client(log, "worker").settled(handed.context_id, handed.child)
        async with JetStreamLog.open(nats_url) as three, serving(three, boss):
            ended = await client.settled(context, task)
    assert reply(ended).endswith("slow for boss")
    assert starts["boss"] == 2
    reports = [e for e in await client.events(context) if isinstance(e, DelegationReported)]
    assert len(reports) == 1


@pytest.mark.accepts("AS-10")
async def test_two_turns_delegate_twice_and_a_retry_once(nats_url: str, log: JetStreamLog) -> None:
    served: Counter[str] = Counter()

    @agent(name="worker")
    async def counting(turn: Turn) -> str:
        served[turn.task_id] += 1
        return "done"

    hold = asyncio.Event()

    @agent(name="boss", terms=Terms(suspend_after=60.0))
    async def boss(turn: Turn) -> str:
        await turn.delegate("worker", "the same")
        if turn.attempt == 1 and turn.text == "crash":
            hold.set()
            await asyncio.Event().wait()
        return "ok"

    client = Client(log, "boss")
    async with serving(log, counting):
        async with JetStreamLog.open(nats_url) as one:
            first = Executor(one, [boss], world=WORLD)
            running = asyncio.create_task(first.run(budget=0.0))
            await first.ready.wait()
            context, task = await client.send("crash")
            await asyncio.wait_for(hold.wait(), 5)
            first.stop()
            await asyncio.wait_for(running, 10)
        async with JetStreamLog.open(nats_url) as two, serving(two, boss):
            await client.settled(context, task)
            assert len(served) == 1
            _, second = await client.send("again", context)
            await client.settled(context, second)
    assert len(served) == 2
    assert set(served.values()) == {1}


@pytest.mark.accepts("AS-51")
async def test_nobody_delegates_to_itself_or_in_circles(log: JetStreamLog) -> None:
    @agent(name="ping")
    async def ping(turn: Turn) -> str:
        target = "ping" if turn.text == "self" else "pong"
        return (await turn.delegate(target, turn.text)).text

    @agent(name="pong")
    async def pong(turn: Turn) -> str:
        return (await turn.delegate("ping", turn.text)).text

    client = Client(log, "ping")
    async with serving(log, ping, pong):
        context, task = await client.send("self")
        ended = await client.settled(context, task)
        assert ended.status.state is TaskState.FAILED
        assert reply(ended) == "the agent 'ping' cannot delegate to itself"
        context, task = await client.send("circle")
        ended = await client.settled(context, task)
        assert ended.status.state is TaskState.FAILED


async def test_an_agent_that_nobody_serves_is_refused(log: JetStreamLog) -> None:
    @agent(name="boss")
    async def boss(turn: Turn) -> str:
        return (await turn.delegate("nobody", "x")).text

    client = Client(log, "boss")
    async with serving(log, boss):
        context, task = await client.send("go")
        assert "there is no agent 'nobody'" in reply(await client.settled(context, task))


@pytest.mark.accepts("AS-59")
async def test_one_of_several_that_fails_changes_nothing_else(log: JetStreamLog) -> None:
    @agent(name="boss", terms=SOON)
    async def boss(turn: Turn) -> str:
        found = await turn.gather(
            *(turn.delegate("worker", text) for text in ("a", "fail", "slow b", "c"))
        )
        return " | ".join(
            f.text[40_000:] if isinstance(f, Report) else type(f).__name__ for f in found
        )

    client = Client(log, "boss")
    async with serving(log, boss, worker):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert reply(ended) == (
        "worked on a for boss | DelegationFailed | worked on slow b for boss | worked on c for boss"
    )


async def test_what_nobody_waits_for_any_more_is_canceled(log: JetStreamLog) -> None:
    @agent(name="worker")
    async def endless(turn: Turn) -> None:
        await turn.ask("when?")

    @agent(name="boss", terms=SOON)
    async def boss(turn: Turn) -> str:
        first = await turn.delegate("worker", "x")
        assert first.state is TaskState.INPUT_REQUIRED
        await turn.delegate("worker", "tomorrow", task=first.task_id)
        return "never"

    @agent(name="endless")
    async def waiting(_: Turn) -> None:
        await asyncio.Event().wait()

    @agent(name="other", terms=SOON)
    async def other(turn: Turn) -> str:
        try:
            return (await turn.delegate("endless", "x")).text
        except DelegationFailed as failed:
            return failed.report.state

    async with serving(log, endless, boss, waiting, other):
        client = Client(log, "other")
        context, task = await client.send("go")
        state = await client.until(context, lambda s: bool(s.open and s.open.turn.delegated))  # type: ignore[union-attr]
        turn = state.tasks[task].turn
        assert turn is not None
        (handed,) = turn.delegations.values()
        await client.cancel(context, task)
        assert (await client.settled(context, task)).status.state is TaskState.CANCELED
        child = await Client(log, "endless").settled(handed.context_id, handed.child)
        assert child.status.state is TaskState.CANCELED


async def test_what_an_earlier_attempt_has_delegated_is_canceled_too(log: JetStreamLog) -> None:
    """The second attempt is woken by one report, and has not come to the other delegation yet."""
    quick, again = asyncio.Event(), asyncio.Event()

    @agent(name="endless")
    async def waiting(turn: Turn) -> None:
        await (quick if turn.text == "quick" else asyncio.Event()).wait()

    @agent(name="boss", terms=SOON)
    async def boss(turn: Turn) -> None:
        if turn.attempt == 2:
            again.set()
            await asyncio.Event().wait()
        await turn.gather(*(turn.delegate("endless", text) for text in ("quick", "slow")))

    client = Client(log, "boss")
    async with serving(log, boss, waiting):
        context, task = await client.send("go")
        state = await client.until(context, lambda s: s.open is not None and s.open.turn.suspended)  # type: ignore[union-attr]
        quick.set()
        await asyncio.wait_for(again.wait(), 10)
        await client.cancel(context, task)
        _, slow = state.tasks[task].turn.delegations.values()  # type: ignore[union-attr]
        child = await Client(log, "endless").settled(slow.context_id, slow.child)
    assert child.status.state is TaskState.CANCELED
