"""A LangGraph graph as an agent: its nodes are steps, its state is in the log between turns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, Interrupt

from pelton.adapters.frameworks.contract import AdapterError, Capability, Health
from pelton.adapters.frameworks.conversation import Conversation, Spoken, told
from pelton.adapters.frameworks.langgraph import values
from pelton.adapters.frameworks.langgraph.nodes import RUN, Graph, GraphRun, recording
from pelton.adapters.frameworks.speech import Speech
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.runtime.failures import AgentError
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

AGAIN: Final = frozenset({"model"})
"""The nodes that may be run again unless the adapter is told others."""

STEPS: Final = 100
"""How many steps a graph may take in one turn before somebody should look at it."""

_STATE: Final = "state"

State = Mapping[str, Any]


def said_to(messages: Sequence[BaseMessage]) -> Any:
    """Return the input of a graph whose state has `messages`."""
    return {"messages": list(messages)}


def answer_of(state: State) -> str:
    """Return the answer in the state of a graph: the text of its last message, if a model's."""
    messages = cast("Sequence[object]", state.get("messages") or ())
    last = messages[-1] if messages else None
    return str(last.text) if isinstance(last, AIMessage) else ""


class LangGraphAdapter:
    """A compiled graph.

    Each node is a step, once for each run of it. `idempotent` names the nodes and the tools that
    are run again without asking a person when a crash has cut them off, and `retry` says how these
    are tried again when they fail (else by the class of the failure). What has no answer yet for
    an `interrupt` is asked of a person.

    `given` makes the graph's input of what was said since the state that is kept, and `answer`
    takes the answer out of the state in the end.
    """

    name: str = "langgraph"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(Capability) - {Capability.OPTIONS}
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        graph: Graph,
        *,
        idempotent: Collection[str] = AGAIN,
        retry: Retry | None = None,
        given: Callable[[Sequence[BaseMessage]], Any] = said_to,
        answer: Callable[[State], str] = answer_of,
        steps: int = STEPS,
    ) -> None:
        self.graph = recording(graph)
        self.idempotent, self.retry, self.steps = frozenset(idempotent), retry, steps
        self.given, self.answer = given, answer

    async def start(self) -> None:
        """Look whether all of the graph's state can be kept.

        Raises:
            AdapterError: it has a channel that holds but a part of what it is.
        """
        for name, channel in cast("dict[str, Any]", cast("Any", self.graph).channels).items():
            if type(channel).__name__ == "DeltaChannel":
                raise AdapterError(
                    f"langgraph: the channel {name!r} holds changes alone, and is not kept whole:"
                    " give it a reducer instead"
                )
        logging.getLogger("langgraph").setLevel(logging.ERROR)

    async def health(self) -> Health:
        """Return that it could be run: it needs nothing but its models."""
        return Health(ok=True)

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the conversation, and the state that the graph was left in."""
        conversation = Conversation(turn)
        await conversation.load(opening, await told(turn))
        entries = await turn.session.entries()
        return _Session(self, conversation, str(opening.id), entries.get(_STATE))

    async def stop(self) -> None:
        """Do nothing: it has started nothing."""


class _Session:
    """One attempt of a turn. What it keeps of the graph is `state`."""

    def __init__(
        self, adapter: LangGraphAdapter, conversation: Conversation, id_: str, state: Any
    ) -> None:
        self._adapter, self._conversation, self._id = adapter, conversation, id_
        self._state: dict[str, Any] = state or {}

    async def turn(self, turn: Turn) -> None:
        adapter, said, speech = self._adapter, self._conversation, Speech(turn)
        saver = _Saver()
        graph = cast("Any", adapter.graph.copy({"checkpointer": saver}))
        run = GraphRun(turn, speech, idempotent=adapter.idempotent, retry=adapter.retry)
        config: RunnableConfig = {
            "configurable": {"thread_id": self._id, RUN: run},
            "callbacks": [run.ear],
            "recursion_limit": adapter.steps,
        }
        if self._state:
            await saver.restore(self._id, self._state)
        lines = [*said.missing(self._state.get("heard", ())), *said.new]
        given = adapter.given(list(_messages(turn, lines)))
        while True:
            try:
                async for _ in graph.astream(given, config, stream_mode="messages"):
                    turn.beat()
            except GraphRecursionError as error:
                raise AgentError(
                    f"The graph has taken {adapter.steps} steps.", kind=FailureClass.POLICY
                ) from error
            found = await graph.aget_state(config)
            if not found.interrupts:
                break
            answers = {each.id: await _answered(turn, each) for each in found.interrupts}
            given = Command(resume=answers)
            run.round += 1
        answer = adapter.answer(cast("State", found.values))
        if answer != speech.last:
            await speech.end(answer)
        await speech.close()
        said.new.append(Spoken("assistant", answer))
        await said.keep()
        heard = sorted(said.parts)
        await turn.session.put(_STATE, {**await saver.kept(config), "heard": heard})

    async def cancel(self) -> None:
        """Do nothing: to cancel the task is enough."""

    async def close(self) -> None:
        """Do nothing: an attempt holds nothing."""


class _Saver(InMemorySaver):
    """The checkpoints of one attempt. Between turns the last one is kept, which this reads."""

    def get_next_version(self, current: str | None, channel: None) -> str:  # noqa: ARG002
        """Count: LangGraph's own adds a random number."""
        return f"{int(current or 0) + 1:020}"

    async def restore(self, thread: str, kept: Mapping[str, Any]) -> None:
        """Begin with what `kept` has returned."""
        checkpoint: Checkpoint = {
            **empty_checkpoint(),
            "channel_values": values.decode(kept["values"]),
            "channel_versions": kept["versions"],
            "versions_seen": kept["seen"],
        }
        config: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        await self.aput(config, checkpoint, {"source": "loop", "step": 0}, kept["versions"])

    async def kept(self, config: RunnableConfig) -> dict[str, Any]:
        """Return the last checkpoint as JSON, without what differs from attempt to attempt."""
        found = await self.aget_tuple(config)
        assert found is not None  # the graph has run
        return {
            "values": values.encode(dict(found.checkpoint["channel_values"])),
            "versions": dict(found.checkpoint["channel_versions"]),
            "seen": found.checkpoint["versions_seen"],
        }


def _messages(turn: Turn, lines: Iterable[Spoken]) -> Iterable[BaseMessage]:
    for at, line in enumerate(lines, 1):
        made = AIMessage if line.role == "assistant" else HumanMessage
        yield made(line.text, id=f"{turn.task_id}/{turn.number}/{at}")


async def _answered(turn: Turn, asked: Interrupt[Any]) -> Any:
    """Ask a person what a node wants to know; LangChain's way to ask for approval is known."""
    value = asked.value
    if not isinstance(value, dict) or "action_requests" not in value:
        text = value if isinstance(value, str) else values.text_of(value)
        return await turn.ask(text)
    decisions: list[dict[str, str]] = []
    for action in cast("dict[str, Any]", value)["action_requests"]:
        name, args = action["name"], action["args"]
        approval = await turn.approve(
            f"Call {name} with {values.text_of(args)}?", tool=name, args=args
        )
        refusal = f"A person has refused this. {approval.reason}".rstrip()
        decisions.append(
            {"type": "approve"} if approval.approved else {"type": "reject", "message": refusal}
        )
    return {"decisions": decisions}
