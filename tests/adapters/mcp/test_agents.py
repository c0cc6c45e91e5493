"""Agents outside any runtime: their inbox at the bridge, their leases, what they do with work."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pelton.adapters.identity.authenticator import EVERYBODY, Admission
from pelton.adapters.mcp.door import SERVERS, Door
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import WORLD, served
from tests.adapters.mcp.clients import Tools, connected
from tests.runtime.clients import Client, reply


@agent
async def echo(turn: Turn) -> str:
    """Say it again."""
    return turn.text


@asynccontextmanager
async def bridge(
    log: JetStreamLog, data: Path, admission: Admission = EVERYBODY
) -> AsyncGenerator[str]:
    """Serve tools at a bridge."""
    async with served(log, data, admission=admission, tools=Door(SERVERS, world=WORLD)) as url:
        yield url


@asynccontextmanager
async def outside(url: str, name: str, **headers: str) -> AsyncGenerator[Tools]:
    """Give an agent outside its tools."""
    async with connected(f"{url}/v1/mcp/agents/{name}", headers) as tools:
        yield tools


async def test_an_agent_outside_gets_work_and_answers(log: JetStreamLog, tmp_path: Path) -> None:
    async with bridge(log, tmp_path) as url, outside(url, "scout") as tools:
        await tools("join", description="Looks around.", title="Scout")
        client = Client(log, "scout")
        sent = await client.send("what is there?")
        work = (await tools("wait_for_message", timeout_seconds=10))["work"]
        assert work["text"] == "what is there?"
        done = await tools("finish_task", lease=work["lease"], text="nothing")
        assert done["task_id"] == work["task_id"] == sent[1]
        assert reply(await client.settled(*sent)) == "nothing"
        assert await tools("finish_task", lease=work["lease"], text="nothing") == done
        error = await tools.error("finish_task", lease=work["lease"], text="something")
        assert error["code"] == "key-conflict"
