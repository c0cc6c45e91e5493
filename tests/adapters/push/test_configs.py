"""The operations on push configs: the official clients on every binding, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.compat.v0_3 import types as old
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors
from google.protobuf.json_format import MessageToDict
from grpc import aio

from examples import conformance_agent
from pelton.events.pushes import MOST
from pelton.runtime.jetstream import JetStreamLog
from tests.a2a import validate
from tests.adapters.a2a.test_legacy import old_message, post
from tests.adapters.a2a.world import HEADERS, Rpc, executing, message, served, until
from tests.adapters.push.receiver import Receiver, nowhere, pushing, receiving

HOOK = "https://hooks.example.com/a2a"


@pytest_asyncio.fixture
async def url(log: JetStreamLog, tmp_path: Path) -> AsyncIterator[str]:
    async with (
        pushing(tmp_path, resolve=nowhere) as push,
        executing(log, conformance_agent.conformance),
        served(log, tmp_path, push=push, grpc=True, legacy=True) as url,
    ):
        yield f"{url}/conformance"


@pytest_asyncio.fixture(params=["JSONRPC", "HTTP+JSON", "GRPC", "JSONRPC 0.3", "HTTP+JSON 0.3"])
async def client(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Client]:
    """Return the official client, over one binding of one version."""
    binding, _, version = request.param.partition(" ")
    async with httpx.AsyncClient(timeout=10) as http:
        card = (await http.get(f"{url}/.well-known/agent-card.json")).json()
        assert card["capabilities"]["pushNotifications"] is True
        spoken = [
            pb.AgentInterface(
                url=each["url"],
                protocol_binding=binding,
                protocol_version=version or "1.0",
                tenant=each.get("tenant", ""),
            )
            for each in card["supportedInterfaces"]
            if each["protocolBinding"] == binding
        ]
        config = ClientConfig(
            httpx_client=http,
            grpc_channel_factory=aio.insecure_channel,
            supported_protocol_bindings=[binding],
            streaming=False,
        )
        known = pb.AgentCard(
            name=card["name"],
            supported_interfaces=spoken[:1],
            capabilities=pb.AgentCapabilities(streaming=True, push_notifications=True),
        )
        async with ClientFactory(config).create(known) as client:
            yield client


def wanted(task: str, config: str = "", **members: Any) -> pb.TaskPushNotificationConfig:
    given: Any = {"url": HOOK, "token": "t"} | members
    return pb.TaskPushNotificationConfig(task_id=task, id=config, **given)


def asked(task: str, config: str = "mine") -> pb.GetTaskPushNotificationConfigRequest:
    return pb.GetTaskPushNotificationConfigRequest(task_id=task, id=config)


async def sent(client: Client, scenario: str, **configuration: Any) -> pb.Task:
    said = pb.Message(
        message_id=f"{scenario}-{uuid.uuid4().hex[:8]}",
        role=pb.Role.ROLE_USER,
        parts=[pb.Part(text="hello")],
    )
    asked = pb.SendMessageRequest(
        message=said, configuration=pb.SendMessageConfiguration(**configuration)
    )
    [answer] = [each async for each in client.send_message(asked)]
    return answer.task


async def test_the_official_clients_work(client: Client) -> None:
    task = (await sent(client, "tck-input-required")).id
    authentication = pb.AuthenticationInfo(scheme="Bearer", credentials="c")
    mine = wanted(task, "mine", authentication=authentication)
    made = await client.create_task_push_notification_config(mine)
    mine.tenant = ""  # which the client sets itself
    assert made == mine
    got = await client.get_task_push_notification_config(asked(task))
    assert got == mine
    again = await client.create_task_push_notification_config(wanted(task, "mine", token="new"))
    assert again.token == "new"
    other = await client.create_task_push_notification_config(wanted(task))
    assert other.id not in ("", "mine")
    for missing in (asked(task, "nope"), asked("nope"), asked("x-0123456789abcdef")):
        with pytest.raises(errors.TaskNotFoundError):
            await client.get_task_push_notification_config(missing)
    try:
        listed = await client.list_task_push_notification_configs(
            pb.ListTaskPushNotificationConfigsRequest(task_id=task)
        )
    except NotImplementedError:  # the client's own limit: over HTTP+JSON 0.3
        return
    assert {each.id for each in listed.configs} == {"mine", other.id}
    gone = pb.DeleteTaskPushNotificationConfigRequest(task_id=task, id="mine")
    for _ in range(2):
        await client.delete_task_push_notification_config(gone)
    with pytest.raises(errors.TaskNotFoundError):
        await client.get_task_push_notification_config(asked(task))
    gone.task_id = "nope"
    with pytest.raises(errors.TaskNotFoundError):
        await client.delete_task_push_notification_config(gone)
    with pytest.raises(errors.TaskNotFoundError):
        await client.list_task_push_notification_configs(
            pb.ListTaskPushNotificationConfigsRequest(task_id="nope")
        )


async def test_a_config_comes_with_a_message_and_on_a_finished_task(client: Client) -> None:
    push = pb.TaskPushNotificationConfig(url=HOOK, id="came")
    task = (await sent(client, "tck-complete-task", task_push_notification_config=push)).id
    got = await client.get_task_push_notification_config(asked(task, "came"))
    assert got.url == HOOK
    made = await client.create_task_push_notification_config(wanted(task))
    assert await client.get_task_push_notification_config(asked(task, made.id)) == made


@pytest_asyncio.fixture
async def rpc(url: str) -> AsyncIterator[Rpc]:
    async with httpx.AsyncClient(timeout=10) as http:
        yield Rpc(url, http)


async def opened(rpc: Rpc, **members: Any) -> str:
    said = message(messageId="tck-input-required-1", **members)
    task: str = (await rpc.result("SendMessage", **said))["task"]["id"]
    return task


CREATE = "CreateTaskPushNotificationConfig"
LIST = "ListTaskPushNotificationConfigs"


@pytest.mark.accepts("AS-42", "S8")
@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": HOOK, "id": "a\nb"}, "id"),
        ({"url": HOOK, "id": "x" * 129}, "id"),
        ({"url": HOOK, "token": "a\r\nX-Evil: b"}, "token"),
        ({"url": HOOK, "token": "t" * 8193}, "token"),
        ({"url": HOOK, "token": "\u00e9"}, "token"),
        ({"url": HOOK, "authentication": {"scheme": "Bearer x"}}, "authentication.scheme"),
        ({"url": HOOK, "authentication": {"scheme": ""}}, "authentication.scheme"),
        ({"url": HOOK, "authentication": {}}, "authentication.scheme"),
        (
            {"url": HOOK, "authentication": {"scheme": "Bearer", "credentials": "a\nb"}},
            "authentication.credentials",
        ),
        ({"url": 7}, "url"),
        ({}, "url"),
        ({"url": HOOK, "taskId": ""}, "taskId"),
    ],
)
async def test_what_cannot_be_a_config_is_refused(
    rpc: Rpc, members: dict[str, Any], field: str
) -> None:
    body = await rpc(CREATE, **{"taskId": "x-0123456789abcdef"} | members)
    assert body["error"]["code"] == -32602
    violations = body["error"]["data"][1]["fieldViolations"]
    assert [each["field"] for each in violations] == [field]
    if field != "taskId":
        sending = message(configuration={"taskPushNotificationConfig": members})
        assert (await rpc("SendMessage", **sending))["error"]["code"] == -32602


@pytest.mark.accepts("AS-30")
async def test_lists_are_paged_and_bounded(rpc: Rpc) -> None:
    task = await opened(rpc)
    ids = [f"c{number:02}" for number in range(MOST)]
    for each in ids:
        validate(
            "Task Push Notification Config",
            await rpc.result(CREATE, taskId=task, id=each, url=HOOK),
        )
    refused = await rpc.error(CREATE, taskId=task, id="more", url=HOOK)
    assert refused == (-32602, "INVALID_PARAMS")
    found: list[str] = []
    token = ""
    while True:
        page = await rpc.result(LIST, taskId=task, pageSize=7, pageToken=token)
        validate("List Task Push Notification Configs Response", page)
        assert len(page["configs"]) <= 7
        found += [each["id"] for each in page["configs"]]
        if not (token := page["nextPageToken"]):
            break
    assert found == ids
    assert len((await rpc.result(LIST, taskId=task))["configs"]) == MOST
    other = await opened(rpc)
    for bad in ({"pageSize": 101}, {"pageSize": -1}, {"pageToken": "x"}):
        assert (await rpc.error(LIST, taskId=task, **bad))[0] == -32602
    first = await rpc.result(LIST, taskId=task, pageSize=1)
    stolen = await rpc.error(LIST, taskId=other, pageToken=first["nextPageToken"])
    assert stolen[0] == -32602


async def test_a_repeated_send_with_a_key_makes_one_config(rpc: Rpc) -> None:
    said = message(
        messageId="tck-input-required-1",
        configuration={"taskPushNotificationConfig": {"url": HOOK}},
    )
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": said}
    tasks: set[str] = set()
    headers = HEADERS | {"Idempotency-Key": "k"}
    for _ in range(3):
        answer = (await rpc.client.post(rpc.url, json=body, headers=headers)).json()
        tasks.add(answer["result"]["task"]["id"])
    [task] = tasks
    assert len((await rpc.result(LIST, taskId=task))["configs"]) == 1
    said["configuration"]["taskPushNotificationConfig"]["url"] = HOOK + "2"
    answer = (await rpc.client.post(rpc.url, json=body, headers=headers)).json()
    assert answer["error"]["data"][0]["reason"] == "IDEMPOTENCY_KEY_CONFLICT"


@pytest.mark.accepts("AS-27")
async def test_switched_off_all_is_refused_first(log: JetStreamLog, tmp_path: Path) -> None:
    async with (
        executing(log, conformance_agent.conformance),
        served(log, tmp_path) as url,
        httpx.AsyncClient() as http,
    ):
        rpc = Rpc(f"{url}/conformance", http)
        card = (await http.get(f"{rpc.url}/.well-known/agent-card.json")).json()
        assert card["capabilities"]["pushNotifications"] is False
        for method in (
            CREATE,
            LIST,
            CREATE.replace("Create", "Get"),
            CREATE.replace("Create", "Delete"),
        ):
            assert await rpc.error(method, nonsense=1) == (
                -32003,
                "PUSH_NOTIFICATION_NOT_SUPPORTED",
            )
        found = await http.get(f"{url}/v1/push/x-0123456789abcdef", headers=HEADERS)
        assert found.json()["error"]["code"] == "task-not-found"


async def test_clients_of_0_3_are_told_as_0_3_has_it(url: str) -> None:
    """Held to the models that the SDK has of 0.3; and one may name no config there."""
    config = {"url": HOOK, "authentication": {"schemes": ["Bearer", "Basic"], "credentials": "c"}}
    said = old_message(messageId="tck-input-required-1") | {
        "configuration": {"pushNotificationConfig": config}
    }
    task = (await post(url, "message/send", said))["result"]["id"]
    got = await post(url, "tasks/pushNotificationConfig/get", {"id": task})
    found = old.TaskPushNotificationConfig.model_validate(got["result"])
    assert found.push_notification_config.url == HOOK
    assert found.push_notification_config.authentication is not None
    assert found.push_notification_config.authentication.schemes == ["Bearer"]
    params: Any = {"taskId": task, "pushNotificationConfig": {"id": "two", "url": HOOK}}
    made = await post(url, "tasks/pushNotificationConfig/set", params)
    assert old.TaskPushNotificationConfig.model_validate(made["result"]).task_id == task
    listed = await post(url, "tasks/pushNotificationConfig/list", {"id": task})
    assert (
        len([old.TaskPushNotificationConfig.model_validate(each) for each in listed["result"]]) == 2
    )
    gone = {"id": task, "pushNotificationConfigId": "two"}
    for _ in range(2):
        assert (await post(url, "tasks/pushNotificationConfig/delete", gone))["result"] is None
    async with httpx.AsyncClient() as http:
        place = f"{url}/v1/tasks/{task}/pushNotificationConfigs"
        bare = {"config": {"pushNotificationConfig": {"id": "three", "url": HOOK}}}
        made = (await http.post(place, json=bare)).json()
        assert made["name"] == f"tasks/{task}/pushNotificationConfigs/three"
        assert made["pushNotificationConfig"]["id"] == "three"
        assert len((await http.get(place)).json()["configs"]) == 2
        assert (await http.delete(f"{place}/three")).json() == {}
        for bad in (b"[]", b"{}", b'{"config":7}', b'{"config":{"pushNotificationConfig":[]}}'):
            answer = await http.post(
                place, content=bad, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400, answer.text


async def test_to_0_3_the_task_is_posted(log: JetStreamLog, tmp_path: Path) -> None:
    async with (
        receiving() as receiver,
        pushing(tmp_path) as push,
        executing(log, conformance_agent.conformance),
        served(log, tmp_path, push=push, legacy=True) as url,
    ):
        said = old_message(messageId="tck-complete-task-1") | {
            "configuration": {"pushNotificationConfig": {"url": f"{receiver.url}/hook"}}
        }
        await post(f"{url}/conformance", "message/send", said)
        await _last(receiver, "completed")
        for got in receiver.got:
            assert got.headers["Content-Type"] == "application/json"
            old.Task.model_validate(got.json)


async def _last(receiver: Receiver, state: str) -> None:
    await until(lambda: receiver.got and receiver.got[-1].json["status"]["state"] == state, 10)


def test_messages_of_the_sdk_are_what_is_meant() -> None:
    assert MessageToDict(wanted("t", "c")) == {"taskId": "t", "id": "c", "url": HOOK, "token": "t"}
