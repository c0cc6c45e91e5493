"""Pydantic AI's durable execution on the log: each request of a model, each call of a tool a step.

Built on what Pydantic AI offers to those who make engines (`pydantic_ai.durable_exec`).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final, Literal, cast

from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    CallableOperationBackend,
    DurabilityEngineSpec,
    DurableOperationBackend,
    DurableOperationId,
    EventStreamHandlerId,
    JournalOperationNamer,
    ModelRequestId,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    conversation_id_from_run_id,
)
from pydantic_ai.exceptions import ModelAPIError, ToolFailed, UnexpectedModelBehavior
from pydantic_ai.messages import (
    AgentStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.tools import RunContext

from pelton.adapters.frameworks.contract import not_done
from pelton.adapters.frameworks.providers import provider_error
from pelton.adapters.frameworks.speech import Speech
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError
from pelton.runtime.guard import CallDenied
from pelton.runtime.steps import fixed
from pelton.runtime.turn import Turn

METADATA: Final = "pelton"
"""The key of a tool's metadata that says how its calls are recorded."""

_UNSTABLE: Final = frozenset({"timestamp", "run_id", "conversation_id"})

Json = dict[str, Any]


def stable(value: Any) -> Any:
    """Return messages as JSON without what differs from attempt to attempt."""
    if isinstance(value, list):
        return [stable(each) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        found = cast("Json", value)
        return {key: stable(each) for key, each in found.items() if key not in _UNSTABLE}
    return value


class Durability(BaseDurabilityCapability[Any]):
    """The engine of one attempt of a turn, for an agent with that `model`."""

    engine_spec = DurabilityEngineSpec(
        engine_name="pelton",
        durable_unit_noun="step",
        durable_container_noun="turn",
        codec=JSON_CODEC,
        toolset_lifecycles={
            "function": "enter-always",
            "mcp": "enter-in-durable-unit",
            "dynamic": "enter-never",
        },
        tool_config_key=METADATA,
    )

    def __init__(self, turn: Turn, *, name: str, model: str, retry: Retry | None) -> None:
        self._speech, self._model = Speech(turn), model
        super().__init__(event_stream_handler=self._hear, name=name)
        self._turn, self._retry = turn, retry
        self._runs = 0

    @property
    def speech(self) -> Speech:
        """What the agent says."""
        return self._speech

    @property
    def in_durable_context(self) -> bool:
        """Return True: a turn is one."""
        return True

    def get_default_run_id(self) -> str:
        """Return the same id on every attempt."""
        self._runs += 1
        return f"{self._turn.task_id}/{self._turn.number}/{self._runs}"

    def get_default_conversation_id(self, run_id: str) -> str:
        """Return the same id on every attempt."""
        return conversation_id_from_run_id(run_id)

    def get_durable_operation_backend(self) -> DurableOperationBackend[Any]:
        """Return what makes steps of operations."""
        return _Steps(self)

    async def _hear(self, _: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        """Let clients hear what the model says, as it comes: this runs within its step."""
        async for event in events:
            match event:
                case PartStartEvent(part=TextPart(content=text)):
                    await self._speech.say(text)
                case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                    await self._speech.say(text)
                case _:
                    pass

    async def request(self, name: str, body: Callable[[], Awaitable[object]]) -> object:
        """Ask the model, or serve what it has answered."""

        async def asking() -> object:
            await self._speech.begin()
            try:
                return await body()
            except Exception as error:
                raise (_failure(error) or error) from error

        step = self._turn.step(
            name,
            asking,
            idempotent=True,
            retry=self._retry,
            kind=StepKind.MODEL,
            model=self._model,
        )
        found = cast("Json", await step)
        parts = cast("list[Json]", found["parts"])
        text = "".join(part["content"] for part in parts if part["part_kind"] == "text")
        await self._speech.end(text)
        used = cast("Json", found.get("usage") or {})
        self._turn.usage(
            found.get("model_name") or "",
            input_tokens=used.get("input_tokens") or 0,
            output_tokens=used.get("output_tokens") or 0,
            cached_tokens=used.get("cache_read_tokens") or 0,
        )
        return found

    async def operate(
        self,
        name: str,
        body: Callable[[], Awaitable[object]],
        args: object,
        config: Json,
        *,
        kind: StepKind = StepKind.CODE,
    ) -> object:
        """Call a tool, or do what else there is to be recorded."""
        again = bool(config.get("idempotent"))

        @fixed
        async def running(_: object) -> object:
            return await body()

        try:
            return await self._turn.step(name, running, args, idempotent=again, kind=kind)
        except CallDenied as denied:
            raise ToolFailed(not_done(denied)) from denied


class _Steps(CallableOperationBackend[Json]):
    def __init__(self, engine: Durability) -> None:
        config = RoleBasedOperationConfig[Json](
            model={},
            event={},
            capability={},
            tool={},
            resolve_tool=lambda _, tool, __: _told(tool),
        )
        super().__init__(namer=JournalOperationNamer(engine.name), config=config)
        self._engine = engine

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: Json,
    ) -> object:
        """Run an operation as a step; what clients hear is no effect, and runs as it is."""
        match operation_id:
            case EventStreamHandlerId():
                return await body()
            case ModelRequestId(model_id=model):
                return await self._engine.request(f"model {model}" if model else "model", body)
            case ToolsetCallToolId(toolset_kind="function" | "dynamic"):
                tool, args = cache_key[:2]
                named = f"tool {tool}"
                return await self._engine.operate(named, body, args, config, kind=StepKind.TOOL)
            case _:
                return await self._engine.operate(name, body, None, config | {"idempotent": True})


def _told(tool: object) -> Json | Literal[False]:
    """Return what the metadata of a tool says of its calls; False is that they are no steps."""
    metadata = cast("Any", tool).tool_def.metadata if tool is not None else None
    found: Json | Literal[False] = cast("Json", metadata or {}).get(METADATA, {})
    return found


def _failure(error: Exception) -> AgentError | None:
    if (found := provider_error(error)) is not None:
        return found
    if isinstance(error, ModelAPIError | UnexpectedModelBehavior):
        return AgentError(
            "The model has broken off, or what it said is no answer.", kind=FailureClass.PROVIDER
        )
    return None
