"""Families of tokens in a tenant's log: granted, refreshed, revoked (AS-36)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from pelton.events import subjects
from pelton.events.access import TokensGranted, TokensRevoked
from pelton.events.commit import Commit
from pelton.events.errors import PeltonError
from pelton.events.events import AnyEvent
from pelton.events.families import Family, Standing, fold_family
from pelton.events.keys import Presented
from pelton.events.principal import check_grant
from pelton.runtime.access import Decide, chain, change, revoked
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Log, Record

GRACE: Final = timedelta(seconds=10)
"""For how long a refresh token may be given again, should the answer have been lost."""


class GrantNotGood(PeltonError):
    """A refresh token is not good: it is unknown, spent, expired, or its family was revoked."""

    code = "grant-not-good"


class FamilyNotFound(PeltonError):
    """The tenant has no family of tokens of that id: `pelton tokens list` names them."""

    code = "family-not-found"


class Families:
    """The families of tokens of a tenant, changed on behalf of `actor`."""

    def __init__(self, log: Log, *, world: World, tenant: str, actor: str) -> None:
        self._log, self._world, self._tenant, self._actor = log, world, tenant, actor

    async def grant(
        self,
        principal: str,
        roles: Sequence[str],
        scopes: Sequence[str] = (),
        *,
        family: str,
        hash: str,
        lasts: timedelta,
    ) -> None:
        """Give a principal a family of tokens, by the hash of its first refresh token's secret.

        Raises:
            InvalidInput: the principal, the roles or the scopes cannot be.
        """
        check_grant(principal, roles, scopes)
        event = TokensGranted(
            family=family,
            principal=principal,
            roles=tuple(roles),
            scopes=tuple(scopes),
            hash=hash,
            expires=rfc3339(self._world.now() + lasts),
        )
        await self._change(family, lambda _: (event,))

    async def refresh(self, given: Presented, new: str) -> Family:
        """Spend a refresh token for another, whose secret has the hash `new`; return its family.

        A token that was spent before ends its family.

        Raises:
            GrantNotGood: it is not good.
        """
        known = await self._find(given.id)
        if known is None or given.id in await self.revoked():
            raise GrantNotGood("this refresh token is not good")
        found: list[Standing] = []

        def decide(commits: Sequence[Commit]) -> Sequence[AnyEvent]:
            family, now = fold_family(commits), self._world.now()
            assert family is not None  # its commits are never taken back
            found.append(family.standing(given.hash, rfc3339(now)))
            if found[-1] is not Standing.GOOD:
                return ()
            return (family.refresh(given.hash, new, until=rfc3339(now + GRACE)),)

        await self._change(given.id, decide)
        if found[-1] is Standing.SPENT:
            await self.revoke(given.id, reason="reused")
        if found[-1] is not Standing.GOOD:
            raise GrantNotGood("this refresh token is not good")
        return known

    async def revoke(self, family: str, *, reason: str = "asked") -> None:
        """End a family: its access tokens at once and at every bridge, its refresh tokens too.

        Raises:
            FamilyNotFound: there is none.
        """
        if await self._find(family) is None:
            raise FamilyNotFound("there is no such family: pelton tokens list names them")

        def decide(commits: Sequence[Commit]) -> Sequence[AnyEvent]:
            if any(family in revoked(commit) for commit in commits):
                return ()
            return (TokensRevoked(family=family, reason=reason),)

        await self._change(subjects.KEYS, decide)

    async def revoked(self) -> frozenset[str]:
        """Return the families that are good no longer."""
        records = await self._log.read(subjects.access(subjects.KEYS), decisive=True)
        return frozenset[str]().union(*map(revoked, chain(records).commits))

    async def list(self) -> Sequence[Family]:
        """Return all families, the oldest first."""
        found: dict[str, list[Record]] = {}
        async for batch in self._log.scan(pattern=f"evt.{subjects.ACCESS}.*"):
            for record in batch:
                found.setdefault(record.subject, []).append(record)
        found.pop(subjects.access(subjects.KEYS), None)
        families = (fold_family(chain(each).commits) for each in found.values())
        return tuple(family for family in families if family is not None)

    async def _find(self, family: str) -> Family | None:
        records = await self._log.read(subjects.access(family), decisive=True)
        return fold_family(chain(records).commits)

    async def _change(self, name: str, decide: Decide) -> None:
        await change(
            self._log,
            name,
            decide,
            world=self._world,
            tenant=self._tenant,
            actor=self._actor,
        )
