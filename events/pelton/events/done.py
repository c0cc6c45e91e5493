"""What a task has done so far, as far as limits and rules count it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from pelton.events.delegation import elsewhere
from pelton.events.event import Event
from pelton.events.events import (
    DelegationReported,
    MessageReceived,
    QuestionAnswered,
    StepCompleted,
    StepStarted,
    TaskDelegated,
    TaskSubmitted,
    TurnStarted,
    UsageReported,
)
from pelton.events.memory import STEPS
from pelton.events.step import StepKind

TOOL: Final = "tool "
"""How the names of steps begin that call tools."""

_READING: Final = frozenset({f"{STEPS}recall", f"{STEPS}get", f"{STEPS}history"})


class Used(msgspec.Struct, frozen=True):
    """What was reported of what something took: how often, tokens, and money in billionths."""

    calls: int = 0
    tokens: int = 0
    cost: int = 0

    def plus(self, event: UsageReported) -> Used:
        """Return it with what one more event reports."""
        tokens = event.input_tokens + event.output_tokens
        return Used(self.calls + 1, self.tokens + tokens, self.cost + event.cost)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a task has done.

    `used` is what was reported of what it took. `made` counts calls by kind and name, as in
    `step:pay`, and messages. `heard` are the sources of the texts that have come to it: `client`,
    `agent:<name>`, `remote:<url>`, `tool:<name>`, `memory`. `steps` and `delegations` are those of
    the turn, by key: what they call, and whom. It was opened at `began` (RFC 3339).
    """

    began: str = ""
    depth: int = 0
    turn: int = 0
    used: Used = Used()
    made: dict[str, int] = {}
    heard: frozenset[str] = frozenset()
    steps: dict[str, tuple[StepKind, str]] = {}
    delegations: dict[str, str] = {}

    @property
    def calls(self) -> int:
        """How many steps and delegations it has made."""
        return sum(count for name, count in self.made.items() if not name.startswith("message:"))

    def of(self, kind: str) -> int:
        """Return how many calls of a kind it has made."""
        return sum(count for name, count in self.made.items() if name.startswith(f"{kind}:"))


NOTHING: Final = Done()
"""What a task has done that has just been opened."""


COUNTED: Final[frozenset[type[Event]]] = frozenset(
    (
        *(TurnStarted, UsageReported, StepStarted, StepCompleted),
        *(TaskDelegated, DelegationReported),
        *(TaskSubmitted, MessageReceived, QuestionAnswered),
    )
)
"""The types of the events that count."""


def noted(done: Done, event: Event, time: str) -> Done:
    """Return what a task has done once something has happened; a step that runs again is one."""
    match event:
        case TurnStarted() if event.turn != done.turn:
            return replace(done, turn=event.turn, steps={}, delegations={})
        case UsageReported():
            return replace(done, used=done.used.plus(event))
        case StepStarted() if event.key not in done.steps:
            steps = {**done.steps, event.key: (event.kind, event.name)}
            return replace(done, steps=steps, made=_one_more(done, f"step:{event.name}"))
        case StepCompleted():
            kind, name = done.steps.get(event.key, (StepKind.CODE, ""))
            return replace(done, heard=done.heard.union(_told(kind, name)))
        case TaskDelegated():
            made = _one_more(done, f"delegation:{event.agent}")
            return replace(
                done, made=made, delegations={**done.delegations, event.key: event.agent}
            )
        case DelegationReported(late=False):
            agent = done.delegations.get(event.key, "")
            source = f"{'remote' if elsewhere(agent) else 'agent'}:{agent}"
            return replace(done, heard=done.heard | {source})
        case TaskSubmitted() | MessageReceived() | QuestionAnswered():
            key = event.key if isinstance(event, QuestionAnswered) else ""
            source = f"agent:{event.delegation.agent}" if event.delegation else "client"
            depth = len(event.delegation.chain) if event.delegation else done.depth
            made = _one_more(done, f"message:{key}")
            began = done.began or time
            return replace(done, began=began, depth=depth, made=made, heard=done.heard | {source})
        case _:
            return done


def tools_of(name: str) -> tuple[str, ...]:
    """Return which tools a step of that name calls."""
    return tuple(name.removeprefix(TOOL).split("+"))


def _one_more(done: Done, name: str) -> dict[str, int]:
    return {**done.made, name: done.made.get(name, 0) + 1}


def _told(kind: StepKind, name: str) -> tuple[str, ...]:
    """Return the sources of what a step has brought."""
    if kind is StepKind.TOOL:
        return tuple(f"tool:{tool}" for tool in tools_of(name))
    return ("memory",) if name in _READING else ()
