"""Families of tokens: the fold of the commits on `evt._access.<family>` (AS-36).

A family begins with one refresh token, `peltonr_<family>_<secret>`. Each is good once: it is spent
for the next, together with an access token that lasts some minutes. One that was spent and is given
again was stolen, from the holder or by it, and ends the family.
"""

from __future__ import annotations

import enum
import hmac
import re
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from pelton.events.access import TokensGranted, TokensRefreshed
from pelton.events.commit import Commit
from pelton.events.envelope import digest
from pelton.events.errors import IllegalTransition
from pelton.events.keys import Presented

_TOKEN: Final = re.compile(r"peltonr_([0-9a-f]{32})_([A-Za-z0-9_-]{43})", re.ASCII)


class Standing(enum.Enum):
    """What a refresh token is to its family."""

    GOOD = enum.auto()
    SPENT = enum.auto()
    STRANGE = enum.auto()


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A family of tokens. `spent` are the hashes of all refresh tokens that were good once.

    `last` is the one that was spent last; it may be given again until `until`.
    """

    id: str
    principal: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    hash: str
    created: str
    expires: str
    spent: frozenset[str] = frozenset()
    last: str = ""
    until: str = ""

    def standing(self, hash_: str, now: str) -> Standing:
        """Return what the refresh token whose secret has that hash is at a time."""
        if now >= self.expires:
            return Standing.STRANGE
        if hmac.compare_digest(self.hash, hash_) or (hash_ == self.last and now < self.until):
            return Standing.GOOD
        return Standing.SPENT if hash_ in self.spent else Standing.STRANGE

    def refresh(self, given: str, new: str, *, until: str) -> TokensRefreshed:
        """Return the event of a refresh token that is spent for a new one.

        What is given again ends its grace no later than the first time.
        """
        if given == self.last:
            until = min(until, self.until)
        return TokensRefreshed(family=self.id, hash=new, spent=given, until=until)


def spell(family: str, secret: str) -> str:
    """Return a refresh token as its holder presents it."""
    return f"peltonr_{family}_{secret}"


def presented(text: str) -> Presented | None:
    """Return what a text claims to be a refresh token, or None if it has not the form of one."""
    match = _TOKEN.fullmatch(text)
    return Presented(match[1], digest(match[2].encode())) if match else None


def fold_family(commits: Iterable[Commit]) -> Family | None:
    """Return the family that commits make, if they make one.

    Raises:
        IllegalTransition: it is refreshed before it is granted, or granted twice.
    """
    family: Family | None = None
    for commit in commits:
        for event in commit.data.events:
            if isinstance(event, TokensGranted):
                if family is not None:
                    raise IllegalTransition("a family of tokens was granted twice")
                family = Family(
                    id=event.family,
                    principal=event.principal,
                    roles=event.roles,
                    scopes=event.scopes,
                    hash=event.hash,
                    created=commit.time,
                    expires=event.expires,
                )
            elif isinstance(event, TokensRefreshed):
                if family is None:
                    raise IllegalTransition("a family of tokens was refreshed before it was there")
                family = replace(
                    family,
                    hash=event.hash,
                    spent=family.spent | {event.spent, family.hash},
                    last=event.spent,
                    until=event.until,
                )
    return family
