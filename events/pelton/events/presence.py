"""Where an agent stands, as a data table: what is seen of it, and what follows from that.

Everything that decides about the status of an agent is here; the diagram in the documentation is
drawn from it. What the table does not name changes nothing: so a heartbeat that comes late does not
bring back an agent that was removed.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Final


class AgentStatus(enum.StrEnum):
    """Where an agent stands."""

    STARTING = "starting"
    """It is registered, and no executor serves it yet."""
    SERVING = "serving"
    """An executor takes its messages."""
    DEGRADED = "degraded"
    """It is served, and its last turns came to nothing: each failed, or it had nothing to say."""
    OFFLINE = "offline"
    """No executor is there; messages wait."""
    DRAINING = "draining"
    """All executors that are there finish what they have begun, and take nothing more."""
    REMOVED = "removed"
    """It is no more. Only when it is registered again, a new life of it begins."""


class Fact(enum.StrEnum):
    """What is seen of an agent."""

    REGISTERED = "registered"
    """An executor has made it known, or with another profile."""
    STARTING = "starting"
    """An executor is there and about to serve it."""
    SERVED = "served"
    """An executor is there and serves it."""
    TROUBLED = "troubled"
    """So many turns in a row came to nothing."""
    WELL = "well"
    """A turn came to something."""
    DRAINING = "draining"
    """Executors are there, and all of them are about to go."""
    SILENT = "silent"
    """No executor is there."""
    REMOVED = "removed"
    """Somebody has removed it."""


class Beat(enum.StrEnum):
    """What an executor's heartbeat says of an agent."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


_S, _F = AgentStatus, Fact

_GONE: Final = {_F.SILENT: _S.OFFLINE, _F.REMOVED: _S.REMOVED}

TRANSITIONS: Final[Mapping[AgentStatus, Mapping[Fact, AgentStatus]]] = {
    _S.STARTING: {_F.SERVED: _S.SERVING, _F.DRAINING: _S.DRAINING, **_GONE},
    _S.SERVING: {_F.TROUBLED: _S.DEGRADED, _F.DRAINING: _S.DRAINING, **_GONE},
    _S.DEGRADED: {_F.WELL: _S.SERVING, _F.DRAINING: _S.DRAINING, **_GONE},
    _S.OFFLINE: {
        _F.REGISTERED: _S.STARTING,
        _F.STARTING: _S.STARTING,
        _F.SERVED: _S.SERVING,
        _F.DRAINING: _S.DRAINING,
        _F.REMOVED: _S.REMOVED,
    },
    _S.DRAINING: {_F.STARTING: _S.STARTING, _F.SERVED: _S.SERVING, **_GONE},
    _S.REMOVED: {_F.REGISTERED: _S.STARTING},
}
"""From a status and a fact to the status that follows; other facts leave it as it is."""


def follow(status: AgentStatus, fact: Fact) -> AgentStatus:
    """Return the status of an agent of which a fact is seen."""
    return TRANSITIONS[status].get(fact, status)


def seen(beats: Collection[Beat]) -> Fact:
    """Return what the heartbeats of all executors of an agent tell together."""
    if Beat.SERVING in beats:
        return Fact.SERVED
    if Beat.STARTING in beats:
        return Fact.STARTING
    return Fact.DRAINING if beats else Fact.SILENT
