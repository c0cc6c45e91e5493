"""The state of an agent itself: the fold of the commits on `evt.<agent>._agent`."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from pelton.events.card import AgentProfile
from pelton.events.chain import Chained, chained
from pelton.events.commit import Commit
from pelton.events.envelope import digest
from pelton.events.events import (
    AgentPrompted,
    AgentRegistered,
    AgentStatusChanged,
    AgentTeamChanged,
    AnyEvent,
)
from pelton.events.presence import AgentStatus, Fact, follow
from pelton.events.start import AgentStageFailed, AgentStageReached, Stage
from pelton.events.upcast import decode_commit


class Prompted(msgspec.Struct, frozen=True, kw_only=True):
    """The initial prompt that an agent got in its life. `cause` is the commit that says so."""

    event: AgentPrompted
    cause: Commit


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong last with starting an agent or keeping it served; `at` is RFC 3339."""

    event: AgentStageFailed
    at: str


class AgentState(Chained, frozen=True, kw_only=True):
    """An agent as its commits make it.

    `profile` is the one in force, None if it never had one, and `registered` the stream sequence of
    the commit that says so; `life` counts its lives; `since` is when it came to its `status`
    (RFC 3339); `prompted` is there once it got its initial prompt in this life. `team` is the one
    that it is in, empty if none, and `declared_team` what its code has last asked for. `trouble` is
    there until an executor has come to serve it after that. An agent of which nothing is known was
    removed, as it were.
    """

    profile: AgentProfile | None = None
    registered: int = 0
    life: int = 0
    status: AgentStatus = AgentStatus.REMOVED
    since: str = ""
    prompted: Prompted | None = None
    team: str = ""
    declared_team: str = ""
    trouble: Trouble | None = None


def fold(state: AgentState, sequence: int, data: bytes) -> AgentState:
    """Return the state after the commit whose bytes are stored at a stream sequence.

    Raises:
        DamagedRecord: it is no commit, or does not chain to the one before it (law 13).
    """
    commit = decode_commit(data)
    state = chained(state, sequence, commit, digest(data))
    for event in commit.data.events:
        state = _apply(state, event, commit)
    return state


def _apply(state: AgentState, event: AnyEvent, commit: Commit) -> AgentState:
    match event:
        case AgentRegistered():
            if state.status is AgentStatus.REMOVED:
                state = replace(
                    state, life=state.life + 1, prompted=None, team="", declared_team=""
                )
            state = replace(state, profile=event.profile, registered=state.head)
            return _at(state, follow(state.status, Fact.REGISTERED), commit)
        case AgentStatusChanged():
            if event.status is AgentStatus.REMOVED:
                state = replace(state, trouble=None)
            return _at(state, event.status, commit)
        case AgentPrompted():
            return replace(state, prompted=Prompted(event=event, cause=commit))
        case AgentTeamChanged():
            declared = event.team if event.declared else state.declared_team
            return replace(state, team=event.team, declared_team=declared)
        case AgentStageFailed():
            return replace(state, trouble=Trouble(event=event, at=commit.time))
        case AgentStageReached(stage=Stage.SERVING):
            return replace(state, trouble=None)
        case _:
            return state


def _at(state: AgentState, status: AgentStatus, commit: Commit) -> AgentState:
    if status is state.status:
        return state
    return replace(state, status=status, since=commit.time)
