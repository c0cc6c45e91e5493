"""The life of a task: the table is closed, ends are ends, illegal moves change nothing."""

from __future__ import annotations

import itertools

import pytest

from pelton.events.a2a import TaskState
from pelton.events.errors import IllegalTransition
from pelton.events.states import INTERRUPTED, SETTLED, TERMINAL, TRANSITIONS, follow


def test_the_table_is_closed() -> None:
    assert set(TRANSITIONS) == set(TaskState)
    assert set().union(*TRANSITIONS.values()) <= set(TaskState)


def test_every_state_can_be_reached_and_every_open_one_can_end() -> None:
    reached = {TaskState.SUBMITTED}
    for _ in TaskState:
        reached |= set().union(*(TRANSITIONS[state] for state in reached))
    assert reached == set(TaskState)
    for state in set(TaskState) - TERMINAL:
        assert TRANSITIONS[state] >= TERMINAL


@pytest.mark.accepts("G3")
def test_terminal_states_absorb() -> None:
    assert {state for state, after in TRANSITIONS.items() if not after} == TERMINAL


def test_the_sets_are_those_of_the_protocol() -> None:
    assert not TERMINAL & INTERRUPTED
    assert SETTLED == TERMINAL | INTERRUPTED
    assert set(TaskState) - SETTLED == {TaskState.SUBMITTED, TaskState.WORKING}
    assert not any(TaskState.SUBMITTED in after for after in TRANSITIONS.values())


@pytest.mark.accepts("G3")
@pytest.mark.parametrize(("one", "two"), list(itertools.product(TaskState, TaskState)))
def test_only_what_the_table_says_may_follow(one: TaskState, two: TaskState) -> None:
    if two in TRANSITIONS[one]:
        assert follow(one, two) is two
    else:
        with pytest.raises(IllegalTransition):
            follow(one, two)
