"""Leases on contexts, and heartbeats.

Each is one message a key, in memory, that the server drops when its time is over.
"""

from __future__ import annotations

from typing import Final

from pelton.runtime.clock import World
from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.api import Api, Patience
from pelton.runtime.jetstream.errors import IN_FLIGHT
from pelton.runtime.jetstream.streams import LEASES, make_leases
from pelton.runtime.log import LogUnavailable

_PREFIX: Final = "$KV.LEASE."
_DELETE: Final = f"$JS.API.STREAM.MSG.DELETE.{LEASES}"


class Leases:
    """All leases of a tenant."""

    def __init__(self, api: Api, *, world: World, replicas: int) -> None:
        self._api = api
        self._world = world
        self._replicas = replicas

    async def take(self, key: str, *, holder: str, ttl: float) -> JetStreamLease | None:
        """Return the lease if nobody has it, else None."""
        # The value tells our own write from another's when its acknowledgement was lost.
        value = f"{holder} {self._world.new_id()}".encode()
        sequence = await self.put(key, value, ttl=ttl, expect=0)
        if sequence is None:
            return None
        return JetStreamLease(self, key, value, ttl, sequence)

    async def put(self, key: str, value: bytes, *, ttl: float, expect: int) -> int | None:
        """Write a key if its last sequence is `expect`; None if it is not."""
        subject = f"{_PREFIX}{key}"
        headers = wire.headers(
            {
                "Nats-Expected-Last-Subject-Sequence": str(expect),
                "Nats-TTL": f"{max(ttl, 1.0):.3f}s",
            }
        )
        patience = self._api.patience()
        while True:
            ack = await self._api.store(
                subject, value, headers, patience, unserved=self._make_stream
            )
            if ack.error is None:
                return ack.seq
            if ack.error.err_code != IN_FLIGHT:
                break
            await patience.pause(LogUnavailable("the lease is being written"))
        if patience.attempts == 1:
            return None
        # Perhaps it is our own: the acknowledgement of an earlier attempt may have been lost.
        found = await self._api.stored(LEASES, {"last_by_subj": subject}, patience)
        return found.record.sequence if found and found.record.data == value else None

    async def _make_stream(self, patience: Patience) -> None:
        # It lives in memory: a server that was restarted has lost it, and with it all leases.
        await make_leases(self._api, self._replicas, patience)

    async def keys(self, pattern: str) -> list[str]:
        """Return the keys that are held and match a pattern."""
        info = await self._api.stream(LEASES, subjects=f"{_PREFIX}{pattern}")
        held = (info.state.subjects if info is not None else None) or {}
        return sorted(subject.removeprefix(_PREFIX) for subject in held)

    async def drop(self, sequence: int) -> None:
        """Delete a key's message, if it is still the last one."""
        question = {"seq": sequence, "no_erase": True}
        await self._api.answer(_DELETE, question, wire.decode_answer)  # gone already is as good


class JetStreamLease:
    """A lease in hand."""

    def __init__(self, leases: Leases, key: str, value: bytes, ttl: float, sequence: int) -> None:
        self._leases = leases
        self._key = key
        self._value = value
        self._ttl = ttl
        self._sequence = sequence

    async def renew(self) -> bool:
        """Keep it for another time to live; False if it was lost."""
        sequence = await self._leases.put(
            self._key, self._value, ttl=self._ttl, expect=self._sequence
        )
        self._sequence = sequence or self._sequence
        return sequence is not None

    async def release(self) -> None:
        """Give it up; does nothing if it was lost."""
        await self._leases.drop(self._sequence)
