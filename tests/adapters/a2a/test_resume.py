"""Streams that lose nothing: who is cut off, anywhere, has in the end what the log has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from pelton.adapters.a2a import sse, waits
from pelton.adapters.a2a.extensions import POSITION, RESUME
from pelton.events import subjects
from pelton.events.a2a import TaskState
from pelton.events.commit import recorded
from pelton.events.envelope import encode
from pelton.events.events import TaskEvent
from pelton.events.ids import context_of
from pelton.events.stream import shown
from pelton.events.upcast import decode_commit
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.log import Log
from tests.a2a import validate
from tests.adapters.a2a.test_trouble import agents_known, process
from tests.adapters.a2a.world import (
    HEADERS,
    Rpc,
    Script,
    artifact,
    ended,
    message,
    opened,
    served,
    started,
    status,
    until,
)

EVENTS = 500
CUTS = 250


async def begin(rpc: Rpc, script: Script) -> str:
    """Begin a task that works; returns its id."""
    asking = message(configuration={"returnImmediately": True})
    sending = asyncio.create_task(rpc.result("SendMessage", **asking))
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(
        started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
    )
    await sending
    return task


async def finish(script: Script, task: str) -> None:
    """End a task."""
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))


async def in_log(log: Log, task: str) -> list[tuple[int, Any]]:
    """Return what a stream has to show of a task after its first event: the log's own word."""
    context = context_of(task)
    number, found = 0, list[tuple[int, Any]]()
    for record in await log.read(subjects.commits("scripted", context)):
        for each in recorded(decode_commit(record.data)):
            if not isinstance(each.event, TaskEvent) or each.event.task_id != task:
                continue
            number += 1
            if (response := shown(each.event, context)) is not None:
                found.append((number, json.loads(encode(response))))
    return found


class Cut:
    """A client that reads as many events as it is told, then cuts the connection anywhere."""

    def __init__(self, client: httpx.AsyncClient, task: str, seed: int) -> None:
        self.client, self.task = client, task
        self.random = random.Random(seed)
        self.last = "0"
        self.events: list[tuple[int, Any]] = []
        self.over = False

    async def read(self, url: str, wanted: int) -> None:
        """Read whole events until there are so many, and then some bytes of the next."""
        path = f"{url}/tasks/{self.task}:subscribe"
        headers = HEADERS | {"Last-Event-ID": self.last}
        got, rest = 0, b""
        async with self.client.stream("GET", path, headers=headers) as answer:
            if answer.status_code != 200:
                error = json.loads(await answer.aread())["error"]["details"][0]
                self.over = error["reason"] == "UNSUPPORTED_OPERATION"  # it has all there was
                assert self.over, error
                return
            if not wanted:
                return
            async for data in answer.aiter_raw(self.random.choice((7, 100, 5000))):
                *frames, rest = (rest + data).split(b"\n\n")
                for frame in frames:
                    if frame == b":":
                        continue  # it lives; it carries no id
                    name, body = frame.split(b"\n")
                    self.last = name.removeprefix(b"id: ").decode()
                    self.events.append((int(self.last), json.loads(body.removeprefix(b"data: "))))
                    got += 1
                    if got == wanted:
                        return  # what of the next has come already is lost with the connection
        self.over = rest == b""


@pytest.mark.accepts("AS-31", "AS-32", "AS-33", "G9")
@pytest.mark.parametrize("seed", range(4))
async def test_a_thousand_cuts_lose_nothing(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path, seed: int
) -> None:
    """In four runs, each of 250 cuts and more in a task of 500 events, at any of three bridges.

    One of the bridges ends and another takes its place, again and again.
    """
    dice = random.Random(seed)

    async with AsyncExitStack() as stack:
        urls: list[str] = []
        stacks: list[AsyncExitStack] = []

        async def start(number: int) -> None:
            folder = tmp_path / str(number)
            folder.mkdir()
            own = await stack.enter_async_context(AsyncExitStack())
            stacks.append(own)
            urls.append(await own.enter_async_context(served(log, folder)) + "/scripted")

        for number in range(3):
            await start(number)
        task = await begin(Rpc(urls[0], client), script)

        async def work() -> None:
            for number in range(EVENTS - 5):
                text = f"{number} "
                await script.commit(task, artifact(task, text, append=number > 0))
            await finish(script, task)

        working = asyncio.create_task(work())
        reader = Cut(client, task, seed)
        cuts = 0
        while not reader.over:
            if cuts % 60 == 59:  # a bridge ends; another begins
                urls.pop(0)
                await stacks.pop(0).aclose()
                await start(100 + cuts)
            # Twice in a row without an event, with one, with some: about two at a time.
            await reader.read(dice.choice(urls), dice.choice((0, 0, 1, 1, 2, 3, 5)))
            cuts += 1
        await working
    assert cuts >= CUTS
    expected = await in_log(log, task)
    [(first, snapshot), *rest] = reader.events
    assert first == 1
    assert snapshot["task"]["status"]["state"] == "TASK_STATE_SUBMITTED"
    assert rest == expected
    assert len({number for number, _ in reader.events}) == len(reader.events)
    assert rest[-1][0] >= EVENTS - 2


@pytest.mark.accepts("AS-31", "AS-32", "G9")
async def test_bridges_that_are_killed_lose_nothing(
    nats_url: str, log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """With SIGKILL, each in the middle of a stream; the client goes on at the one after it."""
    reader = Cut(client, "", 0)

    async def say() -> None:
        for number in range(60):
            await script.commit(reader.task, artifact(reader.task, f"{number} "))

    async def seen(count: int) -> None:
        await until(lambda: len(reader.events) >= count, 20)

    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with process(nats_url, folder) as (running, url):
            await agents_known(client, url)
            reader.task = reader.task or await begin(Rpc(f"{url}/scripted", client), script)
            reading = asyncio.create_task(reader.read(f"{url}/scripted", EVENTS))
            saying = asyncio.create_task(say())
            await seen(len(reader.events) + 20)
            if number < 2:
                running.kill()
                with contextlib.suppress(httpx.TransportError):
                    await reading
                assert not reader.over
            await saying
            if number == 2:
                await finish(script, reader.task)
                await asyncio.wait_for(reading, 20)
    assert reader.events[1:] == await in_log(log, reader.task)


@pytest.mark.parametrize("where", ["header", "extension"])
async def test_a_late_joiner_sees_all_from_the_beginning(
    rpc: Rpc, script: Script, log: JetStreamLog, where: str
) -> None:
    task = await begin(rpc, script)
    await script.commit(task, artifact(task, "0 "))
    headers = {"Last-Event-ID": "0"} | ({"A2A-Extensions": RESUME} if where != "header" else {})
    reading = [
        each async for each in _until(rpc.events("SubscribeToTask", {"id": task}, **headers), 3)
    ]
    assert [number for number, _ in reading] == [1, 3, 4]
    await finish(script, task)
    # The task has ended: its history can be asked for all the same.
    whole = [each async for each in rpc.events("SubscribeToTask", {"id": task}, **headers)]
    assert whole[:3] == reading
    assert [number for number, _ in whole] == [1, 3, 4, 5]
    if where == "extension":
        for number, event in whole:
            validate("Stream Response", event)
            [value] = event.values()
            assert value.pop("metadata") == {POSITION: f"{number}-{task[-16:]}"}
    assert whole[0][1]["task"]["status"]["state"] == "TASK_STATE_SUBMITTED"
    assert [event for _, event in whole[1:]] == [event for _, event in await in_log(log, task)]


async def _until(events: AsyncGenerator[Any], count: int) -> AsyncGenerator[Any]:
    async for each in events:
        yield each
        count -= 1
        if not count:
            break
    await events.aclose()


@pytest.mark.parametrize(
    "position",
    [
        *("-1", "6", "99", "9223372036854775808", "340282366920938463463374607431768211456"),
        *("x", "1.0", "0x1", "٣", "3-", "3-0123456789abcdef", "3-x", "3 4", "null", "é"),
    ],
)
async def test_a_position_that_is_not_there_is_an_error(
    rpc: Rpc, script: Script, position: str
) -> None:
    task = await begin(rpc, script)
    headers: Any = HEADERS | {"Last-Event-ID": position.encode()}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": task}}
    answer = await rpc.client.post(rpc.url, json=asked, headers=headers)
    error = answer.json()["error"]
    assert (error["code"], error["data"][0]["reason"]) == (-32602, "POSITION_NOT_FOUND")
    answer = await rpc.client.get(f"{rpc.url}/tasks/{task}:subscribe", headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "OUT_OF_RANGE")
    assert error["details"][0]["reason"] == "POSITION_NOT_FOUND"
    assert "beginning" in error["message"]


async def test_who_asks_for_positions_gets_them_everywhere(rpc: Rpc, script: Script) -> None:
    asking = asyncio.create_task(
        rpc.client.post(
            f"{rpc.url}/message:send",
            json=message(configuration={"returnImmediately": True}),
            headers=HEADERS | {"A2A-Extensions": f"urn:other, {RESUME}"},
        )
    )
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(
        started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
    )
    answer = await asking
    assert answer.headers["a2a-extensions"] == RESUME
    place = answer.json()["task"]["metadata"][POSITION]
    # From an answer one goes on with a stream, and nothing is lost in between.
    headers = {"Last-Event-ID": place, "A2A-Extensions": RESUME}
    await script.commit(task, artifact(task, "0 "))
    await finish(script, task)
    events = [each async for each in rpc.events("SubscribeToTask", {"id": task}, **headers)]
    assert [number for number, _ in events][-2:] == [4, 5]
    answer = await rpc.client.get(f"{rpc.url}/tasks/{task}", headers=HEADERS)
    assert "a2a-extensions" not in answer.headers
    assert "metadata" not in answer.json()
    answer = await rpc.client.get(f"{rpc.url}/tasks/{task}", headers=HEADERS | headers)
    assert answer.json()["metadata"] == {POSITION: f"6-{task[-16:]}"}
    # Who has everything is told so, as plain A2A tells it of a task that has ended.
    done = HEADERS | {"Last-Event-ID": answer.json()["metadata"][POSITION]}
    answer = await rpc.client.get(f"{rpc.url}/tasks/{task}:subscribe", headers=done)
    assert answer.json()["error"]["details"][0]["reason"] == "UNSUPPORTED_OPERATION"


@pytest.mark.accepts("AS-32", "S15")
async def test_a_slow_reader_gets_all_in_several_times(
    rpc: Rpc, script: Script, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off when too much waits, and the past comes as fast as it reads, however much."""
    monkeypatch.setattr(waits, "BACKLOG", 200_000)
    task = await begin(rpc, script)
    url = httpx.URL(rpc.url)
    most = 0
    took = waits.Updates.took

    def taken(updates: Any, *args: Any) -> None:
        nonlocal most
        took(updates, *args)
        most = max(most, updates.size)

    monkeypatch.setattr(waits.Updates, "took", taken)
    piece = "x" * 30_000

    async def slowly(last: str) -> list[int]:
        """Read little at a time until the connection ends; returns the ids of whole events."""
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
        path = f"/scripted/tasks/{task}:subscribe"
        head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\na2a-version: 1.0\r\n"
        writer.write(f"{head}last-event-id: {last}\r\nconnection: close\r\n\r\n".encode())
        read = b""
        try:
            async with asyncio.timeout(20):
                while more := await reader.read(5000):
                    read += more
                    if b"\nid: " in read:
                        reading.set()
        except ConnectionError:
            pass  # cut off
        writer.close()
        return [
            int(frame.partition(b"id: ")[2].partition(b"\n")[0])
            for frame in read.split(b"\n\n")[:-1]
            if b"id: " in frame
        ]

    reading = asyncio.Event()
    for number in range(40):
        await script.commit(task, artifact(task, f"{number}{piece}"))
    first = asyncio.create_task(slowly("0"))
    await reading.wait()
    for number in range(40, 80):
        await script.commit(task, artifact(task, f"{number}{piece}"))
    await finish(script, task)
    ids = await first
    while ids[-1] < 3 + 80 + 1:
        ids += await slowly(str(ids[-1]))
    assert ids == [1, *(number for number, _ in await in_log(log, task))]
    assert most <= 200_000 + 40_000


async def test_a_reader_that_stops_while_the_past_is_shown_is_cut_off(
    rpc: Rpc, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "WRITE_WITHIN", 0.3)
    task = await begin(rpc, script)
    for number in range(40):
        await script.commit(task, artifact(task, f"{number}" + "x" * 400_000))
    url = httpx.URL(rpc.url)
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    head = f"GET /scripted/tasks/{task}:subscribe HTTP/1.1\r\nhost: localhost\r\n"
    writer.write(f"{head}a2a-version: 1.0\r\nlast-event-id: 0\r\n\r\n".encode())
    read = b""
    async with asyncio.timeout(10):
        await reader.read(1)
        await asyncio.sleep(1.0)  # it does not read for so long
        try:
            while more := await reader.read(1 << 20):
                read = (read + more)[-1000:]
        except ConnectionError:
            read = b""
    assert b'"39x' not in read
    writer.close()
