"""Tools of an agent at work: over HTTP, in its turn, recorded, each call once."""

from __future__ import annotations

from typing import Any

from pelton.adapters.mcp.gateway import TurnServer
from pelton.events.context import TaskFold
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.adapters.mcp.clients import Tools, working
from tests.runtime.clients import Client, reply, serving


@agent
async def echo(turn: Turn) -> str:
    """Say it again."""
    return turn.text


async def ask(log: JetStreamLog, name: str, text: str = "go") -> TaskFold:
    client = Client(log, name)
    return await client.settled(*await client.send(text), within=20)


async def test_a_task_is_delegated_once_however_often_it_is_asked(
    log: JetStreamLog, server: TurnServer
) -> None:
    seen: list[Any] = []

    async def work(tools: Tools, turn: Turn) -> str:
        for _ in range(2):
            seen.append(await tools("delegate_task", agent="echo", text="hello"))
        seen.append(await tools("check_task_status", task_id=seen[0]["task_id"]))
        return "done"

    async with serving(log, echo, working(server, "boss", work)):
        task = await ask(log, "boss")
    assert reply(task) == "done"
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]["text"] == "[from the agent 'echo', not from a person]\nhello"
