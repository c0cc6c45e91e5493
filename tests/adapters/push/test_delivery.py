"""Delivery of push notifications: real bridges on a real log, a real receiver on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from pelton.adapters.a2a import reader
from pelton.adapters.push import keys as push_keys
from pelton.adapters.push import signature
from pelton.adapters.push.sender import Retries
from pelton.adapters.push.service import Pushing
from pelton.events import subjects
from pelton.events.a2a import TaskState
from pelton.events.commands import SendMessage
from pelton.events.commit import Origin
from pelton.events.decide import steer
from pelton.events.push import PushEnd
from pelton.events.pushes import Push
from pelton.runtime.contexts import Contexts
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.push import PushLog
from pelton.runtime.writer import Writer
from tests.a2a import validate
from tests.adapters.a2a.world import (
    HEADERS,
    WORLD,
    Rpc,
    Script,
    artifact,
    message,
    opened,
    scripted,
    served,
    started,
    status,
    until,
)
from tests.adapters.push.receiver import QUICK, Got, Receiver, pushing, receiving, refused, taken

ALL = ["task submitted", "statusUpdate working", "artifactUpdate", "statusUpdate completed"]


@dataclass
class Stage:
    """A bridge that pushes, a scripted agent, and a receiver."""

    log: JetStreamLog
    push: Pushing
    script: Script
    receiver: Receiver
    rpc: Rpc

    def config(self, path: str = "/hook", **members: Any) -> dict[str, Any]:
        """Return a config."""
        return {"url": self.receiver.url + path, **members}

    async def send(self, config: dict[str, Any] | None = None, **members: Any) -> str:
        """Send a message with a config, and return the id of its task."""
        configuration: dict[str, Any] = {"returnImmediately": True}
        if config is not None:
            configuration["taskPushNotificationConfig"] = config
        sent = message(configuration=configuration, **members)
        task: str = (await self.rpc.result("SendMessage", **sent))["task"]["id"]
        return task

    async def create(self, task: str, **config: Any) -> str:
        """Create a config, and return its id."""
        made = await self.rpc.result("CreateTaskPushNotificationConfig", taskId=task, **config)
        id_: str = made["id"]
        return id_

    async def standing(self, task: str, within: float = 10.0, *, end: PushEnd | None) -> Push:
        """Wait until the only config of a task has ended so."""
        async with asyncio.timeout(within):
            while True:
                [push] = (await configs(self.log, task)).values()
                if push.end is end:
                    return push
                await asyncio.sleep(0.02)


async def configs(log: JetStreamLog, task: str) -> dict[str, Push]:
    return (await PushLog(log, world=WORLD).load("scripted", task)).configs


@asynccontextmanager
async def staged(log: JetStreamLog, data: Path, retries: Retries = QUICK) -> AsyncGenerator[Stage]:
    async with (
        pushing(data, retries) as push,
        receiving() as receiver,
        scripted(log) as script,
        served(log, data, push=push) as url,
        httpx.AsyncClient() as client,
    ):
        yield Stage(log, push, script, receiver, Rpc(f"{url}/scripted", client))


@pytest_asyncio.fixture
async def stage(log: JetStreamLog, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(log, tmp_path) as stage:
        yield stage


@pytest.mark.accepts("S10", "AS-40")
async def test_what_happens_is_posted_as_specified(stage: Stage) -> None:
    given = {"scheme": "Bearer", "credentials": "canary credentials"}
    task = await stage.send(stage.config("/hook?q=canary", token="canary-t", authentication=given))
    await stage.script.answer("done")
    assert await stage.receiver.until(4) == ALL
    secret = stage.push.keys.secrets("default", "anonymous")[0]
    ids: set[str] = set()
    for got in stage.receiver.got:
        validate("Stream Response", got.json)
        assert got.headers["Content-Type"] == "application/a2a+json"
        assert got.headers["Authorization"] == "Bearer canary credentials"
        assert got.headers["X-A2A-Notification-Token"] == "canary-t"
        ids.add(signature.verify(secret, got.headers, got.body, seconds=WORLD.now().timestamp()))
        assert "canary" not in got.body.decode()
    assert len(ids) == 4
    assert (await stage.standing(task, end=PushEnd.COMPLETE)).position == 5
    records = await stage.log.read(subjects.pushes("scripted", task))
    assert b"canary" not in b"".join(record.data for record in records)
    values = [json.loads(record.data) for record in records]
    [correlation] = {value["correlationid"] for value in values}
    assert correlation == values[0]["causationid"], "the command that the config came with"


async def test_what_happens_after_a_config_is_created_is_posted(stage: Stage) -> None:
    task = await stage.send()
    sequence, command = await stage.script.command()
    work = (started(task), status(task, TaskState.WORKING), artifact(task, "one"))
    await stage.script.decide(*work, sequence=sequence, command=command)
    await until_shown(stage, task, "artifacts")
    await stage.create(task, **stage.config())
    await stage.script.commit(task, artifact(task, "two", append=True))
    await stage.script.commit(task, status(task, TaskState.INPUT_REQUIRED, "more?"))
    assert await stage.receiver.until(2) == ["artifactUpdate", "statusUpdate input_required"]
    assert stage.receiver.got[0].json["artifactUpdate"]["artifact"]["parts"] == [{"text": "two"}]
    await stage.script.commit(task, status(task, TaskState.COMPLETED))
    assert (await stage.receiver.until(3))[2:] == ["statusUpdate completed"]
    await stage.standing(task, end=PushEnd.COMPLETE)


async def until_shown(stage: Stage, task: str, member: str) -> None:
    async with asyncio.timeout(5):
        while member not in await stage.rpc.result("GetTask", id=task):
            await asyncio.sleep(0.01)


async def test_a_config_on_a_task_that_has_ended_has_nothing_to_post(stage: Stage) -> None:
    task = await stage.send()
    await stage.script.answer()
    await until_shown(stage, task, "artifacts")
    await stage.create(task, **stage.config())
    await stage.standing(task, end=PushEnd.COMPLETE)
    assert stage.receiver.tried == []


async def test_a_bare_message_is_posted_to(stage: Stage) -> None:
    from pelton.events.a2a import Message, Part, Role  # noqa: PLC0415  here alone
    from pelton.events.events import MessageAnswered  # noqa: PLC0415

    await stage.send(stage.config())
    sequence, command = await stage.script.command()
    task = opened(command)
    answer = Message(message_id="a", role=Role.AGENT, parts=(Part(text="hi"),))
    events = (started(task), MessageAnswered(task_id=task, message=answer))
    await stage.script.decide(*events, sequence=sequence, command=command)
    assert await stage.receiver.until(1) == ["message"]
    await stage.standing(task, end=PushEnd.COMPLETE)


async def test_a_receiver_that_is_back_gets_all_in_order(stage: Stage) -> None:
    """And at every attempt the notification has the same id."""
    stage.receiver.answer = refused
    task = await stage.send(stage.config())
    await stage.script.answer()
    await until(lambda: len(stage.receiver.tried) >= 2)
    [push] = (await configs(stage.log, task)).values()
    assert (push.standing, push.reason) == ("failing", "http-503")
    stage.receiver.answer = taken
    assert await stage.receiver.until(4) == ALL
    tried = {each.headers["webhook-id"] for each in stage.receiver.tried}
    assert tried == {each.headers["webhook-id"] for each in stage.receiver.got}
    assert len(tried) == 4
    push = await stage.standing(task, end=PushEnd.COMPLETE)
    assert (push.attempt, push.reason, push.retry) == (0, "", "")


async def test_given_up_after_the_last_attempt_and_taken_up_again(stage: Stage) -> None:
    """It is visible, and what was not delivered is once the config is created anew."""
    stage.receiver.answer = refused
    task = await stage.send(stage.config(id="mine"))
    await stage.script.answer()
    push = await stage.standing(task, end=PushEnd.GIVEN_UP)
    assert (push.attempt, push.reason, push.position) == (QUICK.attempts, "http-503", 0)
    assert len(stage.receiver.tried) == QUICK.attempts
    url = stage.rpc.url.replace("/scripted", f"/v1/push/{task}")
    shown = (await stage.rpc.client.get(url, headers=HEADERS)).json()["configs"]
    assert [(each["standing"], each["attempts"]) for each in shown] == [("given-up", 4)]
    stage.receiver.answer = taken
    assert await stage.create(task, **stage.config(id="mine")) == "mine"
    assert await stage.receiver.until(4) == ALL
    await stage.standing(task, end=PushEnd.COMPLETE)


async def test_one_that_fails_does_not_delay_another(stage: Stage) -> None:
    released = asyncio.Event()

    async def answer(got: Got) -> web.StreamResponse:
        if got.path == "/hangs":
            await released.wait()
        return web.Response(status=500 if got.path == "/fails" else 200)

    stage.receiver.answer = answer
    task = await stage.send(stage.config())
    for path in ("/hangs", "/fails"):
        await stage.create(task, **stage.config(path))
    await stage.script.answer()
    assert await stage.receiver.until(4) == ALL
    await until(lambda: any(each.path == "/fails" for each in stage.receiver.tried))
    assert stage.receiver.kinds("/hangs") == []
    released.set()
    assert await stage.receiver.until(3, "/hangs") == ALL[1:]


async def test_a_receiver_that_wants_nothing_more_gets_nothing_more(stage: Stage) -> None:
    async def gone(_: Got) -> web.StreamResponse:
        return web.Response(status=410)

    stage.receiver.answer = gone
    task = await stage.send(stage.config())
    await stage.script.answer()
    push = await stage.standing(task, end=PushEnd.GONE)
    assert (push.attempt, push.reason) == (1, "http-410")
    assert len(stage.receiver.tried) == 1


async def test_what_a_receiver_asks_for_is_waited(log: JetStreamLog, tmp_path: Path) -> None:
    async def later(_: Got) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "3600"})

    async with staged(log, tmp_path) as stage:
        stage.receiver.answer = later
        task = await stage.send(stage.config())
        await stage.script.answer()
        await until(lambda: len(stage.receiver.tried) == 2)
        [push] = (await configs(stage.log, task)).values()
    times = [float(each.headers["webhook-timestamp"]) for each in stage.receiver.tried]
    assert times == sorted(times)
    assert push.attempt >= 1
    waits = [QUICK.wait(1, again, 1.0) for again in (0.0, 3600.0)]
    assert waits == [0.01, QUICK.longest], "more than half of it, never more than the longest"


async def test_a_deleted_config_gets_nothing_more(stage: Stage) -> None:
    task = await stage.send(stage.config(id="mine"))
    sequence, command = await stage.script.command()
    work = (started(task), status(task, TaskState.WORKING))
    await stage.script.decide(*work, sequence=sequence, command=command)
    assert await stage.receiver.until(2) == ALL[:2]
    for _ in range(2):
        gone = await stage.rpc.result("DeleteTaskPushNotificationConfig", taskId=task, id="mine")
        assert gone == {}
    await stage.create(task, **stage.config("/other"))
    await stage.script.commit(task, status(task, TaskState.COMPLETED))
    assert await stage.receiver.until(1, "/other") == ALL[3:]
    assert stage.receiver.kinds() == ALL[:2]


async def test_a_message_that_is_refused_ends_its_config(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does one that never came: its bridge has died before it was accepted."""
    monkeypatch.setattr(reader, "HEARTBEAT", 0.05)
    append = stage.log.append

    async def dies(subject: str, *rest: Any, **more: Any) -> int:
        if subject.startswith("cmd."):
            raise ConnectionError
        return await append(subject, *rest, **more)

    monkeypatch.setattr(stage.log, "append", dies)
    code, _ = await stage.rpc.error(
        "SendMessage", **message(configuration={"taskPushNotificationConfig": stage.config()})
    )
    assert code == -32603
    [last] = await stage.log.latest(subjects.ALL_PUSH)
    task = last.subject.rpartition(".")[2]
    await stage.standing(task, end=PushEnd.REFUSED)
    assert stage.receiver.tried == []


async def test_a_config_follows_its_message_into_the_task_that_takes_it(stage: Stage) -> None:
    """A running turn may take a message that would have opened a task of its own (steering)."""
    task = await stage.send(contextId="talk")
    sequence, command = await stage.script.command()
    work = (started(task), status(task, TaskState.WORKING))
    await stage.script.decide(*work, sequence=sequence, command=command)
    config = stage.config(id="mine", token="t")
    sending = asyncio.create_task(stage.send(config, contextId="talk", messageId="m2"))
    sequence, command = await stage.script.command()
    assert isinstance(command, SendMessage)
    state = await Contexts(stage.log).load("scripted", "talk", decisive=True)
    events = steer(state, command, task)
    writer = Writer(stage.log, state, world=WORLD)
    origin = Origin.caused_by(command, "executor/script")
    await writer.commit(events, origin=origin, command=sequence, handled=sequence)
    assert await sending == task
    await stage.script.commit(task, artifact(task, "a"))
    await stage.script.commit(task, status(task, TaskState.COMPLETED))
    assert await stage.receiver.until(2) == ["artifactUpdate", "statusUpdate completed"]
    push = await stage.standing(task, end=PushEnd.COMPLETE)
    assert (push.id, push.creator) == ("mine", "anonymous")
    shown = await stage.rpc.result("GetTaskPushNotificationConfig", taskId=task, id="mine")
    assert shown == {**config, "taskId": task}


async def test_a_key_that_comes_late_delays_and_loses_nothing(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_keys, "LOOK_AFTER", 0.0)
    file = tmp_path / "push-keys.json"
    task = await stage.send(stage.config())
    held = file.read_bytes()
    sequence, command = await stage.script.command()
    file.unlink()
    push_keys.new_key(file, world=WORLD)  # another file: what was sealed cannot be opened
    work = (started(task), status(task, TaskState.WORKING))
    await stage.script.decide(*work, sequence=sequence, command=command)
    async with asyncio.timeout(5):
        while not [p for p in (await configs(stage.log, task)).values() if p.reason]:
            await asyncio.sleep(0.01)
    [push] = (await configs(stage.log, task)).values()
    assert push.reason == "key-missing"
    file.write_bytes(held)
    assert await stage.receiver.until(2) == ALL[:2]


@pytest.mark.parametrize("clean", [True, False])
async def test_another_bridge_goes_on_where_one_has_stopped(
    log: JetStreamLog, nats_url: str, tmp_path: Path, *, clean: bool
) -> None:
    """With two bridges one sends, each notification once; then the other does, without a gap."""
    retries = Retries(attempts=10_000, first=0.02, longest=0.1)
    first, second = tmp_path / "1", tmp_path / "2"
    for each in (first, second):
        each.mkdir()
    async with (
        JetStreamLog.open(nats_url, profile=RELAXED) as elsewhere,
        staged(elsewhere, first, retries=retries) as other,
    ):
        second.joinpath("push-keys.json").write_bytes(first.joinpath("push-keys.json").read_bytes())
        second.joinpath("push-keys.json").chmod(0o600)
        async with pushing(second, retries) as push, served(log, second, push=push) as url:
            rpc = Rpc(f"{url}/scripted", other.rpc.client)
            stage = Stage(log, push, other.script, other.receiver, rpc)
            task = await stage.send(stage.config())
            sequence, command = await stage.script.command()
            work = (started(task), status(task, TaskState.WORKING))
            await stage.script.decide(*work, sequence=sequence, command=command)
            assert await stage.receiver.until(2) == ALL[:2]
            if not clean:
                stage.receiver.answer = refused
            await stage.script.commit(task, artifact(task, "a"))
            if not clean:
                await until(lambda: len(stage.receiver.tried) > 2)
        stage.receiver.answer = taken
        await stage.script.commit(task, status(task, TaskState.COMPLETED))
        assert await stage.receiver.until(4) == ALL
