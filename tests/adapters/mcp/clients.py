"""The official MCP client, and agents whose work it does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from pelton.adapters.mcp.gateway import TOKEN, URL, TurnServer
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.turn import Turn

Work = Callable[["Tools", Turn], Awaitable[str]]


class Tools:
    """A client's tools, by what they answer."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Return what a tool gives."""
        found = await self.client.call_tool(name, arguments)
        assert not found.is_error, found.structured_content
        given: dict[str, Any] = found.structured_content
        return given

    async def error(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Return the error that a tool answers with."""
        found = await self.client.call_tool(name, arguments)
        assert found.is_error, found.structured_content
        assert set(found.structured_content) == {"error"}
        error: dict[str, Any] = found.structured_content["error"]
        assert set(error) == {"code", "message", "detail"}
        return error


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str], **options: Any) -> AsyncGenerator[Tools]:
    """Give the tools at a URL."""
    async with (
        httpx2.AsyncClient(headers=dict(headers), timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), **options) as client,
    ):
        yield Tools(client)


@asynccontextmanager
async def let_in(door: Mapping[str, str], **options: Any) -> AsyncGenerator[Tools]:
    """Give the tools that variables of the environment lead to."""
    bearer = {"Authorization": f"Bearer {door[TOKEN]}"}
    async with connected(door[URL], bearer, **options) as tools:
        yield tools


def working(
    server: TurnServer, name: str, work: Work, *, again: bool = True, **terms: Any
) -> Agent:
    """Return an agent that does its work with tools, within a step as commands do.

    With `again`, it is run again within one attempt when it fails, by the class of its failure.
    """

    async def run(turn: Turn) -> str:
        async def at_work() -> str:
            failed: Exception | None = None
            async with server.admit(turn) as door, let_in(door) as tools:
                try:
                    return await work(tools, turn)
                except Exception as error:  # noqa: BLE001  the client would wrap it in groups
                    failed = error
            raise failed

        if again:
            return str(await turn.step("run", at_work, idempotent=True))
        return await at_work()

    return agent(name=name, terms=Terms(**terms))(run)
