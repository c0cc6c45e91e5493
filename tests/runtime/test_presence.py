"""Where agents stand, on a real server: what executors say, see and write (AS-47, AS-48)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pelton.events.agent import AgentState
from pelton.events.commit import recorded
from pelton.events.events import AgentRegistered, AgentStatusChanged
from pelton.events.presence import AgentStatus, Beat, Fact
from pelton.events.subjects import agent_commits
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import agent
from pelton.runtime.aggregates import agents_of
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.turn import Turn
from pelton.runtime.witness import witness
from tests.runtime.clients import WORLD, Client, serving

S = AgentStatus


@agent
async def echo(turn: Turn) -> str | None:
    """Say it again; nothing, or fail, if told so."""
    if turn.text == "fail":
        await turn.fail("as told")
    if turn.text == "slow":
        await asyncio.sleep(1.5)  # the work
    return turn.text or None


@agent
async def poet(turn: Turn) -> str:
    """Another agent."""
    return turn.text


async def standing(
    log: JetStreamLog, holds: Callable[[AgentState], bool], name: str = "echo"
) -> AgentState:
    """Wait until an agent stands as wanted."""
    agents, moved = agents_of(log, WORLD), asyncio.Event()
    async with asyncio.timeout(20), log.listen(agent_commits(name), lambda _: moved.set()):
        while True:
            moved.clear()
            state = await agents.load(name)
            if holds(state):
                return state
            await moved.wait()


async def at(log: JetStreamLog, status: AgentStatus, name: str = "echo") -> AgentState:
    return await standing(log, lambda state: state.status is status, name)


async def history(log: JetStreamLog, name: str = "echo") -> list[Any]:
    """Return what has been seen of an agent."""
    records = await log.read(agent_commits(name))
    events = [each.event for record in records for each in recorded(decode_commit(record.data))]
    return [e.status if isinstance(e, AgentStatusChanged) else type(e) for e in events]


async def remove(log: JetStreamLog, name: str = "echo") -> None:
    await witness(
        agents_of(log, WORLD), name, Fact.REMOVED, world=WORLD, source="test", tenant="local"
    )


async def test_an_agent_that_is_served_and_left_says_so(log: JetStreamLog) -> None:
    async with serving(log, echo) as executor:
        await at(log, S.SERVING)
        [beat] = await log.beats()
        assert beat == ("echo", executor.id, Beat.SERVING)
    assert (await agents_of(log, WORLD).load("echo")).status is S.OFFLINE
    assert not await log.beats()
    async with serving(log, echo):
        await at(log, S.SERVING)
    assert await history(log) == [AgentRegistered, S.SERVING, S.OFFLINE, S.SERVING, S.OFFLINE]


async def test_while_one_of_two_serves_the_other_may_go(log: JetStreamLog) -> None:
    async with serving(log, echo):
        await at(log, S.SERVING)
        async with serving(log, echo):
            while len(await log.beats()) < 2:
                await asyncio.sleep(0.02)
        assert len(await log.beats()) == 1
        assert (await agents_of(log, WORLD).load("echo")).status is S.SERVING
    assert await history(log) == [AgentRegistered, S.SERVING, S.OFFLINE]


async def test_what_drains_says_so_until_it_is_done(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, echo):
        await at(log, S.SERVING)
        await client.send("slow")
        await asyncio.sleep(0.3)  # until it runs
    assert await history(log) == [AgentRegistered, S.SERVING, S.DRAINING, S.OFFLINE]


async def test_an_agent_whose_executors_died_is_found_by_anothers(log: JetStreamLog) -> None:
    async with serving(log, poet, patience=0.5):
        dying = Executor(log, [echo], world=WORLD, patience=0.5)
        running = asyncio.create_task(dying.run())
        await dying.ready.wait()
        await at(log, S.SERVING)
        running.cancel()  # as if it had been killed: it says nothing any more
        await asyncio.wait((running,))
        state = await at(log, S.OFFLINE)
        assert state.life == 1
        await at(log, S.SERVING, "poet")


@pytest.mark.accepts("AS-47")
@pytest.mark.parametrize("bad", ["", "fail"])
async def test_turns_that_come_to_nothing_degrade_and_one_that_does_not_mends(
    log: JetStreamLog, bad: str
) -> None:
    client = Client(log)
    async with serving(log, echo):
        for text in (bad, bad, "well", bad, bad, bad):
            assert (await agents_of(log, WORLD).load("echo")).status is not S.DEGRADED
            context, task = await client.send(text)
            await client.settled(context, task)
        await at(log, S.DEGRADED)
        context, task = await client.send("well")
        await client.settled(context, task)
        await at(log, S.SERVING)


async def test_a_removed_agent_is_not_revived_by_a_late_heartbeat(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, echo, patience=0.5), serving(log, poet, patience=0.5):
        await at(log, S.SERVING)
        await remove(log)
        while any(beat.agent == "echo" for beat in await log.beats()):
            await asyncio.sleep(0.05)  # until its executor has left it
        late = await log.beat("echo", "late", Beat.SERVING, ttl=30)
        assert late is not None
        await asyncio.sleep(2.0)  # both have looked, again and again
        assert (await agents_of(log, WORLD).load("echo")).status is S.REMOVED
        context, task = await client.send("anybody?")
        await asyncio.sleep(0.5)  # longer than a look takes: nothing may come of it
        assert task not in (await client.contexts.load("echo", context)).tasks
        await late.release()
        async with serving(log, echo, patience=0.5):
            state = await at(log, S.SERVING)
            assert state.life == 2
            assert (await client.settled(context, task)).ended
    assert await history(log) == [
        *(AgentRegistered, S.SERVING, S.REMOVED, AgentRegistered, S.SERVING, S.OFFLINE)
    ]


async def test_a_server_that_was_restarted_puts_nobody_offline(log: JetStreamLog) -> None:
    """Heartbeats are in its memory: the executors say them again before anybody minds."""
    async with serving(log, echo, patience=0.5), serving(log, poet, patience=0.5):
        await at(log, S.SERVING)
        for beat in await log.beats():  # as a server does that forgets them
            await forget(log, f"{beat.agent}.{beat.beat}.{beat.executor}")
        assert not await log.beats()
        while len(await log.beats()) < 2:
            await asyncio.sleep(0.05)
        await asyncio.sleep(2.0)  # longer than a silence may be
        assert await history(log) == [AgentRegistered, S.SERVING]


async def forget(log: JetStreamLog, key: str) -> None:
    """Delete a key of a heartbeat behind everybody's back."""
    api = log._api  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    question = {"last_by_subj": f"$KV.LEASE.{key}"}
    found = await api.stored("KV_LEASE", question, api.patience())
    assert found is not None
    await api.command("$JS.API.STREAM.MSG.DELETE.KV_LEASE", {"seq": found.record.sequence})
