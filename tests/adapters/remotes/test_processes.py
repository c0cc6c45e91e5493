"""Delegation between processes: an executor that is killed, and remotes that are started again."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from pelton.events.a2a import TaskState
from pelton.events.context import TaskFold
from pelton.events.events import DelegationReported, TaskDelegated, TurnEnded
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from tests.runtime.clients import Client, reply

KINDS: Final = ("pelton", "sdk")


async def start(
    processes: list[asyncio.subprocess.Process], module: str, *arguments: str
) -> asyncio.subprocess.Process:
    """Start a process, let it be known, and wait until it is up."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.adapters.remotes.{module}", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    processes.append(process)
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line == b"up\n", module
    return process


@dataclass
class Scene:
    """A remote in a process of its own, an executor that delegates to it, and a client."""

    kind: str
    client: Client
    boss_url: str
    remote_url: str
    data: Path
    port: int
    processes: list[asyncio.subprocess.Process] = field(
        default_factory=list[asyncio.subprocess.Process]
    )

    async def remote(self) -> asyncio.subprocess.Process:
        """Start the remote, with what it knew before."""
        here = (str(self.data), str(self.port), str(self.data / "effects"))
        if self.kind == "pelton":
            return await start(self.processes, "pelton_process", self.remote_url, *here)
        return await start(self.processes, "sdk_process", *here)

    async def boss(self, when: str = "never") -> asyncio.subprocess.Process:
        """Start an executor that delegates, and kills itself then."""
        url = f"http://127.0.0.1:{self.port}/worker"
        return await start(self.processes, "boss_process", self.boss_url, url, when)

    async def ended(self, context: str, task: str) -> TaskFold:
        """Wait for the end of the delegating task."""
        return await self.client.settled(context, task, within=40)

    def effects(self) -> list[str]:
        """Return what the remote's agent has done."""
        return (self.data / "effects").read_text().split("\n")[:-1]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest_asyncio.fixture(params=KINDS)
async def scene(
    request: pytest.FixtureRequest,
    new_account: Callable[[], Awaitable[str]],
    tmp_path: Path,
) -> AsyncIterator[Scene]:
    boss_url, remote_url = await new_account(), await new_account()
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(JetStreamLog.open(boss_url))
        scene = Scene(
            request.param, Client(log, "boss"), boss_url, remote_url, tmp_path, free_port()
        )
        yield scene
        for process in scene.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def killed(process: asyncio.subprocess.Process) -> None:
    """Wait until a process has been killed."""
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL


@pytest.mark.accepts("AS-50", "AS-52")
async def test_it_comes_back_complete_and_asks_and_fails(scene: Scene) -> None:
    _, boss = await asyncio.gather(scene.remote(), scene.boss())
    expected = {
        "it": "40000 worked on it for boss",
        "ask": "0 on monday",
        "fail": "dependency-unavailable: cannot",
    }
    for text, answer in expected.items():
        context, task = await scene.client.send(text)
        assert reply(await scene.ended(context, task)) == answer
    boss.terminate()
    assert await asyncio.wait_for(boss.wait(), 10) == 0
    assert scene.effects()[:2] == ["it", "ask"]


@pytest.mark.timeout(90)
@pytest.mark.accepts("AS-10", "AS-50")
@pytest.mark.parametrize("when", ["before", "after", "following"])
async def test_an_executor_that_is_killed_finds_the_same_task_again(
    scene: Scene, when: str
) -> None:
    _, victim = await asyncio.gather(scene.remote(), scene.boss(when))
    context, task = await scene.client.send("slow")
    await killed(victim)
    await scene.boss()
    ended = await scene.ended(context, task)
    assert reply(ended) == "40000 worked on slow for boss"
    assert scene.effects() == ["slow"]
    events = await scene.client.events(context)
    for kind in (TaskDelegated, DelegationReported, TurnEnded):
        assert len([each for each in events if isinstance(each, kind)]) == 1


async def recorded(url: str) -> None:
    """Wait until a step has its result in a log."""
    async with (
        JetStreamLog.open(url, profile=RELAXED) as log,
        asyncio.timeout(20),
        aclosing(log.scan(live=True)) as batches,
    ):
        async for batch in batches:
            if any(b"StepCompleted" in record.data for record in batch):
                return


@pytest.mark.timeout(90)
@pytest.mark.accepts("AS-50")
async def test_a_remote_that_is_killed_and_started_again_is_heard_to_the_end(scene: Scene) -> None:
    remote, boss = await asyncio.gather(scene.remote(), scene.boss())
    context, task = await scene.client.send("slow")

    def taken() -> bool:
        return (scene.data / "effects").exists() and scene.effects() == ["slow"]

    async with asyncio.timeout(20):
        while not taken():
            await asyncio.sleep(0.02)
    if scene.kind == "sdk":  # it would not go on with what it had begun: let it end, unheard
        boss.kill()
        await killed(boss)
        async with asyncio.timeout(20):
            while not any("COMPLETED" in path.read_text() for path in scene.data.glob("*.json")):
                await asyncio.sleep(0.02)
    else:  # what was killed between its effect and its record would be done again
        await recorded(scene.remote_url)
    remote.kill()
    await killed(remote)
    starts = [scene.remote(), *([scene.boss()] if scene.kind == "sdk" else [])]
    await asyncio.gather(*starts)
    assert reply(await scene.ended(context, task)) == "40000 worked on slow for boss"
    assert scene.effects() == ["slow"]


@pytest.mark.timeout(90)
async def test_a_remote_that_is_not_there_yet_is_waited_for(scene: Scene) -> None:
    await scene.boss()
    context, task = await scene.client.send("it")
    await scene.client.until(context, lambda s: bool(s.open and s.open.turn.delegated))  # type: ignore[union-attr]
    await scene.remote()
    assert reply(await scene.ended(context, task)) == "40000 worked on it for boss"
    assert scene.effects() == ["it"]


@pytest.mark.timeout(90)
async def test_a_cancellation_reaches_the_remote(scene: Scene) -> None:
    await asyncio.gather(scene.remote(), scene.boss())
    context, task = await scene.client.send("endless")
    state = await scene.client.until(
        context,
        lambda s: bool(s.open and any(d.accepted for d in s.open.turn.delegated.values())),  # type: ignore[union-attr]
    )
    (handed,) = state.tasks[task].turn.delegated.values()  # type: ignore[union-attr]
    await scene.client.cancel(context, task)
    assert (await scene.ended(context, task)).status.state is TaskState.CANCELED
    if scene.kind == "sdk":
        async with asyncio.timeout(20):
            while "canceled" not in scene.effects():
                await asyncio.sleep(0.02)
        return
    async with JetStreamLog.open(scene.remote_url) as log:
        child = await Client(log, "worker").settled(handed.context_id, handed.child, within=20)
    assert child.status.state is TaskState.CANCELED
