"""The nodes of a graph as steps: what one gives is recorded, and served on every later attempt.

So the graph itself runs again on every attempt, and none of its nodes does that has run before.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphInterrupt, ParentCommand
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]
from langgraph.types import interrupt

from pelton.adapters.frameworks.langgraph import values
from pelton.adapters.frameworks.providers import provider_error
from pelton.adapters.frameworks.speech import Speech
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError
from pelton.runtime.guard import CallDenied
from pelton.runtime.steps import fixed
from pelton.runtime.turn import Turn

RUN: Final = "pelton_run"
"""Where a graph's configuration has the `GraphRun`."""

_HOOKS: Final = frozenset({"before_agent", "before_model", "after_model", "after_agent"})
"""How the names of nodes end that LangChain makes of middleware, which looks and decides."""

_MODEL: Final = "model"
"""The node that LangChain makes of an agent's model."""

_HUSHED: Final = frozenset({"nostream", "langsmith:nostream"})
_NOTHING: Final = "No generation"  # so LangChain begins to say it
_BETWEEN: Final = "\n\n"

Json = dict[str, Any]
Graph = Pregel[Any, Any, Any, Any]


def recording(graph: Graph) -> Graph:
    """Return a copy of a graph, its nodes and those of graphs that are nodes of it recorded."""
    nodes = dict(graph.nodes)
    for name, node in graph.nodes.items():
        if name.startswith("__"):
            continue  # its own: it hands the input on
        if isinstance(node.bound, Pregel):
            within = recording(cast("Any", node.bound))
            nodes[name] = node.copy({"bound": within, "subgraphs": [within]})
        else:
            nodes[name] = node.copy({"bound": _Recorded(name, node.bound)})
    return graph.copy({"nodes": nodes})


class _Recorded(Runnable[Any, Any]):
    """Stands for a node's function."""

    def __init__(self, name: str, bound: Runnable[Any, Any]) -> None:
        self._node, self._bound = name, bound

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        raise NotImplementedError("graphs run on the event loop here")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        assert config is not None  # a graph calls it
        run: GraphRun = config["configurable"][RUN]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        return await run.node(self._node, self._bound, input, config, kwargs)


class GraphRun:
    """The nodes of a graph in one attempt of a turn.

    `idempotent` names the nodes, and the tools that nodes call, that may be run again after a crash
    has cut them off; `retry` says how these are tried again when they fail.
    """

    def __init__(
        self, turn: Turn, speech: Speech, *, idempotent: Collection[str], retry: Retry | None
    ) -> None:
        self._turn, self._speech = turn, speech
        self._idempotent, self._retry = frozenset(idempotent), retry
        self._paused: Counter[str] = Counter()
        self._texts: dict[int, str] = {}
        self._count = self._running = 0
        self.ear: Final = _Ear(turn)
        """What the graph is to tell what its models say."""
        self.round = 1
        """How often the graph was begun in this turn: once, and after each pause."""

    async def node(
        self,
        name: str,
        bound: Runnable[Any, Any],
        given: Any,
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Run a node, or serve what is recorded of it."""
        where = f"{name}:{_where(config)}"
        listener = _Listener(self._speech if not self._running else None)
        place = _namespace(config.get("metadata"))
        paused: GraphInterrupt | None = None

        async def running(_: Any) -> Json:
            nonlocal paused
            try:
                output = await bound.ainvoke(given, config, **kwargs)
            except GraphInterrupt as error:
                paused = error
                return {"paused": values.encode(error.args[0][0].value)}
            except ParentCommand as error:
                return {"parent": values.encode(cast("Any", error).args[0])}
            except GraphBubbleUp:
                raise
            except Exception as error:
                raise (_failure(error) or error) from error
            return {"gives": values.encode(values.named(output, f"{self._turn.task_id}:{where}"))}

        @fixed
        async def heard(input_: Any) -> Json:
            await listener.begin()
            self.ear.listeners[place] = listener
            try:
                found = await running(input_)
            finally:
                del self.ear.listeners[place]
            return found | listener.record()

        self._running += 1
        self._count += 1
        order, wanted = self._count, _tool_calls(bound, given)
        tools = [str(call["name"]) for call in wanted]
        try:
            found = await self._step(name, tools, heard, given, f"{self.round}.{_where(config)}")
        except CallDenied as denied:
            if not tools:
                raise
            return _refused(bound, given, wanted, str(denied))
        finally:
            self._running -= 1
        self._used(found.get("used", ()))
        self._texts[order] = found.get("said", "")
        await self._say()
        if "paused" in found:
            try:
                raise paused or self._pause(where, values.decode(found["paused"]))
            finally:
                self._paused[where] += 1
        del self._paused[where]
        if "parent" in found:
            raise ParentCommand(values.decode(found["parent"]))
        return values.decode(found["gives"])

    async def _step(
        self,
        name: str,
        tools: Sequence[str],
        running: Callable[[Any], Awaitable[Json]],
        given: Any,
        key: str,
    ) -> Json:
        again = self._may_run_again(name, tools)
        kind = StepKind.MODEL if name == _MODEL else StepKind.CODE
        return await self._turn.step(
            f"tool {'+'.join(tools)}" if tools else name,
            running,
            _comparable(given),
            key=key,
            idempotent=again,
            retry=self._retry if again else None,
            kind=StepKind.TOOL if tools else kind,
        )

    def _pause(self, where: str, value: Any) -> GraphInterrupt:
        """Pause a node that is not run as it would itself: after the answers that it has had."""
        try:
            for _ in range(self._paused[where]):
                interrupt(None)
            interrupt(value)
        except GraphInterrupt as error:
            return error
        raise AssertionError("a node that pauses has no answer yet")

    def _may_run_again(self, name: str, tools: Sequence[str]) -> bool:
        if name in self._idempotent or name.rpartition(".")[2] in _HOOKS:
            return True
        return bool(tools) and self._idempotent.issuperset(tools)

    def _used(self, used: Sequence[Json]) -> None:
        for each in used:
            self._turn.usage(**each)

    async def _say(self) -> None:
        """Say what nodes have said, in the order in which they began, once none is running."""
        if self._running:
            return
        texts, self._texts = self._texts, {}
        for _, text in sorted(texts.items()):
            if text:
                await self._speech.end(text)


class _Listener:
    """What models say and take within a node; `speech` lets clients hear it as it comes."""

    def __init__(self, speech: Speech | None) -> None:
        self._speech = speech
        self._said: list[str] = []
        self._used: list[Json] = []
        self._between = ""

    async def begin(self) -> None:
        """Begin, for the first time or again."""
        self._said, self._used, self._between = [], [], ""
        if self._speech is not None:
            await self._speech.begin()

    def record(self) -> Json:
        """Return what was heard."""
        said = _BETWEEN.join(text for text in self._said if text)
        return {"said": said, "used": self._used}

    async def token(self, token: str) -> None:
        """Hear a piece."""
        if self._speech is not None and token:
            between, self._between = self._between, ""
            await self._speech.say(between + token)

    def message(self, message: BaseMessage, *, hushed: bool) -> None:
        """Hear the whole of what a model has said."""
        if not hushed:
            self._said.append(str(message.text))
            self._between = _BETWEEN if any(self._said) else ""
        if isinstance(message, AIMessage) and (usage := message.usage_metadata) is not None:
            details = usage.get("input_token_details") or {}
            self._used.append(
                {
                    "model": str(message.response_metadata.get("model_name", "")),
                    "input_tokens": usage["input_tokens"],
                    "output_tokens": usage["output_tokens"],
                    "cached_tokens": details.get("cache_read") or 0,
                }
            )


class _Ear(AsyncCallbackHandler):
    """Hears all models of a graph, and tells the listener of the node that has asked one.

    Before that a model is asked, in whatever node, budgets are.
    """

    raise_error = True
    run_inline = True

    def __init__(self, turn: Turn) -> None:
        self._turn, self._loop = turn, asyncio.get_running_loop()
        self.listeners: dict[str, _Listener] = {}
        """By the namespaces of nodes that run."""
        self._runs: dict[UUID, tuple[_Listener, bool]] = {}

    async def on_chat_model_start(
        self,
        serialized: Json,  # noqa: ARG002
        messages: list[list[BaseMessage]],  # noqa: ARG002
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: Json | None = None,
        **_: Any,
    ) -> None:
        """Note whose model it is; of one with the tag `nostream` clients hear nothing.

        Raises:
            BudgetExceeded: it is not to be asked.
        """
        affording = self._turn.afford(str((metadata or {}).get("ls_model_name") or ""))
        if asyncio.get_running_loop() is not self._loop:  # a node that is no coroutine has asked
            waiting = asyncio.run_coroutine_threadsafe(affording, self._loop)
            await asyncio.wrap_future(waiting)
        else:
            await affording
        where = _namespace(metadata)
        for place, listener in self.listeners.items():
            if where == place or where.startswith(f"{place}|"):
                self._runs[run_id] = listener, bool(_HUSHED.intersection(tags or ()))

    async def on_llm_new_token(self, token: Any, *, run_id: UUID, **_: Any) -> None:
        """Hear a piece."""
        listener, hushed = self._runs.get(run_id, (None, True))
        if listener is not None and not hushed and isinstance(token, str):
            await listener.token(token)

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Hear the whole."""
        listener, hushed = self._runs.pop(run_id, (None, True))
        generation = response.generations[0][0]
        if listener is not None and isinstance(generation, ChatGeneration):
            listener.message(generation.message, hushed=hushed)


def _namespace(metadata: Mapping[str, Any] | None) -> str:
    return str((metadata or {}).get("langgraph_checkpoint_ns", ""))


def _failure(error: Exception) -> AgentError | None:
    if isinstance(error, ValueError) and str(error).startswith(_NOTHING):
        return AgentError("The model has answered nothing.", kind=FailureClass.PROVIDER)
    return provider_error(error)


def _where(config: RunnableConfig) -> str:
    """Return where in its graph a node runs, the same on every attempt."""
    told = config.get("metadata") or {}
    *outer, _ = _namespace(told).split("|")
    path: Sequence[Any] = told.get("langgraph_path") or ()
    place = [each for each in path[1:2] if type(each) is int]
    graphs = [each.partition(":")[0] for each in outer]
    return ".".join(map(str, [*graphs, told.get("langgraph_step", 0), *place]))


def _refused(bound: Runnable[Any, Any], given: Any, wanted: Sequence[Json], why: str) -> Any:
    """Return what a node gives whose tools were not called: the model reads why."""
    said = [
        ToolMessage(
            f"This was not done. {why}",
            name=call["name"],
            tool_call_id=call["id"],
            status="error",
        )
        for call in wanted
    ]
    if isinstance(given, list) and isinstance(given[-1], BaseMessage):
        return said
    return {str(getattr(bound, "_messages_key", "messages")): said}


def _tool_calls(bound: Runnable[Any, Any], given: Any) -> Sequence[Json]:
    """Return the calls of tools that a node makes of its input, if it is one that makes some."""
    if not isinstance(bound, ToolNode):
        return ()
    state: Json = cast("Json", given) if isinstance(given, dict) else {}
    if "tool_call" in state:  # one, with the graph's state beside it
        return (state["tool_call"],)
    key = str(getattr(bound, "_messages_key", "messages"))
    among: object = state.get(key, getattr(cast("object", given), key, None))
    messages: Any = cast("object", given) if isinstance(given, list) else among
    for each in reversed(cast("list[Any]", messages or ())):
        if isinstance(each, AIMessage):
            return cast("Sequence[Json]", each.tool_calls)
        if isinstance(each, dict):
            return cast("Sequence[Json]", messages)
    return ()


def _comparable(given: Any) -> Any:
    """Return an input by which it is seen that an attempt differs from the one before, if any."""
    found = values.encode(given)
    return found if values.readable(found) else None
