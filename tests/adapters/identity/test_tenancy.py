"""Everybody's requests on everybody's ids: another's task looks exactly like a missing one (S4).

The operations are those that the bindings have: one that no row here asks is a failure.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from pelton.adapters.a2a import legacy, rest
from pelton.adapters.a2a.operations import OPERATIONS
from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role
from pelton.events.commands import CancelTask, CancelTaskData, SendMessage, SendMessageData
from pelton.events.envelope import encode
from pelton.events.ids import context_of, derive, task_id
from pelton.runtime.clock import rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Extent
from tests.adapters.a2a.world import WORLD
from tests.adapters.identity.people import ACME, GLOBEX, Town

MISSING = task_id("nowhere", "nothing")


def said(**members: str) -> dict[str, Any]:
    """Return a message."""
    return {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}], **members}


class Ask(NamedTuple):
    """A request about a task."""

    verb: str
    path: str
    body: dict[str, Any] | None = None


def rpc(method: str, task: str) -> Ask:
    """Return a JSON-RPC request about a task."""
    params: dict[str, Any] = {"id": task, "taskId": task}
    if method.startswith("Send"):
        params = {"message": said(taskId=task)}
    if "PushNotification" in method:
        params = {"taskId": task, "id": "p", "url": "https://hook.example"}
    return Ask("POST", "/echo", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def over_http(operation: str, verb: str, task: str) -> list[Ask]:
    """Return the requests of an operation of HTTP+JSON about a task."""
    push = f"/echo/tasks/{task}/pushNotificationConfigs"
    hook = {"url": "https://hook.example"}
    asks: Mapping[str, list[Ask]] = {
        "SendMessage": [Ask("POST", "/echo/message:send", {"message": said(taskId=task)})],
        "SendStreamingMessage": [
            Ask("POST", "/echo/message:stream", {"message": said(taskId=task)})
        ],
        "GetTask": [Ask("GET", f"/echo/tasks/{task}")],
        "ListTasks": [Ask("GET", f"/echo/tasks?contextId={_context(task)}")],
        "CancelTask": [Ask("POST", f"/echo/tasks/{task}:cancel", {})],
        "SubscribeToTask": [Ask(verb, f"/echo/tasks/{task}:subscribe")],
        "CreateTaskPushNotificationConfig": [Ask(verb, push, hook)],
        "ListTaskPushNotificationConfigs": [Ask(verb, push)],
        "GetTaskPushNotificationConfig": [Ask(verb, f"{push}/p")],
        "DeleteTaskPushNotificationConfig": [Ask(verb, f"{push}/p")],
        "GetExtendedAgentCard": [Ask("GET", "/echo/extendedAgentCard")],
    }
    return asks[operation]  # a new operation needs a row above


def of_old(method: str, task: str) -> Ask:
    """Return a request of A2A 0.3 about a task."""
    old = {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text"}]}
    params: dict[str, Any] = {"id": task, "message": {**old, "taskId": task}}
    return Ask("POST", "/echo", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def below_v1(ask: Ask) -> Ask:
    """Return a request of HTTP+JSON as one of A2A 0.3."""
    return ask._replace(path=ask.path.replace("/echo/", "/echo/v1/", 1))


def _context(task: str) -> str:
    return context_of(task)


def operations() -> list[tuple[str, str]]:
    """Return the operations of HTTP+JSON with their verbs, by the source of the binding."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(inspect.getsource(rest))):
        if isinstance(node, ast.Dict):
            for name, value in zip(node.keys, node.values, strict=True):
                if isinstance(name, ast.Constant) and name.value in ("GET", "POST", "DELETE"):
                    assert isinstance(value, ast.Constant)
                    found.add((str(value.value), str(name.value)))
    return sorted(found)


def every(task: str) -> list[Ask]:
    """Return every request there is about a task."""
    asks = [a for name, verb in operations() for a in over_http(name, verb, task)]
    asks += [below_v1(each) for each in asks]
    asks += [rpc(method, task) for method in OPERATIONS]
    return asks + [of_old(method, task) for method in legacy.METHODS]


def test_the_operations_are_found() -> None:
    assert {name for name, _ in operations()} == set(OPERATIONS)
    assert {("CancelTask", "POST"), ("SubscribeToTask", "GET")} <= set(operations())


async def answer(town: Town, ask: Ask, who: str, headers: dict[str, str]) -> tuple[int, str]:
    """Return the status and the body of an answer, without what is new in each."""
    sent = {"headers": headers, "json": ask.body} if ask.body is not None else {"headers": headers}
    found = await town.ask(ask.verb, ask.path, who, **sent)
    return found.status_code, re.sub(r'"correlationId":"[^"]*"', "", found.text)


@pytest.mark.accepts("S4", "AS-1", "AS-3")
async def test_what_another_has_opened_is_not_there(place: Town) -> None:
    """Principals of the same tenant and of another one, on a task that waits for its owner."""
    task = (await place.send("anna", "ask"))["id"]
    config = {"taskId": task, "id": "p", "url": "https://mine.example/canary", "token": "canary"}
    made = await place.rpc("CreateTaskPushNotificationConfig", "anna", **config)
    assert made["result"] == config
    before = await settled(place)
    for who in ("bert", "robot", "carl", "otto"):
        for real, missing in zip(every(task), every(MISSING), strict=True):
            found = await answer(place, real, who, {})
            assert found == await answer(place, missing, who, {}), (who, real)
            assert "what?" not in found[1]
            assert "mine.example" not in found[1]
    assert {tenant: await log.extent() for tenant, log in place.logs.items()} == before
    shown = await place.rpc("GetTaskPushNotificationConfig", "anna", taskId=task, id="p")
    assert shown["result"] == config
    assert (await place.send("anna", "thanks", taskId=task))["id"] == task


async def settled(place: Town) -> dict[str, Extent]:
    """Return how far each log goes."""
    return {tenant: await log.extent() for tenant, log in place.logs.items()}


@pytest.mark.accepts("S4", "AS-40")
async def test_only_who_has_created_a_push_config_sees_its_secrets(place: Town) -> None:
    """Who reaches all tasks of the tenant may know of it, see to whom it leads, and delete it."""
    task = (await place.send("anna", "ask"))["id"]
    secret = {"scheme": "Bearer", "credentials": "canary-c"}
    config: Any = {
        "url": "https://mine.example/canary-u",
        "token": "canary-t",
        "authentication": secret,
    }
    await place.rpc("CreateTaskPushNotificationConfig", "anna", taskId=task, id="p", **config)
    for who in ("paul", "olga"):
        got = await place.rpc("GetTaskPushNotificationConfig", who, taskId=task, id="p")
        shown = {"taskId": task, "id": "p", "url": "https://mine.example:443"}
        assert got["result"] == shown
        listed = await place.rpc("ListTaskPushNotificationConfigs", who, taskId=task)
        assert listed["result"]["configs"] == [shown]
        own = await place.ask("GET", f"/v1/push/{task}", who)
        assert [each["receiver"] for each in own.json()["configs"]] == ["https://mine.example:443"]
        assert "canary" not in own.text
    for who in ("bert", "carl", "otto"):
        assert (await place.ask("GET", f"/v1/push/{task}", who)).status_code == 404
    records = await place.logs[ACME].read(subjects.pushes("echo", task))
    assert b"canary" not in b"".join(record.data for record in records)
    await place.rpc("DeleteTaskPushNotificationConfig", "olga", taskId=task, id="p")
    gone = await place.rpc("GetTaskPushNotificationConfig", "anna", taskId=task, id="p")
    assert gone["error"]["code"] == -32001


@pytest.mark.accepts("S4", "AS-1")
async def test_a_path_or_a_host_does_not_lead_to_another_tenant(place: Town) -> None:
    task = (await place.send("anna", "ask"))["id"]
    before = await place.logs[ACME].extent()
    elsewhere = {"host": "globex.example"}
    for real in every(task):
        for who, path, headers in (
            ("carl", f"/{ACME}", {}),
            ("otto", f"/{ACME}", {}),
            ("anna", f"/{GLOBEX}", {}),
            ("anna", "", elsewhere),
        ):
            ask = real._replace(path=path + real.path)
            found = await answer(place, ask, who, headers)
            nowhere = ask._replace(path=f"{path}/nobody" + real.path[len("/echo") :])
            assert found == await answer(place, nowhere, who, headers), (who, ask)
    assert await place.logs[ACME].extent() == before
    for who, path, headers in (("anna", f"/{ACME}", {}), ("carl", "", elsewhere)):
        listed = await place.ask("GET", f"{path}/echo/tasks", who, headers=headers)
        assert listed.status_code == 200


@pytest.mark.accepts("S4", "AS-1")
async def test_lists_and_their_cursors_are_ones_own(place: Town) -> None:
    for _ in range(3):
        await place.send("anna")
    await place.send("bert")
    page = await place.rpc("ListTasks", "anna", pageSize=2)
    assert page["result"]["totalSize"] == 3
    cursor = page["result"]["nextPageToken"]
    assert len((await place.rpc("ListTasks", "anna", pageToken=cursor))["result"]["tasks"]) == 1
    for who, total in (("bert", 1), ("carl", 0), ("otto", 0), ("olga", 4), ("paul", 4)):
        assert (await place.rpc("ListTasks", who))["result"]["totalSize"] == total
        stolen = await place.rpc("ListTasks", who, pageToken=cursor)
        assert stolen["error"]["code"] == -32602, who


@pytest.mark.accepts("S4")
async def test_nobody_speaks_in_anothers_context(place: Town) -> None:
    """A2A-INJ-01: a message into a conversation that somebody else has opened."""
    task = await place.send("anna", contextId="our-talk")
    before = await place.logs[ACME].extent()
    refused = await place.rpc("SendMessage", "bert", message=said(contextId="our-talk"))
    assert refused["error"]["code"] == -32602
    assert await place.logs[ACME].extent() == before, "the bridge refuses it, before it is asked"
    assert (await place.send("anna", contextId="our-talk"))["contextId"] == "our-talk"
    theirs = await place.send("carl", contextId="our-talk")
    assert theirs["contextId"] == "our-talk"
    state = await Contexts(place.logs[ACME]).load("echo", "our-talk")
    assert state.owner == "anna"
    assert len(state.tasks) == 2
    assert task["id"] in state.tasks
    assert set(state.tasks).isdisjoint({theirs["id"]})


@pytest.mark.accepts("S4", "AS-3")
@pytest.mark.parametrize("reach", [False, True])
async def test_the_executor_refuses_what_no_bridge_has_refused(place: Town, *, reach: bool) -> None:
    """Authorisation is decided with the command too: one that is simply appended is refused."""
    task = (await place.send("anna", "ask", contextId="talk"))["id"]
    log = place.logs[ACME]
    contexts = Contexts(log)
    for number, data in enumerate(
        (
            CancelTaskData(task_id=task),
            SendMessageData(
                message=Message(
                    message_id="x", role=Role.USER, parts=(Part(text="y"),), task_id=task
                )
            ),
        )
    ):
        kind: Any = SendMessage if isinstance(data, SendMessageData) else CancelTask
        id_ = derive("command", str(number))
        command = kind(
            id=id_,
            source="test",
            subject=subjects.commands("echo", "talk"),
            time=rfc3339(WORLD.now()),
            tenant=ACME,
            actor="bert",
            correlationid=id_,
            causationid=id_,
            data=data,
            **({"reach": "tenant"} if reach else {}),
        )
        await log.append(command.subject, encode(command), id=id_)
        state = await contexts.load("echo", "talk")
        while id_ not in state.commands:
            state = await contexts.load("echo", "talk")
        if not reach:
            assert state.rejected[id_].code == "task-not-found"
            assert state.tasks[task].status.state == "TASK_STATE_INPUT_REQUIRED"
    state = await contexts.load("echo", "talk")
    assert (state.tasks[task].status.state == "TASK_STATE_CANCELED") is reach


async def test_approvers_and_operators_reach_the_tasks_of_their_tenant(place: Town) -> None:
    task = (await place.send("anna", "ask"))["id"]
    assert (await place.rpc("GetTask", "paul", id=task))["result"]["id"] == task
    assert (await place.send("paul", "this", taskId=task))["id"] == task
    task = (await place.send("anna", "ask"))["id"]
    canceled = await place.rpc("CancelTask", "olga", id=task)
    assert canceled["result"]["status"]["state"] == "TASK_STATE_CANCELED"


@pytest.mark.accepts("AS-4", "S13")
async def test_an_agent_speaks_in_its_own_name_alone(place: Town) -> None:
    """Who a message says that it comes from is who has sent it, whatever else it says."""
    for who, agent, good in (
        ("robot", "robot", True),
        ("robot", "boss", False),
        ("anna", "robot", False),
    ):
        origin = {"pelton/origin": {"agent": agent, "taskId": "t"}}
        answer = await place.rpc("SendMessage", who, message={**said(), "metadata": origin})
        assert ("result" in answer) is good, (who, agent)


async def test_what_one_sends_bears_ones_name(place: Town) -> None:
    await place.send("robot", contextId="named")
    records = await place.logs[ACME].read(subjects.commits("echo", "named"))
    assert {json.loads(record.data)["actor"] for record in records} == {"robot"}
    assert {json.loads(record.data)["tenant"] for record in records} == {ACME}
