"""The SDK's own routes on pelton: what the official client sees is a server of the SDK.

The answers of all three bindings are the SDK's, the errors its own classes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from a2a.auth.user import User
from a2a.client import Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors
from grpc import aio
from msgspec.structs import replace

from pelton.adapters.a2a.errors import FAULTS
from pelton.adapters.a2a.extensions import POSITION, RESUME
from pelton.adapters.a2a_sdk.errors import as_sdk
from pelton.adapters.a2a_sdk.handler import DurableRequestHandler
from pelton.adapters.push.keys import new_key
from pelton.events.errors import InvalidInput, PeltonError
from pelton.runtime.push_settings import PushSettings
from tests.adapters.a2a.world import HEADERS, WORLD, until
from tests.adapters.a2a_sdk.sample import SampleAgentExecutor
from tests.adapters.a2a_sdk.serving import card, extended, serving, settings
from tests.adapters.push.receiver import ALLOWED, receiving

STATE = pb.TaskState


@pytest.fixture
def handler(nats_url: str, tmp_path: Path) -> DurableRequestHandler:
    return DurableRequestHandler(
        SampleAgentExecutor(),
        card(),
        extended_agent_card=extended(),
        settings=settings(tmp_path, nats_url),
    )


@pytest_asyncio.fixture(params=["JSONRPC", "HTTP+JSON", "GRPC"])
async def client(
    request: pytest.FixtureRequest, handler: DurableRequestHandler
) -> AsyncIterator[Client]:
    async with serving(handler, card()) as url, httpx.AsyncClient(timeout=20) as http:
        config = ClientConfig(
            httpx_client=http,
            grpc_channel_factory=aio.insecure_channel,
            supported_protocol_bindings=[request.param],
        )
        async with await ClientFactory(config).create_from_url(url) as client:
            yield client


def request(text: str, *, now: bool = False, **members: Any) -> pb.SendMessageRequest:
    message = pb.Message(
        message_id=uuid.uuid4().hex, role=pb.ROLE_USER, parts=[pb.Part(text=text)], **members
    )
    configuration = pb.SendMessageConfiguration(return_immediately=now)
    return pb.SendMessageRequest(message=message, configuration=configuration)


async def stream(client: Client, asked: pb.SendMessageRequest) -> list[pb.StreamResponse]:
    return [event async for event in client.send_message(asked)]


async def send(client: Client, text: str, **members: Any) -> pb.StreamResponse:
    client._config.streaming = False  # type: ignore[attr-defined]  # noqa: SLF001  one client, both ways
    try:
        [answer] = await stream(client, request(text, **members))
    finally:
        client._config.streaming = True  # type: ignore[attr-defined]  # noqa: SLF001
    return answer


def said(task: pb.Task) -> tuple[str, str]:
    parts = task.status.message.parts
    return STATE.Name(task.status.state).removeprefix("TASK_STATE_"), parts[0].text if parts else ""


async def test_sends_and_their_endings(client: Client) -> None:
    assert (await send(client, "message")).message.parts[0].text == "just a message"
    task = (await send(client, "hello")).task
    assert said(task) == ("COMPLETED", "hello, after 0")
    assert said(await client.get_task(pb.GetTaskRequest(id=task.id))) == said(task)
    assert said((await send(client, "fail")).task)[0] == "FAILED"
    assert said((await send(client, "reject")).task)[0] == "REJECTED"
    asked = (await send(client, "ask")).task
    assert said(asked) == ("INPUT_REQUIRED", "what?")
    again = (await send(client, "more", task_id=asked.id)).task  # and no context, twice
    assert said(again) == ("COMPLETED", "more, after 3")
    assert again.context_id == asked.context_id


async def test_streams(client: Client) -> None:
    events = await stream(client, request("stream"))
    assert events[0].HasField("task")
    chunks = [each.artifact_update for each in events if each.HasField("artifact_update")]
    numbers = [each for each in chunks if each.artifact.name == chunks[0].artifact.name]
    assert "".join(each.artifact.parts[0].text for each in numbers) == "0 1 2 "
    assert numbers[-1].last_chunk
    assert events[-1].status_update.status.state == STATE.TASK_STATE_COMPLETED
    [event] = await stream(client, request("message"))
    assert event.message.parts[0].text == "just a message"


@pytest.mark.accepts("AS-33")
async def test_subscriptions_and_cancellations(client: Client) -> None:
    task = (await send(client, "wait", now=True)).task
    events = client.subscribe(pb.SubscribeToTaskRequest(id=task.id))
    first = await anext(events)
    assert first.task.id == task.id
    canceled = await client.cancel_task(pb.CancelTaskRequest(id=task.id))
    assert canceled.status.state == STATE.TASK_STATE_CANCELED
    last = [event async for event in events][-1]
    assert last.status_update.status.state == STATE.TASK_STATE_CANCELED


@pytest.mark.accepts("AS-30")
async def test_lists(client: Client) -> None:
    tasks = [(await send(client, text)).task for text in ("ask", "one", "two")]
    page = await client.list_tasks(pb.ListTasksRequest(page_size=2, history_length=1))
    assert (page.total_size, page.page_size, len(page.tasks)) == (3, 2, 2)
    assert page.tasks[0].id == tasks[2].id
    rest = pb.ListTasksRequest(page_size=2, page_token=page.next_page_token)
    assert [each.id for each in (await client.list_tasks(rest)).tasks] == [tasks[0].id]
    waiting = pb.ListTasksRequest(status=STATE.TASK_STATE_INPUT_REQUIRED)
    assert [each.id for each in (await client.list_tasks(waiting)).tasks] == [tasks[0].id]


async def test_the_extended_card_is_the_one_that_was_given(client: Client) -> None:
    shown = await client.get_extended_agent_card(pb.GetExtendedAgentCardRequest())
    assert [skill.id for skill in shown.skills] == ["s", "more"]


async def test_errors_are_those_of_the_sdk(client: Client) -> None:
    get, missing = client.get_task, pb.GetTaskRequest(id="nope")
    with pytest.raises(errors.TaskNotFoundError):
        await get(missing)
    task = (await send(client, "hello")).task
    with pytest.raises(errors.TaskNotCancelableError):
        await client.cancel_task(pb.CancelTaskRequest(id=task.id))
    with pytest.raises(errors.UnsupportedOperationError):
        await send(client, "again", task_id=task.id)
    with pytest.raises(errors.UnsupportedOperationError):
        await anext(client.subscribe(pb.SubscribeToTaskRequest(id=task.id)))
    asked = request("x")
    asked.message.parts.add(raw=b"x", media_type="image/x-nothing")
    with pytest.raises(errors.ContentTypeNotSupportedError):
        await stream(client, asked)
    with pytest.raises(errors.InvalidParamsError):
        await stream(client, request("x", task_id=task.id, context_id="another"))
    with pytest.raises(errors.InvalidParamsError):
        await client.list_tasks(pb.ListTasksRequest(page_token="nope"))
    with pytest.raises(errors.InvalidParamsError) as raised:
        await stream(client, pb.SendMessageRequest(message=pb.Message()))
    assert "message" in str(data_of(raised.value))


async def test_versions_and_positions_are_heeded(client: Client) -> None:
    """The SDK's routes look at the first number of the version, or, over gRPC, at nothing."""
    task = (await send(client, "ask")).task
    get = pb.GetTaskRequest(id=task.id)
    other = ClientCallContext(service_parameters={"a2a-version": "1.7"})
    with pytest.raises(errors.VersionNotSupportedError):
        await client.get_task(get, context=other)
    resuming = ClientCallContext(
        service_parameters={"last-event-id": "0", "a2a-extensions": RESUME}
    )
    events = client.subscribe(pb.SubscribeToTaskRequest(id=task.id), context=resuming)
    shown = [await anext(events) for _ in range(3)]
    assert shown[0].task.status.state == STATE.TASK_STATE_SUBMITTED
    assert all(POSITION in _event(each).metadata for each in shown)
    await events.aclose()  # type: ignore[attr-defined]  # it is a generator


def _event(response: pb.StreamResponse) -> Any:
    return getattr(response, response.WhichOneof("payload") or "")


async def test_a_key_makes_a_send_happen_once(client: Client) -> None:
    client._config.streaming = False  # type: ignore[attr-defined]  # noqa: SLF001
    keyed = ClientCallContext(service_parameters={"idempotency-key": "k"})
    asked = request("hello")
    both = [[e async for e in client.send_message(asked, context=keyed)] for _ in range(2)]
    assert both[0][0].task.id == both[1][0].task.id


async def test_clients_of_0_3_go_on_as_before(handler: DurableRequestHandler) -> None:
    """The SDK's routes translate; a request without a version is theirs to let in or refuse."""
    said = {"kind": "message", "messageId": "m", "role": "user"}
    params = {"message": {**said, "parts": [{"kind": "text", "text": "hello"}]}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params}
    async with serving(handler, card()) as url, httpx.AsyncClient(timeout=20) as client:
        answer = (await client.post(url, json=body)).json()
        refused = (await client.post(url, json={**body, "method": "SendMessage"})).json()
    assert answer["result"]["status"]["state"] == "completed"
    assert refused["error"]["code"] == -32009


async def test_push_notifications_are_sent_where_the_card_declares_them(
    nats_url: str, tmp_path: Path
) -> None:
    shown = card()
    shown.capabilities.push_notifications = True
    new_key(tmp_path / "keys.json", world=WORLD)
    push = PushSettings(keys=str(tmp_path / "keys.json"), allow=ALLOWED)
    given = replace(settings(tmp_path, nats_url), push=push)
    context = ServerCallContext()
    handler = DurableRequestHandler(SampleAgentExecutor(), shown, settings=given)
    async with receiving() as receiver, handler:
        asked = await handler.on_message_send(request("ask"), context)
        config = pb.TaskPushNotificationConfig(task_id=asked.id, url=receiver.url)  # type: ignore[union-attr]
        made = await handler.on_create_task_push_notification_config(config, context)
        named = {"task_id": made.task_id, "id": made.id}
        got = await handler.on_get_task_push_notification_config(
            pb.GetTaskPushNotificationConfigRequest(**named), context
        )
        assert got == made
        await handler.on_message_send(request("more", task_id=made.task_id), context)
        await until(lambda: receiver.got and receiver.got[-1].kind == "statusUpdate completed")
        await handler.on_delete_task_push_notification_config(
            pb.DeleteTaskPushNotificationConfigRequest(**named), context
        )
        listed = await handler.on_list_task_push_notification_configs(
            pb.ListTaskPushNotificationConfigsRequest(task_id=made.task_id), context
        )
        assert not listed.configs


@pytest.mark.accepts("AS-4")
async def test_tasks_are_their_users_alone(handler: DurableRequestHandler) -> None:
    users: tuple[dict[str, str], ...] = ({"x-user": "ada"}, {"x-user": "anonymous"}, {})
    async with serving(handler, card()) as url, httpx.AsyncClient(timeout=20) as client:
        tasks: list[str] = []
        for user in users:
            parts = [{"text": "hello"}]
            said = {"messageId": "m", "role": "ROLE_USER", "parts": parts}
            answer = await client.post(
                f"{url}/message:send", json={"message": said}, headers=HEADERS | user
            )
            tasks.append(answer.json()["task"]["id"])
        for user, own in zip(users, tasks, strict=True):
            listed = (await client.get(f"{url}/tasks", headers=HEADERS | user)).json()
            assert [task["id"] for task in listed["tasks"]] == [own]
            for task in tasks:
                got = await client.get(f"{url}/tasks/{task}", headers=HEADERS | user)
                assert got.status_code == (200 if task == own else 404)


async def test_what_the_card_does_not_declare_is_refused(nats_url: str, tmp_path: Path) -> None:
    plain = card()
    plain.capabilities.Clear()
    plain.capabilities.extensions.add(uri="urn:needed", required=True)
    handler = DurableRequestHandler(
        SampleAgentExecutor(), plain, settings=settings(tmp_path, nats_url)
    )
    context = ServerCallContext(requested_extensions={"urn:needed"})
    async with handler:
        with pytest.raises(errors.ExtensionSupportRequiredError):
            await handler.on_message_send(request("hello"), ServerCallContext())
        for stream in (
            handler.on_message_send_stream(request("hello"), context),
            handler.on_subscribe_to_task(pb.SubscribeToTaskRequest(id="x"), context),
        ):
            with pytest.raises(errors.UnsupportedOperationError):
                await anext(stream)
        with pytest.raises(errors.UnsupportedOperationError):
            await handler.on_get_extended_agent_card(pb.GetExtendedAgentCardRequest(), context)
        for refused in (
            handler.on_create_task_push_notification_config(
                pb.TaskPushNotificationConfig(task_id="t", url="https://example.com"), context
            ),
            handler.on_get_task_push_notification_config(
                pb.GetTaskPushNotificationConfigRequest(task_id="t", id="c"), context
            ),
            handler.on_list_task_push_notification_configs(
                pb.ListTaskPushNotificationConfigsRequest(task_id="t"), context
            ),
            handler.on_delete_task_push_notification_config(
                pb.DeleteTaskPushNotificationConfigRequest(task_id="t", id="c"), context
            ),
        ):
            with pytest.raises(errors.PushNotificationNotSupportedError):
                await refused
        answer = await handler.on_message_send(request("hello"), context)
        assert isinstance(answer, pb.Task)


async def test_an_extended_card_may_be_changed_for_each_caller(
    nats_url: str, tmp_path: Path
) -> None:
    async def modify(shown: pb.AgentCard, context: ServerCallContext) -> pb.AgentCard:
        made = pb.AgentCard()
        made.CopyFrom(shown)
        made.name = context.user.user_name or "for nobody"
        return made

    given: dict[str, Any] = {"settings": settings(tmp_path, nats_url)}
    asked = pb.GetExtendedAgentCardRequest(), ServerCallContext()
    handler = DurableRequestHandler(
        SampleAgentExecutor(),
        card(),
        extended_agent_card=extended(),
        extended_card_modifier=modify,
        **given,
    )
    assert (await handler.on_get_extended_agent_card(*asked)).name == "for nobody"
    without = DurableRequestHandler(SampleAgentExecutor(), card(), **given)
    with pytest.raises(errors.ExtendedAgentCardNotConfiguredError):
        await without.on_get_extended_agent_card(*asked)


async def test_who_is_not_open_says_so(handler: DurableRequestHandler) -> None:
    context = ServerCallContext()
    with pytest.raises(errors.InternalError) as raised:
        await handler.on_get_task(pb.GetTaskRequest(id="x"), context)
    assert data_of(raised.value)
    async with handler:
        with pytest.raises(errors.TaskNotFoundError):
            await handler.on_get_task(pb.GetTaskRequest(id="x"), context)
    async with handler:  # it can be opened again
        answer = await handler.on_message_send(request("hello"), context)
        assert isinstance(answer, pb.Task)
    with pytest.raises(errors.InternalError):
        await handler.on_get_task(pb.GetTaskRequest(id="x"), context)


async def test_streams_end_when_it_closes(handler: DurableRequestHandler) -> None:
    async with handler:
        events = handler.on_message_send_stream(request("wait"), ServerCallContext())
        await anext(events)
        reading = asyncio.ensure_future(_rest(events))
        await asyncio.sleep(0)
    assert isinstance(await asyncio.wait_for(reading, 10), list)


async def _rest(events: Any) -> list[Any]:
    return [event async for event in events]


def data_of(error: errors.A2AError) -> Any:
    return cast("Any", error).data


class Told(PeltonError):
    """An error with a code of ours."""

    def __init__(self, code: str) -> None:
        super().__init__("what happened")
        self.code = code  # type: ignore[misc]


@pytest.mark.parametrize("code", [*FAULTS, "some-other"])
def test_every_error_is_one_that_the_sdk_knows(code: str) -> None:
    """The SDK looks classes up by identity: of another one its routes make an unknown error."""
    found = as_sdk(Told(code), "c")
    fault = FAULTS.get(code)
    number = errors.JSON_RPC_ERROR_CODE_MAP[type(found)]
    if fault is None:
        assert (number, found.message) == (-32603, "Internal error")
    else:
        own = fault.rpc == -32000  # for which the SDK has no class
        assert number == (-32600 if own else fault.rpc)
    assert data_of(found) == {"correlationId": "c"}


def test_a_violation_names_its_field() -> None:
    found = as_sdk(InvalidInput("bad", field="message.parts"), "c")
    assert type(found) is errors.InvalidParamsError
    expected = [{"field": "message.parts", "message": "bad"}]
    assert data_of(found) == {"correlationId": "c", "errors": expected}


class Alone(User):
    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return "ada"


class Curious(AgentExecutor):
    """Says whom it works for."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.call_context is not None
        user = context.call_context.user
        said = f"{user.user_name}, {user.is_authenticated}"
        message = pb.Message(message_id="m", role=pb.ROLE_AGENT, parts=[pb.Part(text=said)])
        await event_queue.enqueue_event(message)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        raise NotImplementedError


async def test_an_executor_knows_whom_it_works_for(nats_url: str, tmp_path: Path) -> None:
    handler = DurableRequestHandler(Curious(), card(), settings=settings(tmp_path, nats_url))
    async with handler:
        for user, expected in ((Alone(), "ada, True"), (None, ", False")):
            context = ServerCallContext(user=user) if user else ServerCallContext()
            answer = await handler.on_message_send(request("who"), context)
            assert isinstance(answer, pb.Message)
            assert answer.parts[0].text == expected
