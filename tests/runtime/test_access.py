"""API keys in the log: changed by one, known live by all, on the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio

from pelton.events import subjects
from pelton.events.envelope import digest
from pelton.events.keys import Key, KeyNotFound
from pelton.runtime.access import KeyChanges, Keyring
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.log import Heard

WORLD = RealWorld()
DAY = timedelta(days=1)
IDS = [f"{number:016x}" for number in range(8)]


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        yield log


def changes(log: JetStreamLog) -> KeyChanges:
    return KeyChanges(log, world=WORLD, tenant="t", actor="cli")


async def add(log: JetStreamLog, key_id: str, secret: str = "one") -> None:
    hash_ = digest(secret.encode())
    await changes(log).create("anna", ["client"], key_id=key_id, hash=hash_, lasts=DAY)


@asynccontextmanager
async def ring(log: JetStreamLog) -> AsyncGenerator[Keyring]:
    """Return keys that are kept as a bridge keeps them."""
    found = Keyring(log, world=WORLD)

    def heard(copy: object) -> None:
        found.heard(copy)  # type: ignore[arg-type]

    async with log.listen("evt.>", heard):
        keeping = asyncio.create_task(found.keep())
        async with asyncio.timeout(5):
            while not found.loaded:
                await asyncio.sleep(0.001)
        yield found
        keeping.cancel()
        await asyncio.wait((keeping,))


async def known(keyring: Keyring, key_id: str, *, revoked: bool = False) -> Key:
    async with asyncio.timeout(5):
        while True:
            key = keyring.keys.get(key_id)
            if key is not None and key.revoked is revoked:
                return key
            await asyncio.sleep(0.001)


@pytest.mark.accepts("S1")
async def test_every_bridge_knows_a_change_as_it_is_made(log: JetStreamLog, nats_url: str) -> None:
    await add(log, IDS[0])
    async with (
        JetStreamLog.open(nats_url, profile=RELAXED) as elsewhere,
        ring(log) as one,
        ring(elsewhere) as two,
    ):
        await add(log, IDS[1])
        for keyring in (one, two):
            await known(keyring, IDS[0])
            await known(keyring, IDS[1])
        await changes(elsewhere).revoke(IDS[0])
        for keyring in (one, two):
            await known(keyring, IDS[0], revoked=True)
            assert not keyring.keys[IDS[1]].revoked


async def test_changes_at_the_same_time_are_all_made(log: JetStreamLog) -> None:
    await asyncio.gather(*(add(log, key_id) for key_id in IDS))
    assert {key.id for key in await changes(log).list()} == set(IDS)


async def test_what_is_not_there_is_not_changed(log: JetStreamLog) -> None:
    await add(log, IDS[0])
    await changes(log).revoke(IDS[0])
    before = await log.extent()
    for change in (
        changes(log).revoke(IDS[0]),
        changes(log).revoke(IDS[1]),
        changes(log).rotate(IDS[0], hash="", lasts=DAY, overlap=DAY),
    ):
        with pytest.raises(KeyNotFound):
            await change
    assert await log.extent() == before


@pytest.mark.accepts("S1", "AS-40")
async def test_the_log_holds_no_secret(log: JetStreamLog) -> None:
    await add(log, IDS[0], "canary-one")
    hash_ = digest(b"canary-two")
    await changes(log).rotate(IDS[0], hash=hash_, lasts=DAY, overlap=DAY)
    records = await log.read(subjects.access(subjects.KEYS))
    assert len(records) == 2
    assert b"canary" not in b"".join(record.data for record in records)


async def test_a_copy_that_was_missed_is_read(log: JetStreamLog) -> None:
    keyring = Keyring(log, world=WORLD)
    keeping = asyncio.create_task(keyring.keep())
    await add(log, IDS[0])
    await add(log, IDS[1])
    second = (await log.read(subjects.access(subjects.KEYS)))[1]
    keyring.heard(Heard(second.sequence, second.sequence - 1, second.subject, second.data))
    await known(keyring, IDS[0])
    await known(keyring, IDS[1])
    keeping.cancel()
    await asyncio.wait((keeping,))


async def test_behind_a_damaged_record_no_key_is_good(log: JetStreamLog) -> None:
    async with ring(log) as keyring:
        await add(log, IDS[0])
        await known(keyring, IDS[0])
        subject = subjects.access(subjects.KEYS)
        [first] = await log.read(subject)
        await log.append(subject, b"{}", id="x", expect=first.sequence)
        async with asyncio.timeout(5):
            while keyring.keys:
                await asyncio.sleep(0.001)
