"""The loop of an agent without a framework: ask the model, call the tools, until it has spoken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from pelton.adapters.frameworks.contract import AdapterError, Capability, Health, not_done
from pelton.adapters.frameworks.conversation import Conversation, Spoken, ToolCall, heard
from pelton.adapters.frameworks.model.dialects import Answer
from pelton.adapters.frameworks.model.endpoint import Endpoint, ask, lacks, reachable
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.speech import Speech
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.guard import CallDenied
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

_OWN: Final = frozenset({"model", "prompt"})
"""Options that are no members of a request of that name."""

ROUNDS: Final = 32
"""How often a model is asked in one turn before somebody should look at it."""


class ModelAdapter:
    """A model at an endpoint, told what it is by `system`, with `tools`.

    Each question to the model and each call of a tool is a step. `retry` says how often the model
    is asked again when it fails (else by the class of the failure), `deadline` how many seconds it
    has for each answer.
    """

    name: str = "model"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(Capability)

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        system: str = "",
        tools: Sequence[Tool] = (),
        retry: Retry | None = None,
        deadline: float | None = 600.0,
        rounds: int = ROUNDS,
    ) -> None:
        endpoint.speaks()  # a dialect that there is not is known at once
        self.endpoint, self.system = endpoint, system
        self.tools = {tool.name: tool for tool in tools}
        self.retry, self.deadline, self.rounds = retry, deadline, rounds
        self._client: aiohttp.ClientSession | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The model, the `prompt` (which is `system`), and what goes into each request."""
        return {**self.endpoint.options, "model": self.endpoint.model, "prompt": self.system}

    async def start(self) -> None:
        """Make the connections' pool."""
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit_per_host=0))

    async def health(self) -> Health:
        """Look whether there is a key, if one is needed, and somebody listens at the endpoint."""
        if variable := lacks(self.endpoint):
            return Health(ok=False, detail="there is no key for it", fix=f"set {variable}")
        detail = await reachable(self.endpoint)
        return Health(ok=not detail, detail=detail, passing=True)

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the conversation."""
        conversation = Conversation(turn)
        await conversation.load(opening, heard(turn))
        return _Session(self, conversation)

    async def stop(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def client(self) -> aiohttp.ClientSession:
        """The connections' pool.

        Raises:
            AdapterError: the adapter is not started.
        """
        if self._client is None:
            raise AdapterError("the adapter of a model is not started")
        return self._client


class _Session:
    """One attempt of a turn."""

    def __init__(self, adapter: ModelAdapter, conversation: Conversation) -> None:
        self._adapter, self._conversation = adapter, conversation

    async def turn(self, turn: Turn) -> None:
        speech, said = Speech(turn), self._conversation
        options = await turn.options()
        options |= {"prompt": await turn.built(options["prompt"])}
        for number in range(self._adapter.rounds):
            answer = await self._asked(turn, speech, options)
            said.new.append(Spoken("assistant", answer.text, answer.calls))
            if not answer.calls:
                await said.keep()
                await speech.close()
                return
            said.new += await self._called(turn, number, answer.calls)
        raise AgentError(
            f"The model has called tools {self._adapter.rounds} times in a row.",
            kind=FailureClass.POLICY,
        )

    async def cancel(self) -> None:
        """Do nothing: to cancel the task is enough, and closes the connection."""

    async def close(self) -> None:
        """Do nothing: an attempt holds nothing."""

    async def _asked(self, turn: Turn, speech: Speech, options: Mapping[str, Any]) -> Answer:
        adapter = self._adapter
        more = {key: value for key, value in options.items() if key not in _OWN}
        endpoint = adapter.endpoint._replace(model=options["model"], options=more)
        tools = tuple(adapter.tools.values())

        async def asking(model: str, system: str, lines: Any, *offered: Any) -> Answer:  # noqa: ARG001
            await turn.reach(endpoint.url)
            await speech.begin()
            return await ask(
                adapter.client,
                endpoint,
                system=system,
                lines=lines,
                tools=tools,
                say=speech.say,
            )

        found = await turn.step(
            "model",
            asking,
            endpoint.model,
            options["prompt"],
            self._conversation.lines,
            [(tool.name, tool.description, tool.schema) for tool in tools],
            more,
            idempotent=True,
            retry=adapter.retry,
            deadline=adapter.deadline,
            kind=StepKind.MODEL,
            model=endpoint.model,
        )
        answer = msgspec.convert(found, Answer)
        await speech.end(answer.text)
        turn.usage(
            endpoint.model,
            input_tokens=answer.tokens.read,
            output_tokens=answer.tokens.wrote,
            cached_tokens=answer.tokens.cached,
            seconds=answer.seconds,
        )
        return answer

    async def _called(self, turn: Turn, number: int, calls: Sequence[ToolCall]) -> Sequence[Spoken]:
        """Call tools, side by side but for those that a person is asked about first."""
        refusals = [await self._refusal(turn, call) for call in calls]
        found = await turn.gather(
            *(
                self._call(turn, f"{number}.{at}", call)
                for at, call in enumerate(calls)
                if not refusals[at]
            )
        )
        results = iter(found)
        return [
            Spoken("tool", refusal or _told(next(results)), call=call.id)
            for call, refusal in zip(calls, refusals, strict=True)
        ]

    async def _refusal(self, turn: Turn, call: ToolCall) -> str:
        """Return why a tool is not called, for the model to read, or nothing."""
        tool = self._adapter.tools.get(call.name)
        if tool is None:
            return f"There is no tool {call.name!r}."
        if refusal := tool.refusal(call.arguments):
            return refusal
        if tool.ask:
            what = f"Call {call.name} with {msgspec.json.encode(call.arguments).decode()}?"
            approval = await turn.approve(what, tool=call.name, args=call.arguments)
            if not approval.approved:
                return f"A person has refused this. {approval.reason}".rstrip()
        return ""

    async def _call(self, turn: Turn, key: str, call: ToolCall) -> Any:
        tool = self._adapter.tools[call.name]
        return await turn.step(
            f"tool {call.name}",
            tool.run,
            call.arguments,
            key=key,
            idempotent=tool.idempotent,
            kind=StepKind.TOOL,
        )


def _told(result: Any) -> str:
    """Return what a tool's result is to the model; what the log itself refuses goes on."""
    if isinstance(result, CallDenied):
        return not_done(result)
    if isinstance(result, StepError):
        return f"The tool has failed: {result.failure.message}"
    if isinstance(result, Exception):
        raise result
    return result if isinstance(result, str) else msgspec.json.encode(result).decode()
