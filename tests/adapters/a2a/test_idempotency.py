"""Idempotent sends: a key stands for one request of one principal, for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from pelton.adapters.a2a.extensions import IDEMPOTENCY, KEY
from pelton.adapters.identity.authenticator import Admission, TestTokens
from pelton.events.a2a import TaskState
from pelton.events.envelope import encode
from pelton.events.events import Outcome
from pelton.events.principal import Principal, Role, granted
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.log import Log
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import (
    HEADERS,
    Rpc,
    Script,
    artifact,
    ended,
    executing,
    message,
    opened,
    parsed,
    scripted,
    served,
    started,
    status,
    turn,
)

RUNS: list[str] = []


@agent
async def counted(turn: Turn) -> str:
    """Count how often it runs."""
    RUNS.append(turn.task_id)
    return f"run {len(RUNS)}"


@pytest_asyncio.fixture
async def rpc(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> AsyncIterator[Rpc]:
    async with served(log, tmp_path, answer_within=1.0) as url:
        yield Rpc(f"{url}/scripted", client)


async def post(url: str, client: httpx.AsyncClient, key: str | None, **sent: Any) -> Any:
    """Send over HTTP+JSON; returns the body."""
    headers = HEADERS if key is None else HEADERS | {"Idempotency-Key": key}
    return (await client.post(f"{url}/message:send", json=sent, headers=headers)).json()


async def commands(log: Log, agent: str) -> list[str]:
    """Return the ids of the commands in the log, as often as each is there."""
    return [
        json.loads(record.data)["id"]
        async for batch in log.scan(pattern=f"cmd.{agent}.>")
        for record in batch
    ]


@pytest.mark.accepts("AS-9", "G7")
async def test_the_same_request_gives_the_same_task(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """On bridges at once, one after the other, and after all of them have begun anew."""
    RUNS.clear()
    sent = message("once", messageId="m")
    async with executing(log, counted), AsyncExitStack() as stack:
        urls: list[str] = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            urls.append(await stack.enter_async_context(served(log, tmp_path / name)) + "/counted")
        answers = await asyncio.gather(*(post(urls[n % 2], client, "k", **sent) for n in range(8)))
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["task"]["status"]["message"]["parts"] == [{"text": "run 1"}]
        for key in (None, "other"):  # another key, or none, is another request
            another = await post(urls[0], client, key, **sent)
            assert another["task"]["id"] != answers[0]["task"]["id"]
        await stack.aclose()
        (tmp_path / "c").mkdir()
        url = await stack.enter_async_context(served(log, tmp_path / "c"))
        assert await post(f"{url}/counted", client, "k", **sent) == answers[0]
    assert len(RUNS) == 3
    assert len(await commands(log, "counted")) == 3


@pytest.mark.accepts("AS-9")
async def test_what_is_published_again_after_the_window_is_decided_once(
    rpc: Rpc, script: Script, log: JetStreamLog, client: httpx.AsyncClient
) -> None:
    """The server's window of duplicates is no part of the promise: two such records, one task."""
    sending = asyncio.create_task(post(rpc.url, client, "k", **message("in", contextId="mine")))
    sequence, command = await script.command()
    await script.decide(*turn(opened(command), "x"), sequence=sequence, command=command)
    first = await sending
    again = await log.append(command.subject, encode(command), id="the-window-is-over")
    await script.decide(sequence=again, command=command)
    assert await post(rpc.url, client, "k", **message("in", contextId="mine")) == first
    assert (await client.get(f"{rpc.url}/tasks", headers=HEADERS)).json()["totalSize"] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"text": "b"},
        {"messageId": "m2"},
        {"contextId": "elsewhere"},
        {"taskId": "x-0123456789abcdef"},
        {"metadata": {"x": 1}},
        {"configuration": {"acceptedOutputModes": ["text/plain"]}},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_another_body_with_the_same_key_is_a_conflict(
    rpc: Rpc, script: Script, client: httpx.AsyncClient, other: dict[str, Any]
) -> None:
    first = asyncio.create_task(post(rpc.url, client, "k", **message("a")))
    await script.answer()
    task = (await first)["task"]["id"]
    changed = message(**({"text": "a"} | other))
    headers = HEADERS | {"Idempotency-Key": "k"}
    answer = await client.post(f"{rpc.url}/message:send", json=changed, headers=headers)
    error = answer.json()["error"]
    assert answer.status_code == 409
    assert (error["status"], error["details"][0]["reason"]) == (
        "ALREADY_EXISTS",
        "IDEMPOTENCY_KEY_CONFLICT",
    )
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": changed}
    error = (await client.post(rpc.url, json=body, headers=headers)).json()["error"]
    assert error["data"][0]["reason"] == "IDEMPOTENCY_KEY_CONFLICT"
    assert (await client.get(f"{rpc.url}/tasks", headers=HEADERS)).json()["totalSize"] == 1
    # How it is to be answered is no part of what is asked.
    same = message("a", configuration={"returnImmediately": True, "historyLength": 0})
    again = await post(rpc.url, client, "k", **same)
    assert again["task"]["id"] == task


async def test_keys_that_race_with_other_bodies_leave_one_task(
    rpc: Rpc, script: Script, client: httpx.AsyncClient
) -> None:
    texts = ("a", "b", "c", "d")
    sends = [
        asyncio.create_task(post(rpc.url, client, "k", **message(text, contextId=text)))
        for text in texts
    ]
    await script.answer()
    answers = await asyncio.gather(*sends)
    assert sum("task" in answer for answer in answers) == 1
    reasons = [each["error"]["details"][0]["reason"] for each in answers if "error" in each]
    assert reasons == ["IDEMPOTENCY_KEY_CONFLICT"] * 3
    assert script.commands.empty()


async def test_a_key_is_of_one_principal_and_agent(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    people = {
        name: Principal(id=name, tenant="default", scopes=granted(Role))
        for name in ("alice", "bob")
    }
    admission = Admission(anyone=None, tokens=(TestTokens(people),))
    async with (
        scripted(log, "one") as one,
        scripted(log, "two") as two,
        served(log, tmp_path, admission=admission) as url,
    ):
        tasks: set[str] = set()
        for name, script, actor in (
            ("one", one, "alice"),
            ("one", one, "bob"),
            ("two", two, "alice"),
        ):
            client.headers["authorization"] = f"Bearer {actor}"
            body = message(f"by {actor}")  # another body is no conflict, for it is another's key
            sending = asyncio.create_task(post(f"{url}/{name}", client, "k", **body))
            await script.answer()
            tasks.add((await sending)["task"]["id"])
        assert len(tasks) == 3
        client.headers["authorization"] = "Bearer alice"
        assert (await post(f"{url}/one", client, "k", **message("by alice")))["task"]["id"] in tasks


async def test_the_key_may_stand_in_the_metadata(
    rpc: Rpc, script: Script, client: httpx.AsyncClient
) -> None:
    sent = message("a") | {"metadata": {KEY: "k", "mine": 1}}
    first = asyncio.create_task(rpc.result("SendMessage", **sent))
    await script.answer()
    task = (await first)["task"]
    assert task["metadata"] == {"mine": 1}  # who reads the task does not read the key
    assert (await rpc.result("SendMessage", **sent))["task"] == task
    header = message("a") | {"metadata": {"mine": 1}}
    for key in ("k", '"k"'):
        assert (await post(rpc.url, client, key, **header))["task"] == task
    refused = await post(rpc.url, client, "other", **sent)
    assert refused["error"]["details"][0]["reason"] == "INVALID_PARAMS"
    asked = HEADERS | {"A2A-Extensions": IDEMPOTENCY, "Idempotency-Key": "k"}
    answer = await client.post(f"{rpc.url}/message:send", json=header, headers=asked)
    assert answer.headers["a2a-extensions"] == IDEMPOTENCY


@pytest.mark.parametrize("key", ["", '""', "x" * 129, "\x80"])
@pytest.mark.accepts("AS-42")
async def test_what_is_no_key_is_refused(rpc: Rpc, client: httpx.AsyncClient, key: str) -> None:
    headers: Any = HEADERS | {"Idempotency-Key": key.encode("latin-1")}
    answer = await client.post(f"{rpc.url}/message:send", json=message(), headers=headers)
    assert answer.json()["error"]["details"][0]["reason"] == "INVALID_PARAMS"
    wrongs: list[Any] = [7, None, {}, ""]
    for wrong in wrongs:
        sent = message() | {"metadata": {KEY: wrong}}
        body = await post(rpc.url, client, None, **sent)
        assert body["error"]["details"][0]["reason"] == "INVALID_PARAMS", wrong


async def test_a_follow_up_is_sent_once(
    rpc: Rpc, script: Script, client: httpx.AsyncClient
) -> None:
    first = asyncio.create_task(post(rpc.url, client, None, **message("first")))
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(
        started(task),
        status(task, TaskState.INPUT_REQUIRED, "what?"),
        ended(task, outcome=Outcome.INPUT_REQUIRED),
        sequence=sequence,
        command=command,
    )
    await first
    more = message("more", taskId=task)
    second = asyncio.create_task(post(rpc.url, client, "k", **more))
    sequence, command = await script.command()
    third = asyncio.create_task(post(rpc.url, client, "k", **more))
    await script.decide(started(task, 2), sequence=sequence, command=command)
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task, 2))
    answer = await second
    assert answer["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert await third == answer
    # The task has ended and takes no message; the one that it took is answered all the same.
    assert await post(rpc.url, client, "k", **more) == answer
    texts = [each["parts"][0]["text"] for each in answer["task"]["history"]]
    assert texts == ["first", "what?", "more"]
    assert script.commands.empty()


async def test_a_refusal_stays_one(rpc: Rpc, script: Script, client: httpx.AsyncClient) -> None:
    first = asyncio.create_task(post(rpc.url, client, None, **message("first")))
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(started(task), sequence=sequence, command=command)
    more = message("more", taskId=task)
    second = asyncio.create_task(post(rpc.url, client, "k", **more))
    sequence, command = await script.command()
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
    await script.decide(sequence=sequence, command=command)
    await first
    refused = await second
    assert refused["error"]["details"][0]["reason"] == "UNSUPPORTED_OPERATION"
    again = await post(rpc.url, client, "k", **more)
    assert again["error"]["message"] == refused["error"]["message"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": more}
    answer = await client.post(rpc.url, json=body, headers=HEADERS | {"Idempotency-Key": "k"})
    assert answer.json()["error"]["data"][0]["reason"] == "UNSUPPORTED_OPERATION"


async def test_what_is_refused_at_once_claims_nothing(
    rpc: Rpc, script: Script, client: httpx.AsyncClient
) -> None:
    refused = await post(rpc.url, client, "k", **message("a", taskId="x-0123456789abcdef"))
    assert refused["error"]["details"][0]["reason"] == "TASK_NOT_FOUND"
    sending = asyncio.create_task(post(rpc.url, client, "k", **message("a")))
    await script.answer()
    assert "task" in await sending


@pytest.mark.accepts("AS-32")
async def test_a_sending_stream_can_be_sent_again(
    rpc: Rpc, script: Script, log: JetStreamLog
) -> None:
    async def stream(**headers: str) -> list[tuple[int, Any]]:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": message()}
        all_ = HEADERS | {"Idempotency-Key": "k"} | headers
        async with rpc.client.stream("POST", rpc.url, json=asked, headers=all_) as answer:
            return [(n, data["result"]) async for n, data in parsed(answer.aiter_lines())]

    streams = [asyncio.create_task(stream())]
    sequence, command = await script.command()
    task = opened(command)
    streams.append(asyncio.create_task(stream()))  # nobody has decided it yet
    await script.decide(
        started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
    )
    await script.commit(task, artifact(task, "0 "))
    streams.append(asyncio.create_task(stream()))
    await script.commit(
        task,
        status(task, TaskState.INPUT_REQUIRED, "what?"),
        ended(task, outcome=Outcome.INPUT_REQUIRED),
    )
    whole = await streams[0]
    assert [number for number, _ in whole] == [1, 3, 4, 5]
    for each in streams[1:]:
        assert await each == whole
    assert await stream() == whole
    assert await stream(**{"Last-Event-ID": "3"}) == whole[2:]
    assert await stream(**{"Last-Event-ID": "6"}) == []
    assert script.commands.empty()
    headers = {"Idempotency-Key": "k", "Last-Event-ID": "7"}
    events = rpc.events("SendStreamingMessage", message(), **headers)
    with pytest.raises(AssertionError, match="POSITION_NOT_FOUND"):
        await anext(events)
