"""The initial prompt: what an agent is told once, when a life of it begins (AS-55)."""

from __future__ import annotations

from pelton.events.agent import AgentState
from pelton.events.commit import Origin
from pelton.events.events import AgentPrompted
from pelton.events.ids import derive
from pelton.events.presence import AgentStatus
from pelton.runtime.agents import Agent
from pelton.runtime.aggregates import own
from pelton.runtime.assignment import Host
from pelton.runtime.log import Conflict
from pelton.runtime.prompts import INITIAL


def prompted(host: Host, agent: Agent, state: AgentState) -> bool:
    """Whether there is nothing to do about the initial prompt, as far as is known here."""
    if state.status is AgentStatus.REMOVED:
        return True
    if state.prompted is None:
        return not agent.initial
    return host.outbox.has_sent(state.prompted.event.command_id)


async def prompt(host: Host, agent: Agent) -> None:
    """Say to an agent what it is told first, unless it was told in this life.

    It is written down before it is sent, and what was written and not sent is sent by whoever finds
    it: so it is one task, whatever dies meanwhile.

    Raises:
        LogError: the log does not take it.
    """
    state = await host.agents.load(agent.name)
    while state.prompted is None:  # ends: every round that conflicts, somebody else has written
        if state.status is AgentStatus.REMOVED or not agent.initial:
            return
        event = AgentPrompted(
            life=state.life,
            command_id=derive("initial", agent.name, str(state.life)),
            context_id=derive("initial context", agent.name, str(state.life)),
            text=agent.initial,
        )
        origin = own(host.source, host.tenant, host.world.new_id())
        try:
            state = await host.agents.append(state, (event,), origin=origin)
        except Conflict:
            state = await host.agents.load(agent.name)
    event, cause = state.prompted.event, state.prompted.cause
    await host.prompts.send(
        agent.name,
        event.context_id,
        command_id=event.command_id,
        text=event.text,
        metadata={INITIAL: event.life},
        origin=Origin.caused_by(cause, host.source)._replace(
            actor=f"agent/{agent.name}", correlationid=event.command_id
        ),
    )
