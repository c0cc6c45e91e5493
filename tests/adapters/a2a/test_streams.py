"""What streams show: order, positions, resuming, ends; and what departing clients leave behind."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from pelton.adapters.a2a import sse, waits
from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.events import MessageAnswered, Outcome
from pelton.runtime.jetstream import JetStreamLog
from tests.a2a import validate
from tests.adapters.a2a.world import (
    HEADERS,
    Rpc,
    Script,
    artifact,
    ended,
    message,
    opened,
    parsed,
    served,
    started,
    status,
    turn,
    until,
)


class Reading:
    """Reads a stream in the background."""

    def __init__(self, events: Any) -> None:
        self.events: list[tuple[int, dict[str, Any]]] = []
        self._task = asyncio.create_task(self._read(events))

    async def _read(self, events: Any) -> None:
        async with aclosing(events):
            async for event in events:
                validate("Stream Response", event[1])
                self.events.append(event)

    async def all(self) -> list[tuple[int, dict[str, Any]]]:
        """Return all events, once the stream has ended."""
        await asyncio.wait_for(self._task, 10)
        return self.events

    async def some(self, count: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the events, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.events) < count:
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.005)
        return self.events

    async def leave(self) -> None:
        """Close the connection."""
        self._task.cancel()
        await asyncio.wait((self._task,))


def kinds(events: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """Return what the events of a stream are, in short."""
    names: list[str] = []
    for _, event in events:
        [(kind, value)] = event.items()
        status_ = value.get("status", {}).get("state", "").removeprefix("TASK_STATE_")
        names.append(status_ if kind == "statusUpdate" else kind)
    return names


async def test_a_stream_begins_with_the_task_and_ends_with_it(rpc: Rpc, script: Script) -> None:
    reading = Reading(rpc.events("SendStreamingMessage", message()))
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(
        started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
    )
    await reading.some(2)
    await script.commit(task, artifact(task, "one "))
    await script.commit(task, artifact(task, "two", append=True))
    await reading.some(4)
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
    events = await reading.all()
    assert kinds(events) == ["task", "WORKING", "artifactUpdate", "artifactUpdate", "COMPLETED"]
    assert events[0][1]["task"]["status"]["state"] == "TASK_STATE_SUBMITTED"
    assert [number for number, _ in events] == [1, 3, 4, 5, 6]
    assert [event["artifactUpdate"].get("append", False) for _, event in events[2:4]] == [
        False,
        True,
    ]


async def test_a_short_turn_is_shown_whole(rpc: Rpc, script: Script) -> None:
    reading = Reading(rpc.events("SendStreamingMessage", message()))
    await script.answer()
    events = await reading.all()
    assert kinds(events) == ["task", "WORKING", "artifactUpdate", "COMPLETED"]


async def test_a_bare_message_is_the_whole_stream(rpc: Rpc, script: Script) -> None:
    reading = Reading(rpc.events("SendStreamingMessage", message()))
    sequence, command = await script.command()
    task = opened(command)
    bare = Message(message_id="b", role=Role.AGENT, parts=(Part(text="hi"),), context_id="c")
    answered = MessageAnswered(task_id=task, message=bare)
    await script.decide(started(task), answered, ended(task), sequence=sequence, command=command)
    assert kinds(await reading.all()) == ["message"]


async def test_the_task_is_shown_though_nobody_works_on_it(
    rpc: Rpc, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pelton.adapters.a2a.reader.FIRST", 0.05)
    reading = Reading(rpc.events("SendStreamingMessage", message()))
    assert kinds(await reading.some(1)) == ["task"]
    sequence, command = await script.command()
    task = opened(command)
    bare = Message(message_id="b", role=Role.AGENT, parts=(Part(text="hi"),), context_id="c")
    answered = MessageAnswered(task_id=task, message=bare)
    await script.decide(started(task), answered, ended(task), sequence=sequence, command=command)
    events = await reading.all()
    assert kinds(events) == ["task", "COMPLETED"]  # after a task never a message (§3.1.2)


async def test_a_sending_stream_ends_when_input_is_required(rpc: Rpc, script: Script) -> None:
    reading = Reading(rpc.events("SendStreamingMessage", message()))
    sequence, command = await script.command()
    task = opened(command)
    rest = (
        started(task),
        status(task, TaskState.INPUT_REQUIRED, "what?"),
        ended(task, outcome=Outcome.INPUT_REQUIRED),
    )
    await script.decide(*rest, sequence=sequence, command=command)
    assert kinds(await reading.all()) == ["task", "INPUT_REQUIRED"]

    subscribed = Reading(rpc.events("SubscribeToTask", {"id": task}))
    await subscribed.some(1)
    again = Reading(rpc.events("SendStreamingMessage", message(taskId=task)))
    sequence, command = await script.command()
    await script.decide(sequence=sequence, command=command)
    await script.commit(task, started(task, 2), status(task, TaskState.WORKING))
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task, 2))
    assert kinds(await again.all()) == ["task", "WORKING", "COMPLETED"]
    # A subscription stays open while input is required (TCK STREAM-SUB-002).
    assert kinds(await subscribed.all()) == ["task", "WORKING", "COMPLETED"]


async def begin(rpc: Rpc, script: Script) -> str:
    """Begin a task that works; returns its id."""
    asking = message(configuration={"returnImmediately": True})
    sending = asyncio.create_task(rpc.result("SendMessage", **asking))
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(
        started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
    )
    assert (await sending)["task"]["id"] == task
    return task


async def test_all_streams_of_a_task_show_the_same(rpc: Rpc, script: Script) -> None:
    task = await begin(rpc, script)
    readings = [Reading(rpc.events("SubscribeToTask", {"id": task})) for _ in range(3)]
    for reading in readings:
        await reading.some(1)
    await readings.pop().leave()
    for number in range(5):
        await script.commit(task, artifact(task, f"{number} ", append=number > 0))
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
    first, second = [await reading.all() for reading in readings]
    assert first == second
    assert kinds(first) == ["task", *["artifactUpdate"] * 5, "COMPLETED"]


async def test_a_stream_resumes_after_its_last_id(rpc: Rpc, script: Script) -> None:
    task = await begin(rpc, script)
    first = Reading(rpc.events("SubscribeToTask", {"id": task}))
    await first.some(1)
    await script.commit(task, artifact(task, "0 "))
    last, _ = (await first.some(2))[-1]
    await first.leave()
    await script.commit(task, artifact(task, "1 ", append=True))
    second = Reading(rpc.events("SubscribeToTask", {"id": task}, **{"Last-Event-ID": str(last)}))
    await second.some(1)
    await script.commit(task, artifact(task, "2 ", append=True))
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
    events = await second.all()
    texts = [
        event["artifactUpdate"]["artifact"]["parts"][0]["text"]
        for _, event in first.events + events
        if "artifactUpdate" in event
    ]
    assert texts == ["0 ", "1 ", "2 "]
    # Whoever was cut off just before the end learns of it, though the task has ended.
    third = Reading(rpc.events("SubscribeToTask", {"id": task}, **{"Last-Event-ID": str(last)}))
    assert await third.all() == events
    assert await rpc.error("SubscribeToTask", id=task) == (-32004, "UNSUPPORTED_OPERATION")


@pytest.mark.accepts("AS-33")
async def test_who_leaves_cancels_nothing_and_frees_all(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    before = len(asyncio.all_tasks())
    async with served(log, tmp_path) as url:
        rpc = Rpc(f"{url}/scripted", client)
        task = await begin(rpc, script)
        serving = len(asyncio.all_tasks())
        readings = [Reading(rpc.events("SubscribeToTask", {"id": task})) for _ in range(20)]
        for reading in readings:
            await reading.some(1)
        assert len(asyncio.all_tasks()) > serving
        for reading in readings:
            await reading.leave()
        impatient = Rpc(rpc.url, client)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(impatient.result("SendMessage", **message(contextId="x")), 0.3)
        await until(lambda: len(asyncio.all_tasks()) <= serving)
        await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
        result = await rpc.result("GetTask", id=task)
        assert result["status"]["state"] == "TASK_STATE_COMPLETED"
        sequence, command = await script.command()
        await script.decide(*turn(opened(command), "x"), sequence=sequence, command=command)
        result = await rpc.result("GetTask", id=opened(command))
        assert result["status"]["state"] == "TASK_STATE_COMPLETED"
    assert len(asyncio.all_tasks()) <= before + 1


async def test_a_quiet_stream_says_that_it_lives(
    rpc: Rpc, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pelton.adapters.a2a.reader.HEARTBEAT", 0.05)
    task = await begin(rpc, script)
    request = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": task}}
    async with rpc.client.stream("POST", rpc.url, json=request, headers=HEADERS) as answer:
        comments = 0
        async for line in answer.aiter_lines():
            comments += line == ":"
            if comments == 3:
                break


@pytest.mark.accepts("S15")
async def test_a_reader_that_hardly_reads_is_cut_off(
    rpc: Rpc, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "BACKLOG", 1_000_000)
    monkeypatch.setattr(sse, "WRITE_WITHIN", 0.5)
    task = await begin(rpc, script)
    url = httpx.URL(rpc.url)
    body = b'{"jsonrpc":"2.0","id":1,"method":"SubscribeToTask","params":{"id":"%b"}}'
    body %= task.encode()
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    writer.write(
        b"POST /scripted HTTP/1.1\r\nhost: localhost\r\na2a-version: 1.0\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    fast = Reading(rpc.events("SubscribeToTask", {"id": task}))
    await fast.some(1)

    async def sip() -> None:
        while not stop.is_set() and await reader.read(1):
            await asyncio.sleep(0.01)  # a hundred bytes a second

    stop = asyncio.Event()
    sipping = asyncio.create_task(sip())
    piece, count = "x" * 400_000, 40  # more than the kernel buffers for both of us
    for number in range(count):
        await script.commit(task, artifact(task, piece))
        await fast.some(number + 2)
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
    assert len(await fast.all()) == count + 2  # nobody else is held up
    stop.set()
    read = b""
    with contextlib.suppress(ConnectionError):
        await sipping
        async with asyncio.timeout(10):
            while more := await reader.read(1 << 20):
                read = (read + more)[-1000:]
    assert b"COMPLETED" not in read
    writer.close()


async def test_rest_streams_are_the_bare_events(rpc: Rpc, script: Script) -> None:
    task = await begin(rpc, script)
    for method in ("GET", "POST"):
        address = f"{rpc.url}/tasks/{task}:subscribe"
        async with rpc.client.stream(method, address, headers=HEADERS) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            number, event = await anext(parsed(answer.aiter_lines()))
            assert number == 3
            assert event["task"]["id"] == task


async def ask(rpc: Rpc, script: Script) -> str:
    """Bring a task to input-required; returns its id."""
    reading = Reading(rpc.events("SendStreamingMessage", message()))
    sequence, command = await script.command()
    task = opened(command)
    rest = (
        started(task),
        status(task, TaskState.INPUT_REQUIRED, "what?"),
        ended(task, outcome=Outcome.INPUT_REQUIRED),
    )
    await script.decide(*rest, sequence=sequence, command=command)
    await reading.all()
    return task


async def test_a_refusal_before_the_first_event_is_a_whole_answer(rpc: Rpc, script: Script) -> None:
    task = await ask(rpc, script)
    refused = asyncio.create_task(rpc.error("SendStreamingMessage", **message(taskId=task)))
    sequence, command = await script.command()
    await script.commit(task, started(task, 2), status(task, TaskState.COMPLETED), ended(task, 2))
    await script.decide(sequence=sequence, command=command)
    assert await refused == (-32004, "UNSUPPORTED_OPERATION")


async def test_a_refusal_after_the_first_event_is_the_last(
    rpc: Rpc, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pelton.adapters.a2a.reader.FIRST", 0.05)
    task = await ask(rpc, script)
    asked = {"jsonrpc": "2.0", "id": 9, "method": "SendStreamingMessage"}
    body = asked | {"params": message(taskId=task)}
    async with rpc.client.stream("POST", rpc.url, json=body, headers=HEADERS) as answer:
        events = parsed(answer.aiter_lines())
        _, first = await anext(events)
        assert first["result"]["task"]["id"] == task
        sequence, command = await script.command()
        await script.commit(
            task, started(task, 2), status(task, TaskState.COMPLETED), ended(task, 2)
        )
        await script.decide(sequence=sequence, command=command)
        [(_, last)] = [event async for event in events]
        assert last["id"] == 9
        assert last["error"]["code"] == -32004


async def test_what_comes_while_the_past_is_read_comes_after_it(
    rpc: Rpc, script: Script, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await begin(rpc, script)
    await script.commit(task, artifact(task, "0 "))
    read = log.read

    async def slow(*subject: str, **how: Any) -> Any:
        records = await read(*subject, **how)
        if how.get("limit") and len(records) > 1:  # the past, for a stream that resumes
            await script.commit(task, artifact(task, "1 ", append=True))
            await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
            await asyncio.sleep(0.2)  # long enough for what is live to overtake
        return records

    monkeypatch.setattr(log, "read", slow)
    resumed = Reading(rpc.events("SubscribeToTask", {"id": task}, **{"Last-Event-ID": "3"}))
    events = await resumed.all()
    assert kinds(events) == ["artifactUpdate", "artifactUpdate", "COMPLETED"]
    assert [number for number, _ in events] == [4, 5, 6]
