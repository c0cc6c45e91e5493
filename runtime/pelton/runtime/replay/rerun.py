"""Re-run recorded (law 10): an agent's code once more, against what the log has of its task.

The code runs in the same `Attempt` as ever, on virtual time and on a log of its own in memory. What
came to it from outside comes from the record, once the agent has done all that it had done before;
what it does is compared, event by event. A step's function is never called: what is not in the
record is a divergence, and there the run ends (AS-21, AS-23).
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from pelton.events import subjects
from pelton.events.a2a import Message
from pelton.events.envelope import encode
from pelton.events.errors import TaskNotFound
from pelton.events.events import (
    Failure,
    FailureClass,
    MessageReceived,
    StepCompleted,
    StepFailed,
    TaskDelegated,
    TaskSubmitted,
    TurnEnded,
    ValueRecorded,
)
from pelton.events.ids import context_of
from pelton.events.redact import STANDARD, Redactor
from pelton.events.retries import NEVER, Retry
from pelton.events.turns import Delegated
from pelton.runtime.agents import Agent
from pelton.runtime.aggregates import agents_of, schedules_of
from pelton.runtime.assignment import Assignment, Host
from pelton.runtime.attempt import Attempt
from pelton.runtime.contexts import Contexts
from pelton.runtime.failures import StepError
from pelton.runtime.memories import Memories
from pelton.runtime.outbox import Outbox
from pelton.runtime.outfit import BARE
from pelton.runtime.prompts import Prompts
from pelton.runtime.recorder import Closed, Recorder
from pelton.runtime.remote import Remotes
from pelton.runtime.replay.course import Course
from pelton.runtime.replay.guard import no_effects
from pelton.runtime.replay.script import Entry, Script, Written, origin_of, scripts, written
from pelton.runtime.replay.session import Session, check_keys, keys_in
from pelton.runtime.replay.still import StillLoop
from pelton.runtime.replay.verdict import Turned, Verdict
from pelton.runtime.simulation.faults import Faults
from pelton.runtime.simulation.log import SimulatedLog
from pelton.runtime.simulation.server import SimulatedServer
from pelton.runtime.simulation.world import SimulatedWorld
from pelton.runtime.steps import Steps
from pelton.runtime.vault import ContentSealed, Keyring
from pelton.runtime.writer import Writer

PATIENCE: Final = 3_600.0
"""Seconds of virtual time that an agent may let pass without doing anything."""

_ENDLESS: Final = 1e9  # seconds


def rerun(
    session: Session, task_id: str, agent: Agent, *, redactor: Redactor = STANDARD
) -> Verdict:
    """Run an agent's code against a recorded task, turn by turn, without any effect.

    It blocks, and has an event loop of its own: from a coroutine, call it in a thread. `redactor`
    is that of the log which the session is from.

    Raises:
        TaskNotFound: the session has no turn of such a task.
        InvalidInput: this is not the id of a task.
        DamagedRecord: the commits of its context do not chain.
        ContentSealed: what was said is sealed; see `unsealed`.
    """
    context_id = context_of(task_id)
    check_keys(session)
    for name, id_ in session.contexts:
        if id_ != context_id:
            continue
        turns, divergence = list[Turned](), None
        for script in scripts(name, context_id, session.commits(name, context_id), task_id):
            course = _play(script, agent, session, redactor)
            divergence = course.divergence
            turned = Turned(
                number=script.number,
                attempts=script.attempts,
                events=course.met,
                ending=script.ending,
            )
            turns.append(turned)
            if divergence is not None:
                break
        if turns:
            return Verdict(task_id=task_id, agent=name, turns=tuple(turns), divergence=divergence)
    raise TaskNotFound(f"no turn of a task {task_id[:80]!r} is recorded")


def _play(script: Script, agent: Agent, session: Session, redactor: Redactor) -> Course:
    loop = _Loop()
    with no_effects(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(_played(loop, script, agent, session, redactor))
        finally:
            loop.idle = _nothing
            loop.release()


def _nothing() -> None:
    """There is nothing to look for."""


class _Loop(StillLoop):
    """A still loop that calls `idle` whenever nothing can run before time goes on."""

    def __init__(self) -> None:
        super().__init__(limit=_ENDLESS)
        self.idle: Callable[[], None] = _nothing

    @property
    def next_time(self) -> float:
        """The time at which something is due."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else float("inf")

    def _run_once(self) -> None:
        stopping = getattr(self, "_stopping")  # noqa: B009  private
        if not self._ready and not stopping and self.next_time > self._now:
            self.idle()
        super()._run_once()


class _Again(Attempt):
    """The attempt at a turn whose steps, waits and messages come from its record."""

    def __init__(self, script: Script, agent: Agent, writer: Writer, host: Host) -> None:
        host = host._replace(steps=partial(_Served, script.values(), self._result))
        super().__init__(agent, writer, _assignment(script), host, outlived=_outlived)
        self._script = script
        self._values = script.values()
        self._results: dict[str, asyncio.Queue[StepCompleted | StepFailed]] = {}
        self._coming: set[asyncio.Task[None]] = set()

    def take(self, entry: Entry) -> None:
        """Let come what the record has."""
        event = entry.event
        if isinstance(event, StepCompleted | StepFailed):
            self._result(event.key).put_nowait(event)
            return
        coming = asyncio.ensure_future(self._decide(entry))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    async def end(self, running: asyncio.Task[object]) -> None:
        """Stop, wherever it is.

        Raises:
            Exception: what has kept the attempt from writing.
        """
        ending = (running, *self._coming)
        for each in ending:
            each.cancel()
        await asyncio.wait(ending)
        if not running.cancelled():
            running.result()

    def _result(self, key: str) -> asyncio.Queue[StepCompleted | StepFailed]:
        return self._results.setdefault(key, asyncio.Queue())

    async def _decide(self, entry: Entry) -> None:
        events, origin = (entry.event, *entry.with_), origin_of(entry.commit)
        try:
            await self._recorder.decide(lambda _: events, origin=origin)
        except Closed:  # it has ended before that came
            return
        turn, waits = self._recorder.turn, self.mailbox.waits
        if turn is not None and waits is not None:
            waits.resolved(turn)

    async def _receive(self, key: str, within: float = 0.0) -> Message | None:  # noqa: ARG002
        command_id = self._values.get(key)
        value = ValueRecorded(task_id=self.task_id, key=key, value=command_id)
        if command_id is None:
            self._recorder.emit(value)
            return None
        received, origin = self._script.received[command_id]
        await self._recorder.decide(lambda _: (received, value), origin=origin)
        return received.message

    async def _hand_over(self, event: TaskDelegated, known: Delegated | None) -> None:
        """Send nothing: what came of it is recorded."""


class _Served(Steps):
    """Steps whose results and values are the recorded ones."""

    def __init__(
        self,
        values: Mapping[str, Any],
        result: Callable[[str], asyncio.Queue[StepCompleted | StepFailed]],
        recorder: Recorder,
        **options: Any,
    ) -> None:
        super().__init__(recorder, **options)
        self._values, self._result = values, result

    def _drawn(self, key: str, draw: Callable[[], Any]) -> Any:
        return self._values[key] if key in self._values else draw()

    async def _called(self, key: str, fn: Callable[..., Any], args: tuple[object, ...]) -> Any:
        """Return what is recorded, and call nothing; wait for ever if nothing is."""
        del fn, args
        event = await self._result(key).get()
        if isinstance(event, StepFailed):
            raise StepError(event.failure)
        if event.blob is not None:
            return msgspec.json.decode(await self._blobs.get(event.blob))
        return event.result

    def _again(
        self, failure: Failure, failures: int, retry: Retry | None, *, idempotent: bool
    ) -> str:
        if failure.kind is FailureClass.OUTCOME_UNKNOWN:  # a person has given it up
            return ""
        return super()._again(failure, failures, retry, idempotent=idempotent)


async def _outlived(_: Attempt) -> None:
    """There is nobody to hold the turn against."""


def _lenient(agent: Agent, name: str) -> Agent:
    """Return an agent under the name of the one that is recorded, whose turns are one attempt."""
    terms = dataclasses.replace(
        agent.terms,
        deadline=None,
        inactivity=_ENDLESS,
        suspend_after=_ENDLESS,
        retries=dict.fromkeys(FailureClass, NEVER),
    )
    profile = msgspec.structs.replace(agent.profile, name=name)
    return dataclasses.replace(agent, profile=profile, terms=terms, outfit=lambda: BARE)


def _assignment(script: Script) -> Assignment:
    received, known = script.opening[0], script.before.tasks.get(script.task_id)
    assert isinstance(received, TaskSubmitted | MessageReceived)  # what else begins a turn
    metadata = received.metadata if isinstance(received, TaskSubmitted) else None
    return Assignment(
        id=script.task_id,
        message=received.message,
        history=script.before.messages,
        metadata=metadata or (known.metadata if known else None) or {},
        opening=script.opening,
        earlier=None,
        number=script.number,
        attempt=1,
        origin=origin_of(script.cause),
        command_id=script.cause.causationid,
        command=script.cause.data.command,
        after=script.cause.data.command,
        deadline=script.deadline,
        delegation=received.delegation or (known.delegation if known else None),
        outfit=BARE,
        begun=script.cause.time,
        rulings=script.rulings(),
    )


def _host(log: SimulatedLog, world: SimulatedWorld) -> Host:
    contexts = Contexts(log)
    outbox, agents = (
        Outbox(log, world=world, remotes=Remotes(None, world=world)),
        agents_of(log, world),
    )
    return Host(
        log=log,
        world=world,
        contexts=contexts,
        agents=agents,
        schedules=schedules_of(log, world),
        outbox=outbox,
        prompts=Prompts(contexts, outbox, world=world),
        memories=Memories(log, world=world, agents=agents),
        executor="rerun",
        tenant="rerun",
        patience=_ENDLESS,
        hurry=asyncio.Event(),
        ended=_ended,
        blind=_blind,
    )


def _ended(_agent: str, _event: TurnEnded) -> None:
    """Nobody counts what a re-run comes to."""


async def _blind(_agent: str, _error: ContentSealed) -> None:
    """Whether all can be read was looked at before."""


def _furnish(server: SimulatedServer, session: Session) -> None:
    """Give a log what every turn may read: blobs, and what memories say."""
    for data in session.blobs.values():
        server.put_blob(data)
    for record in session.records:
        if subjects.parse(record.subject).agent == subjects.MEMORY:
            server.append(record.subject, record.data, f"record {record.sequence}", None)


def _keys(session: Session, script: Script) -> Keyring | None:
    """Return the keys that a turn has again; what was said in plain, is said in plain again."""
    keys = session.vault
    if keys is None or any(keys_in(encode(entry.event)) for entry in script.entries):
        return keys
    return keys.reading


async def _played(
    loop: _Loop, script: Script, agent: Agent, session: Session, redactor: Redactor
) -> Course:
    """Run one turn again, to its end or to where it differs."""
    world = SimulatedWorld("rerun")
    server = SimulatedServer(world)
    began = datetime.fromisoformat(script.began)
    world.skew = server.world.skew = (began - world.now()).total_seconds()
    log = SimulatedLog(
        server, faults=Faults(latency=(0.0, 0.0)), redactor=redactor, vault=_keys(session, script)
    )
    _furnish(server, session)
    subject, head = subjects.commits(script.before.agent, script.before.id), 0
    for record in script.records:
        head = server.append(subject, record.data, f"record {record.sequence}", head)
    writer = Writer(log, msgspec.structs.replace(script.before, head=head), world=world)
    attempt = _Again(script, _lenient(agent, script.before.agent), writer, _host(log, world))
    course, over = Course(script), loop.create_future()
    said, moved = Written(script), loop.time()
    seen = len(server.log)  # memories lie there too, so this is not the context's head

    def take() -> Sequence[Entry]:
        nonlocal seen
        new, seen = server.log[seen:], len(server.log)
        return said.take(each.record for each in new)

    def look() -> None:
        """See how far it has come, and let come what is to come."""
        nonlocal moved
        if over.done():
            return
        if len(server.log) > seen:
            moved = loop.time()
            course.compare(take())
        due = course.due() if course.divergence is None else []
        for entry in due:
            moved = loop.time()
            attempt.take(entry)
        if not due and course.waits and loop.next_time - moved > PATIENCE:
            course.stop(said.entries)
        if course.divergence is not None or not course.waits:
            over.set_result(None)

    running = loop.create_task(attempt.run(), name="rerun")
    loop.idle = look
    await asyncio.wait((running, over), return_when="FIRST_COMPLETED")
    over.cancel()
    loop.idle = _nothing
    await attempt.end(running)
    if course.divergence is None:
        take()
        course.conclude(said.entries, written(script.before, writer.state, script.task_id))
    return course
