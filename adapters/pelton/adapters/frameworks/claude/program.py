"""A process of Claude Code with a session, by the Agent SDK: for one run after another."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import structlog

from pelton.adapters.frameworks.claude.transcript import Line
from pelton.adapters.frameworks.contract import AgentDied
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.rpc import Json
from pelton.runtime.model_gateway import ModelRoute
from pelton.runtime.turn import Turn

if TYPE_CHECKING:
    from pelton.adapters.frameworks.claude.adapter import ClaudeAdapter

SERVER: Final = "pelton"
"""What the program calls the server of the tools in Python."""

_PATIENCE: Final = 7 * 86_400
"""Seconds that the program waits for a hook: as long as a tool may take."""
_TAIL: Final = 4000  # characters of standard error that an operator gets to see

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Ear(Protocol):
    """The run that hears what the program does."""

    async def wrote(self, path: str, entries: Sequence[Json]) -> None:
        """Hear what it has written into a transcript."""
        ...

    async def before(self, call: Json, id_: str) -> Json:
        """Say whether it may call a tool."""
        ...

    async def after(self, call: Json, id_: str) -> Json:
        """Hear what one of its own tools has come to."""
        ...

    async def called(self, tool: Tool, arguments: Json) -> Json:
        """Call a tool in Python."""
        ...


class Wanted(NamedTuple):
    """What a process is started with, and cannot be told otherwise later."""

    session: str
    model: str
    system: str


class Program:
    """A process. `ear` is the run that it is in, `heard` what its session knows: keys of the log.

    `token` is that of its way to models. It is `stale` once it has done something in no run.
    """

    def __init__(self, adapter: ClaudeAdapter, wanted: Wanted, token: str) -> None:
        self._adapter, self.wanted, self.token = adapter, wanted, token
        self.client: Any = None
        self.ear: Ear | None = None
        self.heard: frozenset[str] = frozenset()
        self.stale = False
        self.complaint = ""
        self._lines: Sequence[Line] = ()
        self._group = 0
        self._stack = AsyncExitStack()

    async def start(
        self, turn: Turn, ear: Ear, route: ModelRoute | None, lines: Sequence[Line], *, on: bool
    ) -> None:
        """Start it with a transcript; with `on` it goes on by itself where that ends."""
        sdk, adapter, stack = self._adapter.sdk, self._adapter, self._stack
        self.ear, self._lines = ear, lines
        path, variables, group = stack.enter_context(adapter.environment(turn, route))
        if on:
            variables["CLAUDE_CODE_RESUME_INTERRUPTED_TURN"] = "1"
        matched = {"PreToolUse": self._before, "PostToolUse": self._after}
        matched["PostToolUseFailure"] = self._after
        options = sdk.ClaudeAgentOptions(
            model=self.wanted.model or None,
            system_prompt=self.wanted.system,
            tools=list(adapter.allowed),
            permission_mode="dontAsk",  # what no hook has allowed is denied
            mcp_servers={SERVER: self._server()},
            strict_mcp_config=True,
            setting_sources=[],
            session_store=self,
            session_store_flush="eager",
            session_id=None if lines else self.wanted.session,
            resume=self.wanted.session if lines else None,
            include_partial_messages=True,
            hooks={
                name: [sdk.HookMatcher(hooks=[hook], timeout=_PATIENCE)]
                for name, hook in matched.items()
            },
            cwd=adapter.directory,
            cli_path=path,
            env=variables,
            stderr=self._complains,
        )
        client = sdk.ClaudeSDKClient(options)
        stack.push_async_callback(self._disconnect, client)
        await client.connect()
        self.client = client
        self._group = int(group.read_text())
        stack.enter_context(adapter.processes.adopted(self._group))

    @property
    def alive(self) -> bool:
        """Whether it can take another run."""
        if self.stale or self.client is None:
            return False
        try:
            os.killpg(self._group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def close(self) -> None:
        """End it, and delete its directory."""
        self.client = None
        closing = asyncio.ensure_future(self._stack.aclose())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait((closing,))
            raise

    async def _disconnect(self, client: Any) -> None:
        """End the process: it is killed by now, so nothing lasts."""
        await client.disconnect()

    def _complains(self, line: str) -> None:
        self.complaint = f"{self.complaint}{line}\n"[-_TAIL:]

    # See `SessionStore` of the SDK

    async def append(self, key: Mapping[str, str], entries: list[Json]) -> None:
        """Keep what it has written."""
        if self.ear is not None:
            await self.ear.wrote(key.get("subpath", ""), entries)
        elif any(each.get("type") in ("user", "assistant") for each in entries):
            self.stale = True

    async def load(self, key: Mapping[str, str]) -> list[Json] | None:
        """Return a transcript that it is started with."""
        path = key.get("subpath", "")
        return [line.entry for line in self._lines if line.path == path] or None

    async def list_subkeys(self, key: Mapping[str, str]) -> list[str]:
        """Return the paths of the transcripts of subagents."""
        del key
        return sorted({line.path for line in self._lines if line.path})

    # What it asks

    def _server(self) -> Any:
        """Return the server of the tools in Python: it runs in this process."""
        sdk = self._adapter.sdk
        tools = [
            sdk.tool(each.name, each.description, each.schema)(self._calling(each))
            for each in self._adapter.tools.values()
        ]
        return sdk.create_sdk_mcp_server(SERVER, tools=tools)

    def _calling(self, tool: Tool) -> Any:
        async def call(arguments: Json) -> Json:
            return await self._heard().called(tool, arguments)

        return call

    async def _before(self, call: Json, id_: str, _: object) -> Json:
        return await self._heard().before(call, id_)

    async def _after(self, call: Json, id_: str, _: object) -> Json:
        return await self._heard().after(call, id_)

    def _heard(self) -> Ear:
        """Return the run that it is in; the program takes an error for a refusal.

        Raises:
            AgentDied: it is in none.
        """
        if self.ear is None:
            self.stale = True
            raise AgentDied("Claude Code has called a tool when no turn was running.")
        return self.ear
