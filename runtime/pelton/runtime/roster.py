"""All agents on a log as they stand, kept up to date by live copies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

import structlog

from pelton.events import subjects
from pelton.events.agent import AgentState, fold
from pelton.events.errors import PeltonError
from pelton.events.presence import AgentStatus
from pelton.runtime.clock import World
from pelton.runtime.log import Heard, Log

_SUFFIX: Final = f".{subjects.AGENT}"
PATTERN: Final = f"evt.*{_SUFFIX}"
"""Where the commits of all agents are."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Known(NamedTuple):
    """An agent as it stands, and when it registered as it is."""

    state: AgentState
    since: datetime


class Roster:
    """Knows the agents; `refresh` reads what was missed, which is due whenever `stale` is set."""

    def __init__(self, log: Log, *, world: World) -> None:
        self._log, self._world = log, world
        self._known: dict[str, Known] = {}
        self.stale = asyncio.Event()
        self.stale.set()

    def __iter__(self) -> Iterator[Known]:
        """Yield all agents that are registered, by name."""
        found = (known for _, known in sorted(self._known.items()))
        return (known for known in found if known.state.status is not AgentStatus.REMOVED)

    @property
    def failing(self) -> Iterator[Known]:
        """Yield all that are not registered, and that somebody has failed to start, by name."""
        found = (known for _, known in sorted(self._known.items()))
        return (
            known
            for known in found
            if known.state.status is AgentStatus.REMOVED and known.state.trouble is not None
        )

    def state(self, name: str) -> AgentState:
        """Return the state of an agent, whether or not there is one."""
        known = self._known.get(name)
        return known.state if known is not None else AgentState(agent=name)

    def find(self, name: str) -> Known | None:
        """Return the agent of that name, if there is one and it is not removed."""
        known = self._known.get(name)
        return known if known and known.state.status is not AgentStatus.REMOVED else None

    def heard(self, heard: Heard) -> bool:
        """Take a live copy, if it is about an agent itself; False if it is not."""
        if not heard.subject.endswith(_SUFFIX):
            return False
        state = self.state(heard.subject.split(".")[1])
        if heard.previous == state.head:
            self._take(state, heard.sequence, heard.data, self._world.now())
        elif heard.sequence > state.head:
            self.stale.set()
        return True

    async def refresh(self) -> None:
        """Read what was missed.

        Raises:
            LogError: the log did not answer; it is still stale.
        """
        self.stale.clear()
        try:
            for last in await self._log.latest(PATTERN):
                await self._catch_up(last.subject, last.sequence)
        except BaseException:
            self.stale.set()
            raise

    async def _catch_up(self, subject: str, last: int) -> None:
        state = self.state(subject.split(".")[1])
        if state.head >= last:
            return
        for record in await self._log.read(subject, after=state.head):
            state = self.state(state.agent)
            if record.sequence > state.head and not self._take(
                state, record.sequence, record.data, record.received
            ):
                return

    def _take(self, state: AgentState, sequence: int, data: bytes, received: datetime) -> bool:
        """Take in a commit; False if it cannot be."""
        try:
            after = fold(state, sequence, data)
        except PeltonError as error:
            logger.warning("agent-damaged", agent=state.agent, sequence=sequence, code=error.code)
            return False
        known = self._known.get(state.agent)
        if known is not None and after.registered == state.registered:
            received = known.since
        self._known[state.agent] = Known(after, received)
        return True
