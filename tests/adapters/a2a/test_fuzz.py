"""Whatever is posted to JSON-RPC, the answer is a JSON-RPC answer; and both bindings agree."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.extensions import Parameters
from pelton.adapters.a2a.jsonrpc import JsonRpc
from pelton.adapters.a2a.requests import (
    CancelTaskRequest,
    GetTaskRequest,
    HttpRequest,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
    SubscribeToTaskRequest,
    check_message,
)
from pelton.adapters.a2a.rest import Rest
from pelton.adapters.a2a.sse import EventStream, Reply
from pelton.adapters.a2a.waits import Update
from pelton.adapters.identity.authenticator import anyone
from pelton.events.a2a import StreamResponse, Task, TaskState, TaskStatus
from pelton.events.errors import TaskNotFound
from pelton.events.principal import Role
from pelton.runtime.log import LogUnavailable
from tests.a2a import validate
from tests.adapters.a2a.world import profile
from tests.fuzz.grammar import BODIES, JSON, MESSAGES, check

AGENT = profile()
CALL = Call(AGENT, anyone("default", *Role), "c1", parameters=Parameters("1.0"))
TASK = Task(id="t", context_id="c", status=TaskStatus(state=TaskState.WORKING))


class Stub:
    """Answers what is valid; tasks named `gone` are not there, `broken` ones break."""

    async def send(self, call: Call, request: SendMessageRequest) -> SendMessageResponse:
        check_message(request.message, call.agent.takes)
        return SendMessageResponse(task=TASK)

    async def stream(
        self, call: Call, request: SendMessageRequest
    ) -> AsyncGenerator[Update | None]:
        check_message(request.message, call.agent.takes)
        yield Update(1, StreamResponse(task=TASK))

    async def subscribe(
        self, _: Call, request: SubscribeToTaskRequest
    ) -> AsyncGenerator[Update | None]:
        yield Update(1, StreamResponse(task=self._task(request.id)))

    async def get(self, _: Call, request: GetTaskRequest) -> Task:
        return self._task(request.id)

    async def cancel(self, _: Call, request: CancelTaskRequest) -> Task:
        return self._task(request.id)

    async def list(self, _: Call, request: ListTasksRequest) -> ListTasksResponse:
        return ListTasksResponse(
            tasks=(), next_page_token="", page_size=request.page_size, total_size=0
        )

    def _task(self, name: str) -> Task:
        if name == "gone":
            raise TaskNotFound("it is not there")
        if name == "broken":
            raise ZeroDivisionError("secret")
        if name == "away":
            raise LogUnavailable("secret")
        return TASK


ENGINE = cast("Engine", Stub())
RPC, REST = JsonRpc(ENGINE), Rest(ENGINE)


def request(body: bytes, *, path: list[str] | None = None, query: str = "") -> HttpRequest:
    """Return a request with a body."""
    return HttpRequest("POST", path or [], query.encode(), body)


async def frames(answer: Reply | EventStream) -> list[bytes]:
    """Return the body of an answer, or those of its events."""
    if isinstance(answer, Reply):
        return [answer.body]
    events = [] if answer.first is None else [answer.first]
    events += [update async for update in answer.updates if update is not None]
    return [answer.frame(update.response) for update in events]


@pytest.mark.accepts("AS-26", "AS-42")
@settings(max_examples=300, deadline=None)
@given(BODIES)
async def test_every_body_has_a_json_rpc_answer(body: bytes) -> None:
    for frame in await frames(await RPC.answer(CALL, request(body))):
        check(body, frame)
        assert b"secret" not in frame


async def both(method: str, rest: HttpRequest, params: Any) -> None:
    """Ask the same over both bindings, and compare."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    rpc_answer = await RPC.answer(CALL, request(json.dumps(asked).encode()))
    rest_answer = await REST.answer(CALL, rest)
    ours, theirs = await frames(rpc_answer), await frames(rest_answer)
    assert len(ours) == len(theirs)
    for one, two in zip(map(json.loads, ours), map(json.loads, theirs), strict=True):
        if "error" not in one:
            assert one["result"] == two
            if method == "SendMessage":
                validate("Send Message Response", two)
            continue
        error = two["error"]
        assert isinstance(rest_answer, Reply)
        assert error["code"] == rest_answer.status
        assert one["error"]["message"] == error["message"]
        assert one["error"]["data"] == error["details"]


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries({"message": MESSAGES}, optional={"configuration": JSON}), st.booleans()
)
async def test_both_bindings_take_the_same_messages(params: Any, stream: bool) -> None:
    method, path = ("SendStreamingMessage", "stream") if stream else ("SendMessage", "send")
    rest = request(json.dumps(params).encode(), path=[f"message:{path}"])
    await both(method, rest, params)


@pytest.mark.parametrize("task", ["t", "gone", "broken", "away", "é"])
@pytest.mark.parametrize(
    ("method", "verb", "suffix"),
    [
        ("GetTask", "GET", ""),
        ("CancelTask", "POST", ":cancel"),
        ("SubscribeToTask", "POST", ":subscribe"),
        ("SubscribeToTask", "GET", ":subscribe"),
        ("CreateTaskPushNotificationConfig", "POST", "/pushNotificationConfigs"),
        ("ListTaskPushNotificationConfigs", "GET", "/pushNotificationConfigs"),
        ("GetTaskPushNotificationConfig", "GET", "/pushNotificationConfigs/c"),
        ("DeleteTaskPushNotificationConfig", "DELETE", "/pushNotificationConfigs/c"),
    ],
)
@pytest.mark.parametrize("tenant", [[], ["acme"]])
async def test_both_bindings_answer_alike(
    method: str, verb: str, suffix: str, task: str, tenant: list[str]
) -> None:
    path = [*tenant, *f"tasks/{task}{suffix}".split("/")]
    rest = HttpRequest(verb, path, b"", b"")
    await both(method, rest, {"id": task})


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("", {}),
        ("pageSize=7", {"pageSize": 7}),
        ("pageSize=0", {"pageSize": 0}),
        ("pageSize=101", {"pageSize": 101}),
        ("historyLength=-1", {"historyLength": -1}),
        ("status=TASK_STATE_WORKING", {"status": "TASK_STATE_WORKING"}),
        ("status=working", {"status": "working"}),
        ("includeArtifacts=true", {"includeArtifacts": True}),
        (
            "statusTimestampAfter=2026-01-01T00:00:00Z",
            {"statusTimestampAfter": "2026-01-01T00:00:00Z"},
        ),
        ("statusTimestampAfter=x", {"statusTimestampAfter": "x"}),
    ],
)
async def test_both_bindings_list_alike(query: str, params: dict[str, Any]) -> None:
    rest = HttpRequest("GET", ["tasks"], query.encode(), b"")
    await both("ListTasks", rest, params)


@pytest.mark.parametrize("version", ["", "0.3", "2.0"])
async def test_both_bindings_refuse_other_versions_alike(version: str) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"t"}}'
    call = CALL._replace(parameters=Parameters(version))
    rpc = await RPC.answer(call, HttpRequest("POST", [], b"", body))
    rest = await REST.answer(call, HttpRequest("GET", ["tasks", "t"], b"", b""))
    assert isinstance(rpc, Reply)
    assert isinstance(rest, Reply)
    one, two = json.loads(rpc.body)["error"], json.loads(rest.body)["error"]
    assert one["message"] == two["message"]
    assert one["data"] == two["details"]
