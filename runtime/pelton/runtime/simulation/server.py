"""The simulated server: what nats-server with JetStream would hold, shared by all simulated logs.

The semantics are those measured on nats-server 2.15, for records as pelton sends them: ids are
remembered for records that were stored without an expectation, within a window; acknowledgements by
consumers are forgotten by a crash that came soon after; a late answer to an old delivery counts for
the new one. Calls here are what happens when a request arrives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Protocol

from pelton.runtime.log import BlobMissing, Extent, Heard, LogFull, LogRegressed, Record, TooLarge
from pelton.runtime.simulation.loop import running
from pelton.runtime.simulation.queue import Queue
from pelton.runtime.simulation.world import SimulatedWorld

Profile = Literal["durable", "relaxed", "cluster"]

BATCH: Final = 256
"""Records in one answer."""

_STALE: Final = 0.005
"""How far, in seconds, a replica of a cluster may be behind its leader."""

_FORGOTTEN: Final = 0.3
"""How many seconds of acknowledgements a killed server forgets, at most."""

_CUT: Final = 5.0
"""How many seconds of acknowledgements a power cut undoes, at most."""


class WrongLast(Exception):
    """The server's refusal of an expectation (10071; 10164 has no `actual`)."""

    def __init__(self, actual: int | None) -> None:
        super().__init__(actual)
        self.actual = actual


class Stored(NamedTuple):
    """A record as the server keeps it: with its id, its predecessor, and when it came.

    `remembered` is whether it had no expectation, and so an id that is not to be stored again.
    """

    record: Record
    id: str
    remembered: bool
    previous: int
    at: float


class Client(Protocol):
    """A connection, as the server sees it."""

    def lost(self) -> None:
        """The server or the network is gone."""
        ...

    def returned(self) -> None:
        """The server is there again."""
        ...


class _Lease(NamedTuple):
    token: str
    until: float


class _Subscription(NamedTuple):
    client: Client
    pattern: str
    deliver: Callable[[Heard], None]


@lru_cache(maxsize=1 << 16)
def matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a pattern of NATS."""
    tokens = {"*": "[^.]+", ">": ".+"}
    expression = r"\.".join(tokens.get(t) or re.escape(t) for t in pattern.split("."))
    return re.fullmatch(expression, subject) is not None


class SimulatedServer:
    """One server, or one cluster, with the log of one tenant.

    `profile` decides what a power cut takes: with `relaxed` what came after the last `sync`, else
    nothing. `window` is for how many seconds ids are remembered, `largest` the size of a record
    in bytes. `ignore_expectation` and `ignore_ids` remove a guard, to prove that it is needed.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        *,
        profile: Profile = "durable",
        window: float = 120.0,
        largest: int = 1 << 20,
        ignore_expectation: bool = False,
        ignore_ids: bool = False,
    ) -> None:
        self.world = world.part("server")
        self.profile: Profile = profile
        self.window = window
        self.largest = largest
        self.full = False
        self.up = True
        self.lives = 1
        """How often it was started."""
        self.log: list[Stored] = []
        self.clients: list[Client] = []
        self._ignore_expectation, self._ignore_ids = ignore_expectation, ignore_ids
        self._loop = running()
        self._digest = hashlib.sha256()
        self._synced, self._synced_at = 0, self._loop.time()
        self._heads: dict[str, list[int]] = {}
        self._ids: dict[str, int] = {}
        self._leases: dict[str, _Lease] = {}
        self._blobs: dict[str, bytes] = {}
        self._unsynced_blobs: set[str] = set()
        self._subscriptions: dict[int, _Subscription] = {}
        self._queues: dict[str, Queue] = {}

    # What the world does to it.

    def stop(self) -> None:
        """Stop it in good order: nothing but leases, kept in memory, is lost."""
        self._down("stop", forgets=0.0)

    def kill(self) -> None:
        """SIGKILL: what was written stays; leases and the latest acknowledgements are gone."""
        self._down("kill", forgets=self.world.random.uniform(0.0, _FORGOTTEN))

    def cut_power(self) -> None:
        """Power loss: with `relaxed` everything after the last sync is gone."""
        forgets = self.world.random.uniform(0.0, _CUT)
        if self.profile == "relaxed":
            forgets = max(forgets, self._loop.time() - self._synced_at)
        self._down("cut", forgets=forgets)
        if self.profile == "relaxed":
            self.truncate(self._synced)
            for name in self._unsynced_blobs:
                del self._blobs[name]

    def start(self) -> None:
        """Start it again; clients find it by themselves."""
        self.up = True
        self.lives += 1
        horizon = self._loop.time() - self.window
        self._ids = {
            stored.id: stored.record.sequence
            for stored in self.log
            if stored.remembered and stored.at > horizon
        }
        for queue in self._queues.values():
            queue.restored(len(self.log))
        for client in self.clients:
            client.returned()

    def sync(self) -> None:
        """Write everything to disk, as the server does by itself at intervals."""
        self._synced, self._synced_at = len(self.log), self._loop.time()
        self._unsynced_blobs.clear()

    def truncate(self, last: int) -> None:
        """Lose all records after `last`, silently; their sequences are given out again (F8)."""
        for stored in self.log[last:]:
            self._heads[stored.record.subject].remove(stored.record.sequence)
        del self.log[last:]
        self._ids = {known: at for known, at in self._ids.items() if at <= last}
        self._synced = min(self._synced, last)

    def damage_blob(self, sha256: str) -> None:
        """Flip a bit of a blob."""
        data = self._blobs[sha256]
        self._blobs[sha256] = bytes([data[0] ^ 1]) + data[1:]

    @property
    def digest(self) -> str:
        """The hash over everything that was ever stored, in order: equal for equal seeds."""
        return self._digest.hexdigest()

    @property
    def subscriptions(self) -> int:
        """How many subscriptions to live copies there are."""
        return len(self._subscriptions)

    def _down(self, how: str, *, forgets: float) -> None:
        self.up = False
        self._digest.update(f"{how} {self._loop.time()!r}\n".encode())
        self._leases.clear()
        self._subscriptions.clear()
        for queue in self._queues.values():
            queue.crashed(self._loop.time() - forgets)
        for client in self.clients:
            client.lost()

    # Records.

    def append(self, subject: str, data: bytes, id: str, expect: int | None) -> int:
        """Store a record and return its sequence, or that of one with the same id; see `Stored`.

        Raises:
            WrongLast: the expectation does not hold.
            LogFull, TooLarge: as in the port.
        """
        if len(data) > self.largest:
            raise TooLarge(f"{len(data)} bytes do not fit one record of {self.largest}")
        if self.full:
            raise LogFull("the log is full")
        last = self.last(subject)
        if expect is None:
            if known := self._known(id):
                return known
        elif expect != last and not self._ignore_expectation:
            fresh = last and self._loop.time() - self.log[last - 1].at < _STALE
            raise WrongLast(None if self.profile == "cluster" and fresh else last)
        return self._store(subject, data, id, last, remembered=expect is None)

    def last(self, subject: str) -> int:
        """Return the sequence of the last record on a subject, 0 if there is none."""
        sequences = self._heads.get(subject)
        return sequences[-1] if sequences else 0

    def following(self, subject: str, after: int) -> Stored | None:
        """Return the first record on a subject above `after`."""
        found = next((at for at in self._heads.get(subject, ()) if at > after), None)
        return self.log[found - 1] if found else None

    def read(self, subject: str, after: int, limit: int | None, *, decisive: bool) -> list[Record]:
        """Return records of one subject; a replica that is behind may answer if not decisive."""
        end = self._visible(decisive=decisive)
        found = [at for at in self._heads.get(subject, ()) if after < at <= end]
        return [self.log[at - 1].record for at in found[:limit]]

    def latest(self, pattern: str) -> list[Record]:
        """Return the last record of each subject that matches."""
        heads = (
            seqs[-1] for subject, seqs in self._heads.items() if seqs and matches(pattern, subject)
        )
        return [self.log[at - 1].record for at in sorted(heads)]

    def extent(self) -> Extent:
        """Return the first and the last sequence."""
        return Extent(1, len(self.log))

    def at(self, sequence: int) -> Record | None:
        """Return one record."""
        return self.log[sequence - 1].record if 0 < sequence <= len(self.log) else None

    def scan(self, after: int, upto: int | None, pattern: str) -> tuple[int, list[Record]]:
        """Return a batch of matching records above `after`, and the position after it.

        Raises:
            LogRegressed: there are fewer records than `after`.
        """
        if after > len(self.log):
            raise LogRegressed(f"the log ends at {len(self.log)}, we have read up to {after}")
        end = min(after + BATCH, len(self.log) if upto is None else upto)
        records = (stored.record for stored in self.log[after:end])
        return max(after, end), [record for record in records if matches(pattern, record.subject)]

    def _known(self, id: str) -> int:
        sequence = self._ids.get(id, 0)
        fresh = sequence and self._loop.time() - self.log[sequence - 1].at < self.window
        return sequence if fresh and not self._ignore_ids else 0

    def _visible(self, *, decisive: bool) -> int:
        end = len(self.log)
        if not decisive and self.profile == "cluster":
            horizon = self._loop.time() - self.world.random.uniform(0.0, _STALE)
            while end and self.log[end - 1].at > horizon:
                end -= 1
        return end

    def _store(self, subject: str, data: bytes, id: str, previous: int, *, remembered: bool) -> int:
        sequence = len(self.log) + 1
        received = int(self.world.now().timestamp() * 1e9)
        record = Record(sequence, subject, data, received)
        self.log.append(Stored(record, id, remembered, previous, self._loop.time()))
        self._heads.setdefault(subject, []).append(sequence)
        if remembered:
            self._ids[id] = sequence
        self._digest.update(f"{sequence} {subject} {id} {self._loop.time()!r} ".encode() + data)
        heard = Heard(sequence, previous, subject, data)
        for _, pattern, deliver in list(self._subscriptions.values()):
            if matches(pattern, subject):
                deliver(heard)
        for queue in self._queues.values():
            queue.ring()
        return sequence

    # Live copies, bells, leases, blobs.

    def subscribe(
        self, client: Client, key: int, pattern: str, deliver: Callable[[Heard], None]
    ) -> None:
        """Send live copies from now on."""
        self._subscriptions[key] = _Subscription(client, pattern, deliver)

    def gossip(self, subject: str, data: bytes) -> None:
        """Send something that is not stored to those who listen to exactly that."""
        for _, pattern, deliver in list(self._subscriptions.values()):
            if pattern == subject:
                deliver(Heard(0, 0, subject, data))

    def unsubscribe(self, key: int) -> None:
        """Send no more."""
        self._subscriptions.pop(key, None)

    def forget(self, client: Client) -> None:
        """Send nothing more over a connection that is gone."""
        kept = {k: sub for k, sub in self._subscriptions.items() if sub.client is not client}
        self._subscriptions = kept
        for queue in self._queues.values():
            queue.forget(client)

    def queue(self, agent: str, patience: float) -> Queue:
        """Return the durable consumer of an agent's commands."""
        queue = self._queues.setdefault(agent, Queue(f"cmd.{agent}.*", self._next_record))
        queue.patience = patience
        return queue

    def _next_record(self, pattern: str, after: int) -> tuple[int, Record | None]:
        for at in range(after, len(self.log)):
            record = self.log[at].record
            if matches(pattern, record.subject):
                return record.sequence, record
        return len(self.log), None

    def take_lease(self, key: str, token: str, ttl: float) -> bool:
        """Take a lease, or keep it if the same holder asks again."""
        held = self._leases.get(key)
        if held and held.until > self._loop.time() and held.token != token:
            return False
        self._leases[key] = _Lease(token, self._loop.time() + ttl)
        return True

    def renew_lease(self, key: str, token: str, ttl: float) -> bool:
        """Keep a lease; False if it is not there or another's."""
        held = self._leases.get(key)
        return bool(held and held.token == token and held.until > self._loop.time()) and (
            self.take_lease(key, token, ttl)
        )

    def held(self) -> list[str]:
        """Return the keys of the leases that are held."""
        return sorted(key for key, held in self._leases.items() if held.until > self._loop.time())

    def drop_lease(self, key: str, token: str) -> None:
        """Give a lease up, if it is still this holder's."""
        held = self._leases.get(key)
        if held and held.token == token:
            del self._leases[key]

    def put_blob(self, data: bytes) -> str:
        """Store bytes by their hash."""
        name = hashlib.sha256(data).hexdigest()
        if name not in self._blobs:
            self._blobs[name] = data
            self._unsynced_blobs.add(name)
        return name

    def get_blob(self, sha256: str) -> bytes:
        """Return the bytes as they are stored.

        Raises:
            BlobMissing: there are none.
        """
        if sha256 not in self._blobs:
            raise BlobMissing(f"no blob {sha256!r}")
        return self._blobs[sha256]
