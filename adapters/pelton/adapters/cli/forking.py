"""Going on with a fork: on a server of its own, whose directory is deleted afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pelton.adapters.cli.output import CommandFailed
from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role
from pelton.events.commands import SendMessage, SendMessageData
from pelton.events.context import Context, TaskFold
from pelton.events.envelope import ANONYMOUS, encode
from pelton.events.ids import context_of, task_id
from pelton.events.states import INTERRUPTED
from pelton.runtime.agents import Agent
from pelton.runtime.clock import RealWorld, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.log import Log
from pelton.runtime.replay.fork import plant
from pelton.runtime.replay.session import Session, agents_of, session_of
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.steps import Steps

_STARTS: Final = 10.0  # seconds for an executor to start in


class Forked(NamedTuple):
    """What came of a fork: the whole conversation, and the task that was gone on with."""

    session: Session
    task: TaskFold


class Forking:
    """A fork of a task: `records` is its prefix, and `steps` makes what its steps are done with."""

    def __init__(
        self,
        original: Session,
        records: Sequence[tuple[str, bytes]],
        *,
        agents: Sequence[Agent],
        steps: Callable[..., Steps],
        task: str,
    ) -> None:
        self._original, self._records = original, records
        self._agents, self._steps = agents, steps
        self._task, self._context_id = task, context_of(task)
        self._world = RealWorld()

    async def run(self, message: str | None, *, within: float) -> Forked:
        """Go on, with a message if there is one, until the task has ended or waits for a person.

        Raises:
            CommandFailed: the task has ended there and nothing is said, or does not end in time.
        """
        with tempfile.TemporaryDirectory(prefix="pelton-fork-") as directory:
            async with (
                EmbeddedServer(Path(directory), profile=RELAXED) as server,
                JetStreamLog.open(server.url, profile=RELAXED) as log,
            ):
                await plant(log, self._original, self._records)
                agent, task = await self._begin(log, message)
                executor = Executor(log, self._agents, world=self._world, steps=self._steps)
                running = asyncio.create_task(executor.run())
                try:
                    async with asyncio.timeout(_STARTS):
                        await executor.ready.wait()
                    fold = await self._settled(log, agent, task, within)
                finally:
                    executor.stop()
                    await asyncio.wait((running,))
                return Forked(await session_of(log, self._context_id), fold)

    async def _begin(self, log: Log, text: str | None) -> tuple[str, str]:
        """Say what is to be said; return the agent and the task that go on."""
        agent, context = await self._context(log)
        known = context.tasks.get(self._task)
        over = known is not None and known.ended
        if text is None:
            if over:
                raise CommandFailed(
                    "the task has ended there: fork it earlier, or say something with --message",
                    "usage",
                )
            return agent, self._task
        id_, own = self._world.new_id(), "" if over else self._task
        message = Message(message_id=id_, role=Role.USER, parts=(Part(text=text),), task_id=own)
        command = SendMessage(
            id=id_,
            source="fork",
            subject=f"{agent}/{self._context_id}",
            time=rfc3339(self._world.now()),
            tenant="local",
            actor=context.owner or ANONYMOUS,
            correlationid=id_,
            causationid=id_,
            data=SendMessageData(message=message),
            reach="tenant",
            decides=True,
        )
        await log.append(subjects.commands(agent, self._context_id), encode(command), id=id_)
        return agent, own or task_id(self._context_id, id_)

    async def _context(self, log: Log) -> tuple[str, Context]:
        """Return the agent that has the task, and its context."""
        found: list[tuple[str, Context]] = []
        for agent in await agents_of(log, self._context_id):
            found.append((agent, await Contexts(log).load(agent, self._context_id)))
            if self._task in found[-1][1].tasks:
                return found[-1]
        return found[0]  # its message waits to be decided

    async def _settled(self, log: Log, agent: str, task: str, within: float) -> TaskFold:
        """Return the task once it has ended or waits for a person, and nothing waits for it."""
        contexts, changed = Contexts(log), asyncio.Event()
        subject = subjects.commits(agent, self._context_id)
        try:
            async with asyncio.timeout(within), log.listen(subject, lambda _: changed.set()):
                while True:
                    changed.clear()
                    state = await contexts.load(agent, self._context_id)
                    commands = await log.read(subjects.commands(agent, self._context_id))
                    fold = state.tasks.get(task)
                    decided = all(state.decided(each.sequence) for each in commands)
                    if fold is not None and decided and _rests(fold):
                        return fold
                    await changed.wait()
        except TimeoutError:
            raise CommandFailed(f"the fork did not come to rest within {within:g} s") from None


def _rests(task: TaskFold) -> bool:
    """Whether a task has ended, or waits for a person."""
    waits = task.turn is None or bool(task.turn.asked)
    return task.ended or (task.status.state in INTERRUPTED and waits)
