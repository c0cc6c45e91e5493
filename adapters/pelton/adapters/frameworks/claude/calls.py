"""Calls of tools by Claude Code, each a step: of its own tools, and of those in Python.

A call is known by the id that its model gave it. Its step begins before the program may do it:
hooks, policies and people are asked then. What one of the program's own tools has come to, the
program tells afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextvars import Context
from typing import Any, Final, Literal

import msgspec

from pelton.adapters.frameworks.contract import not_done
from pelton.adapters.frameworks.conversation import LOST, ToolCall
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.rpc import Json
from pelton.events.events import FailureClass
from pelton.events.retries import NEVER
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.functions import called
from pelton.runtime.guard import CallDenied
from pelton.runtime.recorder import TOOL
from pelton.runtime.turn import Turn
from pelton.runtime.waits import tell_of_waits

NOT_DONE: Final = "This was not done: the agent was cut off before. Call it again if need be."
"""What a model reads of a call that had not begun when its process was gone."""

READS: Final = frozenset({"Glob", "Grep", "LS", "NotebookRead", "Read", "WebFetch", "WebSearch"})
"""Tools of the program's own that may be called again: they have no effect."""

State = Literal["begun", "waits", "ended"]


class Call:
    """One call; `tool` is what does it, if that is one in Python."""

    def __init__(self, turn: Turn, wanted: ToolCall, tool: Tool | None, *, again: bool) -> None:
        self.wanted, self.tool = wanted, tool
        self._turn, self._again = turn, again
        self._waits = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[Json] = loop.create_future()
        self._came: asyncio.Future[Any] = loop.create_future()
        self.step: asyncio.Task[Any]
        """Its step: the result is what the log has."""

    def start(self, context: Context) -> None:
        """Begin its step."""
        self.step = asyncio.create_task(
            self._stepped(), name=f"tool {self.wanted.name}", context=context
        )

    @property
    def arguments(self) -> Json:
        """The arguments that it is left with, once it has begun."""
        return self._begun.result()

    async def state(self) -> State:
        """Wait until it is known whether it may be done.

        It may, `begun`; or somebody has to be waited for; or it is over: served from the record, or
        refused.
        """
        waiting = asyncio.ensure_future(self._waits.wait())
        await asyncio.wait((self.step, self._begun, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._begun.done():
            return "begun"
        return "ended" if self.step.done() else "waits"

    async def decided(self) -> None:
        """Wait until it may be done, or is over, however long somebody takes to say so."""
        await asyncio.wait((self.step, self._begun), return_when=asyncio.FIRST_COMPLETED)

    def came(self, result: Any) -> None:
        """Tell what it has come to."""
        if not self._came.done():
            self._came.set_result(result)

    def failed(self, why: str) -> None:
        """Tell that it has failed."""
        if not (self._came.done() or self.step.done()):
            self._came.set_exception(AgentError(why))

    async def _stepped(self) -> Any:
        tell_of_waits(self._waits.set)
        return await self._turn.step(
            f"tool {self.wanted.name}",
            self._own if self.tool is None else self._python,
            self.wanted.arguments,
            kind=StepKind.TOOL,
            key=f"{TOOL}{self.wanted.id}",
            idempotent=self._again,
            retry=NEVER if self.tool is None else None,
        )

    async def _own(self, arguments: Json) -> Any:
        self._begun.set_result(arguments)
        return await self._came

    async def _python(self, arguments: Json) -> Any:
        assert self.tool is not None
        if not self._begun.done():  # it is tried again
            self._begun.set_result(arguments)
        return await called(self.tool.run, arguments)


class Calls:
    """The calls of one attempt of a turn. `again` names own tools that may be called twice."""

    def __init__(self, turn: Turn, tools: Mapping[str, Tool], again: Collection[str]) -> None:
        self._turn, self._tools, self._own = turn, tools, READS | {*again}
        self._known: dict[str, Call] = {}

    def again(self, name: str) -> bool:
        """Whether a call of a tool may be made twice."""
        tool = self._tools.get(name)
        return name in self._own if tool is None else tool.idempotent

    def lasting(self, call: ToolCall) -> bool:
        """Whether a call of an own tool was begun, and may have had an effect."""
        return call.name not in self._tools and not self.again(call.name) and self._begun(call)

    def get(self, id_: str) -> Call | None:
        """Return a call, if it was begun in this attempt."""
        return self._known.get(id_)

    def begin(self, wanted: ToolCall, context: Context) -> Call:
        """Begin a call, unless that is done."""
        found = self._known.get(wanted.id)
        if found is None:
            tool = self._tools.get(wanted.name)
            found = Call(self._turn, wanted, tool, again=self.again(wanted.name))
            found.start(context)
            self._known[wanted.id] = found
        return found

    async def mend(self, call: ToolCall) -> str:
        """Return what has become of a call that a crash has cut off, for the model to read.

        A person is asked about it, if nobody knows.

        Raises:
            StepError: that person gives up.
        """
        if not self._begun(call):
            return NOT_DONE

        tool = self._tools.get(call.name)

        async def again(*_: object) -> Any:
            return LOST if tool is None else await called(tool.run, call.arguments)

        try:
            found = await self._turn.step(
                f"tool {call.name}",
                again,
                kind=StepKind.TOOL,
                key=f"{TOOL}{call.id}",
                idempotent=self.again(call.name),
                retry=NEVER,
            )
        except StepError as error:
            if error.failure.kind is FailureClass.OUTCOME_UNKNOWN:
                raise
            return failed(error)
        return shown(found)

    async def close(self) -> None:
        """Give up what is not over."""
        steps = [call.step for call in self._known.values()]
        self._known.clear()
        for step in steps:
            step.cancel()
        if steps:
            await asyncio.wait(steps)
        for step in steps:
            if not step.cancelled():
                step.exception()  # whom it concerns has been told

    def _begun(self, call: ToolCall) -> bool:
        return self._turn.begun(f"tool {call.name}", key=f"{TOOL}{call.id}")


def shown(result: Any) -> str:
    """Return a result as a model reads it."""
    return result if isinstance(result, str) else msgspec.json.encode(result).decode()


def failed(error: StepError) -> str:
    """Return what a model reads of a call that has failed, or was not allowed."""
    if isinstance(error, CallDenied):
        return not_done(error)
    return f"The tool has failed: {error.failure.message}"
