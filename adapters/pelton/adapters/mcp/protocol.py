"""Tools as a server of the Model Context Protocol, one for each request (mcp 2.x).

Nothing is kept between requests: there is no session to lose, and any bridge can answer any call.
What goes wrong in a tool is its result, with a code of ours, for the model to read (AS-28).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from importlib.metadata import version
from typing import Any, Final

import mcp_types as types
import msgspec
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError

from pelton.adapters.a2a.errors import MethodNotAllowed, as_plain, report
from pelton.adapters.a2a.guard import MAX_BODY, check_media_type
from pelton.adapters.a2a.requests import check_depth, violation
from pelton.adapters.a2a.sse import JSON, Reply
from pelton.adapters.mcp.tool import Tool, schema_of

_INVALID: Final = -32602  # JSON-RPC's code for parameters that are none
_PASSED: Final = frozenset({b"accept", b"content-type", b"mcp-protocol-version"})
_OWN: Final = b"mcp-"

Call = Callable[[Tool, Any], Awaitable[msgspec.Struct]]
"""Does what a tool does, with its arguments."""

logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells of each request that it begins


def described(tool: Tool) -> types.Tool:
    """Return a tool as clients see it."""
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=schema_of(tool.takes),
        output_schema=schema_of(tool.gives),
        annotations=types.ToolAnnotations(
            read_only_hint=not tool.writes, idempotent_hint=True, destructive_hint=False
        ),
    )


def server(
    tools: Iterable[Tool], call: Call, *, title: str, instructions: str, correlation: str
) -> Server[Any]:
    """Return a server of tools; an error that is ours is logged under `correlation`."""
    known = {tool.name: tool for tool in tools}

    async def listed(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(_INVALID, "all tools are on the first page")
        return types.ListToolsResult(tools=[described(tool) for tool in known.values()])

    async def called(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = known.get(params.name)
        if tool is None:
            raise MCPError(_INVALID, f"there is no tool {params.name[:80]!r}")
        try:
            try:
                given = msgspec.convert(params.arguments or {}, tool.takes)
            except msgspec.ValidationError as error:
                raise violation(error) from None
            return _result(msgspec.json.encode(await call(tool, given)))
        except Exception as error:  # noqa: BLE001  this is the boundary: every error is an answer
            report(error, correlation)
            return _result(as_plain(error), failed=True)

    return Server(
        "pelton",
        version=version("pelton"),
        title=title,
        instructions=instructions,
        get_tool_input_schema=lambda name: schema_of(known[name].takes) if name in known else None,
        on_list_tools=listed,
        on_call_tool=called,
    )


def _result(data: bytes, *, failed: bool = False) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=data.decode())],
        structured_content=msgspec.json.decode(data),
        is_error=failed,
    )


def check(method: str, headers: Mapping[bytes, bytes]) -> None:
    """Check what HTTP says of a request.

    Raises:
        MethodNotAllowed: it is no POST: nothing is sent here but answers.
        MediaTypeNotSupported: its body is not JSON.
    """
    if method != "POST":
        raise MethodNotAllowed("POST")
    check_media_type(headers)


async def over_http(served: Server[Any], headers: Mapping[bytes, bytes], body: bytes) -> Reply:
    """Return what a server answers to the body of a request.

    Raises:
        ParseError: it is nested too deep.
    """
    check_depth(body)
    manager = StreamableHTTPSessionManager(
        served, json_response=True, stateless=True, max_request_body_size=MAX_BODY
    )
    passed = [each for each in headers.items() if each[0] in _PASSED or each[0].startswith(_OWN)]
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": passed,
    }
    given: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body}]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        if given:
            return given.pop()
        await asyncio.Event().wait()  # whoever asks is cancelled
        raise AssertionError("nothing more comes")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async with manager.run():
        await manager.handle_request(scope, receive, send)
    status = next(each["status"] for each in sent if each["type"] == "http.response.start")
    answer = b"".join(each.get("body", b"") for each in sent)
    return Reply(status, answer, JSON)
