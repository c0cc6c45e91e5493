"""A snapshot is where to begin, never what is so: the log says that (G6, AS-20, AS-24)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pelton.projections.dump import digest
from pelton.projections.store import open_store
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.rebuild import rebuild
from pelton.runtime.snapshots import VERSION, Keeping, Snapshots
from tests.runtime.clients import Client
from tests.runtime.test_projector import projecting


async def filled(log: JetStreamLog, live: Path, messages: int = 5) -> Snapshots:
    """Return the snapshots of read models of some messages."""
    client = Client(log)
    for number in range(messages):
        await client.send(f"message {number}")
    await rebuild(log, live)
    return Snapshots(live)


@pytest.mark.accepts("G6", "AS-20")
async def test_what_begins_from_a_snapshot_is_equal_to_a_rebuild(
    log: JetStreamLog, tmp_path: Path
) -> None:
    live, anew = tmp_path / "live.db", tmp_path / "anew.db"
    snapshots = await filled(log, live)
    taken = await snapshots.take()
    assert (taken.version, taken.sequence) == (VERSION, (await log.extent()).last)
    for number in range(3):
        await Client(log).send(f"later {number}")
    live.unlink()
    assert await snapshots.restore(log) == taken
    async with open_store(live) as store:
        assert store.position.sequence == taken.sequence, "it goes on from there"
        async with projecting(log, store) as projector:
            assert await projector.reached((await log.extent()).last, within=10)
    await rebuild(log, anew)
    assert await digest(live) == await digest(anew)
    assert await snapshots.restore(log) is None, "what is there stays"
    assert snapshots.last() == taken


@pytest.mark.accepts("G6", "G7")
@pytest.mark.parametrize("harm", ["a bit", "half", "gone", "no note", "version", "log"])
async def test_one_that_is_not_as_it_was_is_thrown_away(
    log: JetStreamLog, tmp_path: Path, harm: str
) -> None:
    live = tmp_path / "live.db"
    snapshots = await filled(log, live)
    await snapshots.take()
    file, note = tmp_path / "live.snapshot.db", tmp_path / "live.snapshot.db.json"
    data, noted = bytearray(file.read_bytes()), json.loads(note.read_text())
    match harm:
        case "a bit":
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
        case "half":
            file.write_bytes(data[: len(data) // 2])
        case "gone":
            file.unlink()
        case "no note":
            note.unlink()
        case "version":
            note.write_text(json.dumps(noted | {"version": VERSION - 1}))
        case _:
            note.write_text(json.dumps(noted | {"hash": "0" * 64}))
    live.unlink()
    assert await snapshots.restore(log) is None
    assert not live.exists()
    assert list(tmp_path.glob("live.snapshot*")) == []


@pytest.mark.accepts("G6")
async def test_one_is_taken_as_the_log_grows(log: JetStreamLog, tmp_path: Path) -> None:
    live, client = tmp_path / "live.db", Client(log)
    snapshots = Snapshots(live)
    async with open_store(live) as store:
        caught_up = Keeping(snapshots, store, every=3).caught_up
        async with projecting(log, store, caught_up=caught_up) as projector:
            await client.send("one")
            assert await projector.reached(1, within=10)
            assert snapshots.last() is None, "it is not worth it yet"
            for number in range(4):
                await client.send(f"more {number}")
            assert await projector.reached(5, within=10)
        await caught_up()
        first = snapshots.last()
        assert first is not None
        assert 3 <= first.sequence <= 5
    async with open_store(live) as store:
        await Keeping(snapshots, store, every=3).caught_up()
    assert snapshots.last() == first, "another process knows of it"
