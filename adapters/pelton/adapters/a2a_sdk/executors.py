"""An `AgentExecutor` of the official SDK (a2a-sdk) as an agent of pelton, unmodified.

Its process may die: the next attempt of the turn calls `execute` again, with the task as it is.
What it enqueues goes into the log; nothing of the SDK's server is used. `cancel` is not called: the
task is canceled in the log, and `execute` is cancelled as any other coroutine.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec
from a2a.auth.user import User
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import Event, EventQueue
from a2a.types import a2a_pb2 as pb

from pelton.adapters.a2a_sdk.messages import made, plain
from pelton.events.a2a import Part, TaskState, text_of
from pelton.events.card import AgentExtension, AgentProfile, AgentProvider, AgentSkill
from pelton.events.errors import InvalidInput
from pelton.events.principal import ANONYMOUS
from pelton.runtime.agents import Agent, agent, module_at
from pelton.runtime.turn import Turn

PREFIX: Final = "sdk:"
"""What a reference to an agent begins with that names an executor of the SDK."""
STAYS: Final = 0.2
"""Seconds after which an executor that has asked for authentication is one that waits for it."""
SIGN_IN: Final = "Sign in to go on."
USER: Final = "user:"
"""What the ids of principals begin with whom an application of the SDK has authenticated."""

_OVER: Final = ("COMPLETED", "FAILED", "REJECTED", "CANCELED", "INPUT_REQUIRED", "AUTH_REQUIRED")
_ENDS: Final = frozenset(TaskState(f"TASK_STATE_{name}") for name in _OVER)


def load(reference: str, **_options: object) -> Agent:
    """Return the agent that `sdk:module:Class` or `sdk:path/to/file.py:Class` names.

    An `AgentCard` in the module, named `agent_card` or `card`, says what the agent is, and one
    named `extended_agent_card` what it is for those who may know more.

    Raises:
        InvalidInput: there is no such class, or it is no executor that needs no arguments.
    """
    place, _, name = reference.removeprefix(PREFIX).rpartition(":")
    if not place or not name:
        raise InvalidInput(f"{reference!r}: write sdk:module:Class or sdk:file.py:Class")
    module = module_at(place, reference)
    try:
        executor: object = getattr(module, name)()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{reference!r}: no class made without arguments: {said}") from error
    if not isinstance(executor, AgentExecutor):
        raise InvalidInput(f"{reference!r}: this is no AgentExecutor of a2a-sdk")
    card = _card(module, "agent_card", "card")
    extended = _card(module, "extended_agent_card")
    return as_agent(executor, name=slug(card.name if card else name), card=card, extended=extended)


def _card(module: object, *names: str) -> pb.AgentCard | None:
    cards = (getattr(module, name, None) for name in names)
    return next((each for each in cards if isinstance(each, pb.AgentCard)), None)


def as_agent(
    executor: AgentExecutor,
    *,
    name: str,
    card: pb.AgentCard | None = None,
    extended: pb.AgentCard | None = None,
) -> Agent:
    """Return an executor as an agent of a name; cards say the rest of what it is."""

    async def run(turn: Turn) -> None:
        queue = _Queue(turn)
        try:
            await executor.execute(_context(turn), queue)
        finally:
            await queue.close()
        await queue.end()

    known = agent(name=name)(run)
    return known if card is None else Agent(_profile(known.profile, card, extended), run)


def slug(name: str) -> str:
    """Return what an agent is called in subjects and paths, by the name that people read."""
    words = re.sub(r"(Agent)?Executor$", "", name) or name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", words).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "agent"


def _profile(
    known: AgentProfile, card: pb.AgentCard, extended: pb.AgentCard | None
) -> AgentProfile:
    said = plain(card)
    can = card.capabilities
    return msgspec.structs.replace(
        known,
        title=card.name,
        description=card.description or known.description,
        version=card.version or known.version,
        skills=_skills(card) or known.skills,
        input_modes=tuple(card.default_input_modes) or known.input_modes,
        output_modes=tuple(card.default_output_modes) or known.output_modes,
        provider=msgspec.convert(said.get("provider"), AgentProvider | None),
        documentation_url=card.documentation_url,
        icon_url=card.icon_url,
        extensions=tuple(msgspec.convert(plain(each), AgentExtension) for each in can.extensions),
        extended_skills=_more(card, extended) if can.extended_agent_card else None,
        streaming=can.streaming or not can.HasField("streaming"),
    )


def _skills(card: pb.AgentCard) -> tuple[AgentSkill, ...]:
    return tuple(msgspec.convert(plain(each), AgentSkill) for each in card.skills)


def _more(card: pb.AgentCard, extended: pb.AgentCard | None) -> tuple[AgentSkill, ...]:
    """Return the skills that only the extended card shows."""
    shown = {each.id for each in card.skills}
    return tuple(each for each in _skills(extended or card) if each.id not in shown)


def _context(turn: Turn) -> RequestContext:
    """Return a turn as an executor knows it."""
    task = None
    if turn.number > 1:
        said = [each for each in turn.history if each.task_id == turn.task_id]
        task = pb.Task(
            id=turn.task_id,
            context_id=turn.context_id,
            status=pb.TaskStatus(state=pb.TASK_STATE_WORKING),
            history=[made(pb.Message, each) for each in said],
        )
    request = made(pb.SendMessageRequest, {"message": turn.message, "metadata": turn.metadata})
    return RequestContext(
        ServerCallContext(user=_Sender(turn.actor)),
        request=request,
        task_id=turn.task_id,
        context_id=turn.context_id,
        task=task,
    )


def _parts(parts: Any) -> tuple[Part, ...]:
    return tuple(msgspec.convert(plain(part), Part) for part in parts)


def _plain(parts: tuple[Part, ...]) -> bool:
    return all(part == Part(text=part.text) for part in parts)


class _Sender(User):
    """On whose behalf a turn works, as an executor knows it."""

    def __init__(self, actor: str) -> None:
        self._actor = actor

    @property
    def is_authenticated(self) -> bool:
        return self._actor != ANONYMOUS

    @property
    def user_name(self) -> str:
        return self._actor.removeprefix(USER) if self.is_authenticated else ""


class _Queue(EventQueue):
    """Takes what an executor says into its turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._end: tuple[TaskState, tuple[Part, ...]] | None = None
        self._artifacts: dict[str, tuple[Part, ...]] = {}
        self._demand: asyncio.Task[None] | None = None

    async def enqueue_event(self, event: Event) -> None:
        """Take an event."""
        await self.close()
        if isinstance(event, pb.Message):
            await self._turn.reply(_parts(event.parts), task=False)
        elif isinstance(event, pb.TaskArtifactUpdateEvent):
            await self._artifact(event.artifact, append=event.append, last=event.last_chunk)
        elif isinstance(event, pb.TaskStatusUpdateEvent):
            await self._status(event.status)
        else:
            for artifact in event.artifacts:
                await self._artifact(artifact, append=False, last=True)
            await self._status(event.status)

    async def _status(self, status: pb.TaskStatus) -> None:
        if status.state == pb.TASK_STATE_UNSPECIFIED:  # a task without a status says nothing of it
            return
        parts = _parts(status.message.parts)
        state = TaskState(pb.TaskState.Name(status.state))
        self._end = (state, parts) if state in _ENDS else None
        if state is TaskState.AUTH_REQUIRED:
            self._demand = asyncio.create_task(self._demands(parts), name="auth required")
        elif parts and self._end is None:
            await self._turn.status(parts)

    async def _demands(self, parts: tuple[Part, ...]) -> None:
        """Say that somebody is to sign in, if the executor stays to wait for that."""
        await asyncio.sleep(STAYS)
        await self._turn.status(parts or SIGN_IN, auth=True)

    async def close(self) -> None:
        """Say no more of what was demanded: the executor has gone on, or has ended."""
        demand, self._demand = self._demand, None
        if demand is not None:
            demand.cancel()
            await asyncio.wait((demand,))
            if not demand.cancelled():
                demand.result()

    async def _artifact(self, artifact: pb.Artifact, *, append: bool, last: bool) -> None:
        id_, parts = artifact.artifact_id, _parts(artifact.parts)
        known = self._artifacts.get(id_)
        streamed = append or not last
        if streamed and _plain((*parts, *(known or ()))) and (append or known is None):
            self._artifacts[id_] = (*(known or ()), *parts)
            await self._turn.stream(
                text_of(parts), name=artifact.name or id_, artifact_id=id_, last=last
            )
            return
        whole = (*known, *parts) if append and known else parts
        self._artifacts[id_] = whole
        await self._turn.artifact(
            whole, name=artifact.name, description=artifact.description, artifact_id=id_
        )

    async def end(self) -> None:
        """End the turn as the executor has said; one that has said nothing has completed it."""
        state, parts = self._end or (TaskState.COMPLETED, ())
        turn = self._turn
        match state:
            case TaskState.COMPLETED:
                if parts:
                    await turn.reply(parts)
            case TaskState.INPUT_REQUIRED:
                await turn.require_input(parts or "More is needed to go on.")
            case TaskState.AUTH_REQUIRED:
                await turn.require_auth(parts or SIGN_IN)
            case TaskState.REJECTED:
                await turn.reject(parts or "The agent does not do this.")
            case TaskState.CANCELED:
                await turn.fail(parts or "The agent has given the task up.")
            case _:
                await turn.fail(parts or "The agent has failed.")
