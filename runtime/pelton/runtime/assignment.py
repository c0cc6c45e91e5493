"""What an attempt is about, and where it runs: made from a command, or from a turn that is open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from pelton.events.a2a import Message, Role, TaskState, TaskStatus
from pelton.events.agent import AgentState
from pelton.events.commands import Command
from pelton.events.commit import Origin
from pelton.events.context import Context, TaskFold
from pelton.events.decide import fired
from pelton.events.delegation import Delegation, elsewhere
from pelton.events.events import (
    AnyEvent,
    AttemptEnd,
    AttemptEnded,
    Failure,
    FailureClass,
    MessageReceived,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnEnded,
    TurnStarted,
)
from pelton.events.presence import AgentStatus
from pelton.events.ruling import CallRuled
from pelton.events.schedules import Schedules
from pelton.events.turns import Turn
from pelton.runtime.agents import Terms
from pelton.runtime.aggregates import Aggregates
from pelton.runtime.budgets import Budgets
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Log
from pelton.runtime.memories import Memories
from pelton.runtime.model_gateway import ModelGateway
from pelton.runtime.observer import UNOBSERVED, Observer
from pelton.runtime.outbox import Outbox
from pelton.runtime.outfit import Outfit
from pelton.runtime.patience import patiently
from pelton.runtime.prompts import Prompts
from pelton.runtime.roster import Roster
from pelton.runtime.steps import Steps
from pelton.runtime.vault import ContentSealed

CRASHED: Final = Failure(
    kind=FailureClass.INTERNAL, message="The process that ran it died, again and again."
)
"""Why a turn is given up whose processes die."""


class Host(NamedTuple):
    """Where attempts run: what an executor lends to all of them.

    `executor` is its id, `tenant` what its own records name, `patience` after how many seconds of
    its silence others take over; once `hurry` is set, everything is handed back. `ended` is told of
    each turn of an agent that has ended here, and `blind` of what is sealed and cannot be read
    here. `steps` makes what calls the functions of steps; `gateway` is where agents' calls of
    models go, if there is one, and `budgets` says how many there may be; `observer` hears of all
    that is done.
    """

    log: Log
    world: World
    contexts: Contexts
    agents: Aggregates[AgentState]
    schedules: Aggregates[Schedules]
    outbox: Outbox
    prompts: Prompts
    memories: Memories
    executor: str
    tenant: str
    patience: float
    hurry: asyncio.Event
    ended: Callable[[str, TurnEnded], None]
    blind: Callable[[str, ContentSealed], Awaitable[None]]
    steps: Callable[..., Steps] = Steps
    gateway: ModelGateway | None = None
    budgets: Budgets | None = None
    observer: Observer = UNOBSERVED

    async def knows(self, agent: str) -> bool:
        """Whether somebody may take a task: the agent is registered, or its URL is allowed."""
        if elsewhere(agent):
            return self.outbox.allows(agent)
        state = await patiently(lambda: self.agents.load(agent), agent)
        return state.status is not AgentStatus.REMOVED

    async def registered(self) -> Sequence[AgentState]:
        """Return the agents that are there, by name."""
        roster = Roster(self.log, world=self.world)
        await patiently(roster.refresh, "agents")
        return [known.state for known in roster]

    @property
    def source(self) -> str:
        """Who writes, as the log spells it."""
        return f"executor/{self.executor}"


class Assignment(NamedTuple):
    """What an attempt is about: a message in its conversation, and what the log has of the turn.

    `opening` are the events that begin the attempt, `earlier` is the task as earlier attempts have
    left it, if there were any. `command` is the stream sequence of the command that is decided with
    the first commit, `after` the one from which on others may be about the running turn. `outfit`
    is what it goes by, `begun` when it begins (RFC 3339).
    """

    id: str
    message: Message
    history: tuple[Message, ...]
    metadata: dict[str, object]
    opening: tuple[AnyEvent, ...]
    earlier: TaskFold | None
    number: int
    attempt: int
    origin: Origin
    command_id: str
    command: int
    after: int
    deadline: str
    delegation: Delegation | None
    outfit: Outfit
    begun: str
    rulings: Mapping[str, tuple[CallRuled, ...]] = MappingProxyType({})
    """What was decided on it where it was recorded, if it only runs again."""


def begin(
    state: Context,
    command: Command,
    sequence: int,
    decided: Sequence[AnyEvent],
    *,
    terms: Terms,
    host: Host,
    outfit: Outfit,
    rulings: Sequence[CallRuled] = (),
    now: str,
) -> Assignment:
    """Return the first attempt of the turn that a decided message begins.

    `decided` begins with `TaskSubmitted` or `MessageReceived`, and was decided `now` (RFC 3339);
    `sequence` is the command's. `rulings` are what was said of the message.
    """
    received = decided[0]
    assert isinstance(received, TaskSubmitted | MessageReceived)
    task = received.task_id
    known = state.tasks.get(task)
    number, metadata = 1, None
    if known is not None:
        number, metadata = known.turns + 1, known.metadata
    ends = [known.deadline if known else ""]
    if isinstance(received, TaskSubmitted):
        metadata, ends = received.metadata, [received.deadline]
    if terms.deadline is not None:
        ends.append(rfc3339(host.log.now + timedelta(seconds=terms.deadline)))
    deadline = min((end for end in ends if end), default="")
    started = TurnStarted(
        task_id=task,
        turn=number,
        attempt=1,
        message_id=received.message.message_id,
        executor=host.executor,
        deadline=deadline,
        equipment=outfit.equipment,
    )
    working = TaskStatus(state=TaskState.WORKING, timestamp=now)
    return Assignment(
        id=task,
        message=received.message,
        history=state.messages,
        metadata=metadata or {},
        opening=(*decided, started, *rulings, TaskStatusUpdated(task_id=task, status=working)),
        earlier=None,
        number=number,
        attempt=1,
        origin=Origin.caused_by(command, host.source),
        command_id=command.id,
        command=sequence,
        after=sequence,
        deadline=deadline,
        delegation=received.delegation or (known.delegation if known else None),
        outfit=outfit,
        begun=now,
    )


def go_on(state: Context, task: TaskFold, host: Host, now: str, outfit: Outfit) -> Assignment:
    """Return the next attempt of a turn that is open, with what has come of itself by `now`."""
    turn = task.turn
    assert turn is not None  # the caller has found it open
    message, history = _heard(state, task, turn)
    started = TurnStarted(
        task_id=task.id,
        turn=turn.number,
        attempt=turn.attempt + 1,
        message_id=turn.message_id,
        executor=host.executor,
        deadline=turn.deadline,
        equipment=outfit.equipment,
    )
    return Assignment(
        id=task.id,
        message=message,
        history=history,
        metadata=task.metadata or {},
        opening=(started, *fired(task, now)),
        earlier=task,
        number=turn.number,
        attempt=turn.attempt + 1,
        origin=Origin.caused_by(turn.cause, host.source),
        command_id=turn.cause.causationid,
        command=0,
        after=state.handled,
        deadline=turn.deadline,
        delegation=task.delegation,
        outfit=outfit,
        begun=now,
    )


def died(task: TaskFold, turn: Turn, again_at: str) -> AttemptEnded:
    """Return what whoever finds a dead attempt says of it, so that the next one waits a while."""
    return AttemptEnded(
        task_id=task.id,
        turn=turn.number,
        attempt=turn.attempt,
        end=AttemptEnd.FAILED,
        failure=CRASHED,
        again_at=again_at,
    )


def _heard(state: Context, task: TaskFold, turn: Turn) -> tuple[Message, tuple[Message, ...]]:
    """Return the message that the open turn is about, and the conversation before it.

    Ids of messages may repeat within a task, but what came after it and has the same one was only
    taken or answered in this turn: the first of this turn's is meant.
    """
    begun = [
        event.message
        for event in turn.cause.data.events
        if isinstance(event, TaskSubmitted | MessageReceived)
    ]
    for at in range(len(state.messages) - 1, -1, -1):
        message = state.messages[at]
        mine = message.task_id == task.id and message.message_id == turn.message_id
        if message in begun if begun else mine and message.role is Role.USER:
            return message, state.messages[:at]
    raise AssertionError("a turn without a message")  # the fold lets none begin
