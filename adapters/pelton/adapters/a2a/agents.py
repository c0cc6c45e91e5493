"""The agents that a bridge serves: all that have registered on its log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import structlog

from pelton.events.agent import AgentState
from pelton.events.card import AgentProfile
from pelton.events.errors import PeltonError, UnknownAgent
from pelton.runtime.clock import World
from pelton.runtime.log import Heard, Log, LogError, LogUnavailable
from pelton.runtime.roster import Roster

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.a2a")


class Registered(NamedTuple):
    """An agent, and when it registered as it is."""

    profile: AgentProfile
    since: datetime


class Agents:
    """Knows the agents; `keep` reads them anew whenever some may have been missed."""

    def __init__(self, log: Log, *, default: str, world: World) -> None:
        self._roster = Roster(log, world=world)
        self._default, self._world = default, world
        self.loaded = False
        """Whether the log was read since the start."""

    def __iter__(self) -> Iterator[Registered]:
        """Yield them by name."""
        for known in self._roster:
            if known.state.profile is not None:
                yield Registered(known.state.profile, known.since)

    def find(self, name: str) -> Registered | None:
        """Return the agent of that name, if there is one."""
        known = self._roster.find(name)
        if known is None or known.state.profile is None:
            return None
        return Registered(known.state.profile, known.since)

    @property
    def failing(self) -> Iterator[str]:
        """Yield the names of those that are not registered and could not be started."""
        return (known.state.agent for known in self._roster.failing)

    def state(self, name: str) -> AgentState:
        """Return the state of an agent, whether or not there is one."""
        return self._roster.state(name)

    @property
    def default(self) -> Registered | None:
        """The agent that the root serves too: the configured one, or the only one."""
        if self._default:
            return self.find(self._default)
        first, *others = (*self, None)
        return first if others == [None] else None

    def unknown(self) -> PeltonError:
        """Return the error for a name that no agent has."""
        if self.loaded:
            return UnknownAgent("no agent is served under this path")
        return LogUnavailable("the agents are not read yet")

    def heard(self, heard: Heard) -> bool:
        """Take a live copy, if it is about an agent itself; False if it is not."""
        return self._roster.heard(heard)

    def refresh(self) -> None:
        """Read them anew, soon."""
        self._roster.stale.set()

    async def keep(self) -> None:
        """Read them whenever that is due; for ever."""
        while True:
            await self._roster.stale.wait()
            try:
                await self._roster.refresh()
                self.loaded = True
            except LogError as error:
                logger.warning("agents-not-read", code=error.code)
                await asyncio.sleep(1.0 + self._world.random.random())
