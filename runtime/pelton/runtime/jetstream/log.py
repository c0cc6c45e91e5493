"""The log on JetStream: appends and reads; what goes on longer is in `scan` and `bells`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from pelton.events import subjects
from pelton.events.errors import InvalidInput
from pelton.events.ids import check_agent, token, untoken
from pelton.events.presence import Beat
from pelton.events.redact import STANDARD, Redactor
from pelton.events.subjects import LOG_SUBJECTS
from pelton.runtime.clock import RealWorld, World
from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.api import Api, Patience
from pelton.runtime.jetstream.bells import JetStreamBells
from pelton.runtime.jetstream.blobs import Blobs
from pelton.runtime.jetstream.client import connect
from pelton.runtime.jetstream.errors import ApiError, refused
from pelton.runtime.jetstream.keys import Keys
from pelton.runtime.jetstream.leases import Leases
from pelton.runtime.jetstream.profiles import DURABLE, Profile
from pelton.runtime.jetstream.scan import scan
from pelton.runtime.jetstream.streams import LOG, log_info, prepare
from pelton.runtime.log import (
    Bells,
    Conflict,
    Extent,
    Heard,
    HeartBeat,
    Lease,
    LogError,
    LogUnavailable,
    Record,
    TooLarge,
)
from pelton.runtime.observer import UNOBSERVED, Observer
from pelton.runtime.vault import OPEN, Sealing, Vault

_KINDS: Final = tuple(subject.removesuffix(">") for subject in LOG_SUBJECTS)
_DIRECT: Final = f"$JS.API.DIRECT.GET.{LOG}"
_ENDS: Final = frozenset({204, 404})
"""How a batch of answers ends: that was all of it, or there is nothing."""

_REMEMBERED: Final = "Nats-Msg-Id"
"""The header whose value the server remembers for a while, to store a record once."""

_NAMED: Final = "Pelton-Id"
"""The same where a record states what it expects, which alone stores it once, and for ever: so the
server need not remember it."""

_BATCH: Final = 1000
_MOST_SUBJECTS: Final = 1024
"""The server's limits of one batch."""


class JetStreamLog:
    """The log of one tenant: a NATS account. Opened by `JetStreamLog.open`."""

    def __init__(
        self,
        api: Api,
        *,
        replicas: int,
        time: datetime,
        world: World,
        redactor: Redactor,
        vault: Vault,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._api, self._observer = api, observer
        self.vault: Final = vault
        self.redactor: Final = redactor
        self._connection = api.connection
        self._world = world
        self._clock = time - timedelta(seconds=world.monotonic())
        self._replicated = replicas > 1
        self._blobs = Blobs(api)
        self._leases = Leases(api, world=world, replicas=replicas)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        url: str | list[str],
        *,
        profile: Profile = DURABLE,
        credentials: Path | None = None,
        migrate: bool = True,
        name: str = "pelton",
        world: World | None = None,
        redactor: Redactor = STANDARD,
        sealing: Sealing = OPEN,
        vault: Vault | None = None,
        observer: Observer = UNOBSERVED,
    ) -> AsyncGenerator[Self]:
        """Give the log on a server or cluster, while the context lasts.

        The streams are created or brought to this version first, unless `migrate` is false: then
        they must be there. `credentials` is a file with an nkey seed or a `.creds` file; user and
        password, or a token, stand in the URL. `redactor` is what all that is written goes through,
        `sealing` what content is sealed with, unless a `vault` has the keys; `observer` hears of
        appends.

        Raises:
            LogUnavailable: there is no server.
            LogMisconfigured: it refuses us, has no JetStream, or streams of another version.
        """
        world = world or RealWorld()
        async with connect(
            url, world=world, name=name, credentials=credentials, within=profile.deadline
        ) as connection:
            api = Api(connection, world=world, deadline=profile.deadline)
            replicas, time = await prepare(api, replicas=profile.replicas, migrate=migrate)
            log = cls(
                api,
                replicas=replicas,
                time=time,
                world=world,
                redactor=redactor,
                vault=vault
                or Vault(
                    *(Keys(api, replicas=replicas), sealing.cipher),
                    world=world,
                    agents=sealing.agents,
                ),
                observer=observer,
            )
            async with log._heeding_erasures():
                yield log

    @contextlib.asynccontextmanager
    async def _heeding_erasures(self) -> AsyncGenerator[None]:
        """Drop the keys of what is erased as soon as it is heard, if there can be any here."""
        if not self.vault.seals:
            yield
            return

        def heard(_: Heard) -> None:
            self.vault.forget_all()  # it is rare, and keys are soon here again

        async with self.listen(subjects.access(subjects.ERASURES), heard):
            restored = self.on_restored(self.vault.forget_all)
            try:
                yield
            finally:
                restored()

    @property
    def connected(self) -> bool:
        """Whether the server can be reached, as far as is known now."""
        return self._connection.connected

    @property
    def now(self) -> datetime:
        """The time as the server has it."""
        return self._clock + timedelta(seconds=self._world.monotonic())

    async def append(self, subject: str, data: bytes, *, id: str, expect: int | None = None) -> int:
        """Store one record and return its sequence; see the port."""
        began, how = self._world.monotonic(), ""
        try:
            sequence = await self._append(subject, data, id, expect)
            how = "stored"
            return sequence
        except LogError as error:
            how = error.code
            raise
        finally:
            if how:
                self._observer.appended(self._world.monotonic() - began, how)

    async def _append(self, subject: str, data: bytes, id: str, expect: int | None) -> int:
        if not subject.startswith(_KINDS):
            raise InvalidInput(f"{subject[:120]!r} is not a subject of the log", field="subject")
        wire.check_literal(subject)
        wire.check_value(id, "id")
        if expect is None:
            headers = f"NATS/1.0\r\n{_REMEMBERED}: {id}\r\n\r\n".encode()
        else:
            headers = (
                f"NATS/1.0\r\n{_NAMED}: {id}\r\n"
                f"Nats-Expected-Last-Subject-Sequence: {expect}\r\n\r\n"
            ).encode()
        if len(headers) + len(data) > self._connection.max_payload:
            raise TooLarge(
                f"a record of {len(data)} bytes does not fit one message: put its bulk into blobs"
            )
        patience = self._api.patience()
        while True:
            ack = await self._api.store(subject, data, headers, patience)
            if ack.error is None:
                return ack.seq
            if expect is None:
                raise refused(ack.error)
            mine = await self._settle(subject, id, expect, ack.error, patience)
            if mine is not None:
                return mine
            await patience.pause(LogUnavailable(f"another append to {subject!r} is in flight"))

    async def _settle(
        self, subject: str, id: str, expect: int, error: ApiError, patience: Patience
    ) -> int | None:
        """Return the sequence of our own record, if it is what took the place after `expect`.

        It is when an acknowledgement was lost. None means that nobody has the place yet.
        """
        last = error.description.rpartition(" ")[2]  # "wrong last sequence: 17", or without
        actual = int(last) if last.isdecimal() else None
        if actual is not None and actual < expect:
            raise Conflict(subject, expect, actual)
        question = {"seq": expect + 1, "next_by_subj": subject}
        found = await self._api.stored(LOG, question, patience)
        if found is None:
            return None
        for name in (_NAMED, _REMEMBERED):
            if wire.header(found.headers, name.encode()) == id.encode():
                return found.record.sequence
        raise Conflict(subject, expect, actual)

    async def read(
        self, subject: str, *, after: int = 0, limit: int | None = None, decisive: bool = False
    ) -> Sequence[Record]:
        """Return the records of one literal subject above `after`; see the port."""
        wire.check_literal(subject)
        records: list[Record] = []
        more = True
        while more and (limit is None or len(records) < limit):
            batch = _BATCH if limit is None else min(_BATCH, limit - len(records))
            found, more = await self._direct(
                {"batch": batch, "seq": after + 1, "next_by_subj": subject}
            )
            records += found
            after = records[-1].sequence if records else after
        # Any replica may have answered, and may be behind the leader.
        while decisive and self._replicated and (limit is None or len(records) < limit):
            later = await self._api.stored(LOG, {"seq": after + 1, "next_by_subj": subject})
            if later is None:
                break
            records.append(later.record)
            after = later.record.sequence
        return records

    async def _direct(self, question: Mapping[str, Any]) -> tuple[list[Record], bool]:
        """Return the records that match, and whether there are more."""
        *found, end = await self._api.collect(_DIRECT, question)
        status = wire.status(end.headers)
        if status == 413:
            raise InvalidInput(f"more than {_MOST_SUBJECTS} subjects match", field="pattern")
        if status not in _ENDS:
            raise LogUnavailable(f"reading the log ended with status {status}")
        more = int(wire.header(end.headers, b"Nats-Num-Pending") or 0) > 0
        return [wire.direct(*reply) for reply in found], more and bool(found)

    async def latest(self, pattern: str) -> Sequence[Record]:
        """Return the last record of each subject that matches; see the port."""
        wire.check_pattern(pattern)
        records, _ = await self._direct({"multi_last": [pattern], "batch": _MOST_SUBJECTS})
        return sorted(records)

    async def at(self, sequence: int) -> Record | None:
        """Return the record with exactly that sequence, if there is one."""
        if sequence < 1:
            return None
        reply = await self._api.ask(_DIRECT, {"seq": sequence})
        if not wire.status(reply.headers):
            return wire.direct(*reply)
        found = await self._api.stored(LOG, {"seq": sequence}) if self._replicated else None
        return found.record if found else None

    async def extent(self) -> Extent:
        """Return the first and the last sequence."""
        state = (await log_info(self._api)).state
        return Extent(state.first_seq if state.messages else state.last_seq + 1, state.last_seq)

    def scan(
        self, *, after: int = 0, pattern: str = ">", live: bool = False
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield all matching records above `after` in order, in batches; see the port."""
        return scan(
            self._api,
            after=after,
            pattern=wire.check_pattern(pattern),
            live=live,
            world=self._world,
        )

    @contextlib.asynccontextmanager
    async def listen(self, pattern: str, heard: Callable[[Heard], None]) -> AsyncGenerator[None]:
        """Call `heard` with a live copy of each matching record; see the port."""

        def deliver(subject: bytes, _: bytes, headers: bytes, data: bytes) -> None:
            heard(
                Heard(
                    int(wire.header(headers, b"Nats-Sequence")),
                    int(wire.header(headers, b"Nats-Last-Sequence")),
                    subject[5:].decode(),
                    data,
                )
            )

        subscription = await self._connection.subscribe(
            f"live.{wire.check_pattern(pattern)}", deliver
        )
        try:
            await self._connection.flush(within=self._api.deadline)
            yield
        finally:
            subscription.close()

    def tell(self, topic: str, data: bytes) -> None:
        """Say something to whoever hears it now; see the port."""
        self._connection.publish(f"gossip.{topic}", data)

    @contextlib.asynccontextmanager
    async def told(self, topic: str, heard: Callable[[bytes], None]) -> AsyncGenerator[None]:
        """Call `heard` with what is told; see the port."""

        def deliver(_: bytes, __: bytes, ___: bytes, data: bytes) -> None:
            heard(data)

        subscription = await self._connection.subscribe(f"gossip.{topic}", deliver)
        try:
            await self._connection.flush(within=self._api.deadline)
            yield
        finally:
            subscription.close()

    def on_restored(self, restored: Callable[[], None]) -> Callable[[], None]:
        """Call `restored` whenever live copies may have been lost; returns what ends that."""
        return self._connection.on_restored(restored)

    @contextlib.asynccontextmanager
    async def bells(
        self, agent: str, *, capacity: int, patience: float = 3.0
    ) -> AsyncGenerator[Bells]:
        """Hear the commands of an agent, sharing them with all who do; see the port."""
        bells = JetStreamBells(self._api, check_agent(agent), capacity=capacity, patience=patience)
        await bells.start()
        try:
            yield bells
        finally:
            await bells.stop()

    async def lease(self, agent: str, context: str, *, holder: str, ttl: float) -> Lease | None:
        """Take the lease of a context for `ttl` seconds, or None if somebody has it."""
        return await self._leases.take(
            f"{subjects.place(agent)}.{token(context)}", holder=holder, ttl=ttl
        )

    async def beat(self, agent: str, executor: str, beat: Beat, *, ttl: float) -> Lease | None:
        """Say for `ttl` seconds how an executor stands to an agent; None if it is said already."""
        key = f"{check_agent(agent)}.{beat}.{token(executor)}"
        return await self._leases.take(key, holder=executor, ttl=ttl)

    async def beats(self) -> Sequence[HeartBeat]:
        """Return what executors say now of how they stand to agents; see the port."""
        found: list[HeartBeat] = []
        for key in await self._leases.keys("*.*.*"):
            agent, beat, executor = key.split(".")
            with contextlib.suppress(ValueError, InvalidInput):  # nothing that we have said
                found.append(HeartBeat(check_agent(agent), untoken(executor), Beat(beat)))
        return found

    async def put_blob(self, data: bytes) -> str:
        """Store bytes under their SHA-256 and return it; storing twice is once."""
        return await self._blobs.put(data)

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash, verified."""
        return await self._blobs.get(sha256)
