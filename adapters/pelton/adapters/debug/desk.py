"""What the debugger works at: one tenant, and the conversations that were looked at lately."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from pelton.adapters.a2a.tenants import Tenant
from pelton.adapters.debug.conversation import Conversation
from pelton.adapters.debug.forks import Forks
from pelton.events.envelope import ANONYMOUS
from pelton.events.errors import UnsupportedOperation
from pelton.events.principal import Principal, Role, granted
from pelton.runtime.clock import World
from pelton.runtime.interventions import Interventions
from pelton.runtime.replay.session import Reader, with_keys

T = TypeVar("T")

_REMEMBERED: Final = 8


class Desk:
    """The tenant, and a few conversations in memory: a cache, which the log fills again (law 1)."""

    def __init__(self, tenant: Tenant, *, forks: Forks | None, world: World) -> None:
        self.tenant = tenant
        self._forks = forks
        roles = frozenset({Role.OPERATOR})
        self.principal: Final = Principal(
            id=ANONYMOUS, tenant=tenant.name, roles=roles, scopes=granted(roles)
        )
        """On whose behalf it looks: whoever holds the token of the run is its operator."""
        self.people: Final = Interventions(tenant.account.log, world=world, tenant=tenant.name)
        self._known: OrderedDict[tuple[str, str], Conversation] = OrderedDict()
        self._lock = asyncio.Lock()

    @property
    def forks(self) -> Forks:
        """The forks of this tenant's conversations.

        Raises:
            UnsupportedOperation: the bridge has no place for any.
        """
        if self._forks is None:
            raise UnsupportedOperation("this bridge makes no forks: pelton fork does")
        return self._forks

    async def reader(self, fork: str) -> Reader:
        """Return what records are read from: the log, or a fork.

        Raises:
            ForkNotFound: there is no such fork.
        """
        log = self.tenant.account.log
        return await with_keys(await self.forks.session(fork), log.vault) if fork else log

    async def look(self, context_id: str, fork: str, see: Callable[[Conversation], T]) -> T:
        """Return what is seen of a conversation as of now; `see` runs in a thread of its own.

        Raises:
            ContextNotFound: there is none of that id.
            LogUnavailable: the log did not answer in time.
        """
        async with self._lock:
            key = fork, context_id
            found = self._known.pop(key, None)
            if found is None:
                found = Conversation(await self.reader(fork), context_id)
            await found.refresh()
            self._known[key] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            seeing = asyncio.create_task(asyncio.to_thread(see, found), name="debug: look")
            try:
                return await asyncio.shield(seeing)
            except asyncio.CancelledError:
                await asyncio.wait((seeing,))  # nobody else may touch it before
                raise
