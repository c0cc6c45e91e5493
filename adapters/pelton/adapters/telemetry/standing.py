"""How a tenant stands: what its log and its read models say now, in one look.

`/metrics` and `pelton top` show it. It is counted nowhere else, so it is the same wherever it is
looked at, and whoever was killed in between has lost nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from pelton.adapters.telemetry.metrics import Reading
from pelton.events.errors import PeltonError
from pelton.events.events import AttemptEnd
from pelton.projections.ledger import COUNTS
from pelton.projections.ledgers import By
from pelton.projections.read import Queue, ReadModels
from pelton.runtime.executor import Executor
from pelton.runtime.log import Log
from pelton.runtime.projector import Projector

MOST: Final = 500
"""So many agents have labels of their own; the others are one, `OTHERS`."""
OTHERS: Final = "_others"
_PAGE: Final = 100
RUNNING: Final = "running"
STATES: Final = (
    RUNNING,
    *(AttemptEnd.SUSPENDED.value, AttemptEnd.FAILED.value, AttemptEnd.HANDED_BACK.value),
)
"""How turns that are open stand: in hand, or as their last attempt has left them."""


class AgentStanding(msgspec.Struct, kw_only=True, rename="camel"):
    """How an agent stands. `turns` are open, by `STATES`; `counts` are those of `COUNTS`.

    `cost` is in billionths.
    """

    queue: Queue = Queue()
    turns: dict[str, int] = {}
    counts: dict[str, int] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: int = 0

    def add(self, other: AgentStanding) -> None:
        """Add what another agent has."""
        self.queue = Queue(
            self.queue.contexts + other.queue.contexts, self.queue.commands + other.queue.commands
        )
        for own, others in ((self.turns, other.turns), (self.counts, other.counts)):
            for name, count in others.items():
                own[name] = own.get(name, 0) + count
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cached_tokens += other.cached_tokens
        self.cost += other.cost


class Standing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a tenant stands. `last` is the sequence of its log's last record, 0 if it is away."""

    connected: bool
    last: int
    position: int
    damaged: int
    questions: int
    dead_letters: int
    agents: dict[str, AgentStanding]

    @property
    def lag(self) -> int:
        """By how many records the read models are behind the log."""
        return max(0, self.last - self.position)


async def look(log: Log, models: ReadModels) -> Standing:
    """Return how a tenant stands.

    Raises:
        PeltonError: the log or the read models do not answer.
    """
    last = (await log.extent()).last if log.connected else 0
    counts, turns, queues = (
        await models.ledgers.counts(),
        await models.turns(),
        await models.queues(),
    )
    agents = {each.name: AgentStanding() for each in await models.agents()}
    for name in (*counts, *turns, *queues):
        agents.setdefault(name, AgentStanding())
    for name, agent in agents.items():
        agent.counts = counts.get(name, {})
        agent.turns = {(state or RUNNING): n for state, n in turns.get(name, {}).items()}
        agent.queue = queues.get(name, Queue())
    cursor = ""
    while True:
        page = await models.ledgers.usage(By.AGENT, page_size=_PAGE, cursor=cursor)
        for each in page.items:
            agent = agents.setdefault(each.name, AgentStanding())
            agent.input_tokens, agent.output_tokens = each.input_tokens, each.output_tokens
            agent.cached_tokens, agent.cost = each.cached_tokens, each.cost
        cursor = page.next
        if not cursor:
            break
    return Standing(
        connected=log.connected,
        last=last,
        position=(await models.position()).sequence,
        damaged=await models.damaged(),
        questions=(await models.ledgers.inbox(page_size=1)).total,
        dead_letters=(await models.ledgers.dead_letters(page_size=1)).total,
        agents=agents,
    )


def readings(tenant: str, standing: Standing) -> Iterator[Reading]:
    """Yield what metrics say of how a tenant stands."""
    yield "pelton_log_connected", (tenant,), float(standing.connected)
    if standing.connected:
        yield "pelton_log_last_sequence", (tenant,), standing.last
        yield "pelton_projection_lag", (tenant,), standing.lag
    yield "pelton_projection_position", (tenant,), standing.position
    yield "pelton_damaged_records", (tenant,), standing.damaged
    yield "pelton_open_questions", (tenant,), standing.questions
    yield "pelton_open_dead_letters", (tenant,), standing.dead_letters
    for name, agent in _bounded(standing.agents).items():
        yield "pelton_queue_contexts", (tenant, name), agent.queue.contexts
        yield "pelton_queue_commands", (tenant, name), agent.queue.commands
        for state in STATES:
            yield "pelton_open_turns", (tenant, name, state), agent.turns.get(state, 0)
        for count in COUNTS:
            metric = f"pelton_{count.replace('-', '_')}"
            yield metric, (tenant, name), agent.counts.get(count, 0)
        yield "pelton_tokens", (tenant, name, "input"), agent.input_tokens
        yield "pelton_tokens", (tenant, name, "output"), agent.output_tokens
        yield "pelton_tokens", (tenant, name, "cached"), agent.cached_tokens
        yield "pelton_cost", (tenant, name), agent.cost / 1e9


async def in_hand(tenant: str, log: Log, executor: Executor) -> list[Reading]:
    """Return what metrics say of an executor."""
    return [
        ("pelton_log_connected", (tenant,), float(log.connected)),
        ("pelton_contexts_in_hand", (), executor.active),
        ("pelton_agents_without_keys", (), len(executor.blind)),
    ]


async def position(tenant: str, projector: Projector) -> list[Reading]:
    """Return what metrics say of how far the read models of a tenant are."""
    found: list[Reading] = [("pelton_projection_position", (tenant,), projector.position)]
    try:
        lag = await projector.lag()
    except PeltonError:
        return [*found, ("pelton_log_connected", (tenant,), 0.0)]
    return [
        *found,
        ("pelton_log_connected", (tenant,), 1.0),
        ("pelton_projection_lag", (tenant,), lag),
    ]


def _bounded(agents: dict[str, AgentStanding]) -> dict[str, AgentStanding]:
    """Return the agents, those beyond `MOST` as one."""
    names = sorted(agents)
    found = {name: agents[name] for name in names[:MOST]}
    if len(names) > MOST:
        rest = found[OTHERS] = AgentStanding(turns={}, counts={})
        for name in names[MOST:]:
            rest.add(agents[name])
    return found
