"""A bridge to test: over real HTTP on a real log, with real executors or with a scripted one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from pelton.adapters.a2a.grpc_server import Service, serve_grpc
from pelton.adapters.a2a.protocol import Door
from pelton.adapters.a2a.server import bind, open_bridge, serve_bridge
from pelton.adapters.a2a.tls import Tls
from pelton.events import subjects
from pelton.events.a2a import Artifact, Message, Part, Role, TaskState, TaskStatus
from pelton.events.card import AgentProfile, AgentSkill
from pelton.events.commands import Command
from pelton.events.commit import Origin
from pelton.events.decide import about, decide
from pelton.events.events import (
    AnyEvent,
    Outcome,
    TaskArtifactUpdated,
    TaskStatusUpdated,
    TurnEnded,
    TurnStarted,
)
from pelton.events.ids import context_of, task_id
from pelton.events.upcast import decode_command
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.agents import Agent
from pelton.runtime.aggregates import agents_of
from pelton.runtime.clock import RealWorld, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.executor import Executor
from pelton.runtime.log import Heard, Log
from pelton.runtime.projector import Projector
from pelton.runtime.registration import register
from pelton.runtime.writer import Writer

WORLD = RealWorld()
HEADERS = {"A2A-Version": "1.0"}


@asynccontextmanager
async def served(
    log: Log,
    data: Path,
    *,
    projected: Log | None = None,
    grpc: bool = False,
    tls: Tls | None = None,
    door: Door | None = None,
    **options: Any,
) -> AsyncGenerator[str]:
    """Serve a bridge on a free port, with a projector beside it (on a log of its own, if given).

    Gives its URL.
    """
    stop, up = asyncio.Event(), asyncio.Event()
    async with (
        AsyncExitStack() as stack,
        open_store(data / "models.db") as store,
        open_read_models(data / "models.db") as models,
        open_bridge(log, models, **options) as bridge,
        asyncio.TaskGroup() as tasks,
    ):
        listening = stack.enter_context(closing(bind("127.0.0.1", 0)))
        projecting = tasks.create_task(Projector(projected or log, store, world=WORLD).run())
        serving = tasks.create_task(
            serve_bridge(
                bridge, [listening], stop=stop, stop_within=2, tls=tls, door=door, ready=up.set
            )
        )
        await asyncio.wait_for(up.wait(), 5)
        url = f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        bridge.cards.http = url
        if grpc:
            service = Service.on(bridge, world=WORLD)
            port = await stack.enter_async_context(serve_grpc(service, "127.0.0.1", 0, tls=tls))
            bridge.cards.grpc = f"127.0.0.1:{port}"
        await until_ready(url)
        try:
            yield url
        finally:
            stop.set()
            await serving
            projecting.cancel()


async def until_ready(url: str, within: float = 10.0) -> None:
    """Wait until a bridge says that it is ready."""
    async with asyncio.timeout(within), httpx.AsyncClient(verify=False) as client:
        while (await client.get(f"{url}/readyz")).status_code != 200:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def executing(log: Log, *agents: Agent, **options: Any) -> AsyncGenerator[Executor]:
    """Run an executor while the block lasts, and stop it cleanly."""
    executor = Executor(log, agents, world=WORLD, **options)
    running = asyncio.create_task(executor.run(budget=0.5))
    await asyncio.wait_for(executor.ready.wait(), 5)
    try:
        yield executor
    finally:
        executor.stop()
        await asyncio.wait_for(running, 15)


def profile(name: str = "scripted", **members: Any) -> AgentProfile:
    """Return what an agent says of itself."""
    skill = AgentSkill(id=name, name=name, description="Does it.", tags=("test",))
    return AgentProfile(
        name=name, title=name, description="Does it.", version="1", skills=(skill,), **members
    )


@dataclass
class Script:
    """An executor that does nothing by itself: the test says what it commits, and when."""

    log: Log
    agent: str
    commands: asyncio.Queue[tuple[int, Command]] = field(default_factory=asyncio.Queue)

    def heard(self, heard: Heard) -> None:
        """Take note of a command."""
        self.commands.put_nowait((heard.sequence, decode_command(heard.data)))

    async def command(self) -> tuple[int, Command]:
        """Return the next command, and its place in the stream."""
        return await asyncio.wait_for(self.commands.get(), 5)

    async def decide(self, *more: AnyEvent, sequence: int, command: Command) -> str:
        """Commit what a command leads to, and more; returns the id of its task."""
        context = subjects.parse(command.subject).context
        state = await Contexts(self.log).load(self.agent, context, decisive=True)
        events = (*decide(state, command, time=rfc3339(WORLD.now())), *more)
        writer = Writer(self.log, state, world=WORLD)
        origin = Origin.caused_by(command, "executor/script")
        await writer.commit(events, origin=origin, command=sequence, handled=sequence)
        return about(state, command)

    async def commit(self, task: str, *events: AnyEvent) -> None:
        """Commit events of a turn that goes on."""
        context = context_of(task)
        state = await Contexts(self.log).load(self.agent, context, decisive=True)
        writer = Writer(self.log, state, world=WORLD)
        origin = Origin("executor/script", "default", "anonymous", "x", "x")
        await writer.commit(events, origin=origin, handled=state.handled)

    async def answer(self, text: str = "done") -> str:
        """Work the next command as a short turn that completes; returns the id of its task."""
        sequence, command = await self.command()
        task = opened(command)
        return await self.decide(*turn(task, text), sequence=sequence, command=command)


@asynccontextmanager
async def scripted(log: Log, agent: str = "scripted", **members: Any) -> AsyncGenerator[Script]:
    """Register an agent that a script stands for."""
    script = Script(log, agent)
    agents = agents_of(log, WORLD)
    await register(agents, profile(agent, **members), world=WORLD, source="x", tenant="default")
    async with log.listen(f"cmd.{agent}.>", script.heard):
        yield script


def opened(command: Command) -> str:
    """Return the id of the task that a command opens."""
    return task_id(subjects.parse(command.subject).context, command.id)


def status(task: str, state: TaskState, text: str = "") -> TaskStatusUpdated:
    """Return a change of a task's status."""
    message = None
    if text:
        message = Message(message_id="m", role=Role.AGENT, parts=(Part(text=text),), task_id=task)
    return TaskStatusUpdated(
        task_id=task,
        status=TaskStatus(state=state, message=message, timestamp=rfc3339(WORLD.now())),
    )


def started(task: str, turn: int = 1) -> TurnStarted:
    """Return the beginning of a turn."""
    return TurnStarted(task_id=task, turn=turn, attempt=1, message_id="m", executor="script")


def ended(task: str, turn: int = 1, outcome: Outcome = Outcome.COMPLETED) -> TurnEnded:
    """Return the end of a turn."""
    return TurnEnded(task_id=task, turn=turn, attempt=1, outcome=outcome)


def artifact(task: str, text: str, *, append: bool = False) -> TaskArtifactUpdated:
    """Return a piece of an artifact."""
    whole = Artifact(artifact_id="a", parts=(Part(text=text),))
    return TaskArtifactUpdated(task_id=task, artifact=whole, append=append)


def turn(task: str, text: str) -> Sequence[AnyEvent]:
    """Return a whole short turn."""
    return (
        started(task),
        status(task, TaskState.WORKING),
        artifact(task, text),
        status(task, TaskState.COMPLETED),
        ended(task),
    )


def message(text: str = "hello", **members: Any) -> dict[str, Any]:
    """Return the parameters of a send."""
    configuration = members.pop("configuration", {})
    said = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": text}], **members}
    return {"message": said, "configuration": configuration}


@dataclass
class Rpc:
    """Speaks JSON-RPC with an agent."""

    url: str
    client: httpx.AsyncClient

    async def __call__(self, method: str, **params: Any) -> Any:
        """Return the answer's body."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await self.client.post(self.url, json=request, headers=HEADERS)
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert body["jsonrpc"] == "2.0"
        assert body["id"] == 1, body
        return body

    async def result(self, method: str, **params: Any) -> Any:
        """Return the result."""
        body = await self(method, **params)
        assert "error" not in body, body
        return body["result"]

    async def error(self, method: str, **params: Any) -> tuple[int, str]:
        """Return the code and the reason of an error."""
        body = await self(method, **params)
        assert "result" not in body, body
        return body["error"]["code"], body["error"]["data"][0]["reason"]

    async def events(
        self, method: str, params: dict[str, Any], **headers: str
    ) -> AsyncGenerator[tuple[int, dict[str, Any]]]:
        """Yield the events of a stream with their ids."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self.client.stream(
            "POST", self.url, json=request, headers=HEADERS | headers
        ) as answer:
            assert answer.headers["content-type"] == "text/event-stream", await answer.aread()
            async with aclosing(parsed(answer.aiter_lines())) as events:
                async for number, data in events:
                    yield number, data["result"]


async def parsed(lines: Any) -> AsyncGenerator[tuple[int, dict[str, Any]]]:
    """Yield the events that the lines of a stream spell."""
    number = -1
    async for line in lines:
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield number, httpx.Response(200, text=line[6:]).json()


async def until(condition: Any, within: float = 5.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)
