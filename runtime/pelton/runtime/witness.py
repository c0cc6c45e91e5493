"""Writing down what is seen of an agent, if it changes where the agent stands."""

from __future__ import annotations

import structlog

from pelton.events.agent import AgentState
from pelton.events.events import AgentStatusChanged
from pelton.events.presence import Fact, follow
from pelton.runtime.aggregates import Aggregates, own
from pelton.runtime.clock import World
from pelton.runtime.log import Conflict

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


async def witness(
    agents: Aggregates[AgentState],
    agent: str,
    fact: Fact,
    *,
    world: World,
    source: str,
    tenant: str,
) -> AgentState:
    """Write what follows from a fact that was seen, if anything does; return the state after it.

    Raises:
        LogError: the log does not take it.
    """
    while True:  # ends: every round that conflicts, somebody else has written
        state = await agents.load(agent)
        status = follow(state.status, fact)
        if status is state.status:
            return state
        changed = AgentStatusChanged(status=status, fact=fact)
        try:
            state = await agents.append(
                state, (changed,), origin=own(source, tenant, world.new_id())
            )
        except Conflict:
            continue
        logger.info("agent-status", agent=agent, status=status, fact=fact)
        return state
