"""What sends, gets and cancellations answer, with an executor that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio

from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.commands import SendMessage
from pelton.events.events import MessageAnswered, Outcome
from pelton.events.ids import context_of
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.log import Log
from tests.a2a import validate
from tests.adapters.a2a.world import (
    Rpc,
    Script,
    ended,
    message,
    opened,
    served,
    started,
    status,
    turn,
)


@pytest_asyncio.fixture
async def rpc(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> AsyncIterator[Rpc]:
    async with served(log, tmp_path, answer_within=1.0, cancel_within=0.5) as url:
        yield Rpc(f"{url}/scripted", client)


async def test_a_send_answers_when_the_task_has_ended(rpc: Rpc, script: Script) -> None:
    sending = asyncio.create_task(rpc.result("SendMessage", **message("hello")))
    task = await script.answer("world")
    result = await sending
    validate("Send Message Response", result)
    assert result["task"]["id"] == task
    assert result["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert result["task"]["artifacts"][0]["parts"] == [{"text": "world"}]
    assert [each["parts"] for each in result["task"]["history"]] == [[{"text": "hello"}]]
    assert await rpc.result("GetTask", id=task) == result["task"]


async def test_a_command_says_whose_request_it_is(rpc: Rpc, script: Script) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    rpc.client.headers["traceparent"] = parent
    sending = asyncio.create_task(
        rpc.result("SendMessage", **message(configuration={"returnImmediately": True}))
    )
    _, command = await script.command()
    await sending
    assert command.correlationid == command.causationid == command.id
    assert command.traceparent == parent
    assert command.opens
    assert command.actor == "anonymous"


async def test_a_send_that_returns_immediately_does_not_wait(rpc: Rpc, script: Script) -> None:
    result = await rpc.result("SendMessage", **message(configuration={"returnImmediately": True}))
    validate("Send Message Response", result)
    task = result["task"]
    assert task["status"]["state"] == "TASK_STATE_SUBMITTED"
    assert await rpc.result("GetTask", id=task["id"]) == task
    _, command = await script.command()
    assert task["id"] == opened(command)


async def test_a_send_is_answered_with_the_task_as_it_is_at_the_deadline(
    rpc: Rpc, script: Script
) -> None:
    sending = asyncio.create_task(rpc.result("SendMessage", **message()))
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(
        started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
    )
    result = await sending
    assert result["task"]["status"]["state"] == "TASK_STATE_WORKING"


async def test_a_bare_message_is_the_answer_and_no_task(rpc: Rpc, script: Script) -> None:
    sending = asyncio.create_task(rpc.result("SendMessage", **message()))
    sequence, command = await script.command()
    task = opened(command)
    context = context_of(task)
    bare = Message(message_id="b", role=Role.AGENT, parts=(Part(text="hi"),), context_id=context)
    await script.decide(
        started(task),
        MessageAnswered(task_id=task, message=bare),
        ended(task),
        sequence=sequence,
        command=command,
    )
    result = await sending
    validate("Send Message Response", result)
    assert result["message"]["parts"] == [{"text": "hi"}]
    assert await rpc.error("GetTask", id=task) == (-32001, "TASK_NOT_FOUND")


async def ask(rpc: Rpc, script: Script) -> tuple[str, str]:
    """Bring a task to input-required; returns its id and its context's."""
    sending = asyncio.create_task(rpc.result("SendMessage", **message("first")))
    sequence, command = await script.command()
    task = opened(command)
    context = context_of(task)
    await script.decide(
        started(task),
        status(task, TaskState.INPUT_REQUIRED, "what?"),
        ended(task, outcome=Outcome.INPUT_REQUIRED),
        sequence=sequence,
        command=command,
    )
    result = await sending
    assert result["task"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    return task, context


async def test_a_follow_up_waits_for_its_own_turn(rpc: Rpc, script: Script) -> None:
    task, _ = await ask(rpc, script)
    sending = asyncio.create_task(rpc.result("SendMessage", **message("second", taskId=task)))
    sequence, command = await script.command()
    await script.decide(sequence=sequence, command=command)  # input-required still, no turn yet
    await asyncio.wait((sending,), timeout=0.1)
    assert not sending.done()
    await script.commit(task, started(task, 2), status(task, TaskState.COMPLETED), ended(task, 2))
    result = await sending
    assert result["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    said = [each["parts"][0]["text"] for each in result["task"]["history"]]
    assert said == ["first", "what?", "second"]


async def test_history_is_as_long_as_asked(rpc: Rpc, script: Script) -> None:
    task, _ = await ask(rpc, script)
    for length, expected in ((0, 0), (1, 1), (5, 1)):
        result = await rpc.result("GetTask", id=task, historyLength=length)
        assert len(result.get("history", [])) == expected
        validate("Task", result)
    assert await rpc.error("GetTask", id=task, historyLength=-1) == (-32602, "INVALID_PARAMS")


async def test_a_task_is_of_one_context(rpc: Rpc, script: Script) -> None:
    task, context = await ask(rpc, script)
    right = message(taskId=task, contextId=context, configuration={"returnImmediately": True})
    assert (await rpc.result("SendMessage", **right))["task"]["contextId"] == context
    wrong = message(taskId=task, contextId="another")
    assert await rpc.error("SendMessage", **wrong) == (-32602, "INVALID_PARAMS")


async def test_a_task_that_has_ended_takes_no_message(rpc: Rpc, script: Script) -> None:
    sending = asyncio.create_task(rpc.result("SendMessage", **message()))
    task = await script.answer()
    await sending
    for method in ("SendMessage", "SendStreamingMessage"):
        refused = await rpc.error(method, **message(taskId=task))
        assert refused == (-32004, "UNSUPPORTED_OPERATION")
    assert await rpc.error("CancelTask", id=task) == (-32002, "TASK_NOT_CANCELABLE")
    assert await rpc.error("SubscribeToTask", id=task) == (-32004, "UNSUPPORTED_OPERATION")


@pytest.mark.parametrize(
    "task", ["nope", "x-0123456789abcdef", "../../etc/passwd", "a.b", "*", "é" * 300]
)
async def test_a_task_that_is_not_there_is_not_found(rpc: Rpc, task: str) -> None:
    for method, params in (
        ("GetTask", {"id": task}),
        ("CancelTask", {"id": task}),
        ("SubscribeToTask", {"id": task}),
        ("SendMessage", message(taskId=task)),
    ):
        assert await rpc.error(method, **params) == (-32001, "TASK_NOT_FOUND")


async def test_a_task_that_a_replica_does_not_have_yet_is_found(
    log: JetStreamLog, client: httpx.AsyncClient, script: Script, tmp_path: Path
) -> None:
    """Another bridge has accepted it: here a replica is asked first, and it is behind."""

    class Behind:
        """A log of which a replica answers that has nothing yet."""

        def __getattr__(self, name: str) -> Any:
            return getattr(log, name)

        async def read(self, subject: str, *, decisive: bool = False, **more: Any) -> Any:
            here = decisive or subject.endswith("._agent")
            return await log.read(subject, decisive=True, **more) if here else []

    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with (
        served(log, tmp_path / "one", answer_within=1.0) as one,
        served(cast("Log", Behind()), tmp_path / "other", answer_within=1.0) as other,
    ):
        here, there = Rpc(f"{one}/scripted", client), Rpc(f"{other}/scripted", client)
        accepted = (await here.result("SendMessage", **message()))["task"]
        assert accepted["status"]["state"] == TaskState.SUBMITTED
        assert await there.result("GetTask", id=accepted["id"]) == accepted
        await script.answer()
        ended_there = await there.result("GetTask", id=accepted["id"])
        assert ended_there["status"]["state"] == TaskState.COMPLETED
        assert await there.error("GetTask", id="x-0123456789abcdef") == (-32001, "TASK_NOT_FOUND")


async def test_a_refusal_that_lost_a_race_is_the_answer(rpc: Rpc, script: Script) -> None:
    task, _ = await ask(rpc, script)
    sending = asyncio.create_task(rpc.error("SendMessage", **message("late", taskId=task)))
    sequence, command = await script.command()
    await script.commit(task, started(task, 2), status(task, TaskState.COMPLETED), ended(task, 2))
    await script.decide(sequence=sequence, command=command)
    assert await sending == (-32004, "UNSUPPORTED_OPERATION")


async def test_a_context_of_the_clients_own_is_kept(rpc: Rpc, script: Script) -> None:
    context = "mine: ünïcode, with spaces"
    for _ in range(2):
        sending = asyncio.create_task(rpc.result("SendMessage", **message(contextId=context)))
        sequence, command = await script.command()
        assert not command.opens
        await script.decide(*turn(opened(command), "x"), sequence=sequence, command=command)
        assert (await sending)["task"]["contextId"] == context


async def test_a_cancellation_answers_once_it_is_decided(rpc: Rpc, script: Script) -> None:
    task, _ = await ask(rpc, script)
    canceling = asyncio.create_task(rpc.result("CancelTask", id=task, metadata={"why": "enough"}))
    sequence, command = await script.command()
    await script.decide(sequence=sequence, command=command)
    result = await canceling
    validate("Task", result)
    assert result["status"]["state"] == "TASK_STATE_CANCELED"
    assert await rpc.error("CancelTask", id=task) == (-32002, "TASK_NOT_CANCELABLE")


async def test_a_cancellation_that_nobody_decides_is_answered_and_stands(
    rpc: Rpc, script: Script
) -> None:
    task, _ = await ask(rpc, script)
    result = await rpc.result("CancelTask", id=task)
    assert result["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    sequence, command = await script.command()
    await script.decide(sequence=sequence, command=command)
    result = await rpc.result("GetTask", id=task)
    assert result["status"]["state"] == "TASK_STATE_CANCELED"


async def test_large_parts_travel_as_blobs_and_come_back(rpc: Rpc, script: Script) -> None:
    text = "long " * 20_000
    sending = asyncio.create_task(rpc.result("SendMessage", **message(text)))
    sequence, command = await script.command()
    assert isinstance(command, SendMessage)
    part = command.data.message.parts[0]
    assert part.blob is not None
    assert part.blob.size == len(text)
    task = opened(command)
    await script.decide(*turn(task, "ok"), sequence=sequence, command=command)
    result = await sending
    validate("Send Message Response", result)
    assert result["task"]["history"][0]["parts"] == [{"text": text}]
    assert await rpc.result("GetTask", id=task) == result["task"]


async def test_what_no_record_can_hold_is_refused(rpc: Rpc) -> None:
    request = message(metadata={"x": "y" * 2_000_000})
    assert await rpc.error("SendMessage", **request) == (-32602, "MESSAGE_TOO_LARGE")


async def test_push_notifications_are_not_silently_dropped(rpc: Rpc) -> None:
    wanted = {"taskPushNotificationConfig": {"url": "https://example.com/hook"}}
    refused = await rpc.error("SendMessage", **message(configuration=wanted))
    assert refused == (-32003, "PUSH_NOTIFICATION_NOT_SUPPORTED")
