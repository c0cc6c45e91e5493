"""Calls: what a policy sees of a step, a delegation or a message, and what it may say of it.

One place for those that look back (`pelton policy backtest`) and those that stand in the way: a
rule means the same to both, since it is given a `Call` and nothing else. Arguments of steps are not
part of it, for the log has their hash alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from pelton.events.a2a import text_of
from pelton.events.commit import Commit
from pelton.events.done import NOTHING, Done, noted, tools_of
from pelton.events.events import (
    UNIT,
    AnyEvent,
    MessageReceived,
    QuestionAnswered,
    StepStarted,
    TaskDelegated,
    TaskEvent,
    TaskSubmitted,
)
from pelton.events.ruling import Ruling as Ruling  # noqa: PLC0414  what is said of calls
from pelton.events.step import StepKind


class Kind(enum.StrEnum):
    """What kind of call it is."""

    STEP = "step"
    """An agent begins a step."""
    DELEGATION = "delegation"
    """An agent hands work to another one."""
    MESSAGE = "message"
    """Somebody says something to an agent: a client, a person, or an agent that delegates."""


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
    step: str = ""
    """What a step calls: `model`, `tool` or `code`; else empty."""
    tool: str = ""
    """The name of the tool that a step calls, if it calls one."""
    heard: tuple[str, ...] = ()
    """Where the texts are from that have come to the conversation before, sorted: `client`,
    `agent:<name>`, `remote:<url>`, `tool:<name>`, `memory`."""
    idempotent: bool = True
    """Whether a step says that it may run twice."""
    depth: int = 0
    """How many agents have handed the task on before it came to this one."""
    before: int = 0
    """How many calls of this kind and name the task has made before."""
    calls: int = 0
    """How many steps and delegations the task has made before."""
    steps: int = 0
    """How many steps the task has made before."""
    delegations: int = 0
    """How many delegations the task has made before."""
    seconds: float = 0.0
    """How long ago the task was opened, in seconds."""
    tokens: int = 0
    """How many the task has reported before, of input and output."""
    cost: float = 0.0
    """What the task has reported before, in the unit of currency that you count in."""

    def variables(self) -> dict[str, object]:
        """Return what a rule sees: `call`, with members named as here."""
        members = {name: getattr(self, name) for name in self.__struct_fields__}
        return {"call": {**members, "kind": self.kind.value}}


class Calls:
    """The calls of one context, from its commits in order. A step that runs again is one call."""

    def __init__(self, agent: str, context_id: str) -> None:
        self._agent, self._context = agent, context_id
        self._tasks: dict[str, Done] = {}

    def take(self, commit: Commit) -> Iterator[Call]:
        """Yield the calls that a commit begins, each as things were before it."""
        for event in commit.data.events:
            if not isinstance(event, TaskEvent):
                continue
            done = self._tasks.get(event.task_id, NOTHING)
            yield from calls_of(
                event,
                done,
                agent=self._agent,
                context=self._context,
                principal=commit.actor,
                time=datetime.fromisoformat(commit.time),
                heard=heard(self._tasks.values()),
            )
            self._tasks[event.task_id] = noted(done, event, commit.time)


def heard(tasks: Iterable[Done]) -> tuple[str, ...]:
    """Return where the texts are from that tasks of a context have been told."""
    return tuple(sorted(frozenset[str]().union(*(done.heard for done in tasks))))


def calls_of(
    event: AnyEvent,
    done: Done,
    *,
    agent: str,
    context: str,
    principal: str,
    time: datetime,
    heard: tuple[str, ...],
) -> Iterator[Call]:
    """Yield the calls that an event is, as things were before it: one, of most that are any.

    A step that calls several tools is one call of each.
    """
    kind = _kind(event, done)
    if kind is None or not isinstance(event, TaskEvent):
        return
    name, message = _name(event), getattr(event, "message", None)
    delegation = getattr(event, "delegation", None)
    step = event if isinstance(event, StepStarted) else None
    call = Call(
        kind=kind,
        agent=agent,
        name=name,
        text=text_of(message.parts) if message is not None else "",
        principal=principal,
        context=context,
        task=event.task_id,
        turn=done.turn,
        time=time,
        step=step.kind.value if step else "",
        heard=heard,
        idempotent=step is None or step.idempotent,
        depth=len(delegation.chain) if delegation is not None else done.depth,
        before=done.made.get(f"{kind}:{name}", 0),
        calls=done.calls,
        steps=done.of(Kind.STEP),
        delegations=done.of(Kind.DELEGATION),
        seconds=(time - datetime.fromisoformat(done.began)).total_seconds() if done.began else 0.0,
        tokens=done.used.tokens,
        cost=done.used.cost / UNIT,
    )
    if step is None or step.kind is not StepKind.TOOL:
        yield call
        return
    for tool in tools_of(name):
        yield msgspec.structs.replace(call, tool=tool)


def _kind(event: AnyEvent, done: Done) -> Kind | None:
    """Return what kind of call an event begins, if it does."""
    match event:
        case StepStarted() if event.key not in done.steps:
            return Kind.STEP
        case TaskDelegated():
            return Kind.DELEGATION
        case TaskSubmitted() | MessageReceived() | QuestionAnswered():
            return Kind.MESSAGE
        case _:
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
