"""An agent of OpenAI's Agents SDK: its models and tools are steps, its items are in the log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import msgspec
from agents import (
    Agent,
    AgentsException,
    MaxTurnsExceeded,
    ModelBehaviorError,
    RunConfig,
    Runner,
    RunResult,
)
from agents.exceptions import (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)
from agents.memory import SessionSettings
from pydantic import TypeAdapter

from pelton.adapters.frameworks.contract import AdapterError, Capability, Health
from pelton.adapters.frameworks.conversation import REBUILT, Spoken, of, told
from pelton.adapters.frameworks.openai_agents.recording import Recording, unrecordable
from pelton.events.a2a import Part
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.session import SessionStart
from pelton.runtime.failures import AgentError, RecordedError
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

Item = dict[str, Any]

_TRIPWIRES = (
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)


class OpenAIAgentsAdapter:
    """An agent of the Agents SDK, with all that it hands over to.

    `idempotent` names the tools that are called again without asking a person when a crash has cut
    them off, and `retry` says how a model is asked again when it fails (else by the class of the
    failure). `context` makes the SDK's context of a turn, `config` is how it runs, and `rounds` how
    often models may be asked in one turn.
    """

    name: str = "openai-agents"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(Capability) - {Capability.OPTIONS}
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        agent: Agent[Any],
        *,
        idempotent: Collection[str] = (),
        retry: Retry | None = None,
        context: Callable[[Turn], Any] | None = None,
        config: RunConfig | None = None,
        rounds: int = 32,
    ) -> None:
        self.agent, self.idempotent, self.retry = agent, frozenset(idempotent), retry
        self.context, self.config, self.rounds = context, config or RunConfig(), rounds

    async def start(self) -> None:
        """Look whether all that it does can be recorded.

        Raises:
            AdapterError: it has a tool that cannot.
        """
        if what := unrecordable(self.agent):
            raise AdapterError(f"openai-agents: nothing records {what}")

    async def health(self) -> Health:
        """Return that it could be run: it needs nothing but its models."""
        return Health(ok=True)

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the items of the conversation."""
        session, own = turn.session, _place(turn)
        entries = await session.entries()
        if opening.start is SessionStart.REBUILD and REBUILT not in entries:
            said = [of(each) for each in await session.conversation()]
            await session.put(REBUILT, _items(said))
            entries = await session.entries()
        history = [item for key, value in entries.items() if key != own for item in value]
        new = await told(turn)
        await session.put(own, _items([new]))
        return _Session(self, _Items(str(opening.id), history), new.text)

    async def stop(self) -> None:
        """Do nothing: it has started nothing."""


class _Items:
    """The SDK's session of one attempt: what was said before, and what the attempt adds."""

    session_settings: SessionSettings | None = None

    def __init__(self, id_: str, before: list[Item]) -> None:
        self.session_id = id_
        self._items, self._before = list(before), len(before)

    @property
    def new(self) -> list[Item]:
        return self._items[self._before :]

    async def get_items(self, limit: int | None = None) -> Any:
        return self._items[-limit:] if limit else list(self._items)

    async def add_items(self, items: Any) -> None:
        self._items += items

    async def pop_item(self) -> Any:
        return self._items.pop() if self._items else None

    async def clear_session(self) -> None:
        self._items.clear()


class _Session:
    """One attempt of a turn."""

    def __init__(self, adapter: OpenAIAgentsAdapter, items: _Items, new: str) -> None:
        self._adapter, self._items, self._new = adapter, items, new

    async def turn(self, turn: Turn) -> object:
        adapter = self._adapter
        recording = Recording(
            turn,
            provider=adapter.config.model_provider,
            idempotent=adapter.idempotent,
            retry=adapter.retry,
        )
        try:
            result = await self._run(turn, recording)
        except AgentsException as error:
            raise _failure(error) from error
        await recording.speech.close()
        await turn.session.put(_place(turn), self._items.new)
        output: Any = result.final_output
        if output is None or output == recording.speech.last:
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

    async def _run(self, turn: Turn, recording: Recording) -> RunResult:
        """Run the agent until nobody has to be asked any more."""
        adapter, given = self._adapter, cast("Any", self._new)
        agent = recording.of(adapter.agent)
        config = replace(adapter.config, model_provider=recording.provider, tracing_disabled=True)
        context = adapter.context(turn) if adapter.context else None
        while True:
            result = await Runner.run(
                agent,
                given,
                context=context,
                max_turns=adapter.rounds,
                run_config=config,
                session=self._items,
            )
            if not result.interruptions:
                return result
            given = result.to_state()
            for asked in result.interruptions:
                name, args = asked.name or "", asked.arguments or "{}"
                approval = await turn.approve(
                    f"Call {name} with {args}?", tool=name, args=_arguments(args)
                )
                if approval.approved:
                    given.approve(asked)
                else:
                    refusal = f"A person has refused this. {approval.reason}".rstrip()
                    given.reject(asked, rejection_message=refusal)


def _failure(error: AgentsException) -> Exception:
    """Return why a run has failed: what the log has of it, if a step of it has."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, RecordedError | AgentError):
            return at
        at = at.__cause__
    match error:
        case MaxTurnsExceeded():
            return AgentError("The agent has asked models too often.", kind=FailureClass.POLICY)
        case ModelBehaviorError():
            return AgentError("The model does not answer as the agent needs it.")
        case _ if isinstance(error, _TRIPWIRES):
            return AgentError("A guardrail has stopped the agent.", kind=FailureClass.POLICY)
        case _:
            return error


def _arguments(text: str) -> dict[str, Any]:
    """Return the arguments of a call, for a policy or a person to look at."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {"input": text}  # what is wrong with it, the tool will say


def _place(turn: Turn) -> str:
    return f"{turn.task_id}/{turn.number}"


def _items(lines: Iterable[Spoken]) -> list[Item]:
    return [{"role": line.role, "content": line.text} for line in lines]
