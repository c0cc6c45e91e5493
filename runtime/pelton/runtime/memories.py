"""Memories in a tenant's log: read, decided about and appended to, one aggregate for each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pelton.events import subjects
from pelton.events.agent import AgentState
from pelton.events.chain import following
from pelton.events.commit import Origin
from pelton.events.envelope import encode
from pelton.events.errors import InvalidInput
from pelton.events.memories import Member, Memory, MemoryNotFound, Version, fold
from pelton.events.memory import MemoryRef
from pelton.events.remembering import CommitMemory, MemoryCommand, decide
from pelton.projections.memories import MemoryEntry, MemoryQuery
from pelton.projections.pages import Page
from pelton.runtime.aggregates import Aggregates, own
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Conflict, Log
from pelton.runtime.recollection import Recollection
from pelton.runtime.redaction import cleaned
from pelton.runtime.said import said, sealed, shown_whole

if TYPE_CHECKING:
    from pelton.runtime.semantic import Embed

LONGEST_TTL: Final = 100 * 365 * 86_400
"""Seconds that a memory may last, if it does not last for ever."""

_REMEMBERED: Final = 1024


class Memories:
    """All memories of a log; those that were used last are remembered (a cache, law 1)."""

    def __init__(
        self,
        log: Log,
        *,
        world: World,
        agents: Aggregates[AgentState],
        tenant: str = "local",
        embed: Embed | None = None,
    ) -> None:
        self.log, self._world, self._agents = log, world, agents
        self._tenant = tenant
        self._known: OrderedDict[str, Memory] = OrderedDict()
        self._recollection = Recollection(log, world=world, embed=embed)
        self._last = 0

    @property
    def now(self) -> str:
        """The time (RFC 3339) as the log has it, by which memories expire."""
        return rfc3339(self.log.now)

    def until(self, ttl: float | None) -> str:
        """Return the time (RFC 3339) at which so many seconds from now are over, or nothing.

        Raises:
            InvalidInput: this is no time to live.
        """
        if ttl is None:
            return ""
        if not 0 < ttl <= LONGEST_TTL:
            raise InvalidInput(f"ttl is in seconds, up to {LONGEST_TTL}", field="ttl")
        return rfc3339(self.log.now + timedelta(seconds=ttl))

    def new_operation(self) -> str:
        """Return what names something that a person asks for, once."""
        return self._world.new_id()

    async def by_person(self, memory_id: str, command: MemoryCommand) -> Memory:
        """Decide a command of a person who has the log in hand; see `change` and `said.shown`."""
        origin = own("cli", self._tenant, self._world.new_id())
        memory = await self.change(memory_id, command, member=None, origin=origin)
        return await shown_whole(self.log.vault, memory)

    async def member(self, agent: str) -> Member:
        """Return an agent as it stands now: which team it is in is asked each time (AS-53).

        Raises:
            LogUnavailable: the log did not answer in time.
        """
        return Member.of(await self._agents.load(agent))

    async def load(self, memory_id: str) -> Memory:
        """Return a memory as of now; without versions, if there is none.

        Raises:
            InvalidInput: this is not the id of a memory.
            DamagedRecord: its commits do not chain (law 13).
            LogUnavailable: the log did not answer in time.
        """
        state = self._known.get(memory_id) or Memory(id=memory_id)
        subject = subjects.memory(memory_id)
        for record in await self.log.read(subject, after=state.head, decisive=True):
            state = fold(state, record.sequence, record.data)
        return self._remember(state)

    async def existing(self, memory_id: str) -> Memory:
        """Return a memory as of now, whether or not it can be recalled.

        Raises:
            MemoryNotFound: there is none of that id.
        """
        memory = await self.load(memory_id)
        if not memory.versions:
            raise MemoryNotFound(
                f"there is no memory {memory_id!r}: pelton memory recall finds some"
            )
        return memory

    async def at(self, ref: MemoryRef) -> Memory:
        """Return a memory that has at least the version that is named, if it ever had."""
        known = self._known.get(ref.memory_id)
        if known is not None and known.version(ref.version):
            return known
        return await self.load(ref.memory_id)

    async def change(
        self, memory_id: str, command: MemoryCommand, *, member: Member | None, origin: Origin
    ) -> Memory:
        """Decide a command on behalf of an agent, or a person; return the memory after it.

        The same command again, by its `operation`, changes nothing (law 6).

        Raises:
            ContentErased: what it came from is erased.
            PeltonError: what `decide` raises.
            LogError: the log does not take it.
        """
        subject = subjects.memory(memory_id)
        named = command.sources if isinstance(command, CommitMemory) else ()
        fresh = isinstance(command, CommitMemory) and not command.key
        state = Memory(id=memory_id) if fresh else await self.load(memory_id)
        while True:  # ends: every round that conflicts, somebody else has changed it
            sources = await self._all(named)
            event = decide(state, command, member=member, now=self.now, sources=sources)
            if event is None:
                return state
            commit = following(
                state,
                (event,),
                id=self._world.new_id(),
                subject=f"{subjects.MEMORY}/{memory_id}",
                time=self.now,
                origin=origin,
            )
            commit = cleaned(self.log.redactor, commit, subject)
            data = encode(await sealed(self.log.vault, commit, state))
            try:
                sequence = await self.log.append(subject, data, id=commit.id, expect=state.head)
            except Conflict:
                state = await self.load(memory_id)
                continue
            self._last = max(self._last, sequence)
            return self._remember(fold(state, sequence, data))

    async def said(self, version: Version) -> str:
        """Return what a version says.

        Raises:
            ContentErased: it was sealed, and its key is destroyed.
            ContentSealed: it is sealed, and there is no key of it here.
        """
        return await said(self.log.vault, version.content, version.keyid)

    async def recall(self, query: MemoryQuery, *, at_least: int = 0) -> Page[MemoryEntry]:
        """Return what a query finds in memories as new as a record, and as what was written here.

        Raises:
            RecallUnavailable: what it would find is not known.
            InvalidInput: the query or its page cannot be.
        """
        return await self._recollection.recall(query, at_least=max(at_least, self._last))

    async def unsearched(self, query: MemoryQuery) -> int:
        """Return of how many memories that a query asks for there are no keys here.

        Raises:
            RecallUnavailable: that is not known.
            LogError: the store of keys cannot be reached.
        """
        return await self._recollection.unsearched(query)

    async def aclose(self) -> None:
        """End what it keeps."""
        await self._recollection.aclose()

    async def _all(self, refs: Iterable[MemoryRef]) -> Sequence[Memory]:
        ids = dict.fromkeys(ref.memory_id for ref in refs)
        return await asyncio.gather(*[self.load(id_) for id_ in ids])

    def _remember(self, state: Memory) -> Memory:
        known = self._known.get(state.id)
        if state.versions and (known is None or known.head <= state.head):
            self._known[state.id] = state
            self._known.move_to_end(state.id)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return state
