"""The life of a task as a data table (A2A 1.0 §4.1.3).

Everything that decides which state may follow which is here; the diagram in the documentation is
drawn from it. A state may follow itself, where that brings news (progress, another question).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pelton.events.a2a import TaskState
from pelton.events.errors import IllegalTransition

_S = TaskState

TERMINAL: Final = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELED, _S.REJECTED})
"""States that a task never leaves."""

INTERRUPTED: Final = frozenset({_S.INPUT_REQUIRED, _S.AUTH_REQUIRED})
"""States in which a task waits for somebody outside; no process need be alive."""

SETTLED: Final = TERMINAL | INTERRUPTED
"""States that end the wait of a blocking send (§3.1.1)."""

_OPEN = frozenset({_S.WORKING}) | SETTLED

TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = {
    _S.SUBMITTED: _OPEN,
    _S.WORKING: _OPEN,
    _S.INPUT_REQUIRED: _OPEN,
    _S.AUTH_REQUIRED: _OPEN,
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELED: frozenset(),
    _S.REJECTED: frozenset(),
}
"""From a state to the states that may follow it."""


def follow(current: TaskState, following: TaskState) -> TaskState:
    """Return `following` if it may follow `current`.

    Raises:
        IllegalTransition: it may not.
    """
    if following not in TRANSITIONS[current]:
        raise IllegalTransition(f"a task that is {current} cannot become {following}")
    return following
