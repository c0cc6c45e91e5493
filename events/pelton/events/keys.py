"""The API keys of a tenant: the fold of the commits on `evt._access.keys` (S1).

A key is `pelton_<id>_<secret>`. The log holds the SHA-256 of the secret alone, which has 256 bits
of chance, so that nothing slower than a hash is needed to keep it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events.access import KeyCreated, KeyRevoked, KeyRotated
from pelton.events.commit import Commit
from pelton.events.envelope import digest
from pelton.events.errors import IllegalTransition, PeltonError
from pelton.events.principal import Principal, holder

_KEY: Final = re.compile(r"pelton_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_NOTHING: Final = digest(b"")


class KeyNotFound(PeltonError):
    """The tenant has no API key of that id: `pelton keys list` names them."""

    code = "key-not-found"


class Presented(NamedTuple):
    """A key as somebody presents it: which one it claims to be, and the hash of its secret."""

    id: str
    hash: str


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key. `earlier` is the hash of the secret before this one, good until `overlap`."""

    id: str
    principal: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    hash: str
    created: str
    expires: str
    earlier: str = _NOTHING
    overlap: str = ""
    revoked: bool = False

    def opens(self, hash_: str, now: str) -> bool:
        """Return whether a secret of that hash is good at a time, in time that tells nothing."""
        is_current = hmac.compare_digest(self.hash, hash_) and now < self.expires
        is_earlier = hmac.compare_digest(self.earlier, hash_) and now < self.overlap
        return not self.revoked and (is_current or is_earlier)

    def holder(self, tenant: str) -> Principal:
        """Return the principal that the key stands for."""
        return holder(self.principal, tenant, self.roles, self.scopes)


Keys = Mapping[str, Key]


def spell(key_id: str, secret: str) -> str:
    """Return a key as its holder presents it."""
    return f"pelton_{key_id}_{secret}"


def presented(text: str) -> Presented | None:
    """Return what a text claims to be a key, or None if it has not the form of one."""
    match = _KEY.fullmatch(text)
    return Presented(match[1], digest(match[2].encode())) if match else None


def fold_keys(keys: Keys, commit: Commit) -> Keys:
    """Return the keys after a commit.

    Raises:
        IllegalTransition: it is about a key that there is not, or makes one that there is.
    """
    after = dict(keys)
    for event in commit.data.events:
        if not isinstance(event, KeyCreated | KeyRotated | KeyRevoked):
            continue
        key = after.get(event.key_id)
        if isinstance(event, KeyCreated):
            if key is not None:
                raise IllegalTransition("a key was created twice")
            after[event.key_id] = Key(
                id=event.key_id,
                principal=event.principal,
                roles=event.roles,
                scopes=event.scopes,
                hash=event.hash,
                created=commit.time,
                expires=event.expires,
            )
        elif key is None:
            raise IllegalTransition(f"{type(event).__name__} for a key that was never created")
        elif isinstance(event, KeyRotated):
            after[key.id] = replace(
                key,
                hash=event.hash,
                expires=event.expires,
                earlier=key.hash,
                overlap=min(event.overlap, key.expires),
            )
        else:
            after[key.id] = replace(key, revoked=True)
    return after


def existing(keys: Keys, key_id: str) -> Key:
    """Return a key that is not revoked.

    Raises:
        KeyNotFound: there is none.
    """
    key = keys.get(key_id)
    if key is None or key.revoked:
        raise KeyNotFound("there is no such key: pelton keys list names those there are")
    return key
