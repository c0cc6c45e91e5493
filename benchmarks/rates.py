"""Events appended and rebuilt per second, each beside the same bytes through bare nats-py."""

# nats-py's signatures leave types out:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import nats
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role, TaskState, TaskStatus
from pelton.events.commands import SendMessage, SendMessageData
from pelton.events.commit import Commit, CommitData, Origin
from pelton.events.context import Context
from pelton.events.decide import decide
from pelton.events.envelope import digest, encode
from pelton.events.events import (
    AnyEvent,
    Outcome,
    StepCompleted,
    StepStarted,
    TaskStatusUpdated,
    TurnEnded,
    TurnStarted,
)
from pelton.events.ids import derive, task_id
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.rebuild import rebuild
from pelton.runtime.server import EmbeddedServer

TIME = "2026-01-01T00:00:00.000Z"
WINDOW = 256  # appends under way at once
WORLD = RealWorld()


class Rate(NamedTuple):
    """What was measured, and beside it the same with bare nats-py: records per second."""

    what: str
    pelton: float
    bare: float

    @property
    def ratio(self) -> float:
        """How much of the bare rate is left."""
        return self.pelton / self.bare


def task_of(number: int, steps: int = 0) -> list[tuple[str, bytes, str]]:
    """Return the records of a task, as (subject, bytes, id): its command, and its commits.

    That is one commit if it has no steps; with steps, one more for each that has ended. Its context
    has an id as a bridge makes it, so that ids grow with the log.
    """
    context = WORLD.new_id()
    id_ = derive("command", str(number))
    task = task_id(context, id_)
    message = Message(message_id=id_, role=Role.USER, parts=(Part(text="hello, wheel"),))
    command = SendMessage(
        id=id_,
        source="bridge/bench",
        subject=f"echo/{context}",
        time=TIME,
        tenant="local",
        actor="anonymous",
        correlationid=id_,
        causationid=id_,
        opens=True,
        data=SendMessageData(message=message),
    )
    answer = Message(
        message_id=derive(task, "reply"),
        role=Role.AGENT,
        parts=(Part(text="hello, wheel"),),
        context_id=context,
        task_id=task,
    )
    working = TaskStatus(state=TaskState.WORKING, timestamp=TIME)
    completed = TaskStatus(state=TaskState.COMPLETED, message=answer, timestamp=TIME)
    parts: list[list[AnyEvent]] = [
        [
            *decide(Context(agent="echo", id=context), command, time=TIME),
            TurnStarted(task_id=task, turn=1, attempt=1, message_id=id_, executor="bench"),
            TaskStatusUpdated(task_id=task, status=working),
        ]
    ]
    for step in range(1, steps + 1):
        key = f"work#{step}"
        parts[-1].append(
            StepStarted(
                task_id=task,
                key=key,
                name="work",
                attempt=1,
                idempotent=True,
                idempotency_key=derive(task, key),
                call=digest(key.encode()),
            )
        )
        parts.append([StepCompleted(task_id=task, key=key, result={"text": "hello, wheel"})])
    parts[-1] += [
        TaskStatusUpdated(task_id=task, status=completed),
        TurnEnded(task_id=task, turn=1, attempt=1, outcome=Outcome.COMPLETED),
    ]
    at, sequence = (2 + steps) * number + 1, 1
    records = [(subjects.commands("echo", context), encode(command), command.id)]
    for place, events in enumerate(parts):
        commit = Commit(
            id=derive("commit", str(number), str(place)),
            subject=command.subject,
            time=TIME,
            sequence=sequence,
            prevhash="",
            attempt=1,
            data=CommitData(events=tuple(events), command=0 if place else at, handled=at),
            **Origin.caused_by(command, "executor/bench")._asdict(),
        )
        records.append((subjects.commits("echo", context), encode(commit), commit.id))
        sequence += len(events)
    return records


async def _windowed(
    records: list[tuple[str, bytes, str]], append: Callable[[str, bytes, str], Awaitable[object]]
) -> float:
    """Append all records, `WINDOW` at once, and return how many it did per second."""
    waiting = iter(records)

    async def worker() -> None:
        for record in waiting:
            await append(*record)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(WINDOW)))
    return len(records) / (time.perf_counter() - began)


async def appending(records: list[tuple[str, bytes, str]], rounds: int = 3) -> Rate:
    """Measure appends with expectation and id, beside `js.publish` of the same bytes."""
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            path = Path(folder)
            async with (
                EmbeddedServer(path / f"p{number}", profile=RELAXED) as server,
                JetStreamLog.open(server.url, profile=RELAXED) as log,
            ):

                async def append(
                    subject: str, data: bytes, id_: str, log: JetStreamLog = log
                ) -> None:
                    await log.append(subject, data, id=id_, expect=0)

                ours.append(await _windowed(records, append))
            async with EmbeddedServer(path / f"b{number}", profile=RELAXED) as server:
                client = await nats.connect(server.url)
                js = client.jetstream()
                await js.add_stream(StreamConfig(name="LOG", subjects=["cmd.>", "evt.>"]))

                async def publish(subject: str, data: bytes, _: str) -> None:
                    await js.publish(subject, data)  # noqa: B023  used within this round only

                bare.append(await _windowed(records, publish))
                await client.close()
    return Rate("records appended/s", statistics.median(ours), statistics.median(bare))


async def _fill(url: str, records: list[tuple[str, bytes, str]]) -> None:
    """Publish records in order, `WINDOW` unacknowledged at the most."""
    client = await nats.connect(url)
    js = client.jetstream()
    for start in range(0, len(records), WINDOW):
        window = records[start : start + WINDOW]
        acks = [await js.publish_async(subject, data) for subject, data, _ in window]
        await asyncio.wait_for(asyncio.gather(*acks), 30)
    await client.close()


async def _read_bare(url: str, count: int) -> float:
    """Read a stream with nats-py's ordered consumer and a callback that does nothing."""
    client = await nats.connect(url)
    done, seen = asyncio.Event(), 0

    async def heard(_: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    began = time.perf_counter()
    await client.jetstream().subscribe(
        ">",
        stream="LOG",
        ordered_consumer=True,
        cb=heard,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL),
    )
    await asyncio.wait_for(done.wait(), 300)
    rate = count / (time.perf_counter() - began)
    await client.close()
    return rate


async def rebuilding(what: str, records: list[tuple[str, bytes, str]], rounds: int = 3) -> Rate:
    """Measure rebuilding the projections of a stream of `what`, beside reading it bare."""
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        async with (
            EmbeddedServer(path / "nats", profile=RELAXED) as server,
            JetStreamLog.open(server.url, profile=RELAXED) as log,
        ):
            await _fill(server.url, records)
            stored = await log.extent()
            assert stored.last == len(records), "the stream did not take every record"
            for number in range(rounds):
                bare.append(await _read_bare(server.url, len(records)))
                began = time.perf_counter()
                await rebuild(log, path / f"projections-{number}.db")
                ours.append(len(records) / (time.perf_counter() - began))
    return Rate(f"records rebuilt/s, {what}", statistics.median(ours), statistics.median(bare))
