"""Rulings: what hooks and policies say of what a turn is about to do, or has done."""

from __future__ import annotations

import enum
from typing import Any

from pelton.events.a2a import BlobRef
from pelton.events.event import TaskEvent


class Ruling(enum.StrEnum):
    """What is said of a call."""

    ALLOW = "allow"
    ASK = "ask"
    """A person is asked first."""
    DENY = "deny"
    """It does not happen."""


class Point(enum.StrEnum):
    """Where in a turn somebody is asked."""

    COMMAND_RECEIVED = "command.received"
    TURN_BEFORE = "turn.before"
    PROMPT_BUILT = "prompt.built"
    MODEL_BEFORE = "model.before"
    MODEL_AFTER = "model.after"
    TOOL_BEFORE = "tool.before"
    TOOL_AFTER = "tool.after"
    STEP_BEFORE = "step.before"
    """Before a step of the agent's own code: of these only policies are asked."""
    DELEGATION_BEFORE = "delegation.before"
    """Before work is handed to another agent: of this only policies are asked."""
    MEMORY_BEFORE = "memory.before"
    PUBLISH_BEFORE = "publish.before"
    TURN_AFTER = "turn.after"


class CallRuled(TaskEvent, frozen=True, kw_only=True, tag="CallRuled.v1"):
    """A hook, a policy or a person has decided of something in a turn; `by` says who.

    `key` is what it is about: the key of a step, a delegation or a message that is said. Every hook
    that was asked leaves one, so that none is asked again; a policy only if it did not simply allow
    it. `call` is the SHA-256 of what was decided about. With `changed`, something else stands in
    its place: `change`, or what `blob` refers to, unless the log has it elsewhere, as it has the
    results of steps. `failed` says that the hook itself has failed, and its mode has decided.
    `approvers` are who may be asked, if the ruling is to ask.
    """

    point: Point
    key: str
    by: str
    ruling: Ruling
    reason: str = ""
    call: str = ""
    approvers: tuple[str, ...] = ()
    changed: bool = False
    change: Any = None
    blob: BlobRef | None = None
    failed: bool = False


ASKABLE = frozenset(
    {
        Point.TURN_BEFORE,
        Point.MODEL_BEFORE,
        Point.TOOL_BEFORE,
        Point.STEP_BEFORE,
        Point.DELEGATION_BEFORE,
        Point.MEMORY_BEFORE,
    }
)
"""Where a person can be asked: before something happens, while a turn runs."""

CHANGEABLE = frozenset(
    {
        Point.PROMPT_BUILT,
        Point.MODEL_AFTER,
        Point.TOOL_BEFORE,
        Point.TOOL_AFTER,
        Point.PUBLISH_BEFORE,
    }
)
"""Where something else can be put in the place of what is there."""

_ORDER = (Ruling.ALLOW, Ruling.ASK, Ruling.DENY)


def strictest(rulings: tuple[Ruling, ...]) -> Ruling:
    """Return the one of some rulings that allows least; with none, nobody has anything against."""
    return max(rulings, key=_ORDER.index, default=Ruling.ALLOW)
