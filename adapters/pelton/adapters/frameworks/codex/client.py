"""A client of codex's app-server: one process, with one thread that leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import msgspec

from pelton.adapters.frameworks.contract import AgentDied, SessionLost
from pelton.adapters.frameworks.conversation import Spoken, ToolCall
from pelton.adapters.frameworks.launching import launched
from pelton.adapters.frameworks.performance import (
    Asked,
    Called,
    Ended,
    Event,
    Events,
    Returned,
    Said,
    Took,
)
from pelton.adapters.frameworks.processes import Processes
from pelton.adapters.frameworks.providers import failure_kind
from pelton.adapters.frameworks.rpc import NO_METHOD, Json, Peer, Refused, elements, member
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError
from pelton.runtime.model_gateway import ModelRoute

GO_ON: Final = "You were cut off. Go on where you were, and do not do again what has a result."
"""What an agent is told when a turn that it had in hand goes on in another process."""

_TOOLS: Final = frozenset(
    {"commandExecution", "fileChange", "mcpToolCall", "dynamicToolCall", "webSearch"}
)
"""The kinds of items that are calls of tools."""

_ASKED: Final = frozenset({"commandExecution", "fileChange"})
"""Those of which it asks whether it may, unless it takes them for harmless."""

_KINDS: Final[Mapping[str, FailureClass]] = {
    "unauthorized": FailureClass.AUTHORISATION,
    "badRequest": FailureClass.VALIDATION,
    "contextWindowExceeded": FailureClass.VALIDATION,
    "modelNotFound": FailureClass.VALIDATION,
    "sandboxError": FailureClass.DEPENDENCY,
    "tooManyDenials": FailureClass.POLICY,
    "cyberPolicy": FailureClass.POLICY,
}
"""What codex's own words for a failure mean; any other one is the provider's."""


class CodexClient:
    """A process with a thread, for one turn after another."""

    def __init__(self, peer: Peer, thread: str, model: str, stack: AsyncExitStack) -> None:
        self._peer, self._thread, self._model, self._stack = peer, thread, model, stack
        self._events = Events()
        self._asked: dict[str, asyncio.Future[str]] = {}
        self._beginning: asyncio.Task[None] | None = None
        self._turn = ""
        self._took = Took()
        self._held: dict[str, ToolCall] = {}
        self._over = asyncio.Event()
        peer.ear = self

    @classmethod
    async def open(
        cls,
        processes: Processes,
        command: Sequence[str],
        *,
        more: Mapping[str, str],
        directory: str,
        home: Mapping[str, str] | None,
        route: ModelRoute | None,
        thread: Json,
    ) -> CodexClient:
        """Start a process and a thread in it.

        Raises:
            AgentError: it cannot be started, or begins no thread.
        """
        async with launched(
            processes, command, more=more, directory=directory, home=home, route=route
        ) as (peer, stack):
            try:
                client = {"name": "pelton", "title": "pelton", "version": "1"}
                await peer.call("initialize", {"clientInfo": client})
                await peer.tell("initialized", {})
                found = await peer.call(
                    "thread/start", {"ephemeral": True, "cwd": directory, **thread}
                )
                id_ = str(found["thread"]["id"])
            except Refused as error:
                raise failure(str(error), None) from error
            except (KeyError, TypeError) as error:
                raise AgentError("codex has begun no thread.") from error
            return cls(peer, id_, str(found.get("model") or ""), stack.pop_all())
        raise AssertionError  # the block returns or raises

    @property
    def alive(self) -> bool:
        """Whether its process can take another turn."""
        return self._peer.alive

    def begin(self, lines: Sequence[Spoken], done: Sequence[Spoken]) -> None:
        """Put what was said and done into the thread as it is, and take the turn."""
        if done:
            self._take([*items([*lines, *done])], GO_ON)
        else:
            self._take([*items(lines[:-1])], lines[-1].text)

    def go_on(self, text: str) -> None:
        """Take another turn in the thread."""
        self._take([], text)

    async def event(self) -> Event:
        """Wait for what the agent does next."""
        return await self._events.next()

    async def decide(self, call: ToolCall, *, approved: bool) -> None:
        """Answer what the agent has asked of a call."""
        self._decided(call.id, "accept" if approved else "decline")

    async def cancel(self) -> None:
        """Interrupt the turn, and wait until it is over."""
        if self._turn and self._peer.alive:
            for id_ in tuple(self._asked):
                self._decided(id_, "cancel")
            about = {"threadId": self._thread, "turnId": self._turn}
            await self._peer.call("turn/interrupt", about)
            await self._over.wait()

    async def close(self) -> None:
        """End the process, and delete its home."""
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.wait((self._beginning,))
        await self._stack.aclose()

    def _take(self, said: Sequence[Json], text: str) -> None:
        self._events, self._took = Events(), Took(self._model)
        self._over.clear()
        self._beginning = asyncio.create_task(self._begun(said, text), name="turn")

    async def _begun(self, said: Sequence[Json], text: str) -> None:
        thread = {"threadId": self._thread}
        try:
            if said:
                await self._peer.call("thread/inject_items", {**thread, "items": list(said)})
            nothing: list[Any] = []
            given = [{"type": "text", "text": text, "text_elements": nothing}]
            found = await self._peer.call("turn/start", {**thread, "input": given})
            self._turn = str(found["turn"]["id"])
        except Refused as error:
            self._events.fail(failure(str(error), None))
        except AgentDied as error:
            self._events.fail(error)
        else:
            await self._ended()

    async def _ended(self) -> None:
        """Wait until the turn is over, or the process."""
        over = asyncio.ensure_future(self._over.wait())
        gone = asyncio.ensure_future(self._peer.gone())
        try:
            await asyncio.wait((over, gone), return_when="FIRST_COMPLETED")
        finally:
            over.cancel()
            gone.cancel()
        if not self._over.is_set():
            self._events.fail(AgentDied())

    async def told(self, method: str, params: Json) -> None:
        """Hear what the agent does."""
        match method, params:
            case "item/agentMessage/delta", {"delta": str(text)}:
                self._events.put(Said(text))
            case "item/started", {"item": {"type": kind} as item} if kind in _TOOLS:
                self._starts(called(item), asks=kind in _ASKED)
            case "item/commandExecution/outputDelta", {"itemId": str(id_)}:
                self._goes_on(id_)
            case "item/completed", {"item": {"type": kind} as item} if kind in _TOOLS:
                self._goes_on(str(item["id"]))
                self._events.put(Returned(called(item), result(item)))
            case "thread/tokenUsage/updated", {
                "tokenUsage": {"last": {"inputTokens": int(read)} as last}
            }:
                took, count = self._took, cast("Json", last)
                self._took = Took(
                    self._model,
                    took.read + read,
                    took.wrote + int(count.get("outputTokens", 0)),
                    took.cached + int(count.get("cachedInputTokens", 0)),
                )
            case "turn/completed", {"turn": {"status": "failed"} as turn}:
                error = cast("Json", cast("Json", turn).get("error") or {})
                told = error.get("codexErrorInfo")
                self._events.fail(failure(str(error.get("message", "")), told))
                self._over.set()
            case "turn/completed", _:
                self._events.put(Ended(self._took if self._took.read else None))
                self._over.set()
            case _:
                return

    async def asked(self, id_: int | str, method: str, params: Json) -> Any:
        """Answer the agent: whether it may do something is not for this process to say."""
        del id_
        if method not in (
            "item/commandExecution/requestApproval",
            "item/fileChange/requestApproval",
        ):
            raise Refused(f"there is no {method[:80]!r} here", number=NO_METHOD)
        call = self._wanted(params)
        decided = self._asked[call.id] = asyncio.get_running_loop().create_future()
        self._events.put(Asked(call))
        try:
            return {"decision": await decided}
        finally:
            self._asked.pop(call.id, None)

    def _starts(self, call: ToolCall, *, asks: bool) -> None:
        """Tell of a call; of one that it may ask about only once it goes on without asking.

        What it asks about nothing has happened of yet, so that is known as a question alone.
        """
        if asks:
            self._held[call.id] = call
        else:
            self._events.put(Called(call))

    def _goes_on(self, id_: str) -> None:
        if (call := self._held.pop(id_, None)) is not None:
            self._events.put(Called(call))

    def _wanted(self, params: Json) -> ToolCall:
        """Return the call that it asks about."""
        id_ = str(params.get("itemId", ""))
        begun = self._held.pop(id_, None)
        told = {key: params[key] for key in ("command", "reason") if params.get(key)}
        if begun is not None:
            return ToolCall(id_, begun.name, {**begun.arguments, **told})
        return ToolCall(id_, "shell" if "command" in params else "change files", told)

    def _decided(self, id_: str, decision: str) -> None:
        if (asked := self._asked.get(id_)) is not None and not asked.done():
            asked.set_result(decision)


def items(lines: Iterable[Spoken]) -> Iterable[Json]:
    """Yield what was said and done as items of the Responses API."""
    for line in lines:
        if line.role == "tool":
            yield {"type": "function_call_output", "call_id": line.call, "output": line.text}
            continue
        if line.text:
            kind = "output_text" if line.role == "assistant" else "input_text"
            content = [{"type": kind, "text": line.text}]
            yield {"type": "message", "role": line.role, "content": content}
        for call in line.calls:
            given = msgspec.json.encode(call.arguments).decode()
            name = "".join(each if each.isalnum() else "_" for each in call.name)[:64]
            yield {
                "type": "function_call",
                "call_id": call.id,
                "name": name,
                "arguments": given,
            }


def called(item: Json) -> ToolCall:
    """Return the call of a tool that an item is."""
    match item:
        case {"type": "commandExecution"}:
            name, arguments = "shell", {"command": item.get("command", "")}
        case {"type": "fileChange"}:
            name, arguments = "change files", {"changes": item.get("changes", [])}
        case {"type": "webSearch"}:
            name, arguments = "web search", {"query": item.get("query", "")}
        case _:
            given = item.get("arguments")
            name = str(item.get("tool", "tool"))
            arguments = cast("Json", given) if isinstance(given, dict) else {"arguments": given}
    return ToolCall(str(item["id"]), name, arguments)


def result(item: Json) -> str:
    """Return what a call has come to."""
    match item:
        case {"type": "commandExecution"}:
            output = str(item.get("aggregatedOutput") or "")
            code = item.get("exitCode")
            return output if code in (0, None) else f"{output}\n(exit code {code})"
        case {"type": "mcpToolCall", "error": {"message": str(message)}}:
            return message
        case _:
            content = member(item, "result", "content") or item.get("contentItems")
            texts = [str(member(each, "text") or "") for each in elements(content)]
            return "\n".join(texts) if texts else str(item.get("status", ""))


def failure(message: str, told: Any) -> AgentError:
    """Return what codex's failure means: by its own word for it, or by an HTTP status."""
    if "no rollout found" in message or "thread not found" in message:
        return SessionLost()
    if isinstance(told, dict):
        for each in cast("dict[str, Any]", told).values():
            status = member(each, "httpStatusCode")
            if isinstance(status, int):
                return AgentError(
                    f"The model's endpoint has answered {status}.", kind=failure_kind(status)
                )
    if told == "other" and "invalid_request" in message:  # the endpoint's own words
        told = "badRequest"
    if isinstance(told, str) and told in _KINDS:
        return AgentError(f"codex has failed: {told}.", kind=_KINDS[told])
    if told is not None:
        return AgentError("The model's endpoint has failed.", kind=FailureClass.PROVIDER)
    return AgentError("codex has failed.")
