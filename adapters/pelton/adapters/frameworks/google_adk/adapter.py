"""An agent of Google's ADK: its models and tools are steps, its events are in the log."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from importlib import import_module
from typing import Any, Final, cast

import msgspec
from google.adk.agents import BaseAgent
from google.adk.agents.invocation_context import LlmCallsLimitExceededError
from google.adk.agents.run_config import RunConfig
from google.adk.events import Event
from google.adk.runners import Runner
from google.genai import types

from pelton.adapters.frameworks.contract import AdapterError, Capability, Health
from pelton.adapters.frameworks.conversation import REBUILT, Spoken, of, told
from pelton.adapters.frameworks.google_adk.recording import AgentRun, aside, record, unrecordable
from pelton.adapters.frameworks.google_adk.sessions import APP, USER, TurnSessions
from pelton.events.a2a import Part
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.session import SessionStart
from pelton.runtime.failures import AgentError, RecordedError
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

for _module, _member in (  # what ADK imports when it first runs an agent, which takes seconds
    ("google.adk.agents.remote_a2a_agent", "RemoteA2aAgent"),
    ("google.adk.flows.llm_flows.auto_flow", "AutoFlow"),
    ("google.adk.workflow", "Workflow"),
):
    with suppress(ImportError):
        getattr(import_module(_module), _member)

Json = dict[str, Any]

_SILENT: Final = "MODEL_RETURNED_NO_CONTENT"
"""What ADK says of an empty answer, which is one."""

CONFIRM: Final = "adk_request_confirmation"
CREDENTIAL: Final = "adk_request_credential"
INPUT: Final = "adk_request_input"
"""The calls by which ADK asks whoever is outside."""


class GoogleADKAdapter:
    """An agent of ADK, with its sub-agents, whose models and tools it has recorded.

    `idempotent` names the tools that are called again without asking a person when a crash has cut
    them off, and `retry` says how a model is asked again when it fails (else by the class of the
    failure). `rounds` is how often models may be asked in one turn; `services` are those of ADK's
    `Runner` beside its sessions, such as `artifact_service`.
    """

    name: str = "google-adk"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(Capability) - {Capability.OPTIONS}
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        agent: BaseAgent,
        *,
        idempotent: Collection[str] = (),
        retry: Retry | None = None,
        rounds: int = 32,
        services: Mapping[str, Any] | None = None,
    ) -> None:
        self.agent, self.idempotent, self.retry = agent, frozenset(idempotent), retry
        self.rounds, self.services = rounds, services or {}
        self.aside = aside(agent)
        record(agent)

    async def start(self) -> None:
        """Look whether all that it does can be recorded.

        Raises:
            AdapterError: something of it cannot be.
        """
        if what := unrecordable(self.agent):
            raise AdapterError(f"google-adk: nothing records {what}")
        logging.getLogger("google_adk").setLevel(logging.CRITICAL)  # what fails is told once

    async def health(self) -> Health:
        """Return that it could be run: it needs nothing but its models."""
        return Health(ok=True)

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the events of the session."""
        session, own = turn.session, _place(turn)
        entries = await session.entries()
        if opening.start is SessionStart.REBUILD and REBUILT not in entries:
            said = [of(each) for each in await session.conversation()]
            await session.put(REBUILT, self._events(said))
            entries = await session.entries()
        before = [each for key, value in entries.items() if key != own for each in value]
        new = await told(turn)
        await session.put(own, self._events([new]))
        return _Session(self, TurnSessions(str(opening.id), before), new.text)

    async def stop(self) -> None:
        """Do nothing: it has started nothing."""

    def _events(self, lines: Iterable[Spoken]) -> list[Json]:
        return [
            {
                "author": self.agent.name if line.role == "assistant" else "user",
                "content": _content(line.text, "model" if line.role == "assistant" else "user"),
            }
            for line in lines
        ]


class _Session:
    """One attempt of a turn."""

    def __init__(self, adapter: GoogleADKAdapter, sessions: TurnSessions, new: str) -> None:
        self._adapter, self._sessions, self._new = adapter, sessions, new

    async def turn(self, turn: Turn) -> object:
        adapter, sessions = self._adapter, self._sessions
        run = AgentRun(
            turn, idempotent=adapter.idempotent, retry=adapter.retry, aside=adapter.aside
        )
        given = types.Content(**_content(self._new, "user"))
        with run:
            while True:
                try:
                    asked, answer = await self._run(given)
                except Exception as error:
                    raise (_failure(error) or error) from error
                if not asked:
                    break
                answers = [await _answer(turn, call) for call in asked]
                parts = [types.Part(function_response=answer) for answer in answers]
                given = types.Content(role="user", parts=parts)
        await run.speech.close()
        await turn.session.put(_place(turn), sessions.new(_place(turn)))
        if not answer or answer == run.speech.last:
            return None
        try:
            data = msgspec.json.decode(answer, type=dict[str, Any] | list[Any])
        except msgspec.DecodeError:
            return answer
        await turn.artifact([Part(data=data)], name="result")
        return None

    async def cancel(self) -> None:
        """Do nothing: to cancel the task is enough."""

    async def close(self) -> None:
        """Do nothing: an attempt holds nothing."""

    async def _run(self, given: types.Content) -> tuple[Sequence[types.FunctionCall], str]:
        """Run the agent; return what it asks of whoever is outside, and what it has said last."""
        adapter, sessions = self._adapter, self._sessions
        config = RunConfig(max_llm_calls=adapter.rounds)
        asked: list[types.FunctionCall] = []
        last, stopped = "", None
        answers: dict[str, str] = {}
        runner = Runner(
            agent=adapter.agent, app_name=APP, session_service=sessions, **adapter.services
        )
        events = runner.run_async(
            user_id=USER, session_id=sessions.session.id, new_message=given, run_config=config
        )
        async with aclosing(events):
            async for event in events:
                stopped = event.error_code if event.error_code != _SILENT else None
                waits = event.long_running_tool_ids or set[str]()
                asked += [call for call in event.get_function_calls() if call.id in waits]
                if event.is_final_response() and not waits:
                    last = event.author
                    answers[last] = _text(event)
        if stopped and not any(answers.values()):
            raise AgentError(f"The model has stopped: {stopped}.")
        together = (
            [each for each in adapter.aside if each in answers] if last in adapter.aside else [last]
        )
        return asked, "\n\n".join(answers[each] for each in together if each in answers)


async def _answer(turn: Turn, call: types.FunctionCall) -> types.FunctionResponse:
    """Ask a person what ADK asks: whether a tool may be called, or what one has come to."""
    name = call.name or ""
    args: Any = call.args or {}
    if name == CREDENTIAL:
        raise AgentError(
            "A tool asks for somebody's credentials, which nobody can give here.",
            kind=FailureClass.AUTHORISATION,
        )
    if name == CONFIRM:
        wanted: Any = args["originalFunctionCall"]
        tool: str = wanted["name"]
        given: Any = wanted.get("args") or {}
        approval = await turn.approve(f"Call {tool} with {_told(given)}?", tool=tool, args=given)
        response: Json = {"confirmed": approval.approved}
    elif name == INPUT:
        response = {"result": await turn.ask(args.get("message") or "What is the input?")}
    else:
        response = {"result": await turn.ask(f"What does {name} with {_told(args)} return?")}
    return types.FunctionResponse(id=call.id, name=name, response=response)


def _failure(error: BaseException) -> Exception | None:
    """Return why a run has failed: what the log has of it, if a step of it has."""
    if isinstance(error, RecordedError | AgentError):
        return error
    if isinstance(error, LlmCallsLimitExceededError):
        return AgentError("The agent has asked models too often.", kind=FailureClass.POLICY)
    causes: list[Any] = [error.__cause__, error.__context__]
    if isinstance(error, BaseExceptionGroup):
        causes += cast("Any", error).exceptions
    return next(filter(None, (_failure(each) for each in causes if each is not None)), None)


def _place(turn: Turn) -> str:
    return f"{turn.task_id}/{turn.number}"


def _content(text: str, role: str) -> Json:
    return {"role": role, "parts": [{"text": text}]}


def _text(event: Event) -> str:
    parts = (event.content and event.content.parts) or ()
    return "".join(part.text or "" for part in parts if not part.thought)


def _told(args: object) -> str:
    return msgspec.json.encode(args).decode()
