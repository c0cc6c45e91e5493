"""The events of who may do what: those of API keys, and of families of tokens."""

from __future__ import annotations

from pelton.events.event import Event


class KeyEvent(Event, frozen=True, kw_only=True):
    """The base of the events of one API key; they live on `evt._access.keys`."""

    key_id: str


class KeyCreated(KeyEvent, frozen=True, kw_only=True, tag="KeyCreated.v1"):
    """A principal got an API key. `hash` is the SHA-256 of its secret, which is kept nowhere.

    It ends at `expires` (RFC 3339). `scopes`, if there are any, narrow what the roles grant.
    """

    principal: str
    roles: tuple[str, ...]
    hash: str
    expires: str
    scopes: tuple[str, ...] = ()


class KeyRotated(KeyEvent, frozen=True, kw_only=True, tag="KeyRotated.v1"):
    """A key has a new secret, until `expires`; the one before it is good until `overlap`."""

    hash: str
    expires: str
    overlap: str


class KeyRevoked(KeyEvent, frozen=True, kw_only=True, tag="KeyRevoked.v1"):
    """A key is good no longer, with none of its secrets."""


class TokensGranted(Event, frozen=True, kw_only=True, tag="TokensGranted.v1"):
    """A principal got a family of tokens, whose aggregate is `evt._access.<family>`.

    `hash` is the SHA-256 of the secret of its first refresh token. The family ends at `expires`.
    """

    family: str
    principal: str
    roles: tuple[str, ...]
    hash: str
    expires: str
    scopes: tuple[str, ...] = ()


class TokensRefreshed(Event, frozen=True, kw_only=True, tag="TokensRefreshed.v1"):
    """A refresh token was spent for another, whose secret has `hash`.

    `spent` is the hash of the one that was given. Should the answer be lost, the same may be given
    again until `until`.
    """

    family: str
    hash: str
    spent: str
    until: str


class TokensRevoked(Event, frozen=True, kw_only=True, tag="TokensRevoked.v1"):
    """A family of tokens is good no longer. Lives on `evt._access.keys`, which bridges follow.

    `reason` is `asked`, or `reused`: a refresh token was given that had been spent before.
    """

    family: str
    reason: str


class ContentErased(Event, frozen=True, kw_only=True, tag="ContentErased.v1"):
    """The key of a context is destroyed: nobody can read any more what was sealed with it.

    It may be a memory's, for what people wrote there: then `agent` is `_memory`, and `contextId`
    its id. Lives on `evt._access.erasures`, which all follow that have keys in memory. The commit
    says who has done it, and when.
    """

    agent: str
    context_id: str


AccessEvent = (
    KeyCreated
    | KeyRotated
    | KeyRevoked
    | TokensGranted
    | TokensRefreshed
    | TokensRevoked
    | ContentErased
)
"""The events of who may do what, which are no context's."""
