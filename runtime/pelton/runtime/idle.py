"""The idle prompt: what is said in a context in which nothing happens any more.

The rule: an idle period begins with the end of a turn, and ends when somebody says something. The
prompt is said once in it, `Idle.after` seconds after that turn, unless a turn is open then. Its own
turn begins no idle period. The bell of the last command is the timer, and the id of the prompt
follows from the turn that was the last: so it is said once, whatever dies meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pelton.events.commit import Origin
from pelton.events.context import Context
from pelton.events.ids import derive
from pelton.runtime.agents import Agent
from pelton.runtime.assignment import Host
from pelton.runtime.clock import rfc3339
from pelton.runtime.prompts import IDLE


def nudge_due(agent: Agent, state: Context) -> str:
    """Return when the idle prompt is due in a context (RFC 3339), or nothing if it is not."""
    idle, task = agent.terms.idle, state.tasks.get(state.rested)
    if idle is None or task is None or state.turning or state.aside:
        return ""
    if task.turns == 1 and IDLE in (task.metadata or {}):
        return ""
    rested = datetime.fromisoformat(task.status.timestamp)
    return rfc3339(rested + timedelta(seconds=idle.after))


def is_due(host: Host, agent: Agent, state: Context) -> bool:
    """Whether the idle prompt of a context is to be said now."""
    due = nudge_due(agent, state)
    return bool(due) and due <= rfc3339(host.log.now)


async def nudge(host: Host, agent: Agent, state: Context) -> bool:
    """Say the idle prompt in a context that is at rest, if it is due; return whether it is."""
    if not is_due(host, agent, state):
        return False
    idle, task = agent.terms.idle, state.tasks[state.rested]
    assert idle is not None  # or it would not be due
    command_id = derive("idle", agent.name, state.id, task.id, str(task.turns))
    actor = f"agent/{agent.name}"
    await host.prompts.send(
        agent.name,
        state.id,
        command_id=command_id,
        text=idle.text,
        metadata={IDLE: task.status.timestamp},
        origin=Origin(host.source, host.tenant, actor, command_id, command_id),
    )
    return True
