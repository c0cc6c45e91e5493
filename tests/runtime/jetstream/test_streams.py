"""Migrations of the streams: applied once, up and down, on a copy with data (AS-64)."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import nats
import nats.js.errors
import pytest
from nats.aio.msg import Msg

from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.jetstream.api import Api
from pelton.runtime.jetstream.streams import (
    BLOBS,
    LOG,
    MIGRATIONS,
    Migration,
    change,
    log_info,
    migrate_to,
)
from pelton.runtime.jetstream.wire import SECOND
from pelton.runtime.log import LogMisconfigured, Record
from pelton.runtime.server import EmbeddedServer

applied: list[str] = []


async def longer(api: Api, _: int) -> None:
    applied.append("up")
    await change(api, LOG, {"duplicate_window": 600 * SECOND})
    await change(api, BLOBS, {"description": "bulk"})


async def shorter(api: Api, _: int) -> None:
    applied.append("down")
    await change(api, LOG, {"duplicate_window": 300 * SECOND})
    await change(api, BLOBS, {"description": ""})


NEWER = (*MIGRATIONS, Migration(len(MIGRATIONS) + 1, up=longer, down=shorter))


async def everything(log: JetStreamLog) -> list[Record]:
    return [record async for batch in log.scan() for record in batch]


async def shapes(api: Api) -> Sequence[object]:
    found = [await api.stream(name) for name in (LOG, BLOBS)]
    return [each and each.config for each in found]


@pytest.mark.accepts("AS-64")
async def test_up_and_down_on_a_copy_with_data(tmp_path: Path) -> None:
    applied.clear()
    async with (
        EmbeddedServer(tmp_path / "original", profile=RELAXED) as server,
        JetStreamLog.open(server.url, profile=RELAXED) as log,
    ):
        for number in range(100):
            await log.append(f"evt.a.c{number % 7}", b"%d" % number, id=f"{number}")
        blob = await log.put_blob(bytes(700_000))
        before, shape = await everything(log), await shapes(log._api)
    shutil.copytree(tmp_path / "original", tmp_path / "copy")

    async with (
        EmbeddedServer(tmp_path / "copy", profile=RELAXED) as server,
        JetStreamLog.open(server.url, profile=RELAXED) as log,
    ):
        await migrate_to(log._api, NEWER, replicas=1)
        config = (await log_info(log._api)).config
        assert config["duplicate_window"] == 600 * SECOND
        assert config["metadata"]["pelton.version"] == str(len(NEWER))
        assert await everything(log) == before
        assert await log.get_blob(blob) == bytes(700_000)
        await log.append("evt.a.c0", b"newer", id="newer", expect=before[98].sequence)
        await migrate_to(log._api, NEWER, replicas=1)  # a second start
        assert applied == ["up"]

        for migrate in (True, False):  # the older pelton refuses
            with pytest.raises(LogMisconfigured, match="this pelton"):
                async with JetStreamLog.open(server.url, profile=RELAXED, migrate=migrate):
                    pass

        # The newer one takes it back; then the older one goes on.
        await migrate_to(log._api, NEWER, replicas=1, version=len(MIGRATIONS))
        assert applied == ["up", "down"]
        async with JetStreamLog.open(server.url, profile=RELAXED) as older:
            assert await shapes(older._api) == shape
            *records, newer = await everything(older)
            assert records == before
            assert newer.data == b"newer"


@pytest.mark.accepts("AS-64")
async def test_many_may_start_at_once_and_nothing_runs_again(nats_url: str) -> None:
    async def start() -> object:
        async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
            return (await log_info(log._api)).config

    changes: list[str] = []
    async with await nats.connect(nats_url) as client:

        async def note(message: Msg) -> None:
            changes.append(message.subject)

        await client.subscribe("$JS.API.STREAM.UPDATE.*", cb=note)
        await client.subscribe("$JS.API.STREAM.CREATE.*", cb=note)
        await client.flush()
        configs = await asyncio.gather(*(start() for _ in range(5)))
        assert all(config == configs[0] for config in configs)
        await client.flush()
        assert f"$JS.API.STREAM.CREATE.{LOG}" in changes

        changes.clear()
        await start()
        await client.flush()
        assert changes == []


async def test_the_first_version_is_not_taken_back(nats_url: str) -> None:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        await log.append("evt.a.c", b"kept", id="1")
        with pytest.raises(LogMisconfigured, match="by hand"):
            await migrate_to(log._api, MIGRATIONS, replicas=1, version=0)
        assert len(await everything(log)) == 1


def test_migrations_are_numbered_in_order() -> None:
    assert [each.version for each in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


@pytest.mark.accepts("AS-17")
async def test_nothing_can_be_taken_out_of_the_log(log: JetStreamLog, nats_url: str) -> None:
    await log.append("evt.a.c", b"kept", id="1")
    async with await nats.connect(nats_url) as client:
        stream = client.jetstream()
        with pytest.raises(nats.js.errors.APIError):
            await stream.purge_stream(LOG)
        with pytest.raises(nats.js.errors.APIError):
            await stream.delete_msg(LOG, 1)
        with pytest.raises(nats.js.errors.APIError):
            await stream.publish("evt.a.c", b"", headers={"Nats-Rollup": "all"})
    assert [record.data for record in await log.read("evt.a.c")] == [b"kept"]


async def test_leases_come_back_after_the_server_forgot_them(nats_server: EmbeddedServer) -> None:
    async with JetStreamLog.open(nats_server.url, profile=RELAXED) as log:
        lease = await log.lease("echo", "c", holder="me", ttl=30)
        assert lease is not None
        nats_server.kill()
        await nats_server.start()
        again = await log.lease("echo", "c", holder="other", ttl=30)
        assert again is not None
        assert not await lease.renew()
        assert await again.renew()
