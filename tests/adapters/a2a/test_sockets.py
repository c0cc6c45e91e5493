"""WebSockets: the streams of the bridge, for browsers."""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import time
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from pelton.adapters.a2a import protocol, server, sse, waits
from pelton.adapters.a2a.protocol import Door
from pelton.adapters.a2a.sockets import PROTOCOL
from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.a2a.test_resume import begin, finish, in_log
from tests.adapters.a2a.world import Rpc, Script, artifact, served, until


def at(url: str, task: str, last: str = "") -> str:
    """Return where the stream of a task is had as a WebSocket."""
    query = f"?Last-Event-ID={last}" if last else ""
    return f"{url.replace('http', 'ws', 1)}/tasks/{task}:subscribe{query}"


class Reading:
    """What a WebSocket has brought, until it was closed, or the client has enough."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.code, self.reason = 0, ""

    @property
    def events(self) -> list[tuple[int, Any]]:
        return [(frame["id"], frame["data"]) for frame in self.frames]

    @property
    def error(self) -> Any:
        [frame] = self.frames
        return frame["error"]


async def read(url: str, count: int = -1, **options: Any) -> Reading:
    """Read so many frames, or all until the server closes."""
    found = Reading()
    async with asyncio.timeout(20), connect(url, **options) as socket:
        await _read(socket, found, count)
    return found


async def _read(socket: ClientConnection, found: Reading, count: int = -1) -> None:
    try:
        while len(found.frames) != count:
            frame = await socket.recv()
            assert isinstance(frame, str)
            found.frames.append(json.loads(frame))
    except ConnectionClosed as closed:
        if closed.rcvd is not None:
            found.code, found.reason = closed.rcvd.code, closed.rcvd.reason


@pytest.mark.accepts("AS-32", "AS-35", "S17")
async def test_a_socket_shows_what_a_stream_shows(rpc: Rpc, script: Script) -> None:
    task = await begin(rpc, script)
    offers = [Subprotocol("other"), Subprotocol(PROTOCOL)]
    async with asyncio.timeout(10), connect(at(rpc.url, task), subprotocols=offers) as connection:
        assert connection.subprotocol == PROTOCOL
        assert connection.response is not None
        mine = {"connection", "upgrade", "sec-websocket-accept", "sec-websocket-protocol", "date"}
        assert {name.lower() for name in connection.response.headers} == mine
        found = Reading()
        await _read(connection, found, 1)
        for number in range(3):
            await script.commit(task, artifact(task, f"{number} ", append=number > 0))
        await finish(script, task)
        await _read(connection, found)
    assert found.code == 1000
    assert found.events == await _events(rpc, task, found.events[0])
    again = await read(at(rpc.url, task, str(found.events[1][0])))
    assert again.events == found.events[2:]


async def _events(rpc: Rpc, task: str, first: tuple[int, Any]) -> list[tuple[int, Any]]:
    """Return what SSE shows after an event, and that event before it."""
    position = {"Last-Event-ID": str(first[0])}
    return [
        first,
        *[each async for each in rpc.events("SubscribeToTask", {"id": task}, **position)],
    ]


@pytest.mark.accepts("AS-32", "G9")
async def test_cut_sockets_lose_nothing(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """At either of two bridges, closed in good order or reset, after none, some or many events."""
    dice = random.Random(1)
    async with (
        served(log, tmp_path) as one,
        served(log, _folder(tmp_path, "two")) as two,
    ):
        task = await begin(Rpc(f"{one}/scripted", client), script)

        async def work() -> None:
            for number in range(200):
                await script.commit(task, artifact(task, f"{number} ", append=number > 0))
            await finish(script, task)

        working = asyncio.create_task(work())
        events: list[tuple[int, Any]] = []
        code = cuts = 0
        while code != 1000:
            last = str(events[-1][0] if events else 0)
            url = at(f"{dice.choice((one, two))}/scripted", task, last)
            found = Reading()
            async with connect(url) as connection:
                await _read(connection, found, dice.choice((0, 1, 3, 5)))
                if dice.random() < 0.5:
                    connection.transport.abort()
            events += found.events
            code = found.code
            cuts += 1
        await working
    assert cuts > 40
    [(first, snapshot), *rest] = events
    assert (first, snapshot["task"]["id"]) == (1, task)
    assert rest == await in_log(log, task)


def _folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


# What is refused


async def test_what_is_no_stream_says_so_and_is_closed(rpc: Rpc, script: Script) -> None:
    """With the error that HTTP has in a frame, and its status in the code: all a page can see."""
    task = await begin(rpc, script)
    await finish(script, task)
    site = rpc.url.removesuffix("/scripted")
    for url, code, reason in (
        (at(rpc.url, "nope"), 4404, "TASK_NOT_FOUND"),
        (at(rpc.url, task, "99"), 4400, "POSITION_NOT_FOUND"),
        (at(rpc.url, task, "%00"), 4400, "POSITION_NOT_FOUND"),
        (at(rpc.url, task), 4400, "UNSUPPORTED_OPERATION"),
        (f"{at(rpc.url, task)}?A2A-Version=0.3", 4400, "VERSION_NOT_SUPPORTED"),
        (at(f"{site}/nobody", task), 4404, "AGENT_NOT_FOUND"),
    ):
        found = await read(url)
        assert found.code == code, url
        assert found.error["details"][0]["reason"] == reason
    for path in ("/", "/healthz", "/v1/tasks", f"/scripted/tasks/{task}"):
        found = await read(site.replace("http", "ws") + path)
        assert (found.code, found.error["code"]) == (4404, "path-not-found")


@pytest.mark.accepts("S20")
async def test_pages_of_other_origins_open_nothing(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with served(log, tmp_path, origins=["https://app.example"]) as site:
        task = await begin(Rpc(f"{site}/scripted", client), script)
        url = at(f"{site}/scripted", task)
        place = site.removeprefix("http://")
        for origin in (None, site, site.upper(), "https://app.example", f"https://{place}"):
            found = await read(url, 1, origin=origin)
            assert found.events[0][1]["task"]["id"] == task
        for origin in (
            *("https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "file://"),
            *("http://app.example", "https://app.example:444", f"{site}.evil.example", ""),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await read(url, origin=Origin(origin))
            assert refused.value.response.status_code == 403
            assert (
                json.loads(refused.value.response.body or b"")["error"]["code"] == "policy-denied"
            )
        rebound = site.replace("127.0.0.1", "evil.example")  # by DNS, and the page's own origin
        with pytest.raises(InvalidStatus) as refused:
            await read(at(f"{rebound}/scripted", task), host="127.0.0.1", origin=Origin(rebound))
        assert refused.value.response.status_code == 421
        with pytest.raises(InvalidStatus) as refused:
            await read(f"{url}?Last-Event-ID=1&last-event-id=2")
        assert refused.value.response.status_code == 400


@pytest.mark.accepts("S14", "S17")
async def test_what_clients_send_ends_it(rpc: Rpc, script: Script) -> None:
    task = await begin(rpc, script)
    for sent, code in (("hello", 1003), (b"hello", 1003), ("x" * 5000, 1009)):
        async with asyncio.timeout(5), connect(at(rpc.url, task)) as connection:
            found = Reading()
            await _read(connection, found, 1)
            await connection.send(sent)
            await _read(connection, found)
            assert found.code == code
    async with asyncio.timeout(5), connect(at(rpc.url, task)) as connection:
        found = Reading()
        await _read(connection, found, 1)
        connection.transport.write(b"\xc1\x81\0\0\0\0x")  # a frame that says it is compressed
        await _read(connection, found)
        assert found.code == 1002


async def exchange(url: str, text: str) -> bytes:
    """Write raw bytes, and return what comes until the connection is closed."""
    place = httpx.URL(url)
    reader, writer = await asyncio.open_connection(place.host, place.port)
    try:
        writer.write(text.replace("\n", "\r\n").encode())
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.accepts("AS-26")
async def test_a_handshake_that_is_none_is_refused(rpc: Rpc, script: Script) -> None:
    task = await begin(rpc, script)
    url = at(rpc.url, task)
    opening = f"GET {httpx.URL(url).raw_path.decode()} HTTP/1.1\nhost: localhost\n"
    upgrade = "connection: upgrade\nupgrade: websocket\n"
    version, key = "sec-websocket-version: 13\n", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\n"
    for headers, status in (
        (upgrade + version, 400),
        (upgrade + version + "sec-websocket-key: x\n", 400),
        (upgrade + key, 400),
        (upgrade + key + "sec-websocket-version: 12\n", 400),
        (upgrade + version + key + "x: y\n" * 100, 431),
    ):
        answer = await exchange(url, opening + headers + "\n")
        assert answer.startswith(b"HTTP/1.1 %d" % status), answer
    whole = upgrade + version + key
    posted = await exchange(url, opening.replace("GET", "POST") + whole + "connection: close\n\n")
    assert b"101" not in posted[:20], "only a GET becomes a WebSocket"
    waiting = opening + "a2a-version: 1.0\n\n"  # a stream by SSE, whose answer has no end yet
    answer = await exchange(url, waiting + opening + whole + "\n")
    assert b" 101 " not in answer, "nor what does not wait for the answer before it"


# Who goes, and who does not read


async def consumers(url: str) -> int:
    """Return how many consumers there are on the log."""
    async with await nats.connect(url) as client:
        return len(await client.jetstream().consumers_info("LOG"))


def sockets() -> int:
    """Return how many sockets this process has open."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            found += str(each.readlink()).startswith("socket:")
    return found


@pytest.mark.accepts("AS-34")
async def test_a_thousand_sockets_leave_nothing_behind(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path, nats_url: str
) -> None:
    """Of a task and of the log, closed in good order and reset, before and after something came."""
    async with served(log, tmp_path) as site:
        task = await begin(Rpc(f"{site}/scripted", client), script)
        urls = (
            at(f"{site}/scripted", task),
            f"{site.replace('http', 'ws')}/v1/live?Last-Event-ID=0",
        )

        async def come_and_go(number: int) -> None:
            connection = await connect(urls[number % 5 == 0])
            if number % 2:
                assert await connection.recv()
            if number % 4 < 2:
                await connection.close()
            else:
                raw = connection.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.transport.abort()
                await connection.wait_closed()

        async def state() -> tuple[int, int, int]:
            return len(asyncio.all_tasks()), sockets(), await consumers(nats_url)

        before = await state()
        for start in range(0, 1000, 20):
            await asyncio.gather(*(come_and_go(start + number) for number in range(20)))
        after = await state()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while any(now > then for now, then in zip(after, before, strict=True)):
                    await asyncio.sleep(0.05)
                    after = await state()
        assert all(now <= then for now, then in zip(after, before, strict=True)), (after, before)


async def raw(url: str, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket by hand, whose client does nothing by itself."""
    place = httpx.URL(url)
    reader, writer = await asyncio.open_connection(place.host, place.port, **options)
    writer.write(
        b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        % place.raw_path
    )
    assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return reader, writer


@pytest.mark.accepts("AS-32", "S15")
async def test_a_slow_reader_is_told_and_gets_all_in_several_times(
    rpc: Rpc, script: Script, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "BACKLOG", 1_000_000)
    task = await begin(rpc, script)
    sizes: list[int] = []
    took = waits.Updates.took

    def taken(updates: Any, *args: Any) -> None:
        took(updates, *args)
        sizes.append(updates.size)

    monkeypatch.setattr(waits.Updates, "took", taken)
    place = httpx.URL(rpc.url)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 300_000)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, (place.host, place.port))
    async with connect(at(rpc.url, task, "0"), sock=narrow, max_queue=1) as connection:
        slow = Reading()
        await _read(connection, slow, 2)
        for start in range(0, 80, 4):  # more than the kernel takes for a client that does not read
            pieces = (artifact(task, f"{start + n}" + "x" * 200_000) for n in range(4))
            await script.commit(task, *pieces)
        await finish(script, task)
        await _read(connection, slow)
    assert (slow.code, slow.reason) == (4503, "slow-reader")
    events = slow.events
    while events[-1][0] < 3 + 80 + 1:
        found = await read(at(rpc.url, task, str(events[-1][0])))
        assert found.code in (1000, 4503)
        events += found.events
    assert events[1:] == await in_log(log, task)
    assert max(sizes) <= 2_000_000


@pytest.mark.accepts("S15")
async def test_a_reader_that_does_not_read_is_cut_off(
    rpc: Rpc, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "WRITE_WITHIN", 0.3)
    monkeypatch.setattr(protocol, "CLOSE_WITHIN", 0.3)
    task = await begin(rpc, script)
    for number in range(12):
        piece = artifact(task, f"{number}" + "x" * 400_000)
        await script.commit(task, piece, piece)
    before = len(asyncio.all_tasks()), sockets()
    _, writer = await raw(at(rpc.url, task, "0"), limit=1024)
    await until(lambda: (len(asyncio.all_tasks()), sockets() - 1) == before, 10)
    writer.close()


@pytest.mark.accepts("S15")
async def test_a_client_that_does_not_answer_is_given_up(
    log: JetStreamLog,
    script: Script,
    client: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "PING_EVERY", 0.2)
    async with served(log, tmp_path) as site:
        task = await begin(Rpc(f"{site}/scripted", client), script)
        reader, writer = await raw(at(f"{site}/scripted", task))
        got = await asyncio.wait_for(reader.read(), 5)
        assert b"\x89\x04" in got, "a ping"
        assert b"\x03\xf3keepalive ping timeout" in got, "1011"
        writer.close()
        async with asyncio.timeout(5), connect(at(f"{site}/scripted", task)) as connection:
            assert await connection.recv()
            with pytest.raises(TimeoutError):  # this one answers, and stays
                await asyncio.wait_for(connection.recv(), 1.0)


@pytest.mark.accepts("AS-61")
async def test_a_bridge_that_stops_says_so(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with served(log, tmp_path) as site:
        task = await begin(Rpc(f"{site}/scripted", client), script)
        urls = [at(f"{site}/scripted", task), f"{site.replace('http', 'ws')}/v1/live"]
        many = [asyncio.create_task(read(url)) for url in urls * 20]
        quiet, writer = await raw(urls[0])  # one that will not say goodbye
        async with client.stream("GET", f"{site}/v1/live") as lines:
            assert await anext(lines.aiter_lines()) == ":"
            await asyncio.wait(many, timeout=0.5)
            began = time.monotonic()
        await asyncio.sleep(0)
    assert time.monotonic() - began < 3
    assert {found.code for found in await asyncio.gather(*many)} == {1001}
    assert b"\x88\x02\x03\xe9" in await quiet.read()
    writer.close()


@pytest.mark.accepts("S15")
async def test_sockets_are_connections_that_count(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    door = Door(most=3)
    async with served(log, tmp_path, door=door) as site:
        task = await begin(Rpc(f"{site}/scripted", client), script)
        await client.aclose()
        url = at(f"{site}/scripted", task)
        for _ in range(3):
            async with asyncio.timeout(5):
                while not door.enter("x"):
                    await asyncio.sleep(0.01)
            door.leave("x")
            async with connect(url), connect(url), connect(url):
                with pytest.raises(InvalidStatus) as refused:
                    await read(url)
                assert refused.value.response.status_code == 503
