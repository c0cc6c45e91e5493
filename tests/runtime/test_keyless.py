"""An executor without the keys of what is sealed says so, and leaves it to those that have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from pelton.adapters.push.keys import new_key
from pelton.adapters.sealing import TenantCipher
from pelton.events import subjects
from pelton.events.a2a import TaskState, text_of
from pelton.events.context import Context
from pelton.events.events import (
    AttemptEnd,
    AttemptEnded,
    FailureClass,
    StepFailed,
    TaskEvent,
    TurnStarted,
)
from pelton.events.presence import AgentStatus
from pelton.events.retries import Retry
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.aggregates import agents_of
from pelton.runtime.bulk import inline_task
from pelton.runtime.clock import RealWorld
from pelton.runtime.erasure import all_contexts, erase
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from pelton.runtime.vault import OPEN, Sealing
from tests.runtime.clients import Client, failure_in, reply, serving
from tests.runtime.test_erasure import say

WORLD = RealWorld()
SOON = Retry(attempts=50, first=0.1, factor=1.0)


def sealing(file: Path) -> Sealing:
    new_key(file, world=WORLD)
    return Sealing(TenantCipher(file, world=WORLD))


@pytest_asyncio.fixture
async def log(nats_server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_server.url, sealing=sealing(tmp_path / "keys")) as log:
        yield log


@pytest_asyncio.fixture
async def keyless(log: JetStreamLog, nats_server: EmbeddedServer) -> AsyncIterator[JetStreamLog]:
    """The same log, as a process has it that was given no keys."""
    assert log.vault.seals
    async with JetStreamLog.open(nats_server.url) as other:
        yield other


def echo(retry: Retry = SOON) -> Agent:
    @agent(name="echo", terms=Terms(retries={FailureClass.DEPENDENCY: retry}))
    async def echo(turn: Turn) -> str:
        """Remembers what is to be noted; else says what it has heard, and what it knows."""
        if turn.text.startswith("note "):
            return (await turn.memory.commit(turn.text, scope="global")).memory_id
        found = await turn.memory.recall("note", scopes=["global"])
        return " | ".join([turn.text, *(each.content for each in found.items)])

    return echo


async def said(log: JetStreamLog, text: str) -> tuple[str, str]:
    """Let something be said and answered where the keys are; return its context and the answer."""
    context, task = await say(log, text)
    async with serving(log, echo()):
        await Client(log).settled(context, task)
    return context, text


def named(name: str) -> Agent:
    @agent(name=name)
    async def free(turn: Turn) -> str:
        return turn.text

    return free


async def noted(log: JetStreamLog) -> list[str]:
    """Return the memories that there are."""
    last = await log.latest(subjects.ALL_MEMORY)
    return [subjects.parse(record.subject).beside for record in last]


def of(event: Any, task: str) -> bool:
    return isinstance(event, TaskEvent) and event.task_id == task


def failing(state: Context, task: str) -> bool:
    """Whether an attempt of a task has failed that is tried again."""
    turn = state.tasks[task].turn if task in state.tasks else None
    return turn is not None and turn.failures > 0


async def patiently_until(agents: Any, name: str, status: AgentStatus) -> None:
    async with asyncio.timeout(20):
        while (await agents.load(name)).status is not status:
            await asyncio.sleep(0.01)


def attempts(events: Sequence[Any]) -> list[tuple[int, AttemptEnd | None]]:
    """Return the attempts that were begun, and how those ended that did not end their turn."""
    ends = {e.attempt: e.end for e in events if isinstance(e, AttemptEnded)}
    return [(e.attempt, ends.get(e.attempt)) for e in events if isinstance(e, TurnStarted)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.accepts("AS-24")
async def test_it_begins_no_turn_that_it_cannot_read(
    log: JetStreamLog, keyless: JetStreamLog
) -> None:
    """It leaves the turn to another executor, which finds it untouched."""
    client = Client(log)
    async with serving(keyless, echo()) as without:
        assert not without.blind, "nothing was sealed yet"
        with capture_logs() as lines:
            context, task = await say(log, "hello")
            await until(lambda: bool(without.blind))
        told = [line["code"] for line in lines if line["event"] == "cannot-read"]
        assert told == ["content-sealed"]
        assert await client.events(context) == []
        async with serving(log, echo()) as other:
            ended = await client.settled(context, task)
            assert not other.blind
    assert ended.status.state is TaskState.COMPLETED
    assert attempts(await client.events(context)) == [(1, None)]


@pytest.mark.accepts("AS-69")
@pytest.mark.parametrize("keys", ["none", "others"])
async def test_it_says_at_its_start_what_it_lacks(
    log: JetStreamLog, nats_server: EmbeddedServer, tmp_path: Path, keys: str
) -> None:
    await say(log, "hello")
    others = sealing(tmp_path / "others") if keys == "others" else OPEN
    async with JetStreamLog.open(nats_server.url, sealing=others) as other:
        with capture_logs() as lines:
            async with serving(other, echo(), named("free")) as executor:
                assert executor.blind == {"echo"}
                agents = agents_of(log, WORLD)
                await patiently_until(agents, "echo", AgentStatus.DEGRADED)
                echoes, free = await agents.load("echo"), await agents.load("free")
    assert {each["agent"] for each in lines if each["event"] == "cannot-read"} == {"echo"}
    assert echoes.trouble is not None
    assert echoes.trouble.event.kind is FailureClass.DEPENDENCY
    assert "encryption.keys" in echoes.trouble.event.detail
    assert free.trouble is None
    async with serving(log, echo()) as executor:
        assert not executor.blind


async def test_a_turn_with_a_sealed_past_fails_and_is_tried_again(
    log: JetStreamLog, keyless: JetStreamLog
) -> None:
    """With its class, for an executor that has the keys; where there is none, it ends with that."""
    client, (context, _) = Client(log), await said(log, "hello")
    twice = Retry(attempts=2, first=0.1, factor=1.0)
    async with serving(keyless, echo(twice)):
        _, task = await client.send("and?", context)
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.FAILED
    events = [each for each in await client.events(context) if of(each, task)]
    assert failure_in(events).kind is FailureClass.DEPENDENCY
    assert attempts(events) == [(1, AttemptEnd.FAILED), (2, None)]
    async with serving(keyless, echo()):
        _, task = await client.send("and now?", context)
        await client.until(context, lambda state: failing(state, task))
    async with serving(log, echo()):
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.COMPLETED


@pytest.mark.accepts("AS-54")
@pytest.mark.parametrize("how", ["words", "newest", "get"])
async def test_memory_that_cannot_be_read_is_not_passed_over(
    log: JetStreamLog, keyless: JetStreamLog, how: str
) -> None:
    """A recall without what is sealed would look like a whole one."""
    await said(log, "note this")
    client, [note] = Client(log, "other"), await noted(log)

    @agent(name="other", terms=Terms(retries={FailureClass.DEPENDENCY: SOON}))
    async def other(turn: Turn) -> str:
        assert not (await turn.memory.recall("note", scopes=["own"])).items
        if how == "get":
            found = await turn.memory.get(note)
            return found.content if found else "nothing"
        query = "note" if how == "words" else ""
        return " ".join(each.content for each in (await turn.memory.recall(query)).items)

    async with serving(keyless, other):
        context, task = await client.send("what?")
        await client.until(context, lambda state: failing(state, task))
    assert not [each for each in await client.events(context) if isinstance(each, StepFailed)]
    async with serving(log, other):
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.COMPLETED
    whole = await inline_task(log, ended.view())
    assert whole.status.message is not None
    assert text_of(whole.status.message.parts) == "note this"


@pytest.mark.accepts("AS-24")
async def test_what_is_erased_stops_no_recall(log: JetStreamLog, keyless: JetStreamLog) -> None:
    """It is as if it were forgotten, also for those who could never read it."""
    await said(log, "note this")
    places = await all_contexts(log)
    await erase(log, log.vault, places, world=WORLD, tenant="local", actor="cli")

    @agent(name="other")
    async def other(turn: Turn) -> str:
        return f"{len((await turn.memory.recall(turn.text)).items)} found"

    async with serving(keyless, other):
        client = Client(log, "other")
        for text in ("note", ""):
            context, task = await client.send(text)
            ended = await client.settled(context, task)
            assert reply(ended) == "0 found", text
