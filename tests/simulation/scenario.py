"""A whole system in a simulated world: executors, clients, misfortunes, and then the oracles."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Final, cast

import structlog
from structlog.typing import EventDict

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role, text_of
from pelton.events.commands import (
    CancelTask,
    CancelTaskData,
    Command,
    SendMessage,
    SendMessageData,
    WhenBusy,
)
from pelton.events.context import Context
from pelton.events.envelope import encode
from pelton.events.events import Outcome, StepCompleted
from pelton.events.ids import derive, task_id
from pelton.runtime.clock import rfc3339
from pelton.runtime.executor import Executor
from pelton.runtime.failures import AgentError
from pelton.runtime.log import Conflict, LogUnavailable, Record
from pelton.runtime.simulation import (
    Fault,
    Faults,
    Process,
    SimulatedLog,
    SimulatedServer,
    SimulatedWorld,
    current,
    plan,
    run,
)
from pelton.runtime.simulation.server import Profile
from tests.simulation.agent import AsTold, Outside, agents
from tests.simulation.ledger import Violation
from tests.simulation.people import UNKNOWN, People
from tests.simulation.plans import NAME, NAMES, SHARED, any_plan, plan_of
from tests.simulation.shape import Options, any_options
from tests.simulation.story import Sent, Story, Turned
from tests.simulation.trail import Trail, told

KINDS: Final = (
    "kill",  # SIGKILL of an executor, now
    "doom",  # SIGKILL of an executor at some await to come
    "stop",  # SIGSTOP, longer than patience and lease
    "freeze",  # SIGSTOP at some await to come
    "term",  # SIGTERM
    "sever",  # the connection breaks
    "skew",  # the wall clock jumps
    "server kill",
    "power cut",
)
PATIENCE: Final = 3.0
TROUBLE: Final = 30.0
"""Seconds during which things go wrong."""
QUIET: Final = 1_500.0
"""Seconds after which everything must be settled once nothing goes wrong any more."""

WINDOW: Final = 10.0
"""For how many seconds the server remembers ids: real ones do for minutes, in which nothing happens
but that executors say that they are there."""

LIMIT: Final = 6_000.0
"""Seconds of virtual time after which a run that goes on is stuck."""


@dataclass
class Report:
    """What happened in a run."""

    digest: str
    sent: int
    accepted: int
    counts: Counter[str]
    fired: Counter[str]
    records: list[Record]


@dataclass
class _Slot:
    """A place where an executor runs, is killed, and runs again."""

    number: int
    process: Process | None = None
    executor: Executor | None = None
    log: SimulatedLog | None = None
    lives: int = 0
    worlds: list[SimulatedWorld] = field(default_factory=list[SimulatedWorld])


class _Spy:
    """Takes all that is logged; what an executor calls unexpected fails the run."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        name = event["event"]
        self.counts[name] += 1
        expected = isinstance(sys.exc_info()[1], AsTold | AgentError)
        unexpected = name == "agent-failed" and not expected
        process = current()
        if name == "agent-does-not-end":  # one that was stopped meanwhile had no time to
            unexpected = process is None or not process.stops
        if unexpected or name in {"context-failed", "command-damaged"}:
            self.errors.append(f"{event} {traceback.format_exc()}")
        raise structlog.DropEvent


class Scenario:
    """One run: `play` it in a simulated world."""

    def __init__(self, world: SimulatedWorld, options: Options | None, spy: _Spy) -> None:
        self._world, self._spy = world, spy
        self._chance = world.part("scenario").random
        options = self._options = options or any_options(world.part("shape").random)
        profile = self._chance.choice(_PROFILES)
        profile = options.profile or profile
        self._server = SimulatedServer(
            world,
            profile=profile,
            window=WINDOW,
            ignore_expectation=options.ignore_expectation,
            ignore_ids=options.ignore_ids,
        )
        self._lossless = profile != "relaxed"
        self._faults = Faults(
            latency=(0.0002, self._chance.choice((0.001, 0.02))),
            lost_requests=self._chance.choice((0.0, 0.05)),
            lost_replies=self._chance.choice((0.0, 0.05, 0.2)),
            slow=self._chance.choice((0.0, 0.02)),
        )
        self._slots = [_Slot(number) for number in range(options.executors)]
        self._sent: list[Sent] = []
        self._known: list[tuple[str, str, str]] = []
        self._outside = Outside()
        self._story = Story()
        self._healed = False
        self._people = People(world.part("people").random, self._envelope)
        self.fired = self._faults.fired

    async def play(self) -> Report:
        """Run it, and check everything.

        Raises:
            Violation: a guarantee does not hold.
        """
        supervisors = [asyncio.ensure_future(self._supervise(slot)) for slot in self._slots]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._misfortunes())
            group.create_task(self._answering())
            for number in range(self._options.clients):
                group.create_task(self._client(number))
        await self._settle()
        for supervisor in supervisors:
            supervisor.cancel()
        await asyncio.wait(supervisors)
        for supervisor in supervisors:
            if not supervisor.cancelled() and (error := supervisor.exception()):
                raise error
        self._check()
        counts = self._story.counts + self._spy.counts
        accepted = sum(sent.accepted for sent in self._sent)
        records = [stored.record for stored in self._server.log]
        return Report(self._server.digest, len(self._sent), accepted, counts, self.fired, records)

    # Executors.

    async def _supervise(self, slot: _Slot) -> None:
        """Run an executor again each time it ends."""
        while True:
            slot.lives += 1
            name = f"executor {slot.number}.{slot.lives}"
            process = slot.process = Process(name)
            slot.executor = None
            process.start(self._execute(slot, process, name))
            await process.ended
            process.kill()  # nothing outlives a process
            error = process.main and process.main.done() and process.main.exception()
            serving = slot.executor is not None and slot.executor.ready.is_set()
            if error and (serving or not isinstance(first_of(error), LogUnavailable)):
                raise error  # only at its start may the log be away
            await asyncio.sleep(self._chance.uniform(0.0, 4.0))

    async def _execute(self, slot: _Slot, process: Process, name: str) -> None:
        world = self._world.part(name)
        slot.worlds.append(world)
        slot.log = log = SimulatedLog(self._server, name=name, faults=self._faults)
        process.killed.append(log.link.close)
        served = agents(self._outside)
        slot.executor = Executor(log, served, world=world, capacity=3, patience=PATIENCE)
        try:
            await slot.executor.run()
            await asyncio.sleep(0.001)  # what was cancelled has ended
            left = [task for task in process.tasks if not task.startswith(f"{name}: main")]
            if left:
                raise Violation(f"AS-61: tasks outlive their executor: {left}")
        finally:
            log.link.close()

    async def _misfortunes(self) -> None:
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        fate = self._world.part("fate").random
        for fault in plan(
            fate,
            kinds=KINDS,
            targets=len(self._slots),
            seconds=TROUBLE,
            number=self._options.faults,
            longest=12.0,
        ):
            await asyncio.sleep(max(0.0, began + fault.at - loop.time()))
            self._story.read(self._server.log)
            await self._strike(fault, fate)
        await asyncio.sleep(max(0.0, began + TROUBLE + 12.0 - loop.time()))
        self._faults.heal()
        self._healed = True

    async def _strike(self, fault: Fault, fate: Random) -> None:
        slot = self._slots[fault.target]
        process, log, executor = slot.process, slot.log, slot.executor
        self.fired[fault.kind] += 1
        if fault.kind in {"server kill", "power cut"}:
            await self._server_down(fault)
        if process is None or log is None or executor is None:
            return
        if fault.kind == "kill":
            process.kill()
        if fault.kind == "doom":
            process.doom(fate.randrange(400))
        if fault.kind == "stop":
            process.stop()
            asyncio.get_running_loop().call_later(fault.seconds, process.go_on)
        if fault.kind == "freeze":
            process.doom(fate.randrange(400), stop=fault.seconds)
        if fault.kind == "term":
            executor.stop()
        if fault.kind == "sever":
            log.link.sever(fault.seconds)
        if fault.kind == "skew":
            slot.worlds[-1].skew = fate.uniform(-86_400.0, 86_400.0)

    async def _server_down(self, fault: Fault) -> None:
        if fault.kind == "server kill":
            self._server.kill()
        else:
            if not self._lossless:  # the whole machine
                for slot in self._slots:
                    if slot.process is not None:
                        slot.process.kill()
                self._story = Story()
                self._people.forget()
            self._server.cut_power()
        await asyncio.sleep(min(fault.seconds, 8.0))
        self._server.start()
        if not self._lossless:
            self._server.sync()

    # Clients.

    async def _client(self, number: int) -> None:
        chance = self._world.part(f"client {number}").random
        log = SimulatedLog(self._server, name=f"client {number}", faults=self._faults)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.messages):
                await asyncio.sleep(chance.uniform(0.0, 1.3 * TROUBLE / self._options.messages))
                sent = self._command(chance)
                self._sent.append(sent)
                group.create_task(self._send(log, sent, chance))

    async def _send(self, log: SimulatedLog, sent: Sent, chance: Random) -> None:
        """Send until accepted; sometimes once more, at once or when the window is over."""
        expect = 0 if isinstance(sent.command, SendMessage) and sent.command.opens else None
        again = chance.choice((0.0, 0.0, 0.0, 0.0, 1.0, 2 * WINDOW))
        while not sent.accepted or again:
            if sent.accepted:
                await asyncio.sleep(again)
                again = 0.0
                self.fired["resend"] += 1
            sent.tries += 1
            try:
                await log.append(sent.subject, sent.data, id=sent.command.id, expect=expect)
            except LogUnavailable:
                await asyncio.sleep(chance.uniform(0.0, 2.0))
            except Conflict:
                if self._lossless:
                    raise Violation(f"G1: another has opened the context of {sent}") from None
                return
            else:
                sent.accepted = True
                self._knows(sent)

    def _command(self, chance: Random) -> Sent:
        id_, what = self._world.new_id(), chance.random()
        if what < 0.15 and self._known:
            agent, context, task = chance.choice(self._known)
            turn = chance.choice((0, 0, 0, 1, 2))
            command: Command = CancelTask(
                data=CancelTaskData(task_id=task, turn=turn), **self._envelope(id_, agent, context)
            )
            return Sent(command, subjects.commands(agent, context), encode(command))
        opens, task = what > 0.7, ""
        agent = chance.choice((NAME, *NAMES))
        if what < 0.3 and self._known:
            agent, context, task = chance.choice(self._known)
            opens = False
        elif opens:
            context = self._world.new_id()
        else:
            own = [f"c{number}" for number in range(self._options.contexts)]
            context = chance.choice((*own, *SHARED))
        doing = any_plan(chance, depth=0 if context in SHARED else 2)
        message = Message(
            message_id=id_,
            role=Role.USER,
            parts=(Part(text=encode(doing).decode()),),
            task_id=task,
        )
        deadline = ""
        if chance.random() < 0.1:
            until = self._server.world.now() + timedelta(seconds=chance.uniform(1.0, 60.0))
            deadline = rfc3339(until)
        command = SendMessage(
            data=SendMessageData(
                message=message,
                deadline=deadline,
                when_busy=chance.choice((None, None, *WhenBusy)),
            ),
            opens=opens,
            **self._envelope(id_, agent, context),
        )
        return Sent(command, subjects.commands(agent, context), encode(command))

    def _knows(self, sent: Sent) -> None:
        """Let all clients know of the task that a command was about."""
        subject = subjects.parse(sent.subject)
        if isinstance(sent.command, SendMessage):
            said = sent.command.data.message
            task = said.task_id or task_id(subject.context, sent.command.id)
            self._known.append((subject.agent, subject.context, task))

    def _envelope(self, id_: str, agent: str, context: str, actor: str = "anna") -> dict[str, Any]:
        return {
            "id": id_,
            "source": "client",
            "subject": f"{agent}/{context}",
            "time": rfc3339(self._world.now()),
            "tenant": "local",
            "actor": actor,
            "correlationid": id_,
            "causationid": id_,
        }

    # The end.

    async def _answering(self) -> None:
        """Let people answer while things go wrong."""
        log = SimulatedLog(self._server, name="somebody", faults=self._faults)
        while not self._healed:
            await asyncio.sleep(3.0)
            if self._server.up:
                self._story.read(self._server.log)
                await self._people.answer(log, self._story.contexts)

    async def _settle(self) -> None:
        """Wait until nothing is open any more (G12)."""
        until = asyncio.get_running_loop().time() + QUIET
        log = SimulatedLog(self._server, name="person", faults=self._faults)
        while True:
            self._story.read(self._server.log)
            if not self._story.open and not self._active():
                return
            await self._people.answer(log, self._story.contexts, diligently=True)
            if asyncio.get_running_loop().time() > until:
                raise Violation(f"G12: stuck: {self._story.open}, active {self._active()}")
            await asyncio.sleep(2.0)

    def _active(self) -> int:
        """Return how many contexts the living executors have in hand (AS-48)."""
        return sum(
            slot.executor.active
            for slot in self._slots
            if slot.executor and slot.process and slot.process.alive
        )

    def _check(self) -> None:
        if self._spy.errors:
            raise Violation("unexpected: " + "\n".join(self._spy.errors))
        self._story.conclude(self._sent, lossless=self._lossless)
        contexts = {(each.agent, each.id): each for each in self._story.contexts}
        for turned in self._story.turns:
            context = contexts[turned.agent, turned.context]
            if turned.outcome in {Outcome.COMPLETED, Outcome.INPUT_REQUIRED}:
                _streamed(turned, context)
            if turned.outcome == Outcome.COMPLETED:
                _told(turned, context)
            if self._lossless:
                self._effects(turned)

    def _effects(self, turned: Turned) -> None:
        """Check that no step ran without an intent of its own, or again unasked (G5)."""
        ledger = turned.ledger
        for key, intents in ledger.intents.items():
            done = self._outside.effects[derive(turned.task, str(turned.number), key)]
            if done > intents:
                raise Violation(f"G5: step {key} of {turned} was done {done} of {intents} times")
            result = ledger.steps.get(key)
            if isinstance(result, StepCompleted) and result.result != UNKNOWN and not done:
                raise Violation(f"G5: step {key} of {turned} was never done")
            asked = f"outcome:{key}@"
            wanted = sum(
                text_of(answer[0].parts) == "run-again"
                for name, answer in ledger.answers.items()
                if answer and name.startswith(asked)
            )
            if not ledger.idempotent[key] and intents > 1 + wanted + ledger.again[key]:
                raise Violation(f"G5: step {key} of {turned} was run again unasked")


def _streamed(turned: Turned, context: Context) -> None:
    doing = plan_of(text_of(turned.message.parts))
    name = derive(turned.task, str(turned.number), "artifact", "answer")
    artifact = context.tasks[turned.task].artifacts.get(name)
    text = text_of(artifact.parts) if artifact else ""
    if text != doing.text(turned.attempt):
        raise Violation(f"G2: streamed {text!r} in {turned}, planned {doing}")


def _told(turned: Turned, context: Context) -> None:
    """Check that the agent has seen what the log has of its turn, and nothing else."""
    message = context.tasks[turned.task].status.message
    try:
        trail = Trail(turned.ledger).of(plan_of(text_of(turned.message.parts)))
    except KeyError as lacking:
        raise Violation(f"the log lacks {lacking} of {turned}") from lacking
    if message is None or told(text_of(message.parts)) != trail:
        raise Violation(f"the agent has told {message}, the log {trail}, in {turned}")


_PROFILES: Final[tuple[Profile, ...]] = ("durable", "durable", "cluster", "relaxed")


def first_of(error: BaseException) -> BaseException:
    """Return the first error of those in a group."""
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        error = group.exceptions[0]
    return error


def play(seed: int, options: Options | None = None) -> Report:
    """Play the scenario of a seed, which decides its shape too unless that is given.

    Raises:
        Violation: a guarantee does not hold; its notes name the seed.
    """
    spy, before = _Spy(), structlog.get_config()
    structlog.configure(processors=[spy])

    async def main(world: SimulatedWorld) -> Report:
        try:
            return await Scenario(world, options, spy).play()
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    try:
        return run(seed, main, limit=LIMIT)
    finally:
        structlog.configure(**before)
