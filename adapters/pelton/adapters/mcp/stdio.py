"""Tools on standard input and output: handed through to where they are served over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from pelton.adapters.mcp.shapes import LONGEST_WAIT
from pelton.events.errors import NotAuthorised
from pelton.runtime.log import LogUnavailable

_CONNECT: Final = 10.0  # seconds
_ANSWER: Final = LONGEST_WAIT + 30.0  # seconds


async def serve(url: str, headers: Mapping[str, str]) -> None:
    """Serve the tools at a URL until standard input ends.

    Raises:
        LogUnavailable: nobody answers there.
        NotAuthorised: whoever does lets us not in.
    """
    timeout = httpx2.Timeout(_ANSWER, connect=_CONNECT)
    async with httpx2.AsyncClient(headers=dict(headers), timeout=timeout) as http:
        await _look(http, url)
        async with (
            Client(streamable_http_client(url, http_client=http), cache=None) as client,
            stdio_server() as (read, write),
        ):
            served = _through(client)
            await served.run(read, write, served.create_initialization_options())


async def _look(http: httpx2.AsyncClient, url: str) -> None:
    """See whether tools are served at a URL, and to us: a client of MCP would only hang up."""
    try:
        answer = await http.get(url)
    except httpx2.HTTPError as error:
        raise LogUnavailable(f"nobody answers at the URL ({type(error).__name__})") from None
    if answer.status_code in (401, 403):
        raise NotAuthorised("the credential is not good there: see PELTON_CLIENT_KEY")
    if answer.status_code != 405:  # tools are called, not got
        raise LogUnavailable(f"no tools are served at the URL ({answer.status_code})")


def _through(client: Client) -> Server[Any]:
    """Return a server that hands through to another one."""

    async def listed(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return await client.list_tools(cursor=params.cursor if params else None)

    async def called(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            return await client.call_tool(params.name, params.arguments)
        except httpx2.HTTPError as error:
            raise MCPError(-32603, f"the server is away ({type(error).__name__})") from None

    return Server(
        "pelton",
        version=version("pelton"),
        instructions=client.instructions,
        on_list_tools=listed,
        on_call_tool=called,
    )
