"""Questions, queues and cancellations over HTTP: real bridge, executor and server."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import structlog
import structlog.testing
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict

from pelton.events import hitl
from pelton.events.commands import WhenBusy
from pelton.runtime.agents import Terms, agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.a2a import validate
from tests.adapters.a2a.world import HEADERS, Rpc, executing, message, served

SOON = Terms(suspend_after=0.1)


@agent(name="clerk", terms=SOON)
async def clerk(turn: Turn) -> str:
    """Ask before acting, or take a while."""
    match turn.text.split():
        case ["pay", *_]:
            said = await turn.approve("Pay 30?", tool="pay", args={"amount": 30})
            return f"approved: {said.approved} {said.reason}".strip()
        case ["expires"]:
            said = await turn.approve("Quick?", within=0.2)
            return f"approved: {said.approved} {said.reason}".strip()
        case ["guarded"]:
            return f"{await turn.ask('Who?', approvers=('bert',))}"
        case ["two"]:
            first, second = await asyncio.gather(turn.ask("First?"), turn.ask("Second?"))
            return f"{first} {second}"
        case ["hang"]:
            await asyncio.Event().wait()
        case ["slow", *_]:
            await asyncio.sleep(0.02)  # this is what is slow
        case _:
            pass
    return f"did {turn.text}"


@pytest_asyncio.fixture
async def url(log: JetStreamLog, tmp_path: Path) -> AsyncIterator[str]:
    async with executing(log, clerk), served(log, tmp_path) as url:
        yield f"{url}/clerk"


@pytest_asyncio.fixture
async def rpc(url: str, client: httpx.AsyncClient) -> Rpc:
    return Rpc(url, client)


def answer(task: Any, text: str = "yes", **members: Any) -> dict[str, Any]:
    """Return the parameters of a message to a task."""
    return message(text, taskId=task["id"], contextId=task["contextId"], **members)


def text(task: Any) -> str:
    said: str = task["status"]["message"]["parts"][0]["text"]
    return said


async def settled(rpc: Rpc, id_: str) -> Any:
    """Return a task once it has ended."""
    async with asyncio.timeout(10):
        while True:
            task = await rpc.result("GetTask", id=id_)
            if task["status"]["state"] in ("TASK_STATE_COMPLETED", "TASK_STATE_CANCELED"):
                return task
            await asyncio.sleep(0.02)


@pytest.mark.accepts("AS-57")
async def test_a_send_ends_at_a_question_and_an_answer_goes_on(rpc: Rpc) -> None:
    task = (await rpc.result("SendMessage", **message("pay")))["task"]
    validate("Task", task)
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    asked = task["status"]["message"]
    assert asked["extensions"] == [hitl.URI]
    [tool] = asked["metadata"][hitl.URI]["tools"]
    assert (tool["name"], tool["args"]) == ("pay", {"amount": 30})
    said = answer(
        task,
        "no",
        extensions=[hitl.URI],
        metadata={hitl.URI: hitl.decision(tool["id"], approved=False, reason="too much")},
    )
    task = (await rpc.result("SendMessage", **said))["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert text(task) == "approved: False too much"
    code, reason = await rpc.error("SendMessage", **answer(task))
    assert (code, reason) == (-32004, "UNSUPPORTED_OPERATION")


async def test_a_stream_ends_at_a_question_and_an_answer_streams_the_rest(rpc: Rpc) -> None:
    first = [event async for _, event in rpc.events("SendStreamingMessage", message("pay"))]
    task = first[0]["task"]
    assert first[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    second = [event async for _, event in rpc.events("SendStreamingMessage", answer(task))]
    assert second[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert second[-1]["statusUpdate"]["status"]["message"]["parts"] == [{"text": "approved: True"}]


@pytest.mark.accepts("AS-57")
async def test_a_question_survives_the_executor_and_the_bridge(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with executing(log, clerk), served(log, tmp_path) as url:
        rpc = Rpc(f"{url}/clerk", client)
        task = (await rpc.result("SendMessage", **message("pay")))["task"]
    async with executing(log, clerk), served(log, tmp_path) as url:
        rpc = Rpc(f"{url}/clerk", client)
        again = await rpc.result("GetTask", id=task["id"])
        assert again["status"] == task["status"]
        task = (await rpc.result("SendMessage", **answer(task)))["task"]
    assert text(task) == "approved: True"


@pytest.mark.accepts("AS-57")
async def test_a_question_that_expires_is_a_denial(rpc: Rpc) -> None:
    task = (await rpc.result("SendMessage", **message("expires")))["task"]
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert text(await settled(rpc, task["id"])) == "approved: False nobody decided in time"


@pytest.mark.accepts("AS-57", "S13")
async def test_somebody_else_may_not_answer(rpc: Rpc) -> None:
    task = (await rpc.result("SendMessage", **message("guarded")))["task"]
    body = await rpc.client.post(
        rpc.url,
        json={"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": answer(task, "me")},
        headers=HEADERS,
    )
    assert body.status_code == 403
    error = body.json()["error"]
    assert (error["code"], error["data"][0]["reason"]) == (-32600, "POLICY_DENIED")
    again = await rpc.result("GetTask", id=task["id"])
    assert again["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"


async def test_a_client_says_which_question_it_answers(rpc: Rpc) -> None:
    task = (await rpc.result("SendMessage", **message("two")))["task"]
    wrong = {**answer(task, "x"), "metadata": {"pelton/answers": "ask#7"}}
    assert (await rpc.error("SendMessage", **wrong))[1] == "INVALID_PARAMS"
    second = {
        **answer(task, "b", messageId="m2"),
        "metadata": {"pelton/answers": "ask#2"},
        "configuration": {"returnImmediately": True},
    }
    await rpc.result("SendMessage", **second)
    task = (await rpc.result("SendMessage", **answer(task, "a", messageId="m3")))["task"]
    assert text(task) == "a b"


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_the_official_client_answers_a_question(url: str, binding: str) -> None:
    async with httpx.AsyncClient(timeout=10) as http:
        config = ClientConfig(
            httpx_client=http, supported_protocol_bindings=[binding], streaming=True
        )
        async with await ClientFactory(config).create_from_url(url) as client:
            first = await events(client, text="pay")
            task = first[0].task
            update = first[-1].status_update
            assert update.status.state == pb.TaskState.TASK_STATE_INPUT_REQUIRED
            asked = MessageToDict(update.status.message)
            [tool] = asked["metadata"][hitl.URI]["tools"]
            said = pb.Message(task_id=task.id, context_id=task.context_id, extensions=[hitl.URI])
            made = {hitl.URI: hitl.decision(tool["id"], approved=True)}
            ParseDict(made, said.metadata)
            rest = await events(client, said, text="yes")
    status = rest[-1].status_update.status
    assert status.state == pb.TaskState.TASK_STATE_COMPLETED
    assert status.message.parts[0].text == "approved: True"


async def events(
    client: Client, said: pb.Message | None = None, *, text: str
) -> list[pb.StreamResponse]:
    """Return the events of a stream that a message leads to."""
    said = said or pb.Message()
    said.message_id, said.role = uuid.uuid4().hex, pb.Role.ROLE_USER
    said.parts.append(pb.Part(text=text))
    return [each async for each in client.send_message(pb.SendMessageRequest(message=said))]


async def test_the_card_declares_the_extension_and_an_answer_says_it_is_in_use(
    rpc: Rpc, url: str
) -> None:
    card = (await rpc.client.get(f"{url}/.well-known/agent-card.json")).json()
    [declared] = [each for each in card["capabilities"]["extensions"] if each["uri"] == hitl.URI]
    assert "required" not in declared
    asked = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "x"}}
    for wanted, said in (
        ([hitl.URI], hitl.URI),
        (["https://x.example/v1", f"https://y.example , {hitl.URI}"], hitl.URI),
        (["https://x.example/v1"], None),
        ([], None),
    ):
        headers = [*HEADERS.items(), *(("A2A-Extensions", each) for each in wanted)]
        done = await rpc.client.post(url, json=asked, headers=headers)
        assert done.headers.get("a2a-extensions") == said


# What only pelton may write


@pytest.mark.accepts("AS-4", "AS-52", "S13")
@pytest.mark.parametrize(
    ("members", "field"),
    [
        (
            {"message": {"metadata": {"pelton/position": {"agent": "boss"}}}},
            "message.metadata.pelton/position",
        ),
        (
            {"message": {"parts": [{"text": "x", "metadata": {"pelton/x": 1}}]}},
            "message.parts[0].metadata.pelton/x",
        ),
        (
            {"message": {"metadata": {"pelton/origin": {"agent": "boss", "taskId": "t"}}}},
            "message.metadata.pelton/origin",
        ),
        ({"message": {"metadata": {"pelton/origin": 1}}}, "message.metadata.pelton/origin"),
        ({"metadata": {"pelton/redriven": "x"}}, "metadata.pelton/redriven"),
        ({"metadata": {"pelton/turn": 1}}, "metadata.pelton/turn"),
    ],
)
async def test_names_of_pelton_are_refused_from_outside_and_noted(
    rpc: Rpc, members: dict[str, Any], field: str
) -> None:
    params = message("hello")
    params["message"] |= members.get("message", {})
    if "metadata" in members:
        params["metadata"] = members["metadata"]
    with structlog.testing.capture_logs() as lines:
        body = await rpc("SendMessage", **params)
    assert body["error"]["code"] == -32602
    assert body["error"]["data"][1]["fieldViolations"][0]["field"] == field
    noted = [line for line in lines if line["event"] == "reserved-name"]
    assert [line["field"] for line in noted] == [field]


async def test_metadata_of_others_is_theirs(rpc: Rpc) -> None:
    said = message("hello", metadata={"peltonesque": 1, "x/pelton/": 2})
    task = (await rpc.result("SendMessage", **said, metadata={"mine": 3}))["task"]
    assert task["metadata"] == {"mine": 3}


# Cancellations that name a turn


@pytest.mark.accepts("AS-33")
async def test_a_cancellation_names_a_turn_and_touches_no_other(rpc: Rpc) -> None:
    now = {"configuration": {"returnImmediately": True}}
    one = (await rpc.result("SendMessage", **message("hang") | now))["task"]
    other = (await rpc.result("SendMessage", **message("hang") | now))["task"]
    for wrong in (2, 2.0):
        refused = await rpc.error("CancelTask", id=one["id"], metadata={"pelton/turn": wrong})
        assert refused == (-32002, "TASK_NOT_CANCELABLE")
    for bad in ("1", True, -1, 1.5):
        refused = await rpc.error("CancelTask", id=one["id"], metadata={"pelton/turn": bad})
        assert refused == (-32602, "INVALID_PARAMS")
    done = await rpc.result("CancelTask", id=one["id"], metadata={"pelton/turn": 1})
    assert done["status"]["state"] == "TASK_STATE_CANCELED"
    left = await rpc.result("GetTask", id=other["id"])
    assert left["status"]["state"] == "TASK_STATE_WORKING"
    rest = await rpc.client.post(
        f"{rpc.url}/tasks/{other['id']}:cancel",
        content=json.dumps({"metadata": {"pelton/turn": 1}}),
        headers={**HEADERS, "Content-Type": "application/json"},
    )
    assert rest.json()["status"]["state"] == "TASK_STATE_CANCELED"


@pytest.mark.accepts("AS-33")
async def test_a_client_that_goes_away_cancels_nothing(rpc: Rpc, url: str) -> None:
    context, seen = uuid.uuid4().hex, list[Any]()
    async with httpx.AsyncClient(timeout=10) as leaving:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage"}
        params = message("pay", contextId=context)
        async with leaving.stream(
            "POST", url, json={**asked, "params": params}, headers=HEADERS
        ) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:])["result"]["task"])
                    break
    done = (await rpc.result("SendMessage", **answer(seen[0])))["task"]
    assert text(done) == "approved: True"


# A busy target


@pytest.mark.accepts("AS-49")
async def test_a_hundred_callers_of_one_conversation_wait_and_are_all_served(rpc: Rpc) -> None:
    context = uuid.uuid4().hex

    async def call(number: int) -> Any:
        said = message(f"slow {number}", messageId=f"m{number}", contextId=context)
        return (await rpc.result("SendMessage", **said))["task"]

    tasks = await asyncio.gather(*(call(number) for number in range(100)))
    assert {task["status"]["state"] for task in tasks} == {"TASK_STATE_COMPLETED"}
    assert {text(task) for task in tasks} == {f"did slow {number}" for number in range(100)}
    assert len({task["id"] for task in tasks}) == 100
    assert not any("pelton/position" in task.get("metadata", {}) for task in tasks)


@pytest.mark.accepts("AS-49")
async def test_a_hundred_callers_of_a_small_executor_are_all_served(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with executing(log, clerk, capacity=2), served(log, tmp_path) as url:
        rpc = Rpc(f"{url}/clerk", client)

        async def call(number: int) -> Any:
            return (await rpc.result("SendMessage", **message(f"slow {number}")))["task"]

        tasks = await asyncio.gather(*(call(number) for number in range(100)))
    assert {text(task) for task in tasks} == {f"did slow {number}" for number in range(100)}


@pytest.mark.accepts("AS-49")
async def test_who_waits_sees_its_position(rpc: Rpc) -> None:
    context = uuid.uuid4().hex
    now = {"configuration": {"returnImmediately": True}}
    tasks: list[Any] = []
    for number in range(4):
        said = message("hang", messageId=f"m{number}", contextId=context) | now
        tasks.append((await rpc.result("SendMessage", **said))["task"])
    assert tasks[0]["status"]["state"] == "TASK_STATE_WORKING"
    seen = [task.get("metadata", {}).get("pelton/position") for task in tasks]
    assert seen == [None, 1, 2, 3]
    validate("Task", tasks[3])
    listed = {task["id"]: task for task in (await rpc.result("ListTasks"))["tasks"]}
    assert listed[tasks[3]["id"]]["metadata"] == {"pelton/position": 3}
    await rpc.result("CancelTask", id=tasks[0]["id"])
    async with asyncio.timeout(5):
        while True:
            task = await rpc.result("GetTask", id=tasks[3]["id"])
            if task["metadata"]["pelton/position"] == 2:
                break
            await asyncio.sleep(0.02)
    said = message("hang", messageId="m9", contextId=context)
    async for _, event in rpc.events("SendStreamingMessage", said):
        assert event["task"]["metadata"] == {"pelton/position": 3}
        break


@pytest.mark.parametrize("mode", [WhenBusy.REJECT, WhenBusy.INTERRUPT])
async def test_a_client_wishes_what_becomes_of_its_message_if_the_agent_is_busy(
    rpc: Rpc, mode: WhenBusy
) -> None:
    context = uuid.uuid4().hex
    now = {"configuration": {"returnImmediately": True}}
    first = (await rpc.result("SendMessage", **message("hang", contextId=context) | now))["task"]
    said = message("hello", messageId="m2", contextId=context)
    wish = {"metadata": {"pelton/whenBusy": mode}}
    if mode is WhenBusy.REJECT:
        assert await rpc.error("SendMessage", **said, **wish) == (-32000, "BUSY")
        rest = await rpc.client.post(
            f"{rpc.url}/message:send",
            json={**said, **wish},
            headers=HEADERS,
        )
        assert (rest.status_code, rest.json()["error"]["status"]) == (409, "ABORTED")
    else:
        task = (await rpc.result("SendMessage", **said, **wish))["task"]
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        assert (await settled(rpc, first["id"]))["status"]["state"] == "TASK_STATE_CANCELED"
    bad = {"metadata": {"pelton/whenBusy": "whenever"}}
    assert (await rpc.error("SendMessage", **said, **bad))[1] == "INVALID_PARAMS"


async def test_a_client_wishes_a_deadline(rpc: Rpc) -> None:
    past = {"metadata": {"pelton/deadline": "2020-01-01T00:00:00.000Z"}}
    task = (await rpc.result("SendMessage", **message("hang"), **past))["task"]
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert text(task) == "It did not end in time."
    bad = {"metadata": {"pelton/deadline": "soon"}}
    assert (await rpc.error("SendMessage", **message("hang"), **bad))[1] == "INVALID_PARAMS"
