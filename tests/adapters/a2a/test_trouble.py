"""The bridge when things end: the server goes and comes, bridge and executor restart, signals."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pelton.adapters.a2a.agents import Agents
from pelton.adapters.a2a.lists import LAG, TaskLists
from pelton.events.a2a import TaskState
from pelton.events.errors import UnknownAgent
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.log import LogRegressed, LogUnavailable
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from tests.a2a import validate
from tests.adapters.a2a.world import (
    HEADERS,
    WORLD,
    Rpc,
    artifact,
    ended,
    executing,
    message,
    opened,
    scripted,
    served,
    started,
    status,
    until,
    until_ready,
)


@agent
async def echo(turn: Turn) -> str:
    """Say what was said."""
    return turn.text


@agent
async def patient(turn: Turn) -> str:
    """Wait until it is over."""
    await turn.stream("begun ")
    await asyncio.Event().wait()
    return ""


NOW = {"returnImmediately": True}


@pytest.mark.accepts("AS-62", "AS-26", "AS-63")
async def test_the_server_goes_and_comes_back(
    nats_server: EmbeddedServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with (
        JetStreamLog.open(nats_server.url, profile=RELAXED) as theirs,
        JetStreamLog.open(nats_server.url, profile=RELAXED) as ours,
        scripted(theirs) as script,
        served(ours, tmp_path, answer_within=30) as url,
    ):
        rpc = Rpc(f"{url}/scripted", client)
        waiting = asyncio.create_task(rpc.result("SendMessage", **message("accepted")))
        sequence, command = await script.command()
        nats_server.kill()

        async with asyncio.timeout(15):
            asked = message("refused")
            call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": asked}
            for path, body in (("", call), ("/message:send", asked)):
                answer = await client.post(rpc.url + path, headers=HEADERS, json=body)
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) > 0
                error = answer.json()["error"]
                assert error["code"] == (503 if path else -32603)
                details = error.get("details") or error["data"]
                assert details[0]["reason"] == "UNAVAILABLE"
                assert nats_server.address not in answer.text
        assert (await client.get(f"{url}/healthz")).status_code == 200
        ready = await client.get(f"{url}/readyz")
        assert ready.status_code == 503
        assert ready.json()["error"]["code"] == "unavailable"
        assert ready.json()["error"]["detail"]["log"] is False
        assert not waiting.done()

        await nats_server.start()
        await until_ready(url)
        task = opened(command)
        await script.decide(
            started(task),
            status(task, TaskState.COMPLETED),
            ended(task),
            sequence=sequence,
            command=command,
        )
        result = await asyncio.wait_for(waiting, 20)  # what was accepted is answered
        assert result["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.accepts("G7")
async def test_a_log_that_ends_before_what_was_heard_is_noticed(tmp_path: Path) -> None:
    async with open_store(tmp_path / "x.db"), open_read_models(tmp_path / "x.db") as models:
        lists = TaskLists(models, world=WORLD)
        lists.heard(7)
        assert await lists.near(7)
        assert not await lists.near(LAG + 1)
        with pytest.raises(LogRegressed):
            await lists.near(LAG)


async def test_commits_that_were_not_heard_are_found(
    nats_server: EmbeddedServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Live copies are lost while the bridge's own connection is down; the log has them."""
    async with (
        JetStreamLog.open(nats_server.url, profile=RELAXED) as log,
        scripted(log) as script,
        served(log, tmp_path, answer_within=30) as url,
    ):
        rpc = Rpc(f"{url}/scripted", client)
        heard = asyncio.create_task(rpc.result("SendMessage", **message()))
        sequence, command = await script.command()
        task = opened(command)
        await script.decide(
            started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
        )
        lines: list[str] = []

        async def read() -> None:
            async for _, event in rpc.events("SubscribeToTask", {"id": task}):
                lines.extend(event)

        reading = asyncio.create_task(read())
        await until(lambda: lines)
        nats_server.kill()
        await nats_server.start()
        await script.commit(task, artifact(task, "one"))
        await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
        await asyncio.wait_for(reading, 20)
        assert lines == ["task", "artifactUpdate", "statusUpdate"]
        assert (await asyncio.wait_for(heard, 5))["task"]["id"] == task


@pytest.mark.accepts("AS-31")
async def test_tasks_outlive_bridges_and_executors(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    async with executing(log, patient), served(log, tmp_path / "1") as url:
        rpc = Rpc(f"{url}/patient", client)
        sent = await rpc.result("SendMessage", **message(configuration=NOW))
        task = sent["task"]["id"]
        last = 0
        async for number, event in rpc.events("SubscribeToTask", {"id": task}):
            last = number
            if "artifactUpdate" in event or event.get("task", {}).get("artifacts"):
                break
    async with executing(log, patient), served(log, tmp_path / "2") as url:
        rpc = Rpc(f"{url}/patient", client)
        result = await rpc.result("GetTask", id=task)
        validate("Task", result)
        assert result["status"]["state"] == "TASK_STATE_WORKING"
        listed = await rpc.result("ListTasks")
        assert [each["id"] for each in listed["tasks"]] == [task]
        resumed = rpc.events("SubscribeToTask", {"id": task}, **{"Last-Event-ID": str(last)})
        following = asyncio.create_task(anext(resumed))
        canceled = await rpc.result("CancelTask", id=task)
        assert canceled["status"]["state"] == "TASK_STATE_CANCELED"
        number, event = await asyncio.wait_for(following, 5)
        assert number > last
        assert event["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELED"
        await resumed.aclose()


@asynccontextmanager
async def process(
    nats_url: str, data: Path, *servers: str
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Run a bridge as a process, perhaps with servers of tools; gives it and its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("bridge_process.py")
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), nats_url, str(data), str(port), *servers),
        stdout=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None
    try:
        assert await asyncio.wait_for(running.stdout.readline(), 20) == b"up\n"
        yield running, f"http://127.0.0.1:{port}"
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


@pytest.mark.accepts("AS-61")
async def test_sigterm_ends_what_runs_and_then_the_bridge(
    nats_url: str, log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scripted(log) as script, process(nats_url, tmp_path) as (running, url):
        await agents_known(client, url)
        rpc = Rpc(f"{url}/scripted", client)
        finishing = asyncio.create_task(rpc.result("SendMessage", **message("finish")))
        finish_sequence, finish = await script.command()
        lasting = asyncio.create_task(rpc.result("SendMessage", **message("last")))
        sequence, command = await script.command()
        task = opened(command)
        await script.decide(
            started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
        )
        events: list[dict[str, object]] = []

        async def read() -> None:
            async for _, event in rpc.events("SubscribeToTask", {"id": task}):
                events.append(event)

        reading = asyncio.create_task(read())
        await until(lambda: events)

        running.send_signal(signal.SIGTERM)
        await asyncio.wait_for(reading, 3)  # ends as a stream should, with no more events
        assert len(events) == 1
        async with asyncio.timeout(3):  # it lets nobody in any more
            while await lets_in(url):
                pass
        done = opened(finish)
        await script.decide(
            started(done),
            status(done, TaskState.COMPLETED),
            ended(done),
            sequence=finish_sequence,
            command=finish,
        )
        finished = (await asyncio.wait_for(finishing, 3))["task"]
        assert finished["status"]["state"] == "TASK_STATE_COMPLETED"
        as_it_is = (await asyncio.wait_for(lasting, 3))["task"]
        assert as_it_is["status"]["state"] == "TASK_STATE_WORKING"
        assert await asyncio.wait_for(running.wait(), 4) == 0


async def lets_in(url: str) -> bool:
    """Whether a new client is served."""
    try:
        async with httpx.AsyncClient() as other:
            await other.get(f"{url}/healthz")
    except httpx.TransportError:
        return False
    return True


@pytest.mark.accepts("AS-61")
async def test_a_second_signal_ends_the_bridge_at_once(
    nats_url: str, log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scripted(log) as script, process(nats_url, tmp_path) as (running, url):
        await agents_known(client, url)
        rpc = Rpc(f"{url}/scripted", client)
        lasting = asyncio.create_task(rpc.result("SendMessage", **message("last")))
        await script.command()
        running.send_signal(signal.SIGTERM)
        await asyncio.wait((lasting,), timeout=0.3)
        assert not lasting.done()
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 2) is not None
        with pytest.raises(httpx.HTTPError):
            await lasting


async def agents_known(client: httpx.AsyncClient, url: str) -> None:
    """Wait until a bridge knows its agents."""
    async with asyncio.timeout(10):
        while not (await client.get(url)).json()["agents"]:
            await asyncio.sleep(0.02)


async def test_a_bridge_that_has_not_read_its_agents_does_not_deny_them(log: JetStreamLog) -> None:
    agents = Agents(log, default="", world=WORLD)
    assert isinstance(agents.unknown(), LogUnavailable)
    keeping = asyncio.create_task(agents.keep())
    await until(lambda: agents.loaded)
    keeping.cancel()
    assert isinstance(agents.unknown(), UnknownAgent)
