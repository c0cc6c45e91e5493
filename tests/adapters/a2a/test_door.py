"""The front door under attack: what is too much, too slow, too strange (S6, S14 to S17, S22)."""

from __future__ import annotations

import asyncio
import gzip
import json
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from pelton.adapters.a2a import protocol
from pelton.adapters.a2a.protocol import MAX_HEADERS, Door
from pelton.events import subjects
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import HEADERS, executing, message, served

JSON = {"content-type": "application/json"}


@agent
async def echo(turn: Turn) -> str:
    """Say what was said."""
    return turn.text


@pytest_asyncio.fixture
async def url(log: JetStreamLog, tmp_path: Path) -> AsyncIterator[str]:
    async with executing(log, echo), served(log, tmp_path) as url:
        yield url


def call(text: str = "hello", **members: Any) -> bytes:
    request = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message(text)}
    request["params"]["message"] |= members  # type: ignore[index]
    return json.dumps(request).encode()


async def post(client: httpx.AsyncClient, url: str, body: Any, **headers: str) -> httpx.Response:
    return await client.post(f"{url}/echo", content=body, headers=JSON | HEADERS | headers)


@asynccontextmanager
async def connection(
    url: str,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    place = httpx.URL(url)
    reader, writer = await asyncio.open_connection(place.host, place.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(url: str, *pieces: bytes) -> bytes:
    """Write raw bytes, and return what comes until the connection is closed."""
    async with connection(url) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
        return await asyncio.wait_for(reader.read(), 20)


def head(*headers: str, method: str = "POST", path: str = "/echo") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "a2a-version: 1.0", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


# Too much


@pytest.mark.accepts("S14")
async def test_too_many_headers_are_refused(url: str) -> None:
    many = [f"x-{number}: y" for number in range(MAX_HEADERS)]
    answer = await exchange(url, head(*many, "content-length: 2"), b"{}")
    assert answer.startswith(b"HTTP/1.1 431")


@pytest.mark.accepts("S14")
async def test_300_megabytes_are_refused_before_they_are_read(url: str) -> None:
    lie = head("content-type: application/json", "content-length: 314572800")
    async with connection(url) as (reader, writer):
        writer.write(lie + b"{")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.accepts("S14")
@pytest.mark.parametrize(
    "headers",
    [
        ("content-length: 2", "content-length: 3"),
        ("content-length: 2", "transfer-encoding: chunked"),
        ("content-length: -2",),
        ("content-length: 0x2",),
        ("transfer-encoding: chunked, identity",),
    ],
)
async def test_lengths_that_can_be_read_in_two_ways_are_refused(
    url: str, headers: Sequence[str]
) -> None:
    kind = "content-type: application/json"
    answer = await exchange(url, head(kind, "connection: close", *headers), b"2\r\n{}\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400"), answer


@pytest.mark.accepts("S14", "S20")
@pytest.mark.parametrize(
    "twice",
    ["host: localhost", "content-type: application/json", "origin: http://localhost"],
)
async def test_what_decides_may_not_come_twice(url: str, twice: str) -> None:
    headers = ("content-type: application/json", "connection: close", "content-length: 2")
    answer = await exchange(url, head(*headers, twice, twice), b"{}")
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b'"code":"invalid-request"' in answer


@pytest.mark.accepts("S14")
async def test_a_hundred_thousand_parts_are_refused(url: str, client: httpx.AsyncClient) -> None:
    answer = await post(client, url, call(parts=[{"text": ""}] * 100_000))
    assert answer.json()["error"]["code"] == -32602
    assert (await post(client, url, call(parts=[{"text": "x"}] * 1000))).json()["result"]


# Too slow


@pytest.mark.accepts("S15")
async def test_five_hundred_half_requests_are_given_up(
    url: str, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of headers or body half is there. Others are served meanwhile; then all of them are gone."""
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 2.0)
    monkeypatch.setattr(protocol, "BODY_WITHIN", 1.0)
    whole = head("content-type: application/json", "content-length: 99")
    place = httpx.URL(url)
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for number in range(500):
            opened.append(await asyncio.open_connection(place.host, place.port))
            opened[-1][1].write(whole + b"{" if number % 2 else whole[: 10 + number % 40])
        assert (await post(client, url, call())).status_code == 200
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*(reader.read() for reader, _ in opened))
        assert {answer[:12] for answer in answers[::2]} == {b"HTTP/1.1 408"}
        assert set(answers[1::2]) == {b""}, "a request that began is cut off"
    finally:
        for _, writer in opened:
            writer.close()


@pytest.mark.accepts("S15")
def test_connections_are_counted_by_where_they_come_from() -> None:
    door = Door(most=6, most_of_address=2)
    for address in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.9"):
        assert [door.enter(address) for _ in range(3)] == [True, True, False]
    assert not door.enter("192.0.2.2"), "no more in all"
    door.leave("2001:db8::1")
    assert not door.enter("::ffff:192.0.2.9")
    assert door.enter("2001:db8:0:0:ffff::2"), "of the same network"
    assert not door.enter("2001:db8::3")
    local = Door(most_of_address=1)
    assert all(local.enter("127.0.0.1") for _ in range(5))
    assert all(Door().enter("192.0.2.1") for _ in range(5))


@pytest.mark.accepts("S15")
async def test_more_connections_than_may_be_are_told_so(log: JetStreamLog, tmp_path: Path) -> None:
    async with served(log, tmp_path, door=Door(most=3)) as url:
        async with connection(url) as one, connection(url) as two:
            for reader, writer in (one, two):
                writer.write(head("connection: keep-alive", method="GET", path="/healthz"))
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"{url}/healthz")).status_code == 200
                assert (await exchange(url)).startswith(b"HTTP/1.1 503")
        async with asyncio.timeout(5), connection(url) as (reader, writer):
            writer.write(head(method="GET", path="/healthz"))
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")


# Too deep, too strange


@pytest.mark.accepts("S16")
@pytest.mark.parametrize("depth", [65, 1100, 1_000_000])
async def test_deep_json_is_refused(url: str, client: httpx.AsyncClient, depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        nested = (opening * depth + b"1" + closing * depth)[: 4 * 1024 * 1024]
        answer = await post(client, url, b'{"jsonrpc":"2.0","id":1,"x":' + nested + b"}")
        assert answer.json()["error"]["code"] in (-32700, -32600)
        assert answer.status_code in (200, 413)


@pytest.mark.accepts("S16")
@pytest.mark.parametrize(
    "value",
    [
        *(b"NaN", b"Infinity", b"-Infinity", b"01", b"1e", b"9" * 5000, b'"\\ud800"', b'"\xff"'),
        *(b'"\\x"', b"'a'", b"{1:2}", b'{"a":1,}', b"[1,]", b"/**/1", b'"\n"'),
    ],
)
async def test_what_is_not_json_everywhere_never_reaches_the_log(
    url: str, client: httpx.AsyncClient, log: JetStreamLog, value: bytes
) -> None:
    body = call(metadata={"x": "VALUE"}).replace(b'"VALUE"', value)
    before = await log.extent()
    answer = await post(client, url, body)
    if "error" in answer.json():
        assert answer.json()["error"]["code"] in (-32700, -32600, -32602)
        assert await log.extent() == before
    else:  # a number without end is one that no double holds: it was read as text, or as a float
        assert value.isdigit()
        for record in await log.read(subjects.commands("echo", _context(answer))):
            json.loads(record.data)


def _context(answer: httpx.Response) -> str:
    found: str = answer.json()["result"]["task"]["contextId"]
    return found


# Compressed


@pytest.mark.accepts("S17")
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
async def test_compressed_bodies_are_refused_unread(
    url: str, client: httpx.AsyncClient, encoding: str
) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    answer = await post(client, url, bomb, **{"content-encoding": encoding})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.accepts("S17")
async def test_a_compressed_transfer_is_no_json(url: str) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    sent = head(
        "content-type: application/json", "transfer-encoding: gzip, chunked", "connection: close"
    )
    answer = await exchange(url, sent, b"%x\r\n%b\r\n0\r\n\r\n" % (len(bomb), bomb))
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200"))
    assert b'"error"' in answer


# Ids that mean something elsewhere

STRANGE: list[str] = [
    *("a.b", "*", ">", "", " ", "\t", "a\r\nb", "\0", "..", "\u2028", "x" * 65, "x" * 4097),
    *(unicodedata.normalize("NFC", "e\u0301"), unicodedata.normalize("NFD", "\u00e9")),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "%2e%2e%2f",
        "CON",
        "x" * 300,
        "_agent",
        "_access",
        "keys",
    ),
    *("a/b", "a?b=c", "a#b", "'; DROP TABLE tasks; --", "$JS.API.>", "=00", "cmd.echo.x", "-", "_"),
]


@pytest.mark.accepts("S6", "S18", "S22", "AS-42")
@pytest.mark.parametrize("name", STRANGE, ids=repr)
async def test_a_strange_id_is_refused_or_stays_an_id(
    url: str, client: httpx.AsyncClient, log: JetStreamLog, tmp_path: Path, name: str
) -> None:
    """As context, task, message, agent and tenant: no subject, file or row but its own."""
    files = sorted(str(path) for path in tmp_path.rglob("*"))
    (_, before) = await log.extent()
    answer = (await post(client, url, call(contextId=name))).json()
    if "result" in answer and name:
        assert answer["result"]["task"]["contextId"] == name
        listed = await client.get(f"{url}/echo/tasks", params={"contextId": name}, headers=HEADERS)
        assert listed.json()["totalSize"] == 1
    elif name:
        assert answer["error"]["code"] == -32602
    quoted = httpx.QueryParams({"x": name}).__str__()[2:].replace("+", "%20")
    for path in (f"/echo/tasks/{quoted}", f"/{quoted}/tasks/x", f"/echo/{quoted}/tasks/x"):
        found = await client.get(url + path, headers=HEADERS)
        assert found.status_code in (200, 400, 404, 405), found.text
    for body in (call(taskId=name), call(messageId=name)):
        assert (await post(client, url, body)).status_code == 200
    async for batch in log.scan(after=before):
        for record in batch:
            parsed = subjects.parse(record.subject)
            assert parsed.agent == "echo"
            assert str(parsed) == record.subject
    assert sorted(str(path) for path in tmp_path.rglob("*")) == files


# Pages of other origins


@pytest.mark.accepts("S20")
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_a_page_elsewhere_fetches_is_denied(
    url: str, client: httpx.AsyncClient, site: str
) -> None:
    fetched = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    assert (await client.get(f"{url}/", headers=fetched)).status_code == 403
    assert (await post(client, url, call(), **fetched)).status_code == 403
    opened = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert (await client.get(f"{url}/", headers=opened)).status_code == 200
    own = {"sec-fetch-site": "same-origin"}
    assert (await client.get(f"{url}/", headers=own)).status_code == 200


@pytest.mark.accepts("S20")
async def test_no_form_of_a_page_is_taken(url: str, client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = await post(client, url, call(), **{"content-type": kind})
        assert answer.status_code == 415
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.accepts("AS-35")
async def test_what_is_said_inside_is_not_said_outside(url: str, client: httpx.AsyncClient) -> None:
    """Headers of our own and of proxies, sent by a client, decide nothing and come back nowhere."""
    ours = {
        "nats-msg-id": "x",
        "x-forwarded-for": "9.9.9.9",
        "x-pelton-tenant": "other",
        "x-forwarded-host": "evil.example",
        "forwarded": "host=evil.example",
    }
    answer = await post(client, url, call(), **ours)
    assert answer.status_code == 200
    assert not set(ours) & set(answer.headers)
    card = await client.get(f"{url}/echo/.well-known/agent-card.json", headers=ours)
    assert "evil" not in card.text
