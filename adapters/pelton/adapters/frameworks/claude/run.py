"""One run of Claude Code, by the Agent SDK: what it says, what it calls, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from pelton.adapters.frameworks.claude.transcript import Json, Store
from pelton.adapters.frameworks.contract import AgentDied, SessionLost
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.providers import failure_kind
from pelton.adapters.frameworks.speech import Speech
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.model_gateway import ModelRoute, opened
from pelton.runtime.steps import within
from pelton.runtime.turn import Turn

if TYPE_CHECKING:
    from pelton.adapters.frameworks.claude.adapter import ClaudeAdapter

SERVER: Final = "pelton"
"""What the program calls the server of the tools in Python."""

_LOST: Final = "No conversation found"
_TAIL: Final = 4000  # characters of standard error that an operator gets to see
_BETWEEN: Final = "\n\n"

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Asks(msgspec.Struct, frozen=True):
    """A call of a tool that a person is asked about."""

    id: str
    name: str
    arguments: Json


class Ended(msgspec.Struct, frozen=True):
    """How a run has ended: with a text, and perhaps with a call that somebody has to allow."""

    text: str
    asks: Asks | None = None


class Claude:
    """One run. `answers` says of calls whether a person allows them, and why not."""

    def __init__(
        self,
        adapter: ClaudeAdapter,
        turn: Turn,
        *,
        store: Store,
        session: str,
        answers: Mapping[str, tuple[bool, str]],
        speech: Speech,
    ) -> None:
        self._adapter, self._turn, self._store = adapter, turn, store
        self._session, self._answers, self._speech = session, answers, speech
        self._called: dict[tuple[str, bytes], list[str]] = {}
        self._texts: list[str] = []
        self._client: Any = None
        self._stderr = ""

    async def interrupt(self) -> None:
        """Tell the program to stop what it does."""
        if self._client is not None:
            await self._client.interrupt()

    async def run(self, told: str, *, model: str, system: str) -> Ended:
        """Run the program until it has answered, or asks.

        Raises:
            AgentError: it has failed.
        """
        sdk = self._adapter.sdk
        async with AsyncExitStack() as stack:
            route = await stack.enter_async_context(opened(self._turn, anew=True))
            path, variables, group = stack.enter_context(
                self._adapter.environment(self._turn, route)
            )
            known = await self._store.load({})
            options = sdk.ClaudeAgentOptions(
                model=model or None,
                system_prompt=system,
                tools=list(self._adapter.allowed),
                allowed_tools=list(self._adapter.allowed),
                mcp_servers={SERVER: self._server()},
                strict_mcp_config=True,
                setting_sources=[],
                session_store=self._store,
                session_store_flush="eager",
                session_id=None if known else self._session,
                resume=self._session if known else None,
                include_partial_messages=True,
                hooks={"PreToolUse": [sdk.HookMatcher(hooks=[self._before_tool], timeout=600)]},
                cwd=self._adapter.directory,
                cli_path=path,
                env=variables,
                stderr=self._complains,
            )
            try:
                return await self._talk(sdk.ClaudeSDKClient(options), told, route, group)
            except (sdk.ClaudeSDKError, ConnectionError) as error:
                logger.warning("claude-failed", stderr=self._stderr, exc_info=error)
                raise self._failure(error, route) from error

    async def _talk(self, client: Any, told: str, route: ModelRoute | None, group: Path) -> Ended:
        async with self._connected(client, group):
            if told:
                await client.query(told)
            result: Any = None
            async with aclosing(client.receive_response()) as messages:
                async for message in messages:
                    self._turn.beat()
                    if isinstance(message, self._adapter.sdk.StreamEvent):
                        await self._said(message)
                    elif isinstance(message, self._adapter.sdk.ResultMessage):
                        result = message
        if result is None:
            raise AgentDied
        return self._ended(result, route)

    @contextlib.asynccontextmanager
    async def _connected(self, client: Any, group: Path) -> AsyncGenerator[None]:
        """Have the program run; it is gone when the context is left."""
        try:
            await client.connect()
            self._client = client
            with self._adapter.processes.adopted(_number(group)):
                yield
        finally:
            self._client = None
            leaving = asyncio.ensure_future(client.disconnect())  # it is killed: nothing lasts
            try:
                await asyncio.shield(leaving)
            except asyncio.CancelledError:
                await asyncio.wait((leaving,))
                raise

    async def _said(self, message: Any) -> None:
        """Let what the model says be heard as it comes; what its subagents say is not."""
        if message.parent_tool_use_id:
            return
        match message.event:
            case {"type": "message_start"}:
                self._texts.append("")
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
                new = not self._texts[-1] and any(self._texts)
                self._texts[-1] += text
                await self._speech.say(_BETWEEN + text if new else text)
            case _:
                pass

    def _ended(self, result: Any, route: ModelRoute | None) -> Ended:
        if result.is_error or result.subtype != "success":
            raise self._refused(result, route)
        text = _BETWEEN.join(filter(None, self._texts))
        asks = result.deferred_tool_use
        if asks is None:
            return Ended(text)
        return Ended(text, Asks(asks.id, asks.name, dict(asks.input)))

    def _refused(self, result: Any, route: ModelRoute | None) -> AgentError:
        if route is not None and route.failure is not None:
            return route.failure
        status = result.api_error_status
        if status:
            return AgentError(
                f"The model's endpoint has answered {status}.", kind=failure_kind(status)
            )
        return AgentError(f"Claude Code has failed ({result.subtype}).")

    def _failure(self, error: Exception, route: ModelRoute | None) -> AgentError:
        """Return what it means that the program did not come to an end."""
        if _LOST in f"{error}{self._stderr}":
            return SessionLost()
        if route is not None and route.failure is not None:
            return route.failure
        return AgentDied()

    def _complains(self, line: str) -> None:
        self._stderr = f"{self._stderr}{line}\n"[-_TAIL:]

    # Tools

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
            if refusal := tool.refusal(arguments):
                return _told(refusal, failed=True)
            id_ = self._called[tool.name, _spelled(arguments)].pop(0)
            try:
                found = await self._turn.step(
                    f"tool {tool.name}",
                    tool.run,
                    arguments,
                    kind=StepKind.TOOL,
                    key=within(f"{id_}#1"),
                    idempotent=tool.idempotent,
                )
            except StepError as error:
                return _told(f"The tool has failed: {error.failure.message}", failed=True)
            return _told(found if isinstance(found, str) else msgspec.json.encode(found).decode())

        return call

    async def _before_tool(self, call: Json, id_: str, _: object) -> Json:
        """Decide whether a tool may be called now; one that somebody has to allow ends the run."""
        name = str(call["tool_name"]).removeprefix(f"mcp__{SERVER}__")
        tool = self._adapter.tools.get(name)
        if tool is None:
            return _decision("allow" if name in self._adapter.allowed else "deny")
        arguments = call["tool_input"]
        if tool.ask and id_ not in self._answers and not tool.refusal(arguments):
            return _decision("defer")
        allowed, reason = self._answers.get(id_, (True, ""))
        if not allowed:
            return _decision("deny", f"A person has refused this. {reason}".rstrip())
        self._called.setdefault((name, _spelled(arguments)), []).append(id_)
        return _decision("allow")


def _number(file: Path) -> int:
    """Return the id that the launcher has left."""
    return int(file.read_text())


def _spelled(arguments: Json) -> bytes:
    return msgspec.json.encode(arguments, order="deterministic")


def _told(text: str, *, failed: bool = False) -> Json:
    return {"content": [{"type": "text", "text": text}], "is_error": failed}


def _decision(decision: str, reason: str = "") -> Json:
    """Return what the program is told about a call."""
    said: Json = {"hookEventName": "PreToolUse", "permissionDecision": decision}
    if reason:
        said["permissionDecisionReason"] = reason
    return {"hookSpecificOutput": said}
