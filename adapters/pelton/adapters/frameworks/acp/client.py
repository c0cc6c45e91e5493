"""A client of the Agent Client Protocol (version 1): one process, with one session in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import msgspec

from pelton.adapters.frameworks.cli.adapter import prompt
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

VERSION: Final = 1

ASKS: Final = "default"
"""The mode, where an agent has such, in which it asks before it does something."""

_SO_FAR: Final = (
    "You have begun to answer this, and were cut off. What you have said and done so far, one"
    " thing a line, is below. Do not do again what has a result; go on from there."
)
_NO_AUTH: Final = -32000
_NO_RESOURCE: Final = -32002
_READS: Final = frozenset({"read", "search", "fetch", "think"})
"""Kinds of tools that have no effect."""
_WORDS: Final = ("session identifier", "session not found", "unknown session", "no such session")


class AcpClient:
    """An agent's process with a session, for one turn after another."""

    def __init__(self, peer: Peer, session: str, stack: AsyncExitStack) -> None:
        self._peer, self._session, self._stack = peer, session, stack
        self._events = Events()
        self._asked: dict[str, asyncio.Future[bool | None]] = {}
        self._calls: dict[str, ToolCall] = {}
        self._titles: dict[str, str] = {}
        self._prompting: asyncio.Task[None] | None = None
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
        auth: str,
    ) -> AcpClient:
        """Start a process and open a session. With `home` it has a home of its own.

        The files that `home` names are in it, `{home}` in a variable's value stands for it; `auth`
        is the way to authenticate, if the agent wants one.

        Raises:
            AgentError: it cannot be started, or does not open a session.
        """
        async with launched(
            processes, command, more=more, directory=directory, home=home, route=route
        ) as (peer, stack):
            try:
                session = await _opened(peer, directory, auth)
            except Refused as error:
                raise failure(error) from error
            return cls(peer, session, stack.pop_all())
        raise AssertionError  # the block returns or raises

    @property
    def alive(self) -> bool:
        """Whether its process can take another prompt."""
        return self._peer.alive

    def begin(self, lines: Sequence[Spoken], done: Sequence[Spoken]) -> None:
        """Tell the agent all that was said, and what it has done: its session knows nothing."""
        self.go_on(prompt(lines) + so_far(done))

    def go_on(self, text: str) -> None:
        """Say something to the agent; what it does is told by events."""
        self._events = Events()
        self._prompting = asyncio.create_task(self._prompt(text), name="prompt")

    async def event(self) -> Event:
        """Wait for what the agent does next."""
        return await self._events.next()

    async def decide(self, call: ToolCall, *, approved: bool) -> None:
        """Answer what the agent has asked of a call."""
        if (asked := self._asked.get(call.id)) is not None and not asked.done():
            asked.set_result(approved)

    async def cancel(self) -> None:
        """Tell the agent to stop, and wait until it has."""
        if self._prompting is not None and self._peer.alive:
            await self._peer.tell("session/cancel", {"sessionId": self._session})
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_result(None)
            await asyncio.wait((self._prompting,))

    async def close(self) -> None:
        """End the process, and delete its home."""
        if self._prompting is not None:
            self._prompting.cancel()
            await asyncio.wait((self._prompting,))
        await self._stack.aclose()

    async def _prompt(self, text: str) -> None:
        asked = {"sessionId": self._session, "prompt": [{"type": "text", "text": text}]}
        try:
            found = await self._peer.call("session/prompt", asked)
        except Refused as error:
            self._events.fail(failure(error))
        except AgentDied as error:
            self._events.fail(error)
        else:
            match found:
                case {"stopReason": "refusal"}:  # so says hermes of a session that it has not
                    self._events.fail(SessionLost())
                case {"stopReason": "max_turn_requests"}:
                    text = "The agent has asked its model as often as it may."
                    self._events.fail(AgentError(text, kind=FailureClass.POLICY))
                case _:
                    self._events.put(Ended(_took(found)))

    async def told(self, method: str, params: Json) -> None:
        """Hear what the agent does."""
        if method != "session/update":
            return
        match params.get("update"):
            case {"sessionUpdate": "agent_message_chunk", "content": {"text": str(text)}}:
                self._events.put(Said(text))
            case {"sessionUpdate": "tool_call" | "tool_call_update", "toolCallId": id_} as update:
                self._update(str(id_), cast("Json", update))
            case _:
                return  # its plans and thoughts are no answer

    async def asked(self, id_: int | str, method: str, params: Json) -> Any:
        """Answer the agent: whether it may do something is not for this process to say."""
        del id_
        if method != "session/request_permission":
            raise Refused(f"there is no {method[:80]!r} here", number=NO_METHOD)
        update = cast("Json", params.get("toolCall") or {})
        call = self._call(str(update.get("toolCallId", "")), update)
        decided = self._asked[call.id] = asyncio.get_running_loop().create_future()
        self._events.put(Asked(call))
        try:
            approved = await decided
        finally:
            self._asked.pop(call.id, None)
        option = None if approved is None else _option(params.get("options"), approved=approved)
        if option is None:
            return {"outcome": {"outcome": "cancelled"}}
        return {"outcome": {"outcome": "selected", "optionId": option}}

    def _update(self, id_: str, update: Json) -> None:
        call, status = self._call(id_, update), update.get("status")
        if status in ("completed", "failed"):
            self._events.put(Returned(call, _result(update)))
        elif status == "in_progress" or update.get("sessionUpdate") == "tool_call":
            self._events.put(Called(call, update.get("kind") in _READS))

    def _call(self, id_: str, update: Json) -> ToolCall:
        """Return a call as it is known by now; an update may name only what is new."""
        known = self._calls.get(id_)
        given = update.get("rawInput")
        if known is None or (given and not known.arguments):
            name = str(update.get("title") or (known.name if known else "tool"))
            arguments = cast("Json", given) if isinstance(given, dict) else {}
            self._calls[id_] = known = ToolCall(id_, name[:200], arguments)
        return known


async def _opened(peer: Peer, directory: str, auth: str) -> str:
    """Return the id of a new session."""
    capabilities = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
    await peer.call(
        "initialize",
        {
            "protocolVersion": VERSION,
            "clientCapabilities": capabilities,
            "clientInfo": {"name": "pelton", "version": "1"},
        },
    )
    if auth:
        await peer.call("authenticate", {"methodId": auth})
    found = await peer.call("session/new", {"cwd": directory, "mcpServers": []})
    session = member(found, "sessionId")
    if not isinstance(session, str):
        raise AgentError("The agent has opened no session.")
    modes = [member(each, "id") for each in elements(member(found, "modes", "availableModes"))]
    if ASKS in modes and member(found, "modes", "currentModeId") != ASKS:
        await peer.call("session/set_mode", {"sessionId": session, "modeId": ASKS})
    return session


def failure(error: Refused) -> AgentError:
    """Return what an agent's error means; some agents give it the number of an HTTP status."""
    text = f"{error} {msgspec.json.encode(error.data).decode()}".lower()
    if error.number == _NO_RESOURCE or any(word in text for word in _WORDS):
        return SessionLost()
    if 400 <= error.number < 600:
        return AgentError(
            f"The model's endpoint has answered {error.number}.", kind=failure_kind(error.number)
        )
    if error.number == _NO_AUTH and "auth" in text:
        return AgentError("The agent is not logged in.", kind=FailureClass.AUTHORISATION)
    return AgentError("The agent has failed.")


def _option(options: Any, *, approved: bool) -> str | None:
    """Return the option that says so once; one that says so for ever is the last resort."""
    wanted = ("allow_once", "allow_always") if approved else ("reject_once", "reject_always")
    for kind in wanted:
        for option in elements(options):
            if member(option, "kind") == kind:
                return str(member(option, "optionId"))
    return None


def _result(update: Json) -> str:
    """Return the text of a call's result: what it shows, or else what came out of it."""
    texts: list[str] = []
    for each in elements(update.get("content")):
        match each:
            case {"type": "content", "content": {"text": str(text)}}:
                texts.append(text)
            case {"type": "diff", "path": str(path), "newText": str(text)}:
                texts.append(f"{path}:\n{text}")
            case _:
                texts.append(msgspec.json.encode(each).decode())
    raw = update.get("rawOutput")
    if not texts and raw is not None:
        texts.append(raw if isinstance(raw, str) else msgspec.json.encode(raw).decode())
    return "\n".join(texts)


def _took(found: Any) -> Took | None:
    """Return what the model took, if the agent says it: by the protocol, or as gemini does."""
    match found:
        case {"usage": {"inputTokens": int(read), "outputTokens": int(wrote)} as usage}:
            cached = cast("Json", usage).get("cachedReadTokens")
            return Took("", read, wrote, cached if isinstance(cached, int) else 0)
        case {
            "_meta": {
                "quota": {"token_count": {"input_tokens": int(read), "output_tokens": int(wrote)}}
            }
        }:
            return Took("", read, wrote)
        case _:
            return None


def so_far(done: Sequence[Spoken]) -> str:
    """Return what an agent is told of what it has said and done in a turn that was cut off."""
    if not done:
        return ""
    lines: list[str] = []
    for line in done:
        lines += (_json({"called": call.name, "with": call.arguments}) for call in line.calls)
        if line.role == "tool":
            lines.append(_json({"result": line.text}))
        elif line.text:
            lines.append(_json({"said": line.text}))
    return "\n".join(("\n", _SO_FAR, *lines))


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
