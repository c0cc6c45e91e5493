"""An agent's models and tools as steps: what one gives is recorded, and served ever after.

Agents are copied for each attempt, and all that they hand over to, so that theirs stay as they are.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Final, cast

from agents import (
    Agent,
    CustomTool,
    FunctionTool,
    Handoff,
    Model,
    ModelProvider,
    ModelResponse,
    Tool,
    Usage,
)
from agents.agent_output import AgentOutputSchemaBase
from agents.tool import ApplyPatchTool, ComputerTool, LocalShellTool, ShellTool
from openai.types.responses import Response
from pydantic import BaseModel

from pelton.adapters.frameworks.contract import not_done
from pelton.adapters.frameworks.plain import plain
from pelton.adapters.frameworks.providers import provider_error
from pelton.adapters.frameworks.speech import Speech
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError
from pelton.runtime.guard import CallDenied
from pelton.runtime.turn import Turn

Json = dict[str, Any]

_KEPT: Final = frozenset({"id", "model", "output", "usage"})
"""What is recorded of an answer: the rest repeats the question."""

_BROKEN: Final = "The model has broken off, or what it said is no answer."


class Recording:
    """The agents of one attempt of a turn.

    `idempotent` names the tools whose calls are made again when a crash has cut them off, and
    `retry` says how a model is asked again when it fails.
    """

    def __init__(
        self,
        turn: Turn,
        *,
        provider: ModelProvider,
        idempotent: Collection[str],
        retry: Retry | None,
    ) -> None:
        self._turn, self._idempotent, self._retry = turn, idempotent, retry
        self._made: dict[int, tuple[Agent[Any], Agent[Any]]] = {}
        self.speech: Final = Speech(turn)
        """What the agents say."""
        self.provider: Final = _Provider(self, provider)
        """Where models that agents name come from."""

    def of(self, agent: Agent[Any]) -> Agent[Any]:
        """Return the copy of an agent whose models and tools are recorded."""
        if (known := self._made.get(id(agent))) is not None:
            return known[1]
        made = copy.copy(agent)
        self._made[id(agent)] = (agent, made)
        if isinstance(agent.model, Model):
            made.model = RecordedModel(self, agent.model)
        made.tools = [self._tool(each) for each in agent.tools]
        made.handoffs = [
            self._handoff(each) if isinstance(each, Handoff) else self.of(each)
            for each in agent.handoffs
        ]
        return made

    async def asked(
        self,
        model: Model,
        comparable: tuple[object, ...],
        ask: Callable[[], Awaitable[Json]],
        *,
        aloud: bool,
    ) -> Json:
        """Ask a model, or serve what it has answered; `aloud` that clients hear it."""

        async def asking(*_: object) -> Json:
            if aloud:
                await self.speech.begin()
            try:
                return await ask()
            except Exception as error:
                raise (_failure(error) or error) from error

        found = await self._turn.step(
            "model",
            asking,
            *comparable,
            idempotent=True,
            retry=self._retry,
            kind=StepKind.MODEL,
            model=str(getattr(model, "model", "")),
        )
        if aloud:
            text = "".join(_texts(found))
            await self.speech.end(text)
        used = cast("Json", found.get("usage") or {})
        details = cast("Json", used.get("input_tokens_details") or {})
        self._turn.usage(
            found.get("model") or "",
            input_tokens=used.get("input_tokens") or 0,
            output_tokens=used.get("output_tokens") or 0,
            cached_tokens=details.get("cached_tokens") or 0,
        )
        return found

    async def called(
        self, name: str, call: str, args: object, run: Callable[[], Awaitable[object]]
    ) -> object:
        """Call a tool, or serve what it has returned."""

        async def running(_: object) -> object:
            return plain(await run())

        again = name in self._idempotent
        try:
            return await self._turn.step(
                f"tool {name}", running, args, key=call, idempotent=again, kind=StepKind.TOOL
            )
        except CallDenied as denied:
            return not_done(denied)

    def _tool(self, tool: Tool) -> Tool:
        if not isinstance(tool, FunctionTool | CustomTool):
            return tool  # the model's provider runs it
        made: Any = copy.copy(tool)
        invoke: Callable[[Any, str], Any] = made.on_invoke_tool

        async def invoked(context: Any, args: str) -> object:
            async def run() -> object:
                found: Any = invoke(context, args)
                return await found if inspect.isawaitable(found) else found

            return await self.called(tool.name, context.tool_call_id, args, run)

        made.on_invoke_tool = invoked
        return cast("Tool", made)

    def _handoff(self, handoff: Handoff[Any, Any]) -> Handoff[Any, Any]:
        made = copy.copy(handoff)
        invoke = handoff.on_invoke_handoff

        async def invoked(context: Any, args: str) -> Any:
            return self.of(await invoke(context, args))

        made.on_invoke_handoff = invoked
        return made


class RecordedModel(Model):
    """Stands for a model of an agent. It is asked for streams alone, so that clients hear it."""

    def __init__(self, recording: Recording, model: Model) -> None:
        self._recording, self._model = recording, model

    async def get_response(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: Any,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        *args: Any,
        **kwargs: Any,
    ) -> ModelResponse:
        """Return what the model answers."""
        aloud = output_schema is None or output_schema.is_plain_text()

        async def ask() -> Json:
            stream: Any = self._model.stream_response(
                system_instructions, input, model_settings, tools, output_schema, *args, **kwargs
            )
            return await self._heard(stream, aloud=aloud)

        names = [tool.name for tool in tools]
        comparable = (system_instructions, input, names)
        found = await self._recording.asked(self._model, comparable, ask, aloud=aloud)
        response = Response.construct(**found)
        return ModelResponse(
            output=response.output, usage=_usage(found), response_id=response.id or None
        )

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: agents run here without, and what they say is streamed all the same."""
        raise NotImplementedError

    async def _heard(self, stream: AsyncGenerator[Any], *, aloud: bool) -> Json:
        items: list[Any] = []
        began = False
        async with aclosing(stream):
            async for event in stream:
                match event.type:
                    case "response.completed" if not began:
                        break  # the SDK's own, where nothing came that it could read
                    case "response.output_text.delta" if aloud:
                        await self._recording.speech.say(event.delta)
                    case "response.output_item.done":
                        items.append(_told(event.item))
                    case "response.completed":
                        found = _told(event.response)
                        found["output"] = found.get("output") or items
                        return {key: found[key] for key in _KEPT if key in found}
                    case "response.failed" | "response.incomplete" | "error" | "response.error":
                        break
                    case _:
                        pass
                began = True
        raise AgentError(_BROKEN, kind=FailureClass.PROVIDER)


class _Provider(ModelProvider):
    """Gives the models of another provider, recorded."""

    def __init__(self, recording: Recording, provider: ModelProvider) -> None:
        self._recording, self._provider = recording, provider

    def get_model(self, model_name: str | None) -> Model:
        return RecordedModel(self._recording, self._provider.get_model(model_name))


def unrecordable(agent: Agent[Any]) -> str:
    """Return what of an agent and those that it hands over to cannot be recorded, or nothing."""
    for each in _reached(agent):
        if each.mcp_servers:
            return f"the MCP servers of {each.name!r}: give it function tools that call them"
        for tool in each.tools:
            if isinstance(tool, ApplyPatchTool | ComputerTool | LocalShellTool | ShellTool):
                return f"the tool {tool.name!r} of {each.name!r}: give it a function tool instead"
            within: Agent[Any] | None = getattr(tool, "_agent_instance", None)
            if within is not None and any(map(_asks, _reached(within))):
                return (
                    f"a question within {tool.name!r}, an agent as a tool of {each.name!r}: let the"
                    " tool itself need approval, or hand over to the agent"
                )
    return ""


def _reached(agent: Agent[Any]) -> Iterable[Agent[Any]]:
    """Return an agent and those that it hands over to, as far as is known before it runs."""
    found: dict[int, Agent[Any]] = {}
    left = [agent]
    while left:
        at = left.pop()
        if id(at) in found:
            continue
        found[id(at)] = at
        for each in at.handoffs:
            target: Any = each
            if isinstance(each, Handoff):
                reference = getattr(each, "_agent_ref", None)
                target = reference() if reference is not None else None
            if target is not None:
                left.append(target)
    return found.values()


def _asks(agent: Agent[Any]) -> bool:
    return any(getattr(tool, "needs_approval", False) for tool in agent.tools)


def _texts(answer: Json) -> Iterator[str]:
    for item in cast("list[Json]", answer["output"]):
        if item.get("type") == "message":
            for part in item.get("content") or ():
                yield part.get("text") or part.get("refusal") or ""


def _usage(answer: Json) -> Usage:
    used = cast("Json", answer.get("usage") or {})
    read, wrote = used.get("input_tokens") or 0, used.get("output_tokens") or 0
    return Usage(requests=1, input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)


def _told(value: BaseModel) -> Json:
    """Return what a provider has said as JSON, as it came: nothing is added, nor is it checked."""
    return value.model_dump(mode="json", exclude_unset=True, warnings=False)


def _failure(error: Exception) -> AgentError | None:
    if isinstance(error, AgentError):
        return error
    if (found := provider_error(error)) is not None:
        return found
    if isinstance(error, ValueError | TypeError | AttributeError):
        return AgentError(_BROKEN, kind=FailureClass.PROVIDER)
    return None
