"""Tools on standard input and output: handed through to where they are served over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
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
        async with _open(http, url) as client:
            instructions = client.instructions
        served = _through(partial(_open, http, url), instructions)
        async with stdio_server() as (read, write):
            await served.run(read, write, served.create_initialization_options())


@asynccontextmanager
async def _open(http: httpx2.AsyncClient, url: str) -> AsyncGenerator[Client]:
    """Give a client for one call: one whose server goes away has come to its end.

    Raises:
        MCPError: the server is away, or this is what it answers.
    """
    refused: MCPError | None = None
    try:
        async with Client(streamable_http_client(url, http_client=http), cache=None) as client:
            try:
                yield client
            except MCPError as error:  # the client would put it into a group
                refused = error
    except (httpx2.HTTPError, ExceptionGroup) as error:
        if isinstance(error, ExceptionGroup) and error.split(httpx2.HTTPError)[1] is not None:
            raise
        raise MCPError(-32603, "the server is away: repeat the call when it is back") from None
    if refused is not None:
        raise refused


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


def _through(
    opened: Callable[[], AbstractAsyncContextManager[Client]], instructions: str | None
) -> Server[Any]:
    """Return a server that hands through to another one."""

    async def listed(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        async with opened() as client:
            return await client.list_tools(cursor=params.cursor if params else None)

    async def called(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        async with opened() as client:
            return await client.call_tool(params.name, params.arguments)

    return Server(
        "pelton",
        version=version("pelton"),
        instructions=instructions,
        on_list_tools=listed,
        on_call_tool=called,
    )
