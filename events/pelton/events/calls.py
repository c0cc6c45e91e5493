"""Calls: what a policy sees of a step, a delegation or a message, and what it may say of it.

One place for those that look back (`pelton policy backtest`) and those that stand in the way: a
rule means the same to both, since it is given a `Call` and nothing else. Arguments of steps are not
part of it, for the log has their hash alone.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import msgspec

from pelton.events.a2a import text_of
from pelton.events.commit import Commit
from pelton.events.events import (
    UNIT,
    MessageReceived,
    QuestionAnswered,
    StepStarted,
    TaskDelegated,
    TaskEvent,
    TaskSubmitted,
    TurnStarted,
    UsageReported,
)


class Kind(enum.StrEnum):
    """What kind of call it is."""

    STEP = "step"
    """An agent begins a step."""
    DELEGATION = "delegation"
    """An agent hands work to another one."""
    MESSAGE = "message"
    """Somebody says something to an agent: a client, a person, or an agent that delegates."""


class Ruling(enum.StrEnum):
    """What a policy says of a call."""

    ALLOW = "allow"
    ASK = "ask"
    """A person is asked first."""
    DENY = "deny"
    """It does not happen."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call, before it happens."""

    kind: Kind
    agent: str
    """Who makes it; of a message, who gets it."""
    name: str = ""
    """The name of the step; the agent that work is handed to, or its URL; of an answer to a
    question, the key of that; else empty."""
    text: str = ""
    """What is said, in a message or to the other agent, as far as it is text and no bulk."""
    principal: str
    """On whose behalf."""
    context: str
    task: str
    turn: int = 0
    """Which turn of the task, from 1; 0 for a message that comes before one."""
    time: datetime
    """When, as the log has it, in UTC."""
    idempotent: bool = True
    """Whether a step says that it may run twice."""
    depth: int = 0
    """How many agents have handed the task on before it came to this one."""
    before: int = 0
    """How many calls of this kind and name the task has made before."""
    calls: int = 0
    """How many steps and delegations the task has made before."""
    tokens: int = 0
    """How many the task has reported before, of input and output."""
    cost: float = 0.0
    """What the task has reported before, in the unit of currency that you count in."""

    def variables(self) -> dict[str, object]:
        """Return what a rule sees: `call`, with members named as here."""
        members = {name: getattr(self, name) for name in self.__struct_fields__}
        return {"call": {**members, "kind": self.kind.value}}


class _Done(msgspec.Struct):
    """What a task has done so far."""

    depth: int = 0
    turn: int = 0
    tokens: int = 0
    cost: int = 0
    keys: set[str] = msgspec.field(default_factory=set[str])
    made: Counter[tuple[Kind, str]] = msgspec.field(default_factory=Counter[tuple[Kind, str]])

    @property
    def calls(self) -> int:
        """How many steps and delegations it has made."""
        return sum(number for (kind, _), number in self.made.items() if kind is not Kind.MESSAGE)


class Calls:
    """The calls of one context, from its commits in order. A step that runs again is one call."""

    def __init__(self, agent: str, context_id: str) -> None:
        self._agent, self._context = agent, context_id
        self._tasks: dict[str, _Done] = {}

    def take(self, commit: Commit) -> Iterator[Call]:
        """Yield the calls that a commit begins, each as things were before it."""
        for event in commit.data.events:
            if not isinstance(event, TaskEvent):
                continue
            done = self._tasks.setdefault(event.task_id, _Done())
            if (kind := _kind(event, done)) is None:
                continue
            name, message = _name(event), getattr(event, "message", None)
            yield Call(
                kind=kind,
                agent=self._agent,
                name=name,
                text=text_of(message.parts) if message is not None else "",
                principal=commit.actor,
                context=self._context,
                task=event.task_id,
                turn=done.turn,
                time=datetime.fromisoformat(commit.time),
                idempotent=not isinstance(event, StepStarted) or event.idempotent,
                depth=done.depth,
                before=done.made[kind, name],
                calls=done.calls,
                tokens=done.tokens,
                cost=done.cost / UNIT,
            )
            done.made[kind, name] += 1


def _kind(event: TaskEvent, done: _Done) -> Kind | None:
    """Return what kind of call an event begins, if it does, and take in what it says else."""
    match event:
        case TurnStarted() if event.turn != done.turn:
            done.turn, done.keys = event.turn, set()
        case UsageReported():
            done.tokens += event.input_tokens + event.output_tokens
            done.cost += event.cost
        case StepStarted() if event.key not in done.keys:
            done.keys.add(event.key)
            return Kind.STEP
        case TaskDelegated():
            return Kind.DELEGATION
        case TaskSubmitted() | MessageReceived() | QuestionAnswered():
            if event.delegation is not None:
                done.depth = len(event.delegation.chain)
            return Kind.MESSAGE
        case _:
            pass
    return None


def _name(event: TaskEvent) -> str:
    match event:
        case StepStarted():
            return event.name
        case TaskDelegated():
            return event.agent
        case QuestionAnswered():
            return event.key
        case _:
            return ""
