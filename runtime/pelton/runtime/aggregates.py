"""The aggregates of agents beside their contexts: read, remembered and appended to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pelton.events import subjects
from pelton.events.agent import AgentState
from pelton.events.agent import fold as fold_agent
from pelton.events.chain import Chained, following
from pelton.events.commit import Origin
from pelton.events.envelope import encode
from pelton.events.events import AnyEvent
from pelton.events.schedules import Schedules
from pelton.events.schedules import fold as fold_schedules
from pelton.events.subjects import AGENT, SCHEDULES
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Log
from pelton.runtime.patience import patiently
from pelton.runtime.redaction import cleaned

S = TypeVar("S", bound=Chained)


def own(source: str, tenant: str, id_: str) -> Origin:
    """Return the origin of what somebody does of itself, in a record that begins a request."""
    return Origin(source, tenant, source, id_, id_)


class Aggregates(Generic[S]):
    """One kind of aggregate, one of each agent; what was read is remembered (a cache, law 1)."""

    def __init__(
        self,
        log: Log,
        *,
        world: World,
        token: str,
        empty: Callable[[str], S],
        fold: Callable[[S, int, bytes], S],
    ) -> None:
        self._log, self._world, self._token = log, world, token
        self._empty, self._fold = empty, fold
        self._known: dict[str, S] = {}

    async def load(self, agent: str) -> S:
        """Return an aggregate as of now, so that a decision can rest on it.

        Raises:
            DamagedRecord: its commits do not chain (law 13).
            LogUnavailable: the log did not answer in time.
        """
        state = self._known.get(agent) or self._empty(agent)
        for record in await self._log.read(self._subject(agent), after=state.head, decisive=True):
            state = self._fold(state, record.sequence, record.data)
        return self._remember(state)

    def known(self, agent: str) -> S:
        """Return an aggregate as it is remembered: it may be of the past."""
        return self._known.get(agent) or self._empty(agent)

    def forget(self, agent: str) -> None:
        """Drop what is remembered, to read it whole the next time."""
        self._known.pop(agent, None)

    async def append(
        self,
        state: S,
        events: Sequence[AnyEvent],
        *,
        origin: Origin,
        command: int = 0,
    ) -> S:
        """Append one commit to a state, and return the next one; however long the log is away.

        `command` is the stream sequence of the command that is decided, if one is.

        Raises:
            Conflict: somebody else appended; nothing of this commit is stored.
            LogError: the log refuses it.
        """
        subject = self._subject(state.agent)
        commit = following(
            state,
            events,
            id=self._world.new_id(),
            subject=f"{state.agent}/{self._token}",
            time=rfc3339(self._log.now),
            origin=origin,
            command=command,
            handled=command,
        )
        data = encode(cleaned(self._log.redactor, commit, subject))
        sequence = await patiently(
            lambda: self._log.append(subject, data, id=commit.id, expect=state.head), subject
        )
        return self._remember(self._fold(state, sequence, data))

    def _remember(self, state: S) -> S:
        known = self._known.get(state.agent)
        if known is None or known.head <= state.head:
            self._known[state.agent] = state
        return state

    def _subject(self, agent: str) -> str:
        return str(subjects.Subject("evt", agent, "", self._token))


def agents_of(log: Log, world: World) -> Aggregates[AgentState]:
    """Return the agents themselves, as a log has them."""
    return Aggregates(
        log,
        world=world,
        token=AGENT,
        empty=lambda agent: AgentState(agent=agent),
        fold=fold_agent,
    )


def schedules_of(log: Log, world: World) -> Aggregates[Schedules]:
    """Return the schedules of all agents, as a log has them."""
    return Aggregates(
        log,
        world=world,
        token=SCHEDULES,
        empty=lambda agent: Schedules(agent=agent),
        fold=fold_schedules,
    )
