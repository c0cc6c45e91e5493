"""Durability profiles: what an accepted record survives, chosen in settings, printed at start.

Figures behind the words are measured (nats-server 2.15.1): a killed server lost no acknowledged
record under any profile; the profiles differ in what a power cut and the loss of a machine do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pelton.events.errors import InvalidInput

ALWAYS: Final = "always"
"""The `sync_interval` of a server that syncs each record to the disk before it says so."""


@dataclass(frozen=True)
class Profile:
    """How much an accepted record survives, and what that asks of the server and of the streams."""

    name: Literal["durable", "relaxed", "cluster"]
    sync: str
    """The server's `sync_interval`: our own server gets it, a foreign one must have it."""
    replicas: int
    """How many servers hold each record before it is acknowledged: a majority of these."""
    deadline: float
    """Seconds within which a call to the log must be answered, retries included."""
    survives: str
    """What an accepted record survives, and what it does not."""


DURABLE: Final = Profile(
    name="durable",
    sync=ALWAYS,
    replicas=1,
    deadline=5.0,
    survives="kill of any process and power loss, as long as the disk is intact;"
    " not the loss of the disk",
)
RELAXED: Final = Profile(
    name="relaxed",
    sync="2m",
    replicas=1,
    deadline=5.0,
    survives="kill of any process; a power cut loses the records of the last minutes,"
    " of a young log all of them",
)
CLUSTER: Final = Profile(
    name="cluster",
    sync=ALWAYS,
    replicas=3,
    deadline=20.0,  # a new leader was there after 9 s at the latest
    survives="kill of any process, power loss, and the loss of one of three servers with its disk",
)

PROFILES: Final[Mapping[str, Profile]] = {each.name: each for each in (DURABLE, RELAXED, CLUSTER)}


def profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        names = ", ".join(PROFILES)
        raise InvalidInput(f"{name[:40]!r} is no profile: use {names}", field="profile") from None
