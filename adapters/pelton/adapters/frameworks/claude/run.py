"""One run of Claude Code: what it says, what it calls, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import structlog

from pelton.adapters.frameworks.claude.calls import Call, Calls, failed, shown
from pelton.adapters.frameworks.claude.program import SERVER, Program
from pelton.adapters.frameworks.claude.transcript import Line, Run, blocks
from pelton.adapters.frameworks.cli.dialects import claude_took
from pelton.adapters.frameworks.contract import AgentDied, SessionLost
from pelton.adapters.frameworks.conversation import ToolCall
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.providers import failure_kind
from pelton.adapters.frameworks.rpc import Json
from pelton.adapters.frameworks.speech import Speech
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.model_gateway import ModelRoute
from pelton.runtime.turn import Turn

if TYPE_CHECKING:
    from pelton.adapters.frameworks.claude.adapter import ClaudeAdapter

_LOST: Final = "No conversation found"
_WRITES: Final = 30.0  # seconds in which the program has to tell of a call that it wants to make
_BETWEEN: Final = "\n\n"

_BUSY: Final = "Not now: a person is asked about another call first. Make this call again after it."
_NOBODY: Final = "Somebody has to allow this, and nobody can be asked on behalf of a subagent."
_ONCE: Final = "This was done before, and is not done again. It has come to this: {}"

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Asks(msgspec.Struct, frozen=True):
    """A call of a tool that has to wait for somebody."""

    id: str
    name: str
    arguments: Json


class Ended(msgspec.Struct, frozen=True):
    """How a run has ended: with a text, and perhaps with a call that has to wait for somebody."""

    text: str
    asks: Asks | None = None


class Claude:
    """One run. `answers` says of calls whether a person allows them, and why not."""

    def __init__(
        self,
        adapter: ClaudeAdapter,
        turn: Turn,
        *,
        run: Run,
        calls: Calls,
        answers: Mapping[str, tuple[bool, str]],
        speech: Speech,
    ) -> None:
        self._adapter, self._turn, self._run = adapter, turn, run
        self._calls, self._answers, self._speech = calls, answers, speech
        self._context = copy_context()
        self._to_come: dict[tuple[str, bytes], list[Call]] = {}
        self._texts: list[str] = []
        self._program: Program | None = None
        self._over = False
        self._count = 0
        self._written: set[str] = set()
        self._wrote = asyncio.Condition()
        self._waits = ""
        self._withheld: AgentError | None = None

    async def interrupt(self) -> None:
        """Tell the program to stop what it does; what it says of that is not kept."""
        self._over = True
        if self._program is not None:
            await self._program.client.interrupt()

    def knows(self, lines: Sequence[Line]) -> None:
        """Take note of what is in its transcript before it begins."""
        self._written |= {wanted for line in lines for wanted in _wanted(line)}

    async def goes_on(self, after: Line, texts: Sequence[str]) -> None:
        """Go on from an earlier try of the run, which has said `texts`."""
        self._texts = [*texts]
        await self._speech.say(_BETWEEN.join(filter(None, texts)))
        await self._put(after)

    async def has(self, lines: Sequence[Line]) -> None:
        """Have the transcript go on with lines that the program has not written."""
        for line in lines:
            await self._put(line)

    async def run(self, program: Program, told: str, route: ModelRoute | None) -> Ended:
        """Have a program that was started run until it has answered, or waits for somebody.

        Raises:
            AgentError: it has failed; or an error of the SDK tells that.
        """
        self._program, program.ear = program, self
        try:
            return await self._talk(program, told, route)
        finally:
            self._program = program.ear = None

    async def _talk(self, program: Program, told: str, route: ModelRoute | None) -> Ended:
        sdk, result = self._adapter.sdk, None
        if told:
            await program.client.query(told)
        async with aclosing(program.client.receive_response()) as messages:
            async for message in messages:
                self._turn.beat()
                if isinstance(message, sdk.StreamEvent):
                    await self._said(message)
                elif isinstance(message, sdk.ResultMessage):
                    result = message
        if self._withheld is not None:
            raise self._withheld
        if result is None:
            raise AgentDied
        took = claude_took({"usage": result.usage, "modelUsage": result.model_usage})
        if took is not None and (route is None or not route.asked):  # else it is counted by calls
            self._turn.usage(**took._asdict())
        return self._ended(result, route)

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
            raise _refused(result, route)
        text = _BETWEEN.join(filter(None, self._texts))
        asks = result.deferred_tool_use
        if asks is None:
            return Ended(text)
        return Ended(text, Asks(asks.id, plain(asks.name), dict(asks.input)))

    # What the program tells: see `Ear`

    async def wrote(self, path: str, entries: Sequence[Json]) -> None:
        """Keep what it has written into a transcript."""
        if self._over:
            return
        for entry in entries:
            await self._put(Line(entry, path))
            self._written |= _wanted(Line(entry))
        async with self._wrote:
            self._wrote.notify_all()

    async def _put(self, line: Line) -> None:
        key = self._run.key(self._count)
        self._count += 1
        await self._turn.session.put(key, msgspec.to_builtins(line))

    async def before(self, call: Json, id_: str) -> Json:
        """Decide whether a tool may be called now; who has to wait for somebody ends the run."""
        name, arguments = plain(call["tool_name"]), call["tool_input"]
        tool = self._adapter.tools.get(name)
        if tool is None and name not in self._adapter.allowed:
            return decision("deny", f"{name} is not among the tools that may be used.")
        if tool is not None:
            if tool.refusal(arguments):
                return decision("allow")  # it says so itself
            if tool.ask and id_ not in self._answers:
                return self._defer(call, id_)
            allowed, reason = self._answers.get(id_, (True, ""))
            if not allowed:
                return decision("deny", f"A person has refused this. {reason}".rstrip())
        if not self._calls.again(name):
            await self._until_written(id_)
        made = self._calls.begin(ToolCall(id_, name, arguments), self._context.copy())
        state = await made.state()
        if state == "waits":
            return self._defer(call, id_)
        return self._begun(made) if state == "begun" else self._served(made)

    def _begun(self, made: Call) -> Json:
        """Let a call be made, with the arguments that it is left with."""
        given = made.arguments
        if made.tool is not None:
            self._to_come.setdefault((made.wanted.name, spelled(given)), []).append(made)
        return decision("allow", given=None if given == made.wanted.arguments else given)

    def _served(self, made: Call) -> Json:
        """Answer a call that is over before the program has made it: it is on record, or denied."""
        error = made.step.exception()
        if error is not None and not isinstance(error, StepError):
            raise error
        if made.tool is not None and error is None:
            self._to_come.setdefault((made.wanted.name, spelled(made.wanted.arguments)), []).append(
                made
            )
            return decision("allow")
        if error is not None:
            return decision("deny", failed(error))
        if self._calls.again(made.wanted.name):
            return decision("allow")  # it has no effect; what it says then is what was said before
        return decision("deny", _ONCE.format(shown(made.step.result())))

    def _defer(self, call: Json, id_: str) -> Json:
        if call.get("agent_id"):
            return decision("deny", _NOBODY)
        if self._waits:
            return decision("deny", _BUSY)
        self._waits = id_
        return decision("defer")

    async def _until_written(self, id_: str) -> None:
        """Wait until the log has that a call is wanted, so that it is known of after a crash."""
        async with asyncio.timeout(_WRITES), self._wrote:
            await self._wrote.wait_for(lambda: id_ in self._written)

    async def after(self, call: Json, id_: str) -> Json:
        """Have a step end with what one of the program's own tools has come to.

        The model reads what is recorded: without secrets, and as hooks have left it.
        """
        made = self._calls.get(id_)
        if made is None or made.tool is not None:
            return {}
        if call["hook_event_name"] == "PostToolUseFailure":
            made.failed(str(call["error"]))
            await asyncio.wait((made.step,))
            return {}
        came = call["tool_response"]
        made.came(came)
        try:
            told = await made.step
        except StepError as error:
            return self._withhold(str(error), error.failure.kind)
        if told == came:
            return {}
        if not alike(told, came):
            text = f"What {made.wanted.name} has come to was changed, which Claude Code cannot do."
            return self._withhold(text, FailureClass.POLICY)
        said = {"hookEventName": "PostToolUse", "updatedToolOutput": told}
        return {"hookSpecificOutput": said}

    def _withhold(self, why: str, kind: FailureClass) -> Json:
        """End the run, so that its model does not read what it may not."""
        self._withheld = AgentError(why, kind=kind)
        return {"continue_": False, "stopReason": why}

    async def called(self, tool: Tool, arguments: Json) -> Json:
        """Answer a call of a tool in Python, whose step has begun before."""
        if refusal := tool.refusal(arguments):
            return _told(refusal, failed=True)
        made = self._to_come[tool.name, spelled(arguments)].pop(0)
        try:
            return _told(shown(await made.step))
        except StepError as error:
            return _told(failed(error), failed=True)


def _wanted(line: Line) -> set[str]:
    """Return the ids of the calls that a message wants to make."""
    return {str(each["id"]) for each in blocks(line, "tool_use")}


def failure(program: Program, route: ModelRoute | None, error: Exception) -> AgentError:
    """Return what it means that a program has not come to an end."""
    logger.warning("claude-failed", stderr=program.complaint, exc_info=error)
    if _LOST in f"{error}{program.complaint}":
        return SessionLost()
    if route is not None and route.failure is not None:
        return route.failure
    return AgentDied()


def _refused(result: Any, route: ModelRoute | None) -> AgentError:
    if route is not None and route.failure is not None:
        return route.failure
    status = result.api_error_status
    if status:
        return AgentError(f"The model's endpoint has answered {status}.", kind=failure_kind(status))
    return AgentError(f"Claude Code has failed ({result.subtype}).")


def plain(name: Any) -> str:
    """Return the name of a tool, without that of the server that has it."""
    return str(name).removeprefix(f"mcp__{SERVER}__")


def alike(one: Any, other: Any) -> bool:
    """Whether two values of JSON have the same shape, which is all that the program takes."""
    if type(one) is not type(other):
        return False
    if not isinstance(one, dict):
        return True
    here, there = cast("Json", one), cast("Json", other)
    return here.keys() == there.keys() and all(alike(here[key], there[key]) for key in here)


def spelled(arguments: Json) -> bytes:
    """Return arguments as bytes, the same for the same."""
    return msgspec.json.encode(arguments, order="deterministic")


def _told(text: str, *, failed: bool = False) -> Json:
    return {"content": [{"type": "text", "text": text}], "is_error": failed}


def decision(decided: str, reason: str = "", *, given: Json | None = None) -> Json:
    """Return what the program is told about a call."""
    said: Json = {"hookEventName": "PreToolUse", "permissionDecision": decided}
    if reason:
        said["permissionDecisionReason"] = reason
    if given is not None:
        said["updatedInput"] = given
    return {"hookSpecificOutput": said}
