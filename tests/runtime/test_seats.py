"""Agents that are exchanged while their executor serves: running turns never notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pelton.events.commit import recorded
from pelton.events.errors import InvalidInput
from pelton.events.events import AgentRegistered, TurnStarted
from pelton.events.schedule import Schedule
from pelton.events.subjects import agent_commits
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, agent
from pelton.runtime.equipment_settings import EquipmentSettings, PolicySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.outfitter import outfit
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving


class Life:
    """What an agent has open, and a turn of it that lasts until it is let go."""

    def __init__(self, name: str) -> None:
        self.name, self.open = name, 0
        self.running, self.go, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def opened(self, _: object) -> AsyncGenerator[None]:
        self.open += 1
        yield
        self.open -= 1
        self.closed.set()

    def agent(self, **more: object) -> Agent:
        @agent(name="echo", description=f"It is {self.name}.")
        async def run(turn: Turn) -> str:
            assert self.open, "what a turn needs is open until it ends"
            self.running.set()
            if turn.text == "wait":
                await self.go.wait()
            return self.name

        return replace(run, opened=self.opened, **more)  # type: ignore[arg-type]


@pytest.mark.accepts("AS-58")
async def test_a_turn_that_runs_goes_on_with_what_it_has_begun_with(
    log: JetStreamLog, tmp_path: Path
) -> None:
    old, new = Life("old"), Life("new")
    client = Client(log)
    async with serving(log, old.agent()) as executor:
        context, slow = await client.send("wait")
        await asyncio.wait_for(old.running.wait(), 10)
        await client.send("next", context)
        settings = EquipmentSettings(policy=PolicySettings(max_steps=3))
        strict = outfit([settings], tmp_path)
        schedule = Schedule(name="daily", text="go", cron="0 9 * * *")
        await executor.succeed(new.agent(outfit=lambda: strict, schedules=(schedule,)))
        other, quick = await client.send("now")
        assert reply(await client.settled(other, quick)) == "new"
        assert (old.open, new.open) == (1, 1)
        old.go.set()
        assert reply(await client.settled(context, slow)) == "old"
        await asyncio.wait_for(old.closed.wait(), 10)
        events = await client.events(context)
        begun = [each for each in events if isinstance(each, TurnStarted)]
        assert [[e.name for e in each.equipment] for each in begun] == [[], ["settings"]]
        own = [
            each.event
            for record in await log.read(agent_commits("echo"))
            for each in recorded(decode_commit(record.data))
        ]
        profiles = [each.profile.description for each in own if isinstance(each, AgentRegistered)]
        assert profiles == ["It is old.", "It is new."]
    assert (old.open, new.open) == (0, 0)


async def test_what_cannot_be_opened_takes_nobodys_place(log: JetStreamLog) -> None:
    old = Life("old")

    @asynccontextmanager
    async def broken(_: object) -> AsyncGenerator[None]:
        raise InvalidInput("no such program")
        yield

    async with serving(log, old.agent()) as executor:
        with pytest.raises(InvalidInput, match="no such program"):
            await executor.succeed(replace(Life("new").agent(), opened=broken))
        with pytest.raises(InvalidInput, match="it takes a restart"):
            await executor.succeed(agent(name="other")(old.agent().run))
        context, task = await Client(log).send("now")
        assert reply(await Client(log).settled(context, task)) == "old"
        assert old.open == 1


async def test_what_both_open_alike_stays_open(log: JetStreamLog) -> None:
    one = Life("one")
    first = one.agent()
    async with serving(log, first) as executor:
        await executor.succeed(replace(first, initial="", options={"a": 1}))
        assert (one.open, one.closed.is_set()) == (1, False)
