"""Agents make themselves known: their profile is the state of an aggregate of its own."""

from __future__ import annotations

from collections.abc import Callable

from pelton.events.agent import AgentState
from pelton.events.card import AgentProfile
from pelton.events.errors import UnknownAgent
from pelton.events.events import AgentRegistered, AgentTeamChanged, AnyEvent
from pelton.events.ids import check_agent
from pelton.events.presence import AgentStatus
from pelton.runtime.aggregates import Aggregates, own
from pelton.runtime.clock import World
from pelton.runtime.log import Conflict


async def register(
    agents: Aggregates[AgentState],
    profile: AgentProfile,
    *,
    team: str = "",
    world: World,
    source: str,
    tenant: str,
) -> None:
    """Say that an agent is served, unless the log says so already with the same profile.

    One that was removed begins another life. Executors that register at the same time agree: the
    last profile is in force. Its `team` is what its code asks for: what somebody has changed at run
    time stays so until the code changes.

    Raises:
        LogError: the log does not take it.
    """

    def decide(state: AgentState) -> tuple[AnyEvent, ...]:
        gone = state.status is AgentStatus.REMOVED
        said: tuple[AnyEvent, ...] = ()
        if gone or state.profile != profile:
            said = (AgentRegistered(profile=profile),)
        if team != ("" if gone else state.declared_team):
            said = (*said, AgentTeamChanged(team=team, declared=True))
        return said

    await change(agents, profile.name, decide, world=world, source=source, tenant=tenant)


async def move(
    agents: Aggregates[AgentState],
    agent: str,
    team: str,
    *,
    world: World,
    source: str,
    tenant: str,
) -> AgentState:
    """Put an agent into a team, or into none if that is empty; return how it stands then.

    Raises:
        UnknownAgent: there is none of that name.
        InvalidInput: the name of the team is none.
        LogError: the log does not take it.
    """
    if team:
        check_agent(team)

    def decide(state: AgentState) -> tuple[AnyEvent, ...]:
        if state.status is AgentStatus.REMOVED:
            raise UnknownAgent(f"there is no agent {agent!r}: pelton agents lists them")
        return () if state.team == team else (AgentTeamChanged(team=team),)

    return await change(agents, agent, decide, world=world, source=source, tenant=tenant)


async def change(
    agents: Aggregates[AgentState],
    agent: str,
    decide: Callable[[AgentState], tuple[AnyEvent, ...]],
    *,
    world: World,
    source: str,
    tenant: str,
) -> AgentState:
    """Write what is decided of an agent as it stands, if anything is; return how it stands then.

    Raises:
        LogError: the log does not take it.
    """
    while True:  # ends: every round that conflicts, somebody else has written
        state = await agents.load(agent)
        events = decide(state)
        if not events:
            return state
        try:
            return await agents.append(state, events, origin=own(source, tenant, world.new_id()))
        except Conflict:
            continue
