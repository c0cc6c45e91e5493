"""Who may do what, as a tenant's log says: changing it, and knowing it live at every bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from pelton.events import subjects
from pelton.events.access import KeyCreated, KeyRevoked, KeyRotated, TokensRevoked
from pelton.events.chain import Chained, chained, following
from pelton.events.commit import Commit
from pelton.events.envelope import digest, encode
from pelton.events.errors import DamagedRecord, PeltonError
from pelton.events.events import AnyEvent
from pelton.events.keys import Key, Keys, existing, fold_keys
from pelton.events.principal import check_grant
from pelton.events.upcast import decode_commit
from pelton.runtime.aggregates import own
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Conflict, Heard, Log, LogError, Record

LOOK_AFTER: Final = 30.0
"""Seconds after which the keys are read anew, whatever was heard: live copies can be lost."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.access")

Decide = Callable[[Sequence[Commit]], Iterable[AnyEvent]]


async def change(
    log: Log, name: str, decide: Decide, *, world: World, tenant: str, actor: str
) -> Sequence[AnyEvent]:
    """Append what `decide` makes of the commits of an aggregate, as a decision on its latest state.

    Raises:
        LogError: the log does not take it.
        DamagedRecord: the commits do not chain.
    """
    subject = subjects.access(name)
    while True:  # ends: every round that conflicts, somebody else has changed it
        commits, end = chain(await log.read(subject, decisive=True))
        events = tuple(decide(commits))
        if not events:
            return ()
        id_ = world.new_id()
        commit = following(
            end,
            events,
            id=id_,
            subject=f"{subjects.ACCESS}/{name}",
            time=rfc3339(world.now()),
            origin=own(actor, tenant, id_),
        )
        try:
            await log.append(subject, encode(commit), id=id_, expect=end.head)
        except Conflict:
            continue
        return events


class Chain(NamedTuple):
    """The commits of an aggregate, and where they end."""

    commits: Sequence[Commit]
    end: Chained


def chain(records: Sequence[Record]) -> Chain:
    """Return the commits of an aggregate, each checked to follow the one before it (law 13).

    Raises:
        DamagedRecord: one does not.
    """
    end = Chained(agent=subjects.ACCESS)
    commits = [decode_commit(record.data) for record in records]
    for record, commit in zip(records, commits, strict=True):
        end = chained(end, record.sequence, commit, digest(record.data))
    return Chain(commits, end)


class KeyChanges:
    """Makes, rotates and revokes the API keys of a tenant, on behalf of `actor`."""

    def __init__(self, log: Log, *, world: World, tenant: str, actor: str) -> None:
        self._log, self._world, self._tenant, self._actor = log, world, tenant, actor

    async def list(self) -> Sequence[Key]:
        """Return all keys, the oldest first."""
        records = await self._log.read(subjects.access(subjects.KEYS), decisive=True)
        return tuple(_keys(chain(records).commits).values())

    async def create(
        self,
        principal: str,
        roles: Sequence[str],
        scopes: Sequence[str] = (),
        *,
        key_id: str,
        hash: str,
        lasts: timedelta,
    ) -> None:
        """Give a principal a key, by the hash of its secret.

        Raises:
            InvalidInput: the principal, the roles or the scopes cannot be.
        """
        check_grant(principal, roles, scopes)
        event = KeyCreated(
            key_id=key_id,
            principal=principal,
            roles=tuple(roles),
            scopes=tuple(scopes),
            hash=hash,
            expires=self._after(lasts),
        )
        await self._change(lambda _: event)

    async def rotate(self, key_id: str, *, hash: str, lasts: timedelta, overlap: timedelta) -> None:
        """Give a key a new secret; the one before it stays good for the overlap.

        Raises:
            KeyNotFound: there is no such key.
        """
        expires, until = self._after(lasts), self._after(overlap)

        def decide(keys: Keys) -> AnyEvent:
            key = existing(keys, key_id)
            return KeyRotated(key_id=key.id, hash=hash, expires=expires, overlap=until)

        await self._change(decide)

    async def revoke(self, key_id: str) -> None:
        """End a key, at once and everywhere.

        Raises:
            KeyNotFound: there is no such key.
        """
        await self._change(lambda keys: KeyRevoked(key_id=existing(keys, key_id).id))

    async def _change(self, decide: Callable[[Keys], AnyEvent]) -> None:
        await change(
            self._log,
            subjects.KEYS,
            lambda commits: (decide(_keys(commits)),),
            world=self._world,
            tenant=self._tenant,
            actor=self._actor,
        )

    def _after(self, while_: timedelta) -> str:
        return rfc3339(self._world.now() + while_)


class Keyring:
    """The API keys of a tenant as they are now; `keep` reads them whenever some may be missed.

    A change is in force when its live copy is heard, milliseconds after it is stored. A copy that
    is lost with a connection is made good when that is back, any other within `LOOK_AFTER`.
    """

    def __init__(self, log: Log, *, world: World) -> None:
        self._log, self._world = log, world
        self._keys: Keys = {}
        self._revoked: frozenset[str] = frozenset()
        self._head = 0
        self._hash = ""
        self._stale = asyncio.Event()
        self._stale.set()
        self.loaded = False
        """Whether the log was read since the start: before, no key is good (AS-38)."""
        self.damaged = False
        """Whether a commit could not be read: then nobody knows which families are revoked."""

    @property
    def keys(self) -> Mapping[str, Key]:
        """The keys by id."""
        return self._keys

    @property
    def revoked(self) -> frozenset[str]:
        """The families of tokens that are good no longer."""
        return self._revoked

    def heard(self, heard: Heard) -> bool:
        """Take a live copy, if it is about access; False if it is not."""
        if not heard.subject.startswith(_PREFIX):
            return False
        if heard.subject == _SUBJECT:
            if heard.previous == self._head:
                self._take(heard.sequence, heard.data)
            elif heard.sequence > self._head:
                self.refresh()
        return True

    def refresh(self) -> None:
        """Read on, soon."""
        self._stale.set()

    async def keep(self) -> None:
        """Read on whenever that is due; for ever."""
        while True:
            try:
                async with asyncio.timeout(LOOK_AFTER):
                    await self._stale.wait()
            except TimeoutError:
                pass  # it is time to look
            self._stale.clear()
            try:
                for record in await self._log.read(_SUBJECT, after=self._head):
                    if record.sequence > self._head:
                        self._take(record.sequence, record.data)
                self.loaded = True
            except LogError as error:
                logger.warning("keys-not-read", code=error.code)
                await asyncio.sleep(1.0 + self._world.random.random())
                self._stale.set()

    def _take(self, sequence: int, data: bytes) -> None:
        """Take a commit; behind one that is damaged no key is good any more (law 13)."""
        self._head = sequence
        try:
            commit = decode_commit(data)
            if commit.prevhash != self._hash:
                raise DamagedRecord("a commit of keys does not follow the one before it")
            self._keys = fold_keys(self._keys, commit)
            self._revoked |= revoked(commit)
        except PeltonError as error:
            logger.exception("keys-damaged", sequence=sequence, code=error.code)
            self._keys = {}
            self.damaged = True
        self._hash = digest(data)


_PREFIX: Final = f"evt.{subjects.ACCESS}."
_SUBJECT: Final = subjects.access(subjects.KEYS)


def revoked(commit: Commit) -> frozenset[str]:
    """Return the families of tokens that a commit ends."""
    events = commit.data.events
    return frozenset(event.family for event in events if isinstance(event, TokensRevoked))


def _keys(commits: Iterable[Commit]) -> Keys:
    keys: Keys = {}
    for commit in commits:
        keys = fold_keys(keys, commit)
    return keys
