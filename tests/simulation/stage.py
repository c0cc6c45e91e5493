"""A stage: one simulated server, one executor with agents of a test's own, and what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role
from pelton.events.commands import (
    CancelTask,
    CancelTaskData,
    Command,
    SendMessage,
    SendMessageData,
)
from pelton.events.commit import recorded
from pelton.events.context import Context, TaskFold, fold
from pelton.events.envelope import encode
from pelton.events.ids import task_id
from pelton.events.states import TERMINAL
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent
from pelton.runtime.clock import rfc3339
from pelton.runtime.executor import Executor
from pelton.runtime.simulation import Process, SimulatedLog, SimulatedServer, SimulatedWorld


class Stage:
    """What a test says to an agent, in virtual time, and what the log then has."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.server = SimulatedServer(world)
        self.log = SimulatedLog(self.server, name="client")
        self._sent = 0

    @asynccontextmanager
    async def serving(self, *agents: Agent, patience: float = 3.0) -> AsyncGenerator[Executor]:
        """Run an executor for the duration of the block."""
        log = SimulatedLog(self.server, name=f"executor {self._sent}")
        executor = Executor(log, agents, world=self.world, patience=patience)
        running = asyncio.ensure_future(executor.run(budget=0.0))
        await executor.ready.wait()
        try:
            yield executor
        finally:
            executor.stop()
            await running

    def process(self, *agents: Agent) -> Process:
        """Run an executor in a process of its own, which may be killed."""

        async def serve() -> None:
            log = SimulatedLog(self.server, name="process")
            process.killed.append(log.link.close)
            await Executor(log, agents, world=self.world).run()

        process = Process("process")
        process.start(serve())
        return process

    async def send(
        self,
        text: str,
        context: str = "c1",
        *,
        agent: str = "echo",
        id_: str = "",
        task: str = "",
        actor: str = "anna",
        **data: Any,
    ) -> str:
        """Send a message and return the id of its task."""
        self._sent += 1
        id_ = id_ or f"m{self._sent}"
        said = Message(message_id=id_, role=Role.USER, parts=(Part(text=text),), task_id=task)
        sent = SendMessageData(message=said, **data)
        await self._append(
            agent, context, SendMessage(data=sent, **self._envelope(id_, agent, context, actor))
        )
        return task or task_id(context, id_)

    async def cancel(
        self, task: str, context: str = "c1", *, agent: str = "echo", id_: str = "", turn: int = 0
    ) -> None:
        """Ask to cancel a task."""
        self._sent += 1
        data = CancelTaskData(task_id=task, turn=turn)
        envelope = self._envelope(id_ or f"x{self._sent}", agent, context, "anna")
        await self._append(agent, context, CancelTask(data=data, **envelope))

    async def _append(self, agent: str, context: str, command: Command) -> None:
        subject = subjects.commands(agent, context)
        await self.log.append(subject, encode(command), id=command.id)

    def _envelope(self, id_: str, agent: str, context: str, actor: str) -> dict[str, Any]:
        return {
            "id": id_,
            "source": "test",
            "subject": f"{agent}/{context}",
            "time": rfc3339(self.world.now()),
            "tenant": "local",
            "actor": actor,
            "correlationid": id_,
            "causationid": id_,
        }

    def context(self, context: str = "c1", agent: str = "echo") -> Context:
        """Return a context as the log has it."""
        state = Context(agent=agent, id=context)
        for record in self.server.read(subjects.commits(agent, context), 0, None, decisive=True):
            state = fold(state, record.sequence, record.data)
        return state

    def events(self, context: str = "c1", agent: str = "echo") -> list[Any]:
        """Return the events of a context."""
        records = self.server.read(subjects.commits(agent, context), 0, None, decisive=True)
        return [entry.event for each in records for entry in recorded(decode_commit(each.data))]

    async def until(self, reached: Callable[[], object], within: float = 120.0) -> None:
        """Wait until something is so, for virtual seconds."""
        async with asyncio.timeout(within):
            while not reached():
                await asyncio.sleep(0.05)

    async def ended(self, task: str, context: str = "c1", agent: str = "echo") -> TaskFold:
        """Wait until a task has ended, and return it."""

        def over() -> bool:
            found = self.context(context, agent).tasks.get(task)
            return found is not None and found.status.state in TERMINAL

        await self.until(over)
        return self.context(context, agent).tasks[task]

    async def asked(
        self, task: str, key: str = "", context: str = "c1", agent: str = "echo"
    ) -> TaskFold:
        """Wait until a task has asked a person something, under a key if one is named."""

        def asks() -> bool:
            found = self.context(context, agent).tasks.get(task)
            open_ = found.turn.asked if found and found.turn else {}
            return key in open_ if key else bool(open_)

        await self.until(asks)
        return self.context(context, agent).tasks[task]
