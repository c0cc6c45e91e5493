"""Differential: the same script of operations gives the same results over every binding."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc import aio

from examples import conformance_agent
from pelton.adapters.a2a import protobuf
from pelton.adapters.a2a.extensions import RESUME
from pelton.adapters.a2a.grpc_server import WIRES
from pelton.adapters.a2a.operations import OPERATIONS, Stream
from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.a2a.world import executing, parsed, served
from tests.adapters.push.receiver import nowhere, pushing

Outcome = list[Any]
"""What came of an operation: its answer or its events, or what its error says of itself."""


class Binding:
    """Does operations over one binding."""

    name = ""

    async def do(self, method: str, params: Any, **headers: str) -> Outcome:
        """Do one; returns all that came."""
        raise NotImplementedError


class Rpc(Binding):
    """JSON-RPC."""

    name = "rpc"

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url, self.client = url, client

    async def do(self, method: str, params: Any, **headers: str) -> Outcome:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self.client.stream("POST", self.url, json=body, headers=headers) as answer:
            found = [data async for data in _each(answer)]
        return [
            _error(each["error"]["message"], each["error"]["data"])
            if "error" in each
            else each["result"]
            for each in found
        ]


class Rest(Binding):
    """HTTP+JSON; every other request has a tenant in its path, and subscriptions change verbs."""

    name = "rest"

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url, self.client = url, client
        self.count = 0

    async def do(self, method: str, params: Any, **headers: str) -> Outcome:
        self.count += 1
        rest = {name: value for name, value in params.items() if name not in ("id", "taskId")}
        task = params.get("id", "") if "taskId" not in params else params["taskId"]
        query = {name: _query(value) for name, value in rest.items()}
        config = {"id": params["id"]} if "id" in params else {}
        configs = f"tasks/{task}/pushNotificationConfigs"
        options: dict[str, tuple[str, str, dict[str, Any]]] = {
            "SendMessage": ("POST", "message:send", {"json": params}),
            "SendStreamingMessage": ("POST", "message:stream", {"json": params}),
            "GetTask": ("GET", f"tasks/{task}", {"params": query}),
            "ListTasks": ("GET", "tasks", {"params": query}),
            "CancelTask": ("POST", f"tasks/{task}:cancel", {"json": rest}),
            "SubscribeToTask": (("GET", "POST")[self.count % 2], f"tasks/{task}:subscribe", {}),
            "CreateTaskPushNotificationConfig": ("POST", configs, {"json": rest | config}),
            "GetTaskPushNotificationConfig": ("GET", f"{configs}/{params.get('id')}", {}),
            "ListTaskPushNotificationConfigs": ("GET", configs, {"params": query}),
            "DeleteTaskPushNotificationConfig": ("DELETE", f"{configs}/{params.get('id')}", {}),
            "GetExtendedAgentCard": ("GET", "extendedAgentCard", {}),
        }
        verb, path, how = options[method]
        tenant = ("", "acme/")[self.count // 2 % 2]
        url = f"{self.url}/{tenant}{path}"
        async with self.client.stream(verb, url, headers=headers, **how) as answer:
            found = [data async for data in _each(answer)]
        return [
            _error(each["error"]["message"], each["error"]["details"]) if "error" in each else each
            for each in found
        ]


def _query(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def _each(answer: httpx.Response) -> AsyncGenerator[Any]:
    if answer.headers["content-type"] == "text/event-stream":
        async for _, data in parsed(answer.aiter_lines()):
            yield data
    else:
        yield json.loads(await answer.aread())


class Grpc(Binding):
    """gRPC, with the messages of the official SDK's definitions."""

    name = "grpc"

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel

    async def do(self, method: str, params: Any, **headers: str) -> Outcome:
        wire = WIRES[method]
        data = protobuf.to_bytes(f"lf.a2a.v1.{wire.request}", params)
        metadata = tuple((name.lower(), value) for name, value in headers.items())
        path = f"/lf.a2a.v1.A2AService/{method}"
        found: Outcome = []
        try:
            if isinstance(OPERATIONS[method], Stream):
                streaming = cast("Any", self.channel).unary_stream(path)
                async for each in streaming(data, metadata=metadata):
                    found.append(_decoded(wire.answer, each))
            else:
                call = cast("Any", self.channel).unary_unary(path)
                found.append(_decoded(wire.answer, await call(data, metadata=metadata)))
        except aio.AioRpcError as error:
            found.append(_refusal(error))
        return found


def _decoded(name: str, data: bytes) -> Any:
    return protobuf.from_bytes(f"lf.a2a.v1.{name}", data) if name else {}


def _refusal(error: aio.AioRpcError) -> Any:
    assert error.code() is not grpc.StatusCode.UNKNOWN, error
    [packed] = [v for k, v in error.trailing_metadata() or () if k == "grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    details: list[Any] = []
    for each in status_pb2.Status.FromString(packed).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest):
            if each.Is(cast("Any", kind).DESCRIPTOR):
                detail = kind.FromString(each.value)
                details.append({"@type": each.type_url} | MessageToDict(detail))
    return _error(error.details() or "", details)


def _error(message: str, details: list[Any]) -> Any:
    for each in details:
        each.pop("metadata", None)  # the correlation id
    return {"error": {"message": message, "details": details}}


HOOK = "https://x.example/hook?a=b"
ENDS = {f"TASK_STATE_{state}" for state in ("COMPLETED", "FAILED", "CANCELED", "REJECTED")}
UUID = r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"


class Script:
    """Draws operations and remembers the tasks that came of them; the same for every binding."""

    SCENARIOS = (
        *("tck-complete-task", "tck-input-required", "tck-artifact-text", "tck-artifact-data"),
        *("tck-artifact-file", "tck-message-response", "tck-reject-task", "tck-auth-required"),
        *("tck-stream-001", "tck-stream-artifact-chunked"),
    )

    def __init__(self, seed: int, binding: Binding) -> None:
        self.dice = random.Random(seed)
        self.binding = binding
        self.tasks: list[str] = []
        self.over: list[str] = []
        self.trace: list[Any] = []

    async def run(self, count: int) -> list[Any]:
        """Do so many operations; returns what came of each, without ids and times."""
        for number in range(count):
            method, params, headers = self.draw(number)
            found = await self.binding.do(method, params, **headers)
            for each in cast("list[dict[str, dict[str, Any]]]", found):
                self.note(each, sent=method.startswith("Send"))
            self.trace.append((method, self.plain([params, found])))
        return self.trace

    def note(self, found: dict[str, dict[str, Any]], *, sent: bool) -> None:
        """Remember the tasks that an answer or an event tells of, and which of them have ended."""
        task: dict[str, Any] = found.get("task") or found.get("statusUpdate") or found
        known = task.get("id") or task.get("taskId")
        if isinstance(known, str) and "status" in task:
            if sent and known not in self.tasks:
                self.tasks.append(known)
            if task["status"]["state"] in ENDS and known not in self.over:
                self.over.append(known)

    def draw(self, number: int) -> tuple[str, dict[str, Any], dict[str, str]]:
        """Return an operation, its parameters, and its headers."""
        dice = self.dice
        headers = {"A2A-Version": dice.choice(("1.0",) * 12 + ("0.3", "1.0.1", "2.0"))}
        if dice.random() < 0.2:
            headers["A2A-Extensions"] = RESUME
        method = dice.choice(
            ("SendMessage",) * 4
            + ("SendStreamingMessage", "GetTask", "CancelTask", "SubscribeToTask") * 2
            + ("ListTasks",) * 3
            + tuple(OPERATIONS)
            + tuple(each for each in OPERATIONS if "Push" in each)
        )
        if method in ("SendMessage", "SendStreamingMessage"):
            return method, self.send(number), headers
        if method == "ListTasks":
            return method, self.list(), headers
        if method == "GetExtendedAgentCard":
            return method, {}, headers
        if "Push" in method:
            return method, self.push(method), headers
        params: dict[str, Any] = {"id": self.task()}
        if method == "GetTask" and dice.random() < 0.6:
            params["historyLength"] = dice.choice((0, 1, 2, 100, -1))
        if method == "CancelTask" and dice.random() < 0.3:
            params["metadata"] = {"why": ["enough", 1, None]}
        if method == "SubscribeToTask":
            headers["Last-Event-ID"] = dice.choice(("0", "0", "1", "2", "99", "x", "-1"))
            if dice.random() < 0.5:
                del headers["Last-Event-ID"]
                params["id"] = dice.choice((self.ended(), "nope"))
            else:
                params["id"] = self.ended()
        return method, params, headers

    def send(self, number: int) -> dict[str, Any]:
        """Return the parameters of a send, mostly right ones."""
        dice = self.dice
        scenario = dice.choice(self.SCENARIOS)
        parts: list[Any] = [{"text": f"say {number}"}]
        if dice.random() < 0.2:
            parts.append({"data": {"n": number, "deep": [{"x": 0.5}, None]}, "filename": "f"})
        message: dict[str, Any] = {
            "messageId": f"{scenario}-{number}",
            "role": "ROLE_USER",
            "parts": parts,
            "contextId": f"{self.binding.name}-{dice.randrange(3)}",
        }
        match dice.randrange(12):
            case 0:
                message["taskId"] = self.task()
                del message["contextId"]
            case 1:
                message["taskId"] = self.task()
            case 2:
                message["role"] = "ROLE_AGENT"
            case 3:
                del message["parts"]
            case 4:
                message["parts"] = [{"raw": "eA==", "mediaType": "application/x-odd"}]
            case 5:
                message["parts"] = [{"url": "https://x.example/a", "mediaType": "text/plain"}]
            case _:
                pass
        params: dict[str, Any] = {"message": message}
        if dice.random() < 0.3:
            params["configuration"] = {"historyLength": dice.choice((0, 1, 5, -1))}
        if dice.random() < 0.2:
            params["metadata"] = {"k": {"n": 1, "f": 1.5}}
        if dice.random() < 0.1:
            push = {"url": dice.choice((HOOK, HOOK, "https://127.0.0.1")), "id": "c"}
            params["configuration"] = {"taskPushNotificationConfig": push}
        return params

    def push(self, method: str) -> dict[str, Any]:
        """Return the parameters of an operation on push configs, mostly right ones."""
        dice = self.dice
        params: dict[str, Any] = {"taskId": self.task()}
        if method.startswith("List"):
            for name, values in {"pageSize": (0, 1, 2, 101, -1), "pageToken": ("x", "")}.items():
                if dice.random() < 0.25:
                    params[name] = dice.choice(values)
            return params
        params["id"] = dice.choice(("c", "d", "e", "never", "\u00e4"))
        if method.startswith("Create"):
            params["url"] = dice.choice((HOOK, HOOK, HOOK, "http://x.example", "https://10.0.0.1"))
            if dice.random() < 0.3:
                params["token"] = dice.choice(("t", "a\nb"))
            if dice.random() < 0.3:
                scheme = dice.choice(("Bearer", "Basic", "no scheme"))
                params["authentication"] = {"scheme": scheme, "credentials": "c"}
        return params

    def list(self) -> dict[str, Any]:
        """Return the parameters of a list of one context's tasks."""
        dice = self.dice
        params: dict[str, Any] = {"contextId": f"{self.binding.name}-{dice.randrange(3)}"}
        for name, values in {
            "pageSize": (1, 2, 100, 0, 101, -1),
            "status": ("TASK_STATE_COMPLETED", "TASK_STATE_INPUT_REQUIRED"),
            "historyLength": (0, 1, 10),
            "includeArtifacts": (True, False),
            "statusTimestampAfter": ("2020-01-01T00:00:00Z", "2090-01-01T00:00:00.5Z"),
            "pageToken": ("x", ""),
        }.items():
            if dice.random() < 0.25:
                params[name] = dice.choice(values)
        return params

    def task(self) -> str:
        """Return the id of a task, mostly one that is there."""
        if self.tasks and self.dice.random() < 0.8:
            return self.tasks[self.dice.randrange(len(self.tasks))]
        return self.dice.choice(("nope", "x-0123456789abcdef", "a.b"))

    def ended(self) -> str:
        """Return the id of a task whose streams end by themselves."""
        if self.over and self.dice.random() < 0.8:
            return self.dice.choice(self.over)
        return self.dice.choice(("nope", "x-0123456789abcdef", "a.b"))

    def plain(self, value: Any) -> Any:
        """Return a value without what differs from run to run."""
        text = json.dumps(_set(value), sort_keys=True)
        for number, task in enumerate(self.tasks):
            text = text.replace(task, f"task-{number}").replace(task[-16:], f"suffix-{number}")
        text = re.sub(r'("taskId": ".*?-)[0-9a-f]{16}"', r'\1suffix"', text)  # of a bare message
        text = re.sub(rf'"{self.binding.name}-(\d)', r'"context-\1', text)
        text = re.sub(r"20\d\d-\d\d-\d\dT[0-9:.]+Z", "then", text)
        text = re.sub(UUID, "id", text)
        return json.loads(re.sub(r'"nextPageToken": "[^"]+"', '"nextPageToken": "more"', text))


def _set(value: Any) -> Any:
    """Return a value without members that say nothing, which protocol buffers do not have."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        kept = {name: _set(each) for name, each in members}
        return {name: each for name, each in kept.items() if each not in ("", 0, False, [], {})}
    if isinstance(value, list):
        return [_set(each) for each in cast("Iterable[Any]", value)]
    return value


@pytest_asyncio.fixture
async def bindings(
    log: JetStreamLog,
    client: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[list[Binding]]:
    monkeypatch.setattr(conformance_agent, "STREAMING_TIMEOUT", 0.1)
    monkeypatch.setattr(conformance_agent, "CHUNK", 0.06)
    async with (
        pushing(tmp_path, resolve=nowhere) as push,
        executing(log, conformance_agent.conformance),
        served(log, tmp_path, grpc=True, push=push, cancel_within=2.0) as url,
    ):
        card = (await client.get(f"{url}/conformance/.well-known/agent-card.json")).json()
        address = card["supportedInterfaces"][2]["url"]
        async with aio.insecure_channel(address) as channel:
            yield [
                Rpc(f"{url}/conformance", client),
                Rest(f"{url}/conformance", client),
                Grpc(channel),
            ]


@pytest.mark.accepts("AS-26", "AS-27", "AS-42")
@pytest.mark.parametrize("seed", range(6))
async def test_every_binding_does_the_same(bindings: list[Binding], seed: int) -> None:
    traces = [await Script(seed, binding).run(40) for binding in bindings]
    for step, (one, *others) in enumerate(zip(*traces, strict=True)):
        for other, binding in zip(others, bindings[1:], strict=True):
            assert other == one, f"step {step} of {seed} over {binding.name}"
    outcomes = [found for _, (_, found) in traces[0]]
    assert sum("error" in each[0] for each in outcomes if each) >= 5
    assert sum("error" not in each[0] for each in outcomes if each) >= 5
