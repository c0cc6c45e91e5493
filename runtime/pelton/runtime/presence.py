"""What an executor does about where agents stand: it says that it is there, and sees who is.

Heartbeats are leases with a time to live, outside the log; only changes of an agent's status are
events, appended by whoever sees them first (`pelton.events.presence`). An executor watches all
agents of its tenant, so that one whose executors have all died is found by another's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

import structlog

from pelton.events.errors import PeltonError
from pelton.events.events import Outcome, TurnEnded
from pelton.events.presence import AgentStatus, Beat, Fact, follow, seen
from pelton.runtime.agents import Agent
from pelton.runtime.assignment import Host
from pelton.runtime.initial import prompt, prompted
from pelton.runtime.log import Heard, Lease
from pelton.runtime.patience import patiently, why
from pelton.runtime.roster import PATTERN, Roster
from pelton.runtime.witness import witness

_BEATS: Final = 3.0
"""How many times its patience an executor may be silent before it counts as gone."""

_GOOD: Final = {Outcome.COMPLETED, Outcome.INPUT_REQUIRED, Outcome.AUTH_REQUIRED}
"""How a turn ends that came to something; nobody can tell of one that was canceled or rejected."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Presence:
    """The presence of one executor, and its eyes: `stay` and `watch` run beside all else.

    `left` is called with the name of an agent of this executor that was removed.
    """

    def __init__(
        self, host: Host, agents: Sequence[Agent], *, left: Callable[[str], Awaitable[None]]
    ) -> None:
        self._host = host
        self._agents = {agent.name: agent for agent in agents}
        self._left = left
        self._ttl = _BEATS * host.patience
        self._roster = Roster(host.log, world=host.world)
        self._beat: Beat | None = None
        self._leases: dict[str, Lease] = {}
        self._silent: dict[str, float] = {}
        self._back = asyncio.Event()
        """Set when the server may have forgotten what is said here."""
        self._streaks: defaultdict[str, int] = defaultdict(int)
        self._facts: asyncio.Queue[tuple[str, Fact] | None] = asyncio.Queue()
        """What was seen here and is to be written; None if it is only time to look."""

    def succeed(self, agent: Agent) -> None:
        """Know from now on another agent by the name of this one."""
        if agent.name in self._agents:  # else it was removed meanwhile
            self._agents[agent.name] = agent

    # What it says.

    async def say(self, beat: Beat) -> None:
        """Say from now on how this executor stands to its agents."""
        before, self._leases, self._beat = self._leases, {}, beat
        await self.keep()
        for lease in before.values():
            await lease.release()

    async def keep(self) -> None:
        """Go on saying so: to be called more often than the time to live."""
        for name in tuple(self._agents):
            lease = self._leases.get(name)
            if self._beat is None or (lease is not None and await lease.renew()):
                continue
            taken = await self._host.log.beat(name, self._host.executor, self._beat, ttl=self._ttl)
            if taken is not None:
                self._leases[name] = taken

    async def stay(self) -> None:
        """Go on saying so, for ever: a server that was started again is told at once."""
        pause = self._host.patience
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._back.wait()
            self._back.clear()
            pause = self._host.patience
            try:
                async with asyncio.timeout(pause):
                    await self.keep()
            except (PeltonError, TimeoutError) as error:
                pause /= 3
                logger.warning("cannot-keep-presence", reason=why(error))

    async def serve(self) -> None:
        """Say that it serves: whoever asks is answered."""
        await self.say(Beat.SERVING)
        await self._witness_own()

    async def drain(self) -> None:
        """Say that it takes nothing more; others may serve on."""
        await self.say(Beat.DRAINING)
        await self._witness_own()

    async def leave(self) -> None:
        """Say no more; whoever is the last one says that nobody is there."""
        self._beat = None
        for lease in self._leases.values():
            await lease.release()
        self._leases.clear()
        await self._witness_own()

    async def _witness_own(self) -> None:
        beats = await self._beats()
        for name in self._agents:
            await self._witness(name, seen(beats[name]))

    async def _witness(self, agent: str, fact: Fact) -> None:
        host = self._host
        await witness(
            host.agents, agent, fact, world=host.world, source=host.source, tenant=host.tenant
        )

    # What it sees.

    def ended(self, agent: str, event: TurnEnded) -> None:
        """Take note of a turn that has ended here."""
        if agent not in self._agents:  # it was removed meanwhile
            return
        good = event.outcome in _GOOD and not event.empty
        if not good and event.outcome not in (Outcome.FAILED, Outcome.COMPLETED):
            return
        self._streaks[agent] = 0 if good else self._streaks[agent] + 1
        if self._streaks[agent] == self._agents[agent].terms.degraded_after:
            self._facts.put_nowait((agent, Fact.TROUBLED))
        elif good and self._roster.state(agent).status is AgentStatus.DEGRADED:
            self._facts.put_nowait((agent, Fact.WELL))

    def troubled(self, agent: str) -> None:
        """Take note that an agent is not served here as it should be."""
        if agent in self._agents:
            self._facts.put_nowait((agent, Fact.TROUBLED))

    async def watch(self) -> None:
        """Write what is seen of all agents; for ever."""
        with ExitStack() as stack:
            stack.callback(self._host.log.on_restored(self._restored))
            while True:
                try:
                    async with self._host.log.listen(PATTERN, self._hear):
                        await self._watch()
                except (PeltonError, TimeoutError) as error:
                    logger.warning("cannot-watch", reason=why(error))
                    await asyncio.sleep(self._host.patience)

    async def _watch(self) -> None:
        while True:
            await self._look()
            try:
                async with asyncio.timeout(self._ttl / 3):
                    seen_here = await self._facts.get()
            except TimeoutError:
                continue
            if seen_here is not None:
                agent, fact = seen_here
                await patiently(partial(self._witness, agent, fact), agent)

    def _hear(self, heard: Heard) -> None:
        self._roster.heard(heard)
        if any(self._roster.state(name).status is AgentStatus.REMOVED for name in self._agents):
            self._facts.put_nowait(None)

    def _restored(self) -> None:
        """Begin anew: the server may have been restarted, and have forgotten who is there."""
        self._silent.clear()
        self._roster.stale.set()
        self._back.set()

    async def _look(self) -> None:
        if self._roster.stale.is_set():
            await self._roster.refresh()
        for name, agent in tuple(self._agents.items()):
            state = self._roster.state(name)
            if state.status is AgentStatus.REMOVED and state.life:
                await self._remove(name)
            elif not prompted(self._host, agent, state):
                await prompt(self._host, agent)
        beats, now = await self._beats(), self._host.world.monotonic()
        for known in self._roster:
            name = known.state.agent
            fact = seen(beats[name])
            if fact is not Fact.SILENT:
                self._silent.pop(name, None)
            elif now - self._silent.setdefault(name, now) < self._ttl:
                continue
            if follow(known.state.status, fact) is not known.state.status:
                await self._witness(name, fact)

    async def _remove(self, name: str) -> None:
        """Serve an agent no longer that somebody has removed."""
        if (await self._host.agents.load(name)).status is not AgentStatus.REMOVED:
            return  # what was read was of the past
        logger.warning("agent-removed", agent=name)
        del self._agents[name]
        if lease := self._leases.pop(name, None):
            await lease.release()
        await self._left(name)

    async def _beats(self) -> defaultdict[str, list[Beat]]:
        found: defaultdict[str, list[Beat]] = defaultdict(list)
        for each in await self._host.log.beats():
            found[each.agent].append(each.beat)
        return found
