"""The bridge over HTTP: paths, bad input, and that every connection survives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from pelton.adapters.a2a import protocol
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.a2a import validate
from tests.adapters.a2a.world import HEADERS, executing, message, served

JSON = {"content-type": "application/json"}
DEEP = b"[" * 65 + b"]" * 65


@agent
async def echo(turn: Turn) -> str:
    """Say what was said."""
    return turn.text


@agent
async def other(turn: Turn) -> str:
    """Say something else."""
    return f"not {turn.text}"


class Site(NamedTuple):
    """A bridge with two agents."""

    url: str
    client: httpx.AsyncClient

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Post a body, JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            self.url + path, content=content, headers=JSON | HEADERS | headers
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Get a path."""
        return await self.client.get(self.url + path, headers=HEADERS | headers)


@pytest_asyncio.fixture
async def site(log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path) -> AsyncIterator[Site]:
    async with executing(log, echo, other), served(log, tmp_path) as url:
        yield Site(url, client)


def call(method: str = "SendMessage", **params: Any) -> dict[str, Any]:
    """Return a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or message()}


def raw(text: str) -> bytes:
    """Return a JSON-RPC send with a text as it stands in the body."""
    return json.dumps(call()).replace('"hello"', text).encode()


BAD_RPC: list[tuple[str, bytes, int, Any]] = [
    ("empty", b"", -32700, None),
    ("truncated", b'{"jsonrpc":"2.0","id":1', -32700, None),
    ("not-json", b"hello", -32700, None),
    ("not-utf8", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700, None),
    ("nan", raw("NaN"), -32700, None),
    ("lone-surrogate", raw(r'"\ud800"'), -32700, None),
    ("control-character", raw('"\x01"'), -32700, None),
    ("deep", b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":%b}' % DEEP, -32700, None),
    ("bomb", b"[" * 1_000_000, -32700, None),
    ("batch", json.dumps([call()]).encode(), -32600, None),
    ("empty-batch", b"[]", -32600, None),
    ("a-number", b"7", -32600, None),
    ("null", b"null", -32600, None),
    ("nothing", b"{}", -32600, None),
    ("notification", b'{"jsonrpc":"2.0","method":"GetTask"}', -32600, None),
    ("old-jsonrpc", b'{"jsonrpc":"1.0","id":5,"method":"GetTask"}', -32600, 5),
    ("method-no-string", b'{"jsonrpc":"2.0","id":"a","method":7}', -32600, "a"),
    ("id-an-object", b'{"jsonrpc":"2.0","id":{},"method":"GetTask"}', -32600, None),
    ("id-huge", b'{"jsonrpc":"2.0","id":%b,"method":"GetTask"}' % (b"9" * 5000), -32600, None),
    ("unknown-method", b'{"jsonrpc":"2.0","id":1,"method":"tasks/get"}', -32601, 1),
    ("unknown-method-0.3", b'{"jsonrpc":"2.0","id":null,"method":"message/send"}', -32601, None),
    ("params-a-list", b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":[]}', -32602, 1),
    ("params-null", b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":null}', -32602, 1),
    ("params-missing", b'{"jsonrpc":"2.0","id":1,"method":"GetTask"}', -32602, 1),
    ("wrong-type", b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":7}}', -32602, 1),
    ("text-a-number", raw("7"), -32602, 1),
    ("number-huge", raw("9" * 5000), -32602, 1),
    (
        "no-parts",
        json.dumps(call(message={"messageId": "m", "role": "ROLE_USER", "parts": []})).encode(),
        -32602,
        1,
    ),
]


@pytest.mark.accepts("AS-26", "AS-42", "S16")
async def test_every_body_has_a_json_rpc_answer(site: Site) -> None:
    for name, body, code, id_ in BAD_RPC:
        answer = await site.post("/echo", body)
        assert answer.status_code == 200, name
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()
        assert error.keys() == {"jsonrpc", "id", "error"}, name
        assert error["id"] == id_, name
        assert error["error"]["code"] == code, (name, error)
        assert error["error"]["message"]
        assert error["error"]["data"][0]["@type"].endswith("google.rpc.ErrorInfo")
    answer = await site.post("/echo", call())
    assert answer.json()["result"]["task"]["status"]["message"]["parts"] == [{"text": "hello"}]


@pytest.mark.parametrize("text", ["", "\0", "é" * 1000, "\u2028", "x" * 100_000, "\U0001f600"])
@pytest.mark.accepts("AS-42")
async def test_texts_come_back_as_they_were(site: Site, text: str) -> None:
    answer = await site.post("/echo", call(**message(text)))
    history = answer.json()["result"]["task"]["history"]
    assert history[0]["parts"] == [{"text": text}]


@pytest.mark.parametrize("id_", ["", "x", 0, -7, 1.5, None, "é\n", 2**53 + 1])
async def test_the_id_of_a_request_comes_back(site: Site, id_: Any) -> None:
    request = call("GetTask", id="nope") | {"id": id_}
    assert (await site.post("/echo", request)).json()["id"] == id_


BAD_HTTP: list[tuple[str, str, dict[str, str], bytes, int, str]] = [
    ("GET", "/echo", {}, b"", 405, "METHOD_NOT_ALLOWED"),
    ("PUT", "/echo", JSON, b"{}", 405, "METHOD_NOT_ALLOWED"),
    ("DELETE", "/echo/tasks/x", {}, b"", 405, "METHOD_NOT_ALLOWED"),
    ("POST", "/echo/tasks", JSON, b"{}", 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/echo/message:send", {}, b"", 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/echo/nope", {}, b"", 404, "PATH_NOT_FOUND"),
    ("GET", "/echo/tasks/x/y/z", {}, b"", 404, "PATH_NOT_FOUND"),
    ("POST", "/nope", JSON, b"{}", 404, "AGENT_NOT_FOUND"),
    ("POST", "/nope/", JSON, b"{}", 404, "AGENT_NOT_FOUND"),
    ("POST", "/nope/message:send", JSON, b"{}", 404, "AGENT_NOT_FOUND"),
    ("GET", "/nope/.well-known/agent-card.json", {}, b"", 404, "AGENT_NOT_FOUND"),
    ("GET", "/../../etc/passwd", {}, b"", 404, "AGENT_NOT_FOUND"),
    ("GET", "/%2e%2e/%00", {}, b"", 404, "AGENT_NOT_FOUND"),
    ("POST", "/", JSON, b"{}", 404, "AGENT_NOT_FOUND"),
    ("GET", "/.well-known/agent-card.json", {}, b"", 404, "AGENT_NOT_FOUND"),
    ("POST", "/echo", {"content-type": "text/plain"}, b"{}", 415, "CONTENT_TYPE_NOT_SUPPORTED"),
    ("POST", "/echo", JSON | {"content-encoding": "gzip"}, b"x", 415, "CONTENT_TYPE_NOT_SUPPORTED"),
    ("POST", "/echo/message:send", {}, b"{}", 415, "CONTENT_TYPE_NOT_SUPPORTED"),
    ("POST", "/echo", JSON, b"x" * (4 * 1024 * 1024 + 1), 413, "BODY_TOO_LARGE"),
    ("POST", "/echo/message:send", JSON, b"x" * (5 * 1024 * 1024), 413, "BODY_TOO_LARGE"),
    ("POST", "/echo/message:send", JSON, b"", 400, "JSON_PARSE_ERROR"),
    ("POST", "/echo/message:send", JSON, b"[", 400, "JSON_PARSE_ERROR"),
    ("POST", "/echo/message:send", JSON, DEEP, 400, "JSON_PARSE_ERROR"),
    ("POST", "/echo/message:send", JSON, b"[]", 400, "INVALID_PARAMS"),
    ("POST", "/echo/message:send", JSON, b"{}", 400, "INVALID_PARAMS"),
    ("POST", "/echo/tasks/x:cancel", JSON, b'{"metadata":7}', 400, "INVALID_PARAMS"),
    ("GET", "/echo/tasks?pageSize=0", {}, b"", 400, "INVALID_PARAMS"),
    ("GET", "/echo/tasks?pageSize=%ff", {}, b"", 400, "INVALID_PARAMS"),
    ("GET", "/echo/tasks?pageToken=x", {}, b"", 400, "INVALID_PARAMS"),
    ("GET", "/echo/tasks/x?historyLength=-1", {}, b"", 400, "INVALID_PARAMS"),
    ("GET", "/echo/tasks/x", {}, b"", 404, "TASK_NOT_FOUND"),
    ("GET", "/echo/tasks/a%2F%00b", {}, b"", 404, "TASK_NOT_FOUND"),
    ("GET", "/echo/tasks/" + "x" * 5000, {}, b"", 404, "TASK_NOT_FOUND"),
    ("GET", "/echo/tasks/x:subscribe", {}, b"", 404, "TASK_NOT_FOUND"),
    ("POST", "/echo/tasks/x:cancel", {}, b"", 404, "TASK_NOT_FOUND"),
    ("GET", "/echo/extendedAgentCard", {}, b"", 400, "UNSUPPORTED_OPERATION"),
    (
        "GET",
        "/echo/tasks/x/pushNotificationConfigs",
        {},
        b"",
        400,
        "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
    (
        "DELETE",
        "/echo/tasks/x/pushNotificationConfigs/y",
        {},
        b"",
        400,
        "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
    (
        "POST",
        "/echo/tasks/x/pushNotificationConfigs",
        JSON,
        b"{}",
        400,
        "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
]


@pytest.mark.accepts("AS-26", "AS-29", "AS-42", "S14", "S17", "S22")
async def test_every_request_has_a_specified_answer(site: Site) -> None:
    for method, path, headers, body, status, reason in BAD_HTTP:
        answer = await site.client.request(
            method, site.url + path, headers=HEADERS | headers, content=body
        )
        assert answer.status_code == status, (method, path, answer.text)
        error = answer.json()["error"]
        details = error.get("details") or error["data"]
        assert details[0]["reason"] == reason, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/json"
        if status == 405:
            assert answer.headers["allow"]
        assert "echo" not in answer.text  # it lists nobody
    assert (await site.post("/echo", call())).status_code == 200


@pytest.mark.accepts("S20")
async def test_other_hosts_and_origins_are_refused(site: Site) -> None:
    answer = await site.post("/echo", call(), host="evil.example")
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "misdirected"
    answer = await site.post("/echo", call(), origin="https://evil.example")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "policy-denied"
    answer = await site.get("/healthz", host="evil.example")
    assert answer.status_code == 421


async def test_the_version_may_stand_in_header_or_query(site: Site) -> None:
    task = "/echo/tasks/nope"
    for path, version, known in (
        (task, "1.0", True),
        (task, "1.0.1", True),
        (task, "0.3", False),
        (task, "", False),
        (task, "2.0", False),
        (f"{task}?A2A-Version=1.0", None, True),
        (f"{task}?a2a-version=0.3", None, False),
        (f"{task}?A2A-Version=0.3", "1.0", True),
        (task, None, False),
    ):
        headers = {} if version is None else {"a2a-version": version}
        answer = await site.client.get(site.url + path, headers=headers)
        reason = answer.json()["error"]["details"][0]["reason"]
        assert reason == ("TASK_NOT_FOUND" if known else "VERSION_NOT_SUPPORTED"), (path, version)
    answer = await site.client.post(site.url + "/echo", json=call())
    assert answer.json()["error"]["code"] == -32009
    assert "1.0" in answer.json()["error"]["message"]


async def test_unknown_extensions_and_members_are_ignored(site: Site) -> None:
    request = call(**message(more={"x": 1}, extensions=["urn:unknown"]), unknown=7)
    answer = await site.post("/echo", request, **{"a2a-extensions": "urn:one, urn:two"})
    task = answer.json()["result"]["task"]
    assert task["history"][0]["extensions"] == ["urn:unknown"]
    validate("Task", task)


async def test_agents_are_listed_and_served_under_their_names(site: Site) -> None:
    agents = (await site.client.get(site.url + "/")).json()["agents"]
    assert [each["name"] for each in agents] == ["echo", "other"]
    for each in agents:
        card = (await site.client.get(each["card"])).json()
        validate("Agent Card", card)
        for interface in card["supportedInterfaces"]:
            assert interface["url"] == each["url"] == f"{site.url}/{each['name']}"
    for path in ("/other", "/other/"):
        answer = await site.post(path, call())
        status = answer.json()["result"]["task"]["status"]
        assert status["message"]["parts"] == [{"text": "not hello"}]
    answer = await site.post("/other/message:send", message())
    assert answer.headers["content-type"] == "application/a2a+json"
    validate("Send Message Response", answer.json())
    answer = await site.get("/other/some-tenant/tasks")
    assert answer.json()["totalSize"] == 3
    validate("List Tasks Response", answer.json())


async def test_an_agents_tasks_are_its_own(site: Site) -> None:
    task = (await site.post("/echo", call())).json()["result"]["task"]["id"]
    assert (await site.get(f"/echo/tasks/{task}")).status_code == 200
    assert (await site.get(f"/other/tasks/{task}")).status_code == 404
    answer = await site.post("/other", call(**message(taskId=task)))
    assert answer.json()["error"]["code"] == -32001
    assert (await site.get("/other/tasks")).json()["totalSize"] == 0


async def test_one_agent_has_the_root_too(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with executing(log, echo), served(log, tmp_path) as url:
        site = Site(url, client)
        for path in ("", "/"):
            assert "result" in (await site.post(path, call())).json()
        card = (await site.get("/.well-known/agent-card.json")).json()
        assert card["supportedInterfaces"][0]["url"] == f"{url}/echo"
        answer = await site.post("/message:send", message())
        task = answer.json()["task"]["id"]
        assert (await site.get(f"/tasks/{task}")).json()["id"] == task
        # A first segment is never taken for a tenant: it is an agent that is not there.
        answer = await site.post("/ecko/message:send", message())
        assert answer.status_code == 404


async def test_a_default_agent_has_the_root(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"default_agent": "other", "public_url": "https://a.example/base/"}
    async with executing(log, echo, other), served(log, tmp_path, **options) as url:
        card = (await client.get(f"{url}/.well-known/agent-card.json")).json()
        assert card["name"] == "Other"
        assert card["supportedInterfaces"][0]["url"] == "https://a.example/base/other"


async def test_a_host_may_have_an_agent_at_its_root(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    hosts = {"echo.example": "echo", "gone.example": "gone"}
    async with executing(log, echo, other), served(log, tmp_path, agents_at=hosts) as url:

        async def card(host: str) -> httpx.Response:
            return await client.get(f"{url}/.well-known/agent-card.json", headers={"host": host})

        found = (await card("ECHO.example:8000")).json()
        assert found["name"] == "Echo"
        assert found["supportedInterfaces"][0]["url"] == "http://ECHO.example:8000/echo"
        at_root = {"host": "echo.example", "a2a-version": "1.0"}
        answer = await client.post(f"{url}/", json=call(), headers=at_root)
        assert "task" in answer.json()["result"]
        answer = await client.post(f"{url}/message:send", json=message(), headers=at_root)
        assert "task" in answer.json()
        assert (await card("gone.example")).status_code == 404
        assert (await card("evil.example")).status_code == 421
        assert (await client.get(f"{url}/.well-known/agent-card.json")).status_code == 404


@pytest.mark.accepts("AS-35")
async def test_answers_have_only_the_headers_they_should(site: Site) -> None:
    allowed = {"content-type", "content-length", "date", "cache-control", "etag", "last-modified"}
    allowed |= {"vary", "traceparent", "transfer-encoding", "x-accel-buffering"}
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for answer in (
        await site.post("/echo", call(), traceparent=parent),
        await site.post("/echo", call("SendStreamingMessage"), traceparent=parent),
        await site.get("/echo/.well-known/agent-card.json", traceparent=parent),
    ):
        assert answer.status_code == 200
        assert answer.headers.keys() <= allowed
        assert answer.headers["traceparent"] == parent
    answer = await site.post("/echo", call(), traceparent="nonsense")
    assert "traceparent" not in answer.headers


async def test_head_is_get_without_a_body(site: Site) -> None:
    for path in ("/", "/healthz", "/echo/.well-known/agent-card.json"):
        answer = await site.client.head(site.url + path)
        assert answer.status_code == 200
        assert not answer.content


async def exchange(site: Site, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Write raw bytes to a connection and return all that comes until it is closed."""
    url = httpx.URL(site.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.accepts("S15")
async def test_a_request_that_does_not_arrive_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.1)
    monkeypatch.setattr(protocol, "BODY_WITHIN", 0.1)
    assert (await exchange(site)).startswith(b"HTTP/1.1 408")
    assert (await exchange(site, b"GET / HTTP/1.1\r\nHost: lo")).startswith(b"HTTP/1.1 408")
    half = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"
    assert await exchange(site, half) == b""  # a request that began is cut off


@pytest.mark.accepts("S14")
async def test_headers_without_end_are_refused(site: Site) -> None:
    pieces = [b"GET / HTTP/1.1\r\nx: ", *[b"y" * 20_000] * 5]
    answer = await exchange(site, *pieces, pause=0.02)
    assert answer.startswith(b"HTTP/1.1 431")


async def test_an_answer_is_one_write(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body in two are two packets, and twice the work for whoever reads them."""
    writes: list[bytes] = []
    made = protocol.Protocol.connection_made

    def connection_made(self: protocol.Protocol, transport: Any) -> None:
        made(self, Writes(transport, writes))

    monkeypatch.setattr(protocol.Protocol, "connection_made", connection_made)
    close = b"connection: close\r\n\r\n"
    get = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
    whole = await exchange(site, get + b"\r\n" + get + close)
    assert b"".join(writes) == whole
    assert [write.endswith(b'{"status":"ok"}') for write in writes] == [True, True]

    head = await exchange(site, get.replace(b"GET", b"HEAD") + close)
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 15" in head
    assert head.endswith(b"\r\n\r\n")

    body = json.dumps(call()).encode()
    post = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    post += b"a2a-version: 1.0\r\nexpect: 100-continue\r\ncontent-length: %d\r\n" % len(body)
    first, _, rest = (await exchange(site, post + close, body)).partition(b"\r\n\r\n")
    assert first == b"HTTP/1.1 100 Continue"
    assert rest.startswith(b"HTTP/1.1 200")


class Writes:
    """A transport that notes what is written."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport, self._writes = transport, writes

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_what_is_not_http_is_refused(site: Site) -> None:
    head, _, body = (await exchange(site, b"hello\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["code"] == 400


@pytest.mark.accepts("S14")
async def test_a_body_in_chunks_is_capped_and_the_connection_survives(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 65536

    headers = JSON | HEADERS
    answer = await site.client.post(f"{site.url}/echo", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error"]["data"][0]["reason"] == "BODY_TOO_LARGE"
    assert (await site.post("/echo", call())).status_code == 200


@pytest.mark.accepts("AS-63")
async def test_health_and_readiness(site: Site) -> None:
    assert (await site.get("/healthz")).json() == {"status": "ok"}
    ready = (await site.get("/readyz")).json()
    assert ready["detail"] == dict.fromkeys(("log", "agents", "keys", "lists", "loops"), True)


WELL_KNOWN = "/echo/.well-known/agent-card.json"


@pytest.mark.accepts("S25")
@pytest.mark.parametrize(
    "ranges", ["bytes=0-0", "bytes=" + ",".join(f"{n}-{n}" for n in range(5000)), "bytes=-", "x"]
)
async def test_no_range_of_an_answer_is_given(site: Site, ranges: str) -> None:
    whole = await site.get(WELL_KNOWN)
    part = await site.get(WELL_KNOWN, range=ranges)
    assert (part.status_code, part.content) == (200, whole.content)
    assert "content-range" not in part.headers


@pytest.mark.accepts("AS-26")
async def test_a_date_that_no_clock_knows_is_no_reason_to_fail(site: Site) -> None:
    late = "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"
    assert (await site.get(WELL_KNOWN, **{"if-modified-since": late})).status_code == 200


@pytest.mark.accepts("AS-26", "AS-28")
async def test_what_nobody_has_foreseen_is_an_answer_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr("pelton.adapters.a2a.card.answer", broken)
    answer = await site.get(WELL_KNOWN)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "canary" not in answer.text
