"""The initial prompt, once in each life of an agent (AS-55), and the idle prompt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pelton.events import subjects
from pelton.events.a2a import TaskState, text_of
from pelton.events.agent import AgentState
from pelton.events.context import TaskFold
from pelton.events.events import FailureClass, TaskDeadLettered
from pelton.events.ids import context_of
from pelton.events.presence import AgentStatus
from pelton.runtime.agents import Agent, Idle, Terms, agent
from pelton.runtime.aggregates import agents_of
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.prompts import IDLE, INITIAL
from pelton.runtime.turn import Turn
from tests.runtime.clients import WORLD, Client, serving
from tests.runtime.test_presence import at, remove, standing
from tests.runtime.test_schedules import Wounded


def told(text: str, ran: list[str], *, fails: bool = False) -> Agent:
    """Return an agent that is told a text at first, and notes what it runs."""

    @agent(name="echo", initial=text)
    async def run(turn: Turn) -> str:
        """Say it again."""
        ran.append(turn.text)
        if fails:
            raise ValueError("it cannot begin")
        return turn.text

    return run


async def first(log: JetStreamLog, life: int = 1) -> tuple[AgentState, TaskFold]:
    """Return the agent and the task of its initial prompt, once that has ended."""
    state = await standing(log, lambda s: s.life == life and s.prompted is not None)
    assert state.prompted is not None
    event, client = state.prompted.event, Client(log)
    context = await client.until(
        event.context_id,
        lambda c: event.command_id in c.commands and c.tasks[c.commands[event.command_id]].ended,
    )
    return state, context.tasks[context.commands[event.command_id]]


@pytest.mark.accepts("AS-55")
async def test_the_initial_prompt_runs_once_in_each_life(log: JetStreamLog) -> None:
    ran: list[str] = []
    async with serving(log, told("begin", ran)), serving(log, told("begin", ran)):
        _, task = await first(log)
        assert task.status.state is TaskState.COMPLETED
        assert task.metadata == {INITIAL: 1}
        context = await Client(log).contexts.load("echo", context_of(task.id))
        assert context.owner == "agent/echo"
    async with serving(log, told("begin otherwise", ran)):
        await at(log, AgentStatus.SERVING)
        await asyncio.sleep(0.5)  # longer than a look takes: nothing may come of it
    assert ran == ["begin"]
    await remove(log)
    async with serving(log, told("begin anew", ran)):
        _, task = await first(log, life=2)
        assert task.metadata == {INITIAL: 2}
    assert ran == ["begin", "begin anew"]


@pytest.mark.accepts("AS-55")
async def test_a_crash_before_it_is_sent_neither_loses_nor_repeats_it(log: JetStreamLog) -> None:
    ran: list[str] = []
    broken: Any = Wounded(log)
    async with serving(broken, told("begin", ran)):
        state = await standing(log, lambda state: state.prompted is not None)
    assert state.prompted is not None
    subject = subjects.commands("echo", state.prompted.event.context_id)
    assert not await log.read(subject)
    async with serving(log, told("begin", ran)):
        await first(log)
    async with serving(log, told("begin", ran)):
        await at(log, AgentStatus.SERVING)
        await asyncio.sleep(0.5)  # the same
    assert ran == ["begin"]
    assert len(await log.read(subject)) == 1


@pytest.mark.accepts("AS-55")
async def test_a_failure_of_it_is_seen(log: JetStreamLog) -> None:
    ran: list[str] = []
    async with serving(log, told("begin", ran, fails=True)):
        state, task = await first(log)
    assert task.status.state is TaskState.FAILED
    assert state.prompted is not None
    events = await Client(log).events(state.prompted.event.context_id)
    [dead] = [event for event in events if isinstance(event, TaskDeadLettered)]
    assert dead.failure.kind is FailureClass.AGENT
    assert ran == ["begin"]


def idler(after: float) -> Agent:
    """Return an agent that is nudged."""

    @agent(name="echo", terms=Terms(idle=Idle(after=after, text="anything else?")))
    async def run(turn: Turn) -> str:
        """Say it again."""
        return turn.text

    return run


async def nudges(client: Client, context: str) -> list[TaskFold]:
    state = await client.contexts.load("echo", context)
    return [task for task in state.tasks.values() if IDLE in (task.metadata or {})]


async def test_a_context_that_idles_is_nudged_once(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, idler(1.0)), serving(log, idler(1.0)):
        context, task = await client.send("hello")
        await client.settled(context, task)
        assert not await nudges(client, context)
        await client.until(context, lambda state: len(state.tasks) == 2)
        [nudge] = await nudges(client, context)
        assert text_of(nudge.history[0].parts) == "anything else?"
        await asyncio.sleep(2.5)  # two more times as long
        assert len(await nudges(client, context)) == 1
        _, task = await client.send("yes", context)
        await client.settled(context, task)
        await client.until(context, lambda state: len(state.tasks) == 4)
        assert len(await nudges(client, context)) == 2


async def test_an_executor_that_remembers_the_context_nudges_it(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, idler(0.5)):
        context, task = await client.send("hello")
        await client.settled(context, task)
        await client.until(context, lambda state: len(state.tasks) == 2)
        assert len(await nudges(client, context)) == 1


async def test_what_is_said_in_time_puts_the_nudge_off(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, idler(1.2)):
        context, _ = await client.send("hello")
        for text in ("and", "so", "on"):
            await asyncio.sleep(0.6)
            await client.send(text, context)
        assert not await nudges(client, context)


async def test_the_time_goes_on_while_nobody_serves(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, idler(1.5)):
        context, task = await client.send("hello")
        await client.settled(context, task)
    await asyncio.sleep(1.6)  # longer than it idles
    async with serving(log, idler(1.5)):
        await client.until(context, lambda state: len(state.tasks) == 2)
        assert len(await nudges(client, context)) == 1


async def test_an_agent_with_neither_is_left_alone(log: JetStreamLog) -> None:
    async with serving(log, told("", [])):
        await at(log, AgentStatus.SERVING)
        await asyncio.sleep(0.3)  # long enough for it to be told something
    assert (await agents_of(log, WORLD).load("echo")).prompted is None
