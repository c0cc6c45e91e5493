"""A client of the log, as a bridge would be, and executors that serve for a while."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from pelton.events import subjects
from pelton.events.a2a import Artifact, Message, Part, Role, TaskState, text_of
from pelton.events.commands import (
    CancelTask,
    CancelTaskData,
    Command,
    SendMessage,
    SendMessageData,
)
from pelton.events.commit import recorded
from pelton.events.context import Context, TaskFold
from pelton.events.envelope import encode
from pelton.events.events import AnyEvent, Failure, TurnEnded
from pelton.events.ids import task_id
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent
from pelton.runtime.clock import RealWorld, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog

WORLD = RealWorld()
PATIENCE = 60.0 if os.environ.get("TEST_FRAMEWORKS") else 10.0
"""Seconds to wait for what is to come; some frameworks take long to be started."""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@asynccontextmanager
async def serving(
    log: JetStreamLog, *agents: Agent, budget: float = 5.0, **options: Any
) -> AsyncGenerator[Executor]:
    """Run an executor for the duration of the block, and stop it cleanly."""
    executor = Executor(log, agents, world=WORLD, **options)
    running = asyncio.create_task(executor.run(budget=budget))
    await asyncio.wait_for(executor.ready.wait(), 40)  # some frameworks take long to be imported
    try:
        yield executor
    finally:
        executor.stop()
        await asyncio.wait_for(running, 15)


class Client:
    """Sends commands as a bridge would, and waits for what the log says of them."""

    def __init__(self, log: JetStreamLog, agent: str = "echo") -> None:
        self.log, self.agent = log, agent
        self.contexts = Contexts(log)

    async def send(
        self,
        text: str,
        context: str | None = None,
        *,
        task: str = "",
        id_: str | None = None,
        message: Message | None = None,
        actor: str = "somebody",
        reach: Literal["tenant"] | None = None,
        **more: Any,
    ) -> tuple[str, str]:
        """Send a message; return the context's id and the task's."""
        id_ = id_ or WORLD.new_id()
        opens = context is None
        context = context or WORLD.new_id()
        message = message or Message(
            message_id=WORLD.new_id(), role=Role.USER, parts=(Part(text=text),), task_id=task
        )
        envelope: dict[str, Any] = {**self._envelope(id_, context), "actor": actor}
        if reach:
            envelope["reach"] = reach
        data = SendMessageData(message=message, **more)
        command = SendMessage(data=data, opens=opens, **envelope)
        await self._append(context, command, expect=0 if opens else None)
        return context, task or task_id(context, id_)

    async def cancel(
        self,
        context: str,
        task: str,
        *,
        turn: int = 0,
        id_: str | None = None,
        **envelope: Any,
    ) -> None:
        """Ask to cancel a task."""
        attributes = {**self._envelope(id_ or WORLD.new_id(), context), **envelope}
        command = CancelTask(data=CancelTaskData(task_id=task, turn=turn), **attributes)
        await self._append(context, command)

    def _envelope(self, id_: str, context: str) -> dict[str, Any]:
        return {
            "id": id_,
            "source": "test",
            "subject": f"{self.agent}/{context}",
            "time": rfc3339(WORLD.now()),
            "tenant": "local",
            "actor": "somebody",
            "correlationid": id_,
            "causationid": id_,
            "traceparent": TRACE,
        }

    async def _append(self, context: str, command: Command, expect: int | None = None) -> None:
        subject = subjects.commands(self.agent, context)
        await self.log.append(subject, encode(command), id=command.id, expect=expect)

    async def until(
        self, context: str, reached: Callable[[Context], bool], within: float = PATIENCE
    ) -> Context:
        """Wait until a context's fold is as wanted."""
        changed = asyncio.Event()
        subject = subjects.commits(self.agent, context)
        async with asyncio.timeout(within), self.log.listen(subject, lambda _: changed.set()):
            while True:
                changed.clear()
                state = await self.contexts.load(self.agent, context)
                if reached(state):
                    return state
                await changed.wait()

    async def settled(self, context: str, task: str, within: float = PATIENCE) -> TaskFold:
        """Wait until a task has ended or waits, and return it."""
        state = await self.until(
            context,
            lambda state: (
                task in state.tasks
                and state.tasks[task].turn is None
                and state.tasks[task].status.state not in (TaskState.SUBMITTED, TaskState.WORKING)
            ),
            within,
        )
        return state.tasks[task]

    async def asked(self, context: str, task: str, within: float = PATIENCE) -> TaskFold:
        """Wait until a task has asked a person something, and return it."""

        def asks(state: Context) -> bool:
            turn = state.tasks[task].turn if task in state.tasks else None
            return turn is not None and bool(turn.asked)

        return (await self.until(context, asks, within)).tasks[task]

    async def events(self, context: str) -> list[Any]:
        """Return all events of a context, in order."""
        records = await self.log.read(subjects.commits(self.agent, context))
        commits = (decode_commit(record.data) for record in records)
        return [entry.event for commit in commits for entry in recorded(commit)]


def reply(task: TaskFold) -> str:
    """Return the text of the message that a task ended with."""
    assert task.status.message is not None
    return text_of(task.status.message.parts)


def failure_in(events: Sequence[AnyEvent]) -> Failure:
    """Return how the one turn that ended among events has failed."""
    [failure] = [each.failure for each in events if isinstance(each, TurnEnded)]
    assert failure is not None
    return failure


def only(task: TaskFold) -> Artifact:
    """Return the only artifact of a task."""
    (artifact,) = task.artifacts.values()
    return artifact
