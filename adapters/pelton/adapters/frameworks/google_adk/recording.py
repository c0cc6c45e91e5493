"""An agent's models and tools as steps: what one gives is recorded, and served ever after.

They are put in the place of the agent's own, which they call: in a turn as a step of it, and
elsewhere as ever. Which turn it is, its context says.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final, Self, cast

from google.adk.agents import BaseAgent, LlmAgent
from google.adk.code_executors import BuiltInCodeExecutor
from google.adk.events import EventActions
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.function_tool import FunctionTool

from pelton.adapters.frameworks.contract import not_done
from pelton.adapters.frameworks.plain import plain
from pelton.adapters.frameworks.providers import provider_error
from pelton.adapters.frameworks.speech import Speech
from pelton.events.events import FailureClass
from pelton.events.ids import derive
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError
from pelton.runtime.guard import CallDenied
from pelton.runtime.turn import Turn

Json = dict[str, Any]

_RUN: ContextVar[AgentRun] = ContextVar("pelton_adk_run")
_RECORDED: Final = "_pelton_recorded"


class AgentRun:
    """The models and tools of an attempt of a turn, as a context manager: in it they are steps.

    `idempotent` names the tools whose calls are made again when a crash has cut them off, and
    `retry` says how a model is asked again when it fails. `aside` names the agents that run side by
    side: what they say comes in any order, so it is for other agents to hear.
    """

    def __init__(
        self,
        turn: Turn,
        *,
        idempotent: Collection[str],
        retry: Retry | None,
        aside: Collection[str],
    ) -> None:
        self._turn, self._idempotent, self._retry = turn, idempotent, retry
        self._aside = aside
        self._asked: Counter[str] = Counter()
        self.speech: Final = Speech(turn)
        """What the agents say."""

    def __enter__(self) -> Self:
        """Begin to record."""
        self._token = _RUN.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Record no longer."""
        _RUN.reset(self._token)

    async def ask(
        self, agent: str, llm: BaseLlm, generate: Any, request: LlmRequest
    ) -> list[LlmResponse]:
        """Ask a model, or serve what it has answered.

        It is known by its agent, whose calls follow one another while others' go on beside them.
        """
        self._asked[agent] += 1
        where = f"{agent}.{self._asked[agent]}"
        aloud = agent not in self._aside and request.config.response_schema is None

        async def asking(_: object) -> list[Json]:
            if aloud:
                await self.speech.begin()
            try:
                found = await self._heard(generate(request, stream=True), aloud=aloud)
            except Exception as error:
                raise (_failure(error) or error) from error
            if not found:
                raise AgentError("The model has answered nothing.", kind=FailureClass.PROVIDER)
            return found

        found = await self._turn.step(
            "model",
            asking,
            self._comparable(request),
            key=where,
            idempotent=True,
            retry=self._retry,
            kind=StepKind.MODEL,
            model=llm.model,
        )
        responses = [LlmResponse.model_validate(each) for each in found]
        text = "".join(map(_text, responses))
        if aloud:
            await self.speech.end(text)
        for at, response in enumerate(responses):
            self._named(response, f"{where}.{at}")
            self._used(response, llm.model)
        return responses

    async def call(self, tool: BaseTool, run: Any, args: Json, context: Any) -> Any:
        """Call a tool, or serve what it has returned, and what it has done to its session."""
        here: Json | None = None

        async def running(_: object) -> Json:
            nonlocal here
            found = await run(args=args, tool_context=context)
            here = {"gives": found}
            done = context.actions.model_dump(mode="json", exclude_defaults=True)
            return {"gives": plain(found)} | ({"does": done} if done else {})

        confirmed = ".confirmed" if context.tool_confirmation is not None else ""
        try:
            found = await self._turn.step(
                f"tool {tool.name}",
                running,
                args,
                key=f"{context.function_call_id}{confirmed}",
                idempotent=tool.name in self._idempotent,
                kind=StepKind.TOOL,
            )
        except CallDenied as denied:
            return not_done(denied)
        if here is None and "does" in found:
            _do_again(context, EventActions.model_validate(found["does"]))
        return found["gives"]

    def _comparable(self, request: LlmRequest) -> Any:
        """Return what is the same on every attempt: nothing, if agents are heard in any order."""
        if self._aside:
            return None
        system: Any = cast("Any", request.config).system_instruction
        return [str(system), *map(plain, request.contents)]

    async def _heard(self, stream: AsyncGenerator[LlmResponse], *, aloud: bool) -> list[Json]:
        found: list[Json] = []
        async with aclosing(stream):
            async for response in stream:
                if not response.partial:
                    found.append(plain(response))
                elif aloud:
                    await self.speech.say(_text(response))
        return found

    def _named(self, response: LlmResponse, where: str) -> None:
        """Give calls without ids such as are alike on every attempt; ADK takes them for its own."""
        for at, part in enumerate((response.content and response.content.parts) or ()):
            if part.function_call is not None and not part.function_call.id:
                turn = self._turn
                id_ = derive(turn.task_id, str(turn.number), "call", f"{where}.{at}")
                part.function_call.id = f"adk-{id_}"

    def _used(self, response: LlmResponse, model: str) -> None:
        used = response.usage_metadata
        if used is None:
            return
        self._turn.usage(
            response.model_version or model,
            input_tokens=used.prompt_token_count or 0,
            output_tokens=(used.candidates_token_count or 0) + (used.thoughts_token_count or 0),
            cached_tokens=used.cached_content_token_count or 0,
        )


def record(agent: BaseAgent) -> None:
    """Put what records in the place of the models and tools of an agent and its sub-agents."""
    if isinstance(agent, LlmAgent):
        agent.model = _model(agent.name, agent.canonical_model)
        agent.tools = [_tool(each) for each in cast("Any", agent).tools]
    for each in agent.sub_agents:
        record(each)


def aside(agent: BaseAgent, *, within: bool = False) -> list[str]:
    """Return the names of the agents that run side by side with others, in their order."""
    found = [agent.name] if within else []
    within = within or any(each.__name__ == "ParallelAgent" for each in type(agent).__mro__)
    return found + [name for each in agent.sub_agents for name in aside(each, within=within)]


def unrecordable(agent: BaseAgent) -> str:
    """Return what of an agent and its sub-agents cannot be recorded, or nothing."""
    executor: Any = getattr(agent, "code_executor", None)
    if executor is not None and not isinstance(executor, BuiltInCodeExecutor):
        return f"the code executor of {agent.name!r}: give it a tool that runs the code"
    within = [unrecordable(each) for each in agent.sub_agents]
    return next(filter(None, within), "")


def _model(agent: str, llm: BaseLlm) -> BaseLlm:
    if _RECORDED in vars(llm):
        return llm
    made = llm.model_copy()
    generate = made.generate_content_async

    async def recorded(
        llm_request: LlmRequest,
        stream: bool = False,  # noqa: FBT001, FBT002  ADK's own
    ) -> AsyncGenerator[LlmResponse]:
        if (run := _RUN.get(None)) is not None:
            for response in await run.ask(agent, made, generate, llm_request):
                yield response
            return
        async with aclosing(generate(llm_request, stream)) as responses:
            async for response in responses:
                yield response

    _put(made, "generate_content_async", recorded)
    return made


def _tool(tool: Any) -> Any:
    if isinstance(tool, BaseToolset):
        return _toolset(tool)
    if inspect.isroutine(tool):
        tool = FunctionTool(cast("Any", tool))
    if not isinstance(tool, BaseTool) or _RECORDED in vars(tool):
        return tool
    made = copy.copy(tool)
    call = made.run_async

    async def recorded(*, args: Json, tool_context: Any) -> Any:
        if (run := _RUN.get(None)) is not None:
            return await run.call(made, call, args, tool_context)
        return await call(args=args, tool_context=tool_context)

    _put(made, "run_async", recorded)
    return made


def _toolset(toolset: BaseToolset) -> BaseToolset:
    if _RECORDED in vars(toolset):
        return toolset
    made = copy.copy(toolset)
    tools = made.get_tools

    async def recorded(*args: Any, **kwargs: Any) -> list[BaseTool]:
        return [_tool(each) for each in await tools(*args, **kwargs)]

    _put(made, "get_tools", recorded)
    return made


def _put(place: Any, name: str, function: Any) -> None:
    object.__setattr__(place, name, function)  # models of pydantic allow no other way
    object.__setattr__(place, _RECORDED, True)


def _do_again(context: Any, done: EventActions) -> None:
    """Do to a call's session what the call has done to it when it was run."""
    context.state.update(done.state_delta)
    for name in done.model_fields_set - {"state_delta"}:
        setattr(context.actions, name, getattr(done, name))


def _text(response: LlmResponse) -> str:
    parts = (response.content and response.content.parts) or ()
    return "".join(part.text or "" for part in parts if not part.thought)


def _failure(error: Exception) -> AgentError | None:
    if isinstance(error, AgentError):
        return error
    return provider_error(error)
