"""Principals: who asks, in which tenant, and what it may do there (S4, AS-3).

A principal is made by whoever has checked a credential, and by nobody else. What it does bears its
id as `actor`. Roles are names for sets of scopes; a credential may narrow what its roles grant.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from pelton.events.errors import InvalidInput


class Scope(enum.StrEnum):
    """Something that one may do, as tokens and cards spell it."""

    READ = "tasks:read"
    WRITE = "tasks:write"
    EVERY = "tasks:every"
    DECIDE = "approvals:decide"
    INSPECT = "tenant:read"
    ADMINISTER = "tenant:write"


MEANINGS: Final[Mapping[Scope, str]] = {
    Scope.READ: "Read one's own tasks, and follow them.",
    Scope.WRITE: "Send messages, and cancel one's own tasks.",
    Scope.EVERY: "Do so with every task of the tenant, whoever opened it.",
    Scope.DECIDE: "Answer the approvals that tasks ask for.",
    Scope.INSPECT: "Read what concerns the whole tenant: events, dead letters.",
    Scope.ADMINISTER: "Change what concerns the whole tenant.",
}
"""What each scope is for."""


class Role(enum.StrEnum):
    """What a principal is: a name for some scopes."""

    CLIENT = "client"
    AGENT = "agent"
    APPROVER = "approver"
    OPERATOR = "operator"


GRANTS: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.CLIENT: frozenset({Scope.READ, Scope.WRITE}),
    Role.AGENT: frozenset({Scope.READ, Scope.WRITE}),
    Role.APPROVER: frozenset({Scope.READ, Scope.WRITE, Scope.EVERY, Scope.DECIDE}),
    Role.OPERATOR: frozenset(Scope),
}
"""The scopes of each role."""

ANONYMOUS: Final = "anonymous"
"""The id of whoever asks where nobody needs a credential."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)
"""Without `:`, which parts the ids of other issuers from their issuer's name."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `id` is unique in the tenant, whatever kind of credential it came with."""

    id: str
    tenant: str
    roles: frozenset[Role] = frozenset()
    scopes: frozenset[Scope] = frozenset()

    def may(self, scope: Scope) -> bool:
        """Return whether it may do what a scope is for."""
        return scope in self.scopes

    @property
    def known(self) -> bool:
        """Whether a credential says who it is."""
        return self.id != ANONYMOUS

    @property
    def owner(self) -> str | None:
        """Whose tasks it may touch: its own, or, as None says, everybody's in the tenant."""
        return None if Scope.EVERY in self.scopes else self.id


def granted(roles: Iterable[Role]) -> frozenset[Scope]:
    """Return the scopes that roles have between them."""
    return frozenset[Scope]().union(*(GRANTS[role] for role in roles))


def holder(id: str, tenant: str, roles: Iterable[str], scopes: Iterable[str]) -> Principal:
    """Return a principal with the roles and scopes that a credential names.

    What is unknown here grants nothing. Scopes, if there are any, narrow what the roles grant.
    """
    named = set(roles)
    held = frozenset(role for role in Role if role in named)
    allowed, narrowed = granted(held), set(scopes)
    if narrowed:
        allowed = frozenset(scope for scope in allowed if scope in narrowed)
    return Principal(id=id, tenant=tenant, roles=held, scopes=allowed)


def check_grant(principal: str, roles: Iterable[str], scopes: Iterable[str]) -> None:
    """Check that a principal may be given roles, narrowed to scopes.

    Raises:
        InvalidInput: one of them is none.
    """
    check_principal(principal)
    named = tuple(roles)
    for role in named:
        if role not in GRANTS:
            raise InvalidInput(f"{role[:40]!r} is no role: use {_list(Role)}", field="roles")
    if not named:
        raise InvalidInput(f"a role is missing: use {_list(Role)}", field="roles")
    allowed = granted(Role(role) for role in named)
    for scope in scopes:
        if scope not in allowed:
            raise InvalidInput(
                f"{scope[:40]!r} is no scope of these roles: use {_list(sorted(allowed))}",
                field="scopes",
            )


def _list(names: Iterable[enum.StrEnum]) -> str:
    return ", ".join(name.value for name in names)


def check_principal(name: str) -> str:
    """Return `name` if it may name a principal that has a key here.

    Raises:
        InvalidInput: it may not.
    """
    if name == ANONYMOUS or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot name a principal: use 1 to 100 of A-Z, a-z, 0-9 and '._@-',"
            f" the first a letter or a digit, and not {ANONYMOUS!r}",
            field="principal",
        )
    return name
