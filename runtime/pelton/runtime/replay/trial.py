"""Trials: a task gone on with, on a log of its own, by code that may be another than it was.

A trial is played on a server of its own in real time, where steps may have effects (`play_live`),
or in memory on virtual time, where nothing may (`play_still`).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role
from pelton.events.commands import SendMessage, SendMessageData
from pelton.events.context import Context, TaskFold
from pelton.events.envelope import ANONYMOUS, encode
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import CommandRejected
from pelton.events.ids import context_of, task_id
from pelton.events.states import INTERRUPTED
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent
from pelton.runtime.bulk import ContextBlobs, offload
from pelton.runtime.clock import RealWorld, World, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.log import Log, Record
from pelton.runtime.redaction import cleaned
from pelton.runtime.replay.fork import Chosen, Later, Policy, opening, plant, prefix
from pelton.runtime.replay.guard import no_effects
from pelton.runtime.replay.players import Abroad, Said, helpers, people
from pelton.runtime.replay.session import Session, agents_of, session_of
from pelton.runtime.replay.still import StillLoop
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.simulation.faults import Faults
from pelton.runtime.simulation.log import SimulatedLog
from pelton.runtime.simulation.server import SimulatedServer
from pelton.runtime.simulation.world import SimulatedWorld
from pelton.runtime.steps import Steps

_STARTS: Final = 10.0  # seconds for an executor to start in
_ENDLESS: Final = 1e9  # seconds
_ALONE: Final = 600.0  # seconds of silence of an executor that no other one could relieve


class NotAtRest(PeltonError):
    """A task that was gone on with did not end in time: give it more, or more agents that answer.

    An agent whose code is not there takes no part: what is handed to it waits.
    """

    code: ClassVar[str] = "not-at-rest"


class Trial(NamedTuple):
    """What is gone on with: the task, from the `records` that `fork.prefix` makes of the original.

    `agents` go on, from `began` on; `steps` makes what their steps are done with. `message` is said
    at once, `says` one after the other, whenever the task waits for somebody. Agents elsewhere are
    played from the record, or that of `other`.
    """

    original: Session
    records: Sequence[tuple[str, bytes]]
    task: str
    began: datetime
    agents: Sequence[Agent]
    steps: Callable[..., Steps]
    message: str | None = None
    says: Sequence[Said] = ()
    other: Session | None = None


def from_start(
    session: Session,
    task: str,
    agents: Sequence[Agent],
    policy: Policy,
    *,
    now: datetime | None = None,
    other: Session | None = None,
) -> tuple[Trial, Later]:
    """Return a trial of a task from before its first turn, and what its steps have from the record.

    Other agents and people are played from the record, too; what that does not have is looked for
    in the `other` session. It begins when the task did, or `now`.

    Raises:
        TaskNotFound: the session has no such task.
    """
    start = opening(session, task)
    command = next(each for each in session.records if each.sequence == start)
    began, there = now or command.received, {each.name for each in agents}
    later, others = Later(session, start, other), helpers(session, task, other)
    trial = Trial(
        session,
        prefix(session, start, now=began, memories=policy.remembers),
        task,
        began,
        agents=[*agents, *(each for each in others if each.name not in there)],
        steps=partial(Chosen, policy, later),
        says=people(session, task, start),
        other=other,
    )
    return trial, later


class Ran(NamedTuple):
    """What came of it: the whole conversation, and the task that was gone on with."""

    session: Session
    task: TaskFold


async def play_live(trial: Trial, *, within: float) -> Ran:
    """Play a trial on a server of its own, which is deleted afterwards; `within` is in seconds.

    Raises:
        NotAtRest: the task has not ended in time, nor waits for a person.
        InvalidInput: it has ended before, and nothing is said; or what is said is refused.
    """
    with tempfile.TemporaryDirectory(prefix="pelton-fork-") as directory:
        async with (
            EmbeddedServer(Path(directory), profile=RELAXED) as server,
            JetStreamLog.open(server.url, profile=RELAXED, vault=trial.original.vault) as log,
        ):
            return await _Play(trial, log, RealWorld()).run(within)


def play_still(trial: Trial, *, within: float) -> Ran:
    """Play a trial in memory, without any effect; its time is virtual.

    It blocks, and has an event loop of its own: from a coroutine, call it in a thread.

    Raises:
        NotAtRest, InvalidInput: as `play_live`.
    """
    loop = StillLoop(limit=_ENDLESS)

    async def body() -> Ran:
        world = SimulatedWorld("trial")
        server = SimulatedServer(world)
        world.skew = server.world.skew = (trial.began - world.now()).total_seconds()
        log = SimulatedLog(server, faults=Faults(latency=(0.0, 0.0)), vault=trial.original.vault)
        return await _Play(trial, log, world, patience=_ALONE).run(within)

    with no_effects(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(body())
        finally:
            loop.release()


class _Play:
    """One trial on one log."""

    def __init__(self, trial: Trial, log: Log, world: World, *, patience: float = 3.0) -> None:
        self._trial, self._log, self._world, self._patience = trial, log, world, patience
        self._context_id = context_of(trial.task)

    async def run(self, within: float) -> Ran:
        trial, log = self._trial, self._log
        await plant(log, trial.original, trial.records)
        agent, task, command_id = await self._begin()
        executor = Executor(
            *(log, trial.agents),
            world=self._world,
            steps=trial.steps,
            patience=self._patience,
            remote=Abroad(*(each for each in (trial.original, trial.other) if each is not None)),
        )
        running = asyncio.create_task(executor.run())
        try:
            async with asyncio.timeout(_STARTS):
                await executor.ready.wait()
            fold = await self._settled(agent, task, within)
            for said in trial.says:
                if fold.ended:
                    break
                asked = fold.turn.asked if fold.turn is not None else {}
                answers = said.answers if said.answers in asked else ""
                await self._say(agent, self._world.new_id(), said.parts, task, answers=answers)
                fold = await self._settled(agent, task, within)
        finally:
            executor.stop()
            await asyncio.wait((running,))
        running.result()
        session = await session_of(log, self._context_id)
        _check_taken(session.commits(agent, self._context_id), command_id)
        return Ran(session, fold)

    async def _begin(self) -> tuple[str, str, str]:
        """Say what is to be said at once; return the agent and task that go on, and its id."""
        agent, context = await self._context()
        task = self._trial.task
        known = context.tasks.get(task)
        over = known is not None and known.ended
        if self._trial.message is None:
            if over:
                raise InvalidInput(
                    "the task has ended there: fork it earlier, or say something with --message"
                )
            return agent, task, ""
        parts, id_ = (Part(text=self._trial.message),), self._world.new_id()
        return agent, await self._say(agent, id_, parts, "" if over else task), id_

    async def _say(
        self, agent: str, id_: str, parts: tuple[Part, ...], task: str, *, answers: str = ""
    ) -> str:
        """Say something to the agent, to a task or to open one, and return the task's id."""
        _, context = await self._context()
        message = Message(message_id=id_, role=Role.USER, parts=parts, task_id=task)
        message = await offload(ContextBlobs(self._log, agent, self._context_id), message)
        command = SendMessage(
            id=id_,
            source="fork",
            subject=f"{agent}/{self._context_id}",
            time=rfc3339(self._world.now()),
            tenant="local",
            actor=context.owner or ANONYMOUS,
            correlationid=id_,
            causationid=id_,
            data=SendMessageData(message=message, answers=answers),
            reach="tenant",
            decides=True,
        )
        subject = subjects.commands(agent, self._context_id)
        await self._log.append(
            subject, encode(cleaned(self._log.redactor, command, subject)), id=id_
        )
        return task or task_id(self._context_id, id_)

    async def _context(self) -> tuple[str, Context]:
        """Return the agent that has the task, and its context."""
        found: list[tuple[str, Context]] = []
        for agent in await agents_of(self._log, self._context_id):
            found.append((agent, await Contexts(self._log).load(agent, self._context_id)))
            if self._trial.task in found[-1][1].tasks:
                return found[-1]
        return found[0]  # its message waits to be decided

    async def _settled(self, agent: str, task: str, within: float) -> TaskFold:
        """Return the task once it has ended or waits for a person, and nothing waits for it."""
        contexts, changed = Contexts(self._log), asyncio.Event()
        subject = subjects.commits(agent, self._context_id)
        try:
            async with (
                asyncio.timeout(within),
                self._log.listen(subject, lambda _: changed.set()),
            ):
                while True:
                    changed.clear()
                    state = await contexts.load(agent, self._context_id)
                    commands = await self._log.read(subjects.commands(agent, self._context_id))
                    fold = state.tasks.get(task)
                    decided = all(state.decided(each.sequence) for each in commands)
                    if fold is not None and decided and _rests(fold):
                        return fold
                    await changed.wait()
        except TimeoutError:
            raise NotAtRest(f"the fork did not come to rest within {within:g} s") from None


def _check_taken(commits: Sequence[Record], command_id: str) -> None:
    """Refuse what came of a fork that has not taken what was said at it.

    Raises:
        InvalidInput: it was refused.
    """
    for record in commits if command_id else ():
        for event in decode_commit(record.data).data.events:
            if isinstance(event, CommandRejected) and event.command_id == command_id:
                raise InvalidInput(
                    f"what was said at the fork was refused ({event.reason}): say it where the task"
                    " waits for somebody or has ended, or to an agent that takes messages meanwhile"
                )


def _rests(task: TaskFold) -> bool:
    """Whether a task has ended, or waits for a person."""
    waits = task.turn is None or bool(task.turn.asked)
    return task.ended or (task.status.state in INTERRUPTED and waits)
