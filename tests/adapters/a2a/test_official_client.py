"""The official client (a2a-sdk) against a real bridge, executor and server, on all bindings."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors
from google.protobuf.json_format import MessageToDict
from grpc import aio

from examples import conformance_agent
from pelton.runtime.jetstream import JetStreamLog
from tests.a2a import validate
from tests.adapters.a2a.world import executing, served

BINDINGS = ("JSONRPC", "HTTP+JSON", "GRPC")
STATE = pb.TaskState


@pytest_asyncio.fixture(params=BINDINGS)
async def client(
    request: pytest.FixtureRequest,
    log: JetStreamLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Client]:
    monkeypatch.setattr(conformance_agent, "STREAMING_TIMEOUT", 0.3)
    async with (
        executing(log, conformance_agent.conformance),
        served(log, tmp_path, grpc=True) as url,
        httpx.AsyncClient(timeout=10, event_hooks={"response": [check]}) as http,
    ):
        config = ClientConfig(
            httpx_client=http,
            grpc_channel_factory=aio.insecure_channel,
            supported_protocol_bindings=[request.param],
            streaming=True,
        )
        factory = ClientFactory(config)
        async with await factory.create_from_url(f"{url}/conformance") as client:
            yield client


async def check(response: httpx.Response) -> None:
    """Validate every whole answer against the protocol's schema."""
    if response.headers["content-type"] == "text/event-stream":
        return
    await response.aread()
    body = response.json()
    path = response.request.url.path
    if path.endswith("agent-card.json"):
        validate("Agent Card", body)
        return
    if "jsonrpc" in body:
        assert body.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
        kind = response.request.read().decode()
        body = body.get("result")
    else:
        kind = path
    if body is None or "error" in body:
        return
    for name, schema in {
        "SendMessage": "Send Message Response",
        "message:send": "Send Message Response",
        "ListTasks": "List Tasks Response",
        "GetTask": "Task",
        "CancelTask": "Task",
        ":cancel": "Task",
        "/tasks/": "Task",
        "/tasks": "List Tasks Response",
    }.items():
        if name in kind:
            validate(schema, body)
            return
    raise AssertionError(kind)


def request(scenario: str, *, text: str = "hello", **members: Any) -> pb.SendMessageRequest:
    """Return a message whose id names a scenario."""
    message = pb.Message(
        message_id=f"{scenario}-{uuid.uuid4().hex[:8]}",
        role=pb.Role.ROLE_USER,
        parts=[pb.Part(text=text)],
        **members,
    )
    return pb.SendMessageRequest(message=message)


async def stream(client: Client, asked: pb.SendMessageRequest) -> list[pb.StreamResponse]:
    """Return all events of a sending stream, each validated."""
    events = [event async for event in client.send_message(asked)]
    for event in events:
        validate("Stream Response", MessageToDict(event))
    return events


async def send(client: Client, asked: pb.SendMessageRequest) -> pb.StreamResponse:
    """Return the answer to a send without a stream."""
    client._config.streaming = False  # type: ignore[attr-defined]  # noqa: SLF001  one client, both ways
    try:
        [answer] = await stream(client, asked)
    finally:
        client._config.streaming = True  # type: ignore[attr-defined]  # noqa: SLF001
    return answer


async def test_send(client: Client) -> None:
    answer = await send(client, request("tck-complete-task"))
    assert answer.task.status.state == STATE.TASK_STATE_COMPLETED
    assert answer.task.status.message.parts[0].text == "Hello from TCK"
    assert [each.parts[0].text for each in answer.task.history] == ["hello"]


async def test_a_bare_message(client: Client) -> None:
    answer = await send(client, request("tck-message-response"))
    assert answer.message.parts[0].text == "Direct message response"
    assert answer.message.context_id
    assert not answer.message.task_id  # there is none for a client to ask for
    [event] = await stream(client, request("tck-message-response"))
    assert event.message.parts[0].text == "Direct message response"
    assert not event.message.task_id


@pytest.mark.parametrize(
    ("scenario", "part"),
    [
        ("tck-artifact-text", pb.Part(text="Generated text content")),
        (
            "tck-artifact-file",
            pb.Part(raw=b"tck", filename="output.txt", media_type="text/plain"),
        ),
        (
            "tck-artifact-file-url",
            pb.Part(
                url="https://example.com/output.txt",
                filename="output.txt",
                media_type="text/plain",
            ),
        ),
    ],
)
async def test_artifacts(client: Client, scenario: str, part: pb.Part) -> None:
    answer = await send(client, request(scenario))
    assert list(answer.task.artifacts[0].parts) == [part]


async def test_data(client: Client) -> None:
    answer = await send(client, request("tck-artifact-data"))
    data = MessageToDict(answer.task.artifacts[0].parts[0])["data"]
    assert data == {"key": "value", "count": 42}


async def test_stream(client: Client) -> None:
    events = await stream(client, request("tck-stream-001"))
    assert [event.WhichOneof("payload") for event in events] == [
        "task",
        "status_update",
        "artifact_update",
        "status_update",
    ]
    assert events[1].status_update.status.state == STATE.TASK_STATE_WORKING
    assert events[3].status_update.status.state == STATE.TASK_STATE_COMPLETED


async def test_a_stream_in_chunks(client: Client) -> None:
    events = await stream(client, request("tck-stream-artifact-chunked"))
    chunks = [event.artifact_update for event in events if event.HasField("artifact_update")]
    assert [chunk.artifact.parts[0].text for chunk in chunks] == ["chunk-1 ", "chunk-2"]
    assert [(chunk.append, chunk.last_chunk) for chunk in chunks] == [(False, False), (True, True)]
    task = await client.get_task(pb.GetTaskRequest(id=events[0].task.id))
    assert task.artifacts[0].parts[0].text == "chunk-1 chunk-2"


async def test_turns(client: Client) -> None:
    answer = await send(client, request("tck", text="tck-multi-turn"))
    task = answer.task
    assert task.status.state == STATE.TASK_STATE_INPUT_REQUIRED
    answer = await send(client, request("tck", text="more", task_id=task.id))
    assert answer.task.status.state == STATE.TASK_STATE_INPUT_REQUIRED
    assert answer.task.context_id == task.context_id
    answer = await send(client, request("tck", text="done", task_id=task.id))
    assert answer.task.status.state == STATE.TASK_STATE_COMPLETED
    with pytest.raises(errors.UnsupportedOperationError):
        await send(client, request("tck", text="again", task_id=task.id))


@pytest.mark.parametrize(
    ("scenario", "state"),
    [
        ("tck-auth-required", STATE.TASK_STATE_AUTH_REQUIRED),
        ("tck-reject-task", STATE.TASK_STATE_REJECTED),
        ("tck-input-required", STATE.TASK_STATE_INPUT_REQUIRED),
    ],
)
async def test_endings(client: Client, scenario: str, state: Any) -> None:
    answer = await send(client, request(scenario))
    assert answer.task.status.state == state
    assert answer.task.status.message.parts[0].text


async def test_a_failure(client: Client) -> None:
    answer = await send(client, request("x", text="tck-task-failure"))
    assert answer.task.status.state == STATE.TASK_STATE_FAILED


async def test_get(client: Client) -> None:
    task = (await send(client, request("tck-complete-task"))).task
    assert await client.get_task(pb.GetTaskRequest(id=task.id)) == task
    bare = await client.get_task(pb.GetTaskRequest(id=task.id, history_length=0))
    assert not bare.history
    with pytest.raises(errors.TaskNotFoundError):
        await client.get_task(pb.GetTaskRequest(id="nope"))


async def test_cancel(client: Client) -> None:
    asked = request("x", text="tck-cancel")
    asked.configuration.return_immediately = True
    task = (await send(client, asked)).task
    canceled = await client.cancel_task(pb.CancelTaskRequest(id=task.id))
    assert canceled.status.state == STATE.TASK_STATE_CANCELED
    with pytest.raises(errors.TaskNotCancelableError):
        await client.cancel_task(pb.CancelTaskRequest(id=task.id))
    with pytest.raises(errors.TaskNotFoundError):
        await client.cancel_task(pb.CancelTaskRequest(id="nope"))


async def test_subscribe(client: Client) -> None:
    asked = request("tck-delayed-complete")
    asked.configuration.return_immediately = True
    task = (await send(client, asked)).task
    events = [event async for event in client.subscribe(pb.SubscribeToTaskRequest(id=task.id))]
    assert events[0].task.id == task.id
    assert events[-1].status_update.status.state == STATE.TASK_STATE_COMPLETED
    with pytest.raises(errors.UnsupportedOperationError):
        _ = [event async for event in client.subscribe(pb.SubscribeToTaskRequest(id=task.id))]


@pytest.mark.accepts("AS-30")
async def test_lists_are_paged(client: Client) -> None:
    tasks: list[pb.Task] = []
    for number in range(5):
        state = "tck-input-required" if number % 2 else "tck-complete-task"
        tasks.append((await send(client, request(state))).task)
    newest_first = [task.id for task in sorted(tasks, key=order, reverse=True)]
    listed: list[str] = []
    token = ""
    while True:
        page = await client.list_tasks(pb.ListTasksRequest(page_size=2, page_token=token))
        assert page.total_size == 5
        assert page.page_size == 2
        assert len(page.tasks) <= 2
        assert not any(task.artifacts for task in page.tasks)
        listed += [task.id for task in page.tasks]
        token = page.next_page_token
        if not token:
            break
    assert listed == newest_first

    wanted = STATE.TASK_STATE_INPUT_REQUIRED
    page = await client.list_tasks(pb.ListTasksRequest(status=wanted))
    assert {task.id for task in page.tasks} == {tasks[1].id, tasks[3].id}
    one = tasks[2]
    page = await client.list_tasks(pb.ListTasksRequest(context_id=one.context_id))
    assert [task.id for task in page.tasks] == [one.id]
    since = pb.ListTasksRequest(status_timestamp_after=tasks[3].status.timestamp)
    page = await client.list_tasks(since)
    assert {task.id for task in page.tasks} >= {tasks[3].id, tasks[4].id}
    assert tasks[0].id not in {task.id for task in page.tasks} or order(tasks[0]) >= order(tasks[3])
    for size in (0, 101, -1):
        with pytest.raises(errors.InvalidParamsError):
            await client.list_tasks(pb.ListTasksRequest(page_size=size))
    with pytest.raises(errors.InvalidParamsError):
        await client.list_tasks(pb.ListTasksRequest(page_token="nope"))


def order(task: pb.Task) -> tuple[int, str]:
    """Return what tasks are sorted by."""
    return task.status.timestamp.ToNanoseconds(), task.id


async def test_what_is_not_declared_is_refused(client: Client) -> None:
    with pytest.raises(errors.PushNotificationNotSupportedError):
        await client.get_task_push_notification_config(
            pb.GetTaskPushNotificationConfigRequest(task_id="t", id="c")
        )
    part = pb.Part(raw=b"x", media_type="application/x-unsupported-tck-type")
    asked = request("x")
    asked.message.parts.append(part)
    with pytest.raises(errors.ContentTypeNotSupportedError):
        await send(client, asked)


async def test_many_at_once(client: Client) -> None:
    answers = await asyncio.gather(
        *(stream(client, request("tck-stream-001", text=str(n))) for n in range(20))
    )
    assert len({events[0].task.id for events in answers}) == 20
    assert all(
        events[-1].status_update.status.state == STATE.TASK_STATE_COMPLETED for events in answers
    )
