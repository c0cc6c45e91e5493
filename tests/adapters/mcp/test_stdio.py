"""Tools on standard input and output: for commands at work, and for agents outside."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError

from pelton.adapters.cli.references import load_agent
from pelton.events.events import TaskDelegated
from pelton.events.keys import spell
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.adapters.a2a.test_trouble import process
from tests.adapters.identity.people import KEYS, give_key, key_id, secret
from tests.adapters.mcp.clients import Tools
from tests.adapters.mcp.command import PELTON
from tests.adapters.mcp.test_agents import bridge, take
from tests.runtime.clients import Client, reply, serving

COMMAND = Path(__file__).with_name("command.py")


@agent
async def echo(turn: Turn) -> str:
    """Say it again."""
    return turn.text


async def test_a_command_delegates_within_its_turn(log: JetStreamLog) -> None:
    boss = load_agent(f"cli+text+mcp:{sys.executable} {COMMAND} {{text}}")
    async with serving(log, echo, boss):
        client = Client(log, boss.name)
        context, task = await client.send("hello")
        done = await client.settled(context, task, within=50)
        assert [part.text for each in done.artifacts.values() for part in each.parts] == ["hello"]
        events = await client.events(context)
    assert sum(isinstance(each, TaskDelegated) for each in events) == 1


async def test_an_agent_outside_works_over_standard_input(
    log: JetStreamLog, tmp_path: Path
) -> None:
    await give_key(log, "scout", "default", "agent")
    async with bridge(log, tmp_path, KEYS) as url:
        command = ["mcp", "agent", "scout", "--url", url]
        token = {"PELTON_CLIENT_KEY": spell(key_id("scout"), secret("scout"))}
        server = StdioServerParameters(command=PELTON, args=command, env=token)
        async with McpClient(server) as mcp:
            tools = Tools(mcp)
            listed = await mcp.list_tools()
            assert "wait_for_message" in {tool.name for tool in listed.tools}
            await tools("join", description="Looks around.")
            client = Client(log, "scout")
            sent = await client.send("look")
            work = await take(tools)
            error = await tools.error("finish_task", lease="other", text="x")
            assert error["code"] == "attempt-over"
            await tools("finish_task", lease=work["lease"], text="seen")
            assert reply(await client.settled(*sent)) == "seen"
        refused = await asyncio.to_thread(
            subprocess.run,
            [PELTON, *command],
            env={"PELTON_CLIENT_KEY": "x"},
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    assert refused.returncode == 1
    assert b"credential" in refused.stderr


async def test_a_bridge_that_goes_away_ends_the_call_and_nothing_else(
    nats_url: str, tmp_path: Path
) -> None:
    """And whoever has spoken with it ends with its client, and does not stay behind."""
    async with process(nats_url, tmp_path, "agents") as (running, url):
        server = StdioServerParameters(command=PELTON, args=["mcp", "agent", "scout", "--url", url])
        async with asyncio.timeout(50), McpClient(server) as mcp:
            tools = Tools(mcp)
            assert await tools("inbox_peek") == {"work": [], "next": ""}
            call = mcp.call_tool("wait_for_message", {"timeout_seconds": 60})
            waiting = asyncio.create_task(call)
            await asyncio.wait((waiting,), timeout=0.5)  # it is under way by then, or refused
            running.kill()
            for each in (waiting, mcp.call_tool("inbox_peek")):
                with pytest.raises(MCPError, match="the server is away"):
                    await each


@pytest.mark.parametrize("line", [["turn"], ["agent", "No Name!"]])
def test_a_command_line_that_is_none_is_refused(line: list[str]) -> None:
    done = subprocess.run([PELTON, "mcp", *line], env={}, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert not done.stdout
