"""Where an agent stands: the table, and the fold of an agent's commits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pelton.events.agent import AgentState, fold
from pelton.events.commit import Commit, CommitData
from pelton.events.envelope import digest, encode
from pelton.events.errors import DamagedRecord
from pelton.events.events import AgentPrompted, AgentRegistered, AgentStatusChanged, AnyEvent
from pelton.events.presence import TRANSITIONS, AgentStatus, Beat, Fact, follow, seen
from tests.strategies import profiles

S, F = AgentStatus, Fact


def commit(state: AgentState, *events: AnyEvent, time: str = "t") -> bytes:
    """Return the next commit of an agent."""
    return encode(
        Commit(
            id=f"id-{state.sequence}",
            source="test",
            subject="echo/_agent",
            time=time,
            tenant="t",
            actor="test",
            correlationid="c",
            causationid="c",
            sequence=state.sequence + 1,
            prevhash=state.hash,
            data=CommitData(events=events),
        )
    )


def after(state: AgentState, *events: AnyEvent, time: str = "t") -> AgentState:
    return fold(state, state.head + 1, commit(state, *events, time=time))


@given(st.lists(st.sampled_from(Fact)))
@example([F.SERVED, F.REMOVED, F.SERVED, F.STARTING, F.WELL, F.DRAINING, F.SILENT, F.TROUBLED])
def test_nothing_but_registration_brings_back_what_was_removed(facts: Sequence[Fact]) -> None:
    status = S.STARTING
    removed = False
    for fact in facts:
        status = follow(status, fact)
        removed = fact is F.REMOVED or (removed and fact is not F.REGISTERED)
        assert (status is S.REMOVED) == removed


def test_each_status_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(AgentStatus)
    reached = {after for facts in TRANSITIONS.values() for after in facts.values()}
    assert reached == set(AgentStatus)
    for status, facts in TRANSITIONS.items():
        assert status not in facts.values(), "what changes nothing is not in the table"
        assert status is S.REMOVED or facts[F.REMOVED] is S.REMOVED


def test_a_fact_that_is_seen_again_changes_nothing() -> None:
    for status in AgentStatus:
        for fact in Fact:
            once = follow(status, fact)
            assert follow(once, fact) is once


@pytest.mark.parametrize(
    ("beats", "fact"),
    [
        ((), F.SILENT),
        ((Beat.DRAINING,), F.DRAINING),
        ((Beat.DRAINING, Beat.STARTING), F.STARTING),
        ((Beat.DRAINING, Beat.STARTING, Beat.SERVING), F.SERVED),
    ],
)
def test_heartbeats_tell_the_best_of_them(beats: tuple[Beat, ...], fact: Fact) -> None:
    assert seen(beats) is fact


@given(profiles, profiles)
def test_a_life_begins_with_registration(one: object, two: object) -> None:
    state = AgentState(agent="echo")
    assert (state.status, state.life) == (S.REMOVED, 0)
    state = after(state, AgentRegistered(profile=one), time="1")  # type: ignore[arg-type]
    assert (state.status, state.life, state.since, state.profile) == (S.STARTING, 1, "1", one)
    prompt = AgentPrompted(life=1, command_id="c", context_id="x", text="begin")
    state = after(state, AgentStatusChanged(status=S.SERVING, fact=F.SERVED), prompt, time="2")
    registered = state.registered
    state = after(state, AgentRegistered(profile=two), time="3")  # type: ignore[arg-type]
    assert (state.status, state.life, state.since, state.profile) == (S.SERVING, 1, "2", two)
    assert state.registered > registered
    assert state.prompted is not None
    state = after(state, AgentStatusChanged(status=S.REMOVED, fact=F.REMOVED))
    state = after(state, AgentRegistered(profile=two))  # type: ignore[arg-type]
    assert (state.status, state.life, state.prompted) == (S.STARTING, 2, None)


def test_commits_chain() -> None:
    state = after(AgentState(agent="echo"), AgentStatusChanged(status=S.OFFLINE, fact=F.SILENT))
    data = commit(AgentState(agent="echo"))
    assert digest(data) != state.hash
    with pytest.raises(DamagedRecord):
        fold(state, 2, data)
