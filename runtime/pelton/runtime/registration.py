"""Agents make themselves known: their profile is the state of an aggregate of its own."""

from __future__ import annotations

from pelton.events.agent import AgentState
from pelton.events.card import AgentProfile
from pelton.events.events import AgentRegistered
from pelton.events.presence import AgentStatus
from pelton.runtime.aggregates import Aggregates, own
from pelton.runtime.clock import World
from pelton.runtime.log import Conflict


async def register(
    agents: Aggregates[AgentState], profile: AgentProfile, *, world: World, source: str, tenant: str
) -> None:
    """Say that an agent is served, unless the log says so already with the same profile.

    One that was removed begins another life. Executors that register at the same time agree: the
    last profile is in force.

    Raises:
        LogError: the log does not take it.
    """
    while True:  # ends: every round that conflicts, somebody else has written
        state = await agents.load(profile.name)
        if state.profile == profile and state.status is not AgentStatus.REMOVED:
            return
        try:
            await agents.append(
                state,
                (AgentRegistered(profile=profile),),
                origin=own(source, tenant, world.new_id()),
            )
        except Conflict:
            continue
        return
