"""The projector and rebuilds against a real server (G6, G7, AS-12, AS-20, AS-22, AS-66)."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pelton.events.a2a import TaskState
from pelton.events.errors import TaskNotFound
from pelton.projections.database import StoreUnusable, connect
from pelton.projections.dump import digest
from pelton.projections.read import open_read_models
from pelton.projections.store import Store, open_store
from pelton.runtime.clock import RealWorld
from pelton.runtime.history import task_at, timeline
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.log import Log, LogRegressed, Record
from pelton.runtime.projector import Projector, ProjectorState, verify
from pelton.runtime.rebuild import Progress, compare, rebuild
from pelton.runtime.server import EmbeddedServer
from tests.garbage import left_alone
from tests.stories import Story, Tape

WORLD = RealWorld()


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncGenerator[JetStreamLog]:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        yield log


def told(tape: Tape, name: str) -> Story:
    """A context with a task that was done."""
    story = Story(tape, context=name)
    story.send("hello")
    story.begin()
    story.write("answer", "one ")
    story.write("answer", "two", append=True)
    story.end(TaskState.COMPLETED, "done")
    return story


async def publish(log: Log, records: Sequence[Record]) -> int:
    """Store what is on a tape in a log, where it gets the same sequences."""
    last = 0
    for record in records:
        last = await log.append(record.subject, record.data, id=WORLD.new_id())
        assert last == record.sequence
    return last


@asynccontextmanager
async def projecting(log: Log, store: Store, **options: Any) -> AsyncGenerator[Projector]:
    """Run a projector for the duration of the block."""
    projector = Projector(log, store, world=WORLD, **options)
    running = asyncio.create_task(projector.run())
    try:
        yield projector
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def expect_halt(log: Log, store: Store, within: float = 5) -> Projector:
    projector = Projector(log, store, world=WORLD)
    async with asyncio.timeout(within):
        with pytest.raises(LogRegressed):
            await projector.run()
    assert projector.state is ProjectorState.HALTED
    assert isinstance(projector.failure, LogRegressed)
    return projector


async def test_the_read_models_follow_the_log(log: JetStreamLog, tmp_path: Path) -> None:
    tape = Tape()
    story = told(tape, "one")
    await publish(log, tape.records)
    path = tmp_path / "models.db"
    async with (
        open_store(path) as store,
        open_read_models(path) as models,
        projecting(log, store) as projector,
    ):
        assert await projector.reached(len(tape.records), within=5)
        [task] = story.state.tasks.values()
        assert (await models.tasks()).items[0].task.status == task.status

        before = len(tape.records)
        told(tape, "two")
        last = await publish(log, tape.records[before:])
        assert await projector.reached(last, within=5)
        assert (await models.tasks()).total == 2
        assert await projector.lag() == 0
        assert projector.state is ProjectorState.FOLLOWING
        assert not await projector.reached(last + 1, within=0.01)


async def test_it_goes_on_where_it_was(log: JetStreamLog, tmp_path: Path) -> None:
    tape = Tape()
    told(tape, "one")
    path = tmp_path / "models.db"
    for stop in (3, len(tape.records)):
        await publish(log, tape.records[(await log.extent()).last : stop])
        async with open_store(path) as store, projecting(log, store) as projector:
            assert await projector.reached(stop, within=5)
    async with open_store(tmp_path / "whole.db") as store:
        await store.take(tape.records)

    assert await digest(path) == await digest(tmp_path / "whole.db")


async def test_two_projectors_may_share_a_file(log: JetStreamLog, tmp_path: Path) -> None:
    tape = Tape()
    for number in range(20):
        told(tape, f"context {number}")
    path = tmp_path / "models.db"
    async with (
        open_store(path) as one,
        open_store(path) as other,
        projecting(log, one) as first,
        projecting(log, other) as second,
    ):
        last = await publish(log, tape.records)
        assert await first.reached(last, within=10)
        assert await second.reached(last, within=10)

    result = await compare(log, path)
    assert result.equal
    assert result.live.sequence == last


async def test_it_survives_a_restart_of_the_server(
    nats_server: EmbeddedServer, tmp_path: Path
) -> None:
    tape = Tape()
    told(tape, "one")
    async with (
        JetStreamLog.open(nats_server.url, profile=RELAXED) as log,
        open_store(tmp_path / "models.db") as store,
        projecting(log, store) as projector,
    ):
        await publish(log, tape.records)
        assert await projector.reached(len(tape.records), within=5)
        await nats_server.stop()
        await nats_server.start()
        before = len(tape.records)
        told(tape, "two")
        last = await publish(log, tape.records[before:])

        assert await projector.reached(last, within=10)


@pytest.mark.accepts("G7")
async def test_a_log_that_became_shorter_is_noticed(log: JetStreamLog, tmp_path: Path) -> None:
    tape = Tape()
    told(tape, "one")
    await publish(log, tape.records[:-1])
    async with open_store(tmp_path / "models.db") as store:
        await store.take(tape.records)

        projector = await expect_halt(log, store)

        assert str(len(tape.records)) in str(projector.failure)
        with pytest.raises(LogRegressed):
            await compare(log, tmp_path / "models.db")


@pytest.mark.accepts("G7")
async def test_another_record_at_the_position_is_noticed(log: JetStreamLog, tmp_path: Path) -> None:
    tape, other = Tape(), Tape()
    told(tape, "one")
    told(other, "two")
    await publish(log, other.records)
    async with open_store(tmp_path / "models.db") as store:
        await store.take(tape.records)
        before = await digest(tmp_path / "models.db")

        await expect_halt(log, store)

        assert await digest(tmp_path / "models.db") == before


@pytest.mark.accepts("G7")
async def test_a_log_that_is_swapped_while_it_runs_is_noticed(
    nats_server: EmbeddedServer, tmp_path: Path
) -> None:
    tape = Tape()
    told(tape, "one")
    async with (
        JetStreamLog.open(nats_server.url, profile=RELAXED) as log,
        open_store(tmp_path / "models.db") as store,
    ):
        await publish(log, tape.records)
        projector = Projector(log, store, world=WORLD)
        running = asyncio.create_task(projector.run())
        assert await projector.reached(len(tape.records), within=5)
        await nats_server.stop()
        shutil.rmtree(nats_server.data / "jetstream")
        await nats_server.start()
        async with JetStreamLog.open(nats_server.url, profile=RELAXED) as new:  # makes its streams
            told(other := Tape(), "two")
            await publish(new, other.records)

            with pytest.raises(LogRegressed):
                await asyncio.wait_for(running, 10)
    assert projector.state is ProjectorState.HALTED


async def test_an_unharmed_log_passes(log: JetStreamLog, tmp_path: Path) -> None:
    tape = Tape()
    told(tape, "one")
    await publish(log, tape.records)
    async with open_store(tmp_path / "models.db") as store:
        await verify(log, store.position)
        await store.take(tape.records)
        await verify(log, store.position)


@pytest.mark.accepts("AS-20")
async def test_what_is_deleted_is_rebuilt_equal(log: JetStreamLog, tmp_path: Path) -> None:
    tape = Tape()
    for number in range(5):
        told(tape, f"context {number}")
    last = await publish(log, tape.records)
    path = tmp_path / "models.db"
    async with open_store(path) as store, projecting(log, store) as projector:
        assert await projector.reached(last, within=5)
    before = await digest(path)
    for file in tmp_path.glob("models.db*"):
        file.unlink()
    reports: list[Progress] = []

    done = await rebuild(log, path, progress=reports.append)

    assert await digest(path) == before
    assert (done.done, done.total) == (last, last)
    assert reports[-1].done == last
    assert list(tmp_path.glob("*rebuild*")) == []
    async with open_store(path) as store, projecting(log, store) as projector:
        assert await projector.reached(last, within=5)


@pytest.mark.accepts("AS-20")
async def test_a_rebuild_mends_what_differs_while_a_projector_runs(
    log: JetStreamLog, tmp_path: Path
) -> None:
    tape = Tape()
    story = told(tape, "one")
    last = await publish(log, tape.records)
    path = tmp_path / "models.db"
    async with (
        open_store(path) as store,
        open_read_models(path) as models,
        projecting(log, store) as projector,
    ):
        assert await projector.reached(last, within=5)
        assert (await compare(log, path)).equal
        async with connect(path, write=True) as database:
            await database.execute_fetchall("UPDATE tasks SET turns = 7")
        assert not (await compare(log, path)).equal
        assert (await models.tasks()).items[0].turns == 7

        await rebuild(log, path)

        assert (await compare(log, path)).equal
        assert (await models.tasks()).items[0].turns == 1
        story.send("again")
        last = await publish(log, tape.records[last:])
        assert await projector.reached(last, within=5)
        assert (await models.tasks()).total == 2
    assert (await compare(log, path)).equal


@pytest.mark.accepts("G6", "AS-20")
async def test_a_damaged_file_is_noticed_wherever_that_is_and_rebuilt(
    log: JetStreamLog, tmp_path: Path
) -> None:
    tape = Tape()
    for number in range(5):
        told(tape, f"context {number}")
    await publish(log, tape.records)
    path = tmp_path / "models.db"
    await rebuild(log, path)
    before, whole = await digest(path), path.read_bytes()
    pages = range(0, len(whole), 4096)
    assert len(pages) > 30
    for at in pages:
        for file in tmp_path.glob("models.db*"):
            file.unlink()
        path.write_bytes(whole[:at] + b"\xff" * 4096 + whole[at + 4096 :])
        with pytest.raises(StoreUnusable):
            await compare(log, path)
        if at % (5 * 4096) == 0:  # each rebuild takes a while
            await rebuild(log, path)
            assert await digest(path) == before
    await rebuild(log, path)
    async with open_store(path) as store, projecting(log, store) as projector:
        assert await projector.reached(len(tape.records), within=5)


async def test_an_empty_log_has_empty_read_models(log: JetStreamLog, tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    done = await rebuild(log, path)
    assert done.done == 0
    assert (await compare(log, path)).equal


@pytest.mark.accepts("AS-66")
async def test_the_event_loop_is_never_held_for_long(log: JetStreamLog, tmp_path: Path) -> None:
    """Between two turns of the loop the projector computes for some milliseconds at most.

    What counts is the CPU time of the loop's thread: what SQLite does, it does elsewhere.
    """
    tape = Tape()
    for number in range(400):
        told(tape, f"context {number}")
    await asyncio.gather(
        *(log.append(record.subject, record.data, id=WORLD.new_id()) for record in tape.records)
    )
    longest = 0.0
    async with open_store(tmp_path / "models.db") as store, projecting(log, store) as projector:
        with left_alone():
            before = time.thread_time()
            while projector.position < len(tape.records):
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, before = max(longest, now - before), now

    assert longest < 0.1


@pytest.mark.accepts("AS-22")
async def test_a_task_as_of_every_sequence(log: JetStreamLog) -> None:
    tape = Tape()
    story = Story(tape)
    story.send("hello")
    story.begin()
    for step in ("one ", "two"):
        story.write("answer", step, append=step == "two")
    story.end()
    await publish(log, tape.records)
    [id_] = story.state.tasks

    states = [(await task_at(log, "echo", id_, at)).status.state for at in range(1, 6)]
    parts = [
        [part.text for artifact in task.artifacts for part in artifact.parts]
        for task in [await task_at(log, "echo", id_, at) for at in range(1, 6)]
    ]
    happened = await timeline(log, "echo", id_)
    third = happened[-4].record

    assert states == [
        TaskState.SUBMITTED,
        TaskState.WORKING,
        TaskState.WORKING,
        TaskState.WORKING,
        TaskState.COMPLETED,
    ]
    assert parts == [[], [], ["one "], ["one two"], ["one two"]]
    assert await task_at(log, "echo", id_, third.received) == await task_at(
        log, "echo", id_, third.sequence
    )
    assert [each.recorded.sequence for each in happened] == list(range(1, len(happened) + 1))
    with pytest.raises(TaskNotFound):
        await task_at(log, "echo", id_, 0)
