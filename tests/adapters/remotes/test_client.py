"""What the client of agents elsewhere asks at all, and what it makes of what it gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pelton.adapters.remotes import OfficialClient, open_remotes
from pelton.events.a2a import Message, Part, Role, Task, TaskState
from pelton.events.events import FailureClass
from pelton.runtime.remote import RemoteFailed
from pelton.runtime.settings import SettingsError

MESSAGE = Message(
    message_id="m-1", role=Role.USER, context_id="c-1", parts=(Part(text="hello"), Part(raw="aGk="))
)
Answer = tuple[int, dict[str, str], Any]


@asynccontextmanager
async def answering(
    answer: Callable[[str, str, dict[str, str], Any], Answer],
) -> AsyncGenerator[str]:
    """Serve what `answer` says to method, path, headers and body; gives the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split()
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, more, content = answer(method, path, headers, json.loads(body) if body else None)
        data = json.dumps(content).encode()
        lines = [f"HTTP/1.1 {status} X", "connection: close", f"content-length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def card(url: str, version: str = "1.0") -> dict[str, Any]:
    return {
        "name": "far",
        "description": "Far.",
        "version": "1",
        "capabilities": {"streaming": False},
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version}
        ],
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [],
    }


@pytest.mark.accepts("S9")
@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://far.example/agents", True),
        ("https://far.example/agents/one", True),
        ("https://FAR.example:443/agents/", True),
        ("https://far.example/agentsx", False),
        ("https://far.example/", False),
        ("https://far.example/agents/../admin", False),
        ("https://far.example/agents/%2e%2e/admin", False),
        ("http://far.example/agents", False),
        ("https://far.example:8443/agents", False),
        ("https://far.example.evil.example/agents", False),
        ("https://far.example@evil.example/agents", False),
        ("https://evil.example/https://far.example/agents", False),
        ("https://all.example/any/where", True),
        ("http://169.254.169.254/latest/meta-data", False),
        ("file:///etc/passwd", False),
        ("worker", False),
    ],
)
async def test_only_what_the_settings_name_or_lies_below_is_allowed(url: str, *, may: bool) -> None:
    async with open_remotes(["https://far.example/agents", "https://all.example"]) as client:
        assert client.allows(url) is may
    async with open_remotes([]) as client:
        assert not client.allows(url)


@pytest.mark.parametrize("url", ["worker", "https://user@host/x", "ftp://host"])
async def test_a_setting_that_is_no_url_is_an_error(url: str) -> None:
    with pytest.raises(SettingsError, match=r"executor\.remotes"):
        async with open_remotes([url]):
            pass


async def failing(client: OfficialClient, url: str) -> RemoteFailed:
    with pytest.raises(RemoteFailed) as caught:
        await client.send(url, MESSAGE, deadline="")
    assert url not in str(caught.value)
    return caught.value


async def test_a_message_carries_its_key_and_its_deadline() -> None:
    seen: list[tuple[dict[str, str], Any]] = []

    def answer(method: str, _: str, headers: dict[str, str], body: Any) -> Answer:
        if method == "GET":
            return 200, {}, card(f"{url}/far")
        seen.append((headers, body))
        state = {"state": "TASK_STATE_WORKING"}
        task = {"id": "t-1", "contextId": "c-1", "status": state}
        return 200, {}, {"jsonrpc": "2.0", "id": body["id"], "result": {"task": task}}

    async with answering(answer) as url, open_remotes([url]) as client:
        taken = await client.send(f"{url}/far", MESSAGE, deadline="2030-01-01T00:00:00.000Z")
    assert isinstance(taken, Task)
    assert (taken.id, taken.status.state) == ("t-1", TaskState.WORKING)
    ((headers, body),) = seen
    assert headers["idempotency-key"] == "m-1"
    assert headers["a2a-version"] == "1.0"
    assert body["params"]["message"]["parts"] == [{"text": "hello"}, {"raw": "aGk="}]
    assert body["params"]["metadata"] == {"pelton/deadline": "2030-01-01T00:00:00.000Z"}
    assert body["params"]["configuration"] == {"returnImmediately": True}


@pytest.mark.accepts("S9")
async def test_neither_a_card_nor_a_redirect_leads_elsewhere() -> None:
    asked: list[str] = []

    def inside(_: str, path: str, __: dict[str, str], ___: Any) -> Answer:
        asked.append(path)
        return 200, {}, {}

    async with answering(inside) as secret:

        def answer(method: str, path: str, _: dict[str, str], __: Any) -> Answer:
            if path.startswith("/redirects"):
                return 307, {"location": f"{secret}/admin"}, {}
            return (200, {}, card(f"{secret}/admin")) if method == "GET" else (200, {}, {})

        async with answering(answer) as url, open_remotes([url]) as client:
            error = await failing(client, f"{url}/far")
            assert (error.failure.kind, error.passes) == (FailureClass.POLICY, False)
            await failing(client, f"{url}/redirects")
            assert (await failing(client, secret)).failure.kind is FailureClass.POLICY
    assert asked == []


@pytest.mark.parametrize(
    ("status", "kind", "passes"),
    [
        (401, FailureClass.AUTHORISATION, False),
        (403, FailureClass.AUTHORISATION, False),
        (400, FailureClass.VALIDATION, False),
        (404, FailureClass.DEPENDENCY, False),
        (429, FailureClass.DEPENDENCY, True),
        (503, FailureClass.DEPENDENCY, True),
    ],
)
@pytest.mark.parametrize("when", ["card", "send"])
async def test_failures_have_classes(
    status: int, kind: FailureClass, when: str, *, passes: bool
) -> None:
    def answer(method: str, _: str, __: dict[str, str], ___: Any) -> Answer:
        if method == "GET" and when != "card":
            return 200, {}, card(f"{url}/far")
        return status, {}, {"secret": "text of a driver"}

    async with answering(answer) as url, open_remotes([url]) as client:
        error = await failing(client, f"{url}/far")
    assert (error.failure.kind, error.passes) == (kind, passes)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("body", "kind", "passes"),
    [
        ({"error": {"code": -32602, "message": "no"}}, FailureClass.VALIDATION, False),
        ({"error": {"code": -32603, "message": "no"}}, FailureClass.DEPENDENCY, True),
        ({"error": {"code": -32001, "message": "no"}}, FailureClass.DEPENDENCY, False),
        ({"result": {"task": {"id": "x" * 200, "status": {}}}}, FailureClass.PROVIDER, False),
        ({"result": {"task": {"status": {"state": 7}}}}, FailureClass.PROVIDER, False),
        ({"result": {"task": 7}}, FailureClass.DEPENDENCY, True),
        ([], FailureClass.DEPENDENCY, True),
    ],
)
async def test_answers_that_are_none_have_classes(
    body: Any, kind: FailureClass, *, passes: bool
) -> None:
    def answer(method: str, _: str, __: dict[str, str], asked: Any) -> Answer:
        if method == "GET":
            return 200, {}, card(f"{url}/far")
        return 200, {}, body and {"jsonrpc": "2.0", "id": asked["id"], **body}

    async with answering(answer) as url, open_remotes([url]) as client:
        error = await failing(client, f"{url}/far")
    assert (error.failure.kind, error.passes) == (kind, passes)


async def test_nobody_there_is_a_dependency_and_no_binding_is_validation() -> None:
    def answer(*_: Any) -> Answer:
        found = card("http://127.0.0.1/x")
        found["supportedInterfaces"][0]["protocolBinding"] = "PIGEON"
        return 200, {}, found

    async with answering(answer) as url, open_remotes([url, "http://127.0.0.1:1"]) as client:
        error = await failing(client, f"{url}/far")
        assert (error.failure.kind, error.passes) == (FailureClass.VALIDATION, False)
        error = await failing(client, "http://127.0.0.1:1/far")
        assert (error.failure.kind, error.passes) == (FailureClass.DEPENDENCY, True)
