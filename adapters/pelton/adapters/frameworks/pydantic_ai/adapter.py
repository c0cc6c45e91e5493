"""An agent of Pydantic AI: its requests and tools are steps, its messages are in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import UsageLimitExceeded
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolDenied

from pelton.adapters.frameworks.contract import Capability, Health
from pelton.adapters.frameworks.conversation import REBUILT, Spoken, of, told
from pelton.adapters.frameworks.pydantic_ai.engine import Durability, stable
from pelton.events.a2a import Part
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.session import SessionStart
from pelton.runtime.failures import AgentError
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn


class PydanticAIAdapter:
    """An agent of Pydantic AI, with a model of its own.

    `retry` says how its model is asked again when it fails (else by the class of the failure).
    `deps` makes the dependencies of a turn.
    """

    name: str = "pydantic-ai"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(Capability) - {Capability.OPTIONS}
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        agent: PydanticAgent[Any, Any],
        *,
        retry: Retry | None = None,
        deps: Callable[[Turn], Any] | None = None,
    ) -> None:
        self.agent, self.retry, self.deps = agent, retry, deps

    async def start(self) -> None:
        """Do nothing: an agent needs nothing but its model."""

    async def health(self) -> Health:
        """Return that it could be run."""
        return Health(ok=True)

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the messages."""
        session, own = turn.session, _place(turn)
        entries = await session.entries()
        if opening.start is SessionStart.REBUILD and REBUILT not in entries:
            said = [of(each) for each in await session.conversation()]
            await session.put(REBUILT, _json(_messages(said)))
            entries = await session.entries()
        history: list[ModelMessage] = []
        for key, value in entries.items():
            if key != own:
                history += ModelMessagesTypeAdapter.validate_python(value)
        new = await told(turn)
        await session.put(own, _json(_messages([new])))
        return _Session(self, history, new.text)

    async def stop(self) -> None:
        """Do nothing: it has started nothing."""


class _Session:
    """One attempt of a turn."""

    def __init__(self, adapter: PydanticAIAdapter, history: list[ModelMessage], new: str) -> None:
        self._adapter, self._history, self._new = adapter, history, new

    async def turn(self, turn: Turn) -> object:
        adapter = self._adapter
        engine = Durability(
            turn,
            name=adapter.agent.name or "agent",
            model=str(getattr(adapter.agent.model, "model_name", "")),
            retry=adapter.retry,
        )
        asking = HandleDeferredToolCalls[Any](lambda _, requests: _answered(turn, requests))
        try:
            result = await adapter.agent.run(
                self._new,
                message_history=self._history,
                deps=adapter.deps(turn) if adapter.deps else None,
                capabilities=[asking, engine],
            )
        except UsageLimitExceeded as error:
            raise AgentError("The agent has reached a limit.", kind=FailureClass.POLICY) from error
        except UnexpectedModelBehavior as error:
            raise AgentError(
                "The model does not answer as the agent needs it.", kind=FailureClass.AGENT
            ) from error
        await engine.speech.close()
        await turn.session.put(_place(turn), _json(result.new_messages()))
        output = result.output
        if output is None or output == engine.speech.last:
            return None
        if isinstance(output, str):
            return output
        kind: type[object] = type(cast("object", output))
        data = TypeAdapter(kind).dump_python(output, mode="json")
        await turn.artifact([Part(data=data)], name="result")
        return None

    async def cancel(self) -> None:
        """Do nothing: to cancel the task is enough."""

    async def close(self) -> None:
        """Do nothing: an attempt holds nothing."""


async def _answered(turn: Turn, requests: DeferredToolRequests) -> DeferredToolResults:
    """Ask a person: whether tools may be called, or for the results of those called elsewhere."""
    found = DeferredToolResults()
    for call in requests.approvals:
        args = call.args_as_dict()
        what = f"Call {call.tool_name} with {call.args_as_json_str()}?"
        approval = await turn.approve(what, tool=call.tool_name, args=args)
        refusal = f"A person has refused this. {approval.reason}".rstrip()
        found.approvals[call.tool_call_id] = approval.approved or ToolDenied(refusal)
    for call in requests.calls:
        what = f"What does {call.tool_name} with {call.args_as_json_str()} return?"
        found.calls[call.tool_call_id] = await turn.ask(what)
    return found


def _place(turn: Turn) -> str:
    return f"{turn.task_id}/{turn.number}"


def _json(messages: list[ModelMessage]) -> Any:
    return stable(ModelMessagesTypeAdapter.dump_python(messages, mode="json"))


def _messages(lines: Iterable[Spoken]) -> list[ModelMessage]:
    return [
        ModelResponse([TextPart(line.text)])
        if line.role == "assistant"
        else ModelRequest([UserPromptPart(line.text)])
        for line in lines
    ]
