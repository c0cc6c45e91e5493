"""Schedules, prompts and presence in a simulated world, and what the log must tell of them."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Final

import structlog
from structlog.typing import EventDict

from pelton.events import subjects
from pelton.events.agent import AgentState
from pelton.events.agent import fold as fold_agent
from pelton.events.commands import (
    RemoveSchedule,
    RemoveScheduleData,
    ScheduleCommand,
    SetSchedule,
    SetScheduleData,
)
from pelton.events.context import Context, fold
from pelton.events.events import AgentStatusChanged, ScheduleFired, ScheduleMissed, ScheduleSet
from pelton.events.presence import TRANSITIONS, AgentStatus, Beat, Fact
from pelton.events.schedule import Missed, Schedule
from pelton.events.states import SETTLED
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, agent
from pelton.runtime.aggregates import agents_of
from pelton.runtime.executor import Executor
from pelton.runtime.log import LogUnavailable
from pelton.runtime.patience import patiently
from pelton.runtime.prompts import INITIAL
from pelton.runtime.simulation import (
    Fault,
    Faults,
    Process,
    SimulatedLog,
    SimulatedServer,
    SimulatedWorld,
    plan,
    run,
)
from pelton.runtime.slots import slots
from pelton.runtime.timetable import SCHEDULED, ask, envelope
from pelton.runtime.turn import Turn
from pelton.runtime.witness import witness
from tests.simulation.ledger import Violation
from tests.simulation.scenario import first_of

PATIENCE: Final = 2.0
TROUBLE: Final = 60.0
OUTAGE: Final = 90.0
QUIET: Final = 120.0
KINDS: Final = ("kill", "doom", "stop", "freeze", "term", "sever", "skew", "server kill")

DECLARED: Final = (
    Schedule(name="once", text="declared", cron="*/10 * * * * *", missed=Missed.ONCE, grace=15),
)
SET: Final = (
    Schedule(name="skip", text="skip", cron="*/7 * * * * *", context="diary", grace=20),
    Schedule(name="all", text="all", cron="*/15 * * * * *", missed=Missed.ALL, limit=3, grace=15),
    Schedule(name="late", text="late", at="2020-01-01T00:00", missed=Missed.ONCE),
)


@agent(name="echo", initial="begin", schedules=DECLARED)
async def echo(turn: Turn) -> str:
    """Say it again, after a while."""
    await asyncio.sleep(0.2)
    return turn.text


@agent(name="poet")
async def poet(turn: Turn) -> str:
    """Serve for the eyes of its executor."""
    return turn.text


@dataclass
class _Slot:
    number: int
    up: bool = True
    process: Process | None = None
    executor: Executor | None = None
    log: SimulatedLog | None = None
    world: SimulatedWorld | None = None
    lives: int = 0


@dataclass
class Told:
    """What the log tells in the end."""

    digest: str = ""
    counts: Counter[str] = field(default_factory=Counter[str])


class Calendar:
    """One run: three executors of one agent in trouble, and one of another that is in none."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._chance = world.part("calendar").random
        profile = self._chance.choice(("durable", "cluster"))
        self._server = SimulatedServer(world, profile=profile)  # type: ignore[arg-type]
        self._faults = Faults(
            latency=(0.0002, 0.02),
            lost_requests=self._chance.choice((0.0, 0.05)),
            lost_replies=self._chance.choice((0.0, 0.05, 0.2)),
        )
        self._slots = [_Slot(number) for number in range(3)]
        self._calm = Faults()
        self.told = Told()

    async def play(self) -> Told:
        """Run it, and check everything.

        Raises:
            Violation: a guarantee does not hold.
        """
        watcher = Process("watcher")
        watcher.start(self._serve(_Slot(9), watcher, "watcher", poet, self._calm))
        supervisors = [asyncio.ensure_future(self._supervise(slot)) for slot in self._slots]
        client = SimulatedLog(self._server, name="client", faults=self._calm)
        for schedule in SET:
            data = SetScheduleData(schedule=schedule)
            await self._ask(client, SetSchedule(data=data, **self._envelope()))
        await self._misfortunes()
        await self._outage()
        await asyncio.sleep(QUIET)
        self._faults.heal()
        for schedule in (*DECLARED, *SET):
            gone = RemoveScheduleData(name=schedule.name)
            await self._ask(client, RemoveSchedule(data=gone, **self._envelope()))
        await self._settled()
        await self._removed(client)
        for supervisor in supervisors:
            supervisor.cancel()
        await asyncio.wait(supervisors)
        watcher.kill()
        self._check()
        self.told.digest = self._server.digest
        return self.told

    def _envelope(self) -> dict[str, Any]:
        return envelope(self._world, "echo", actor="anna", tenant="local")

    async def _ask(self, client: SimulatedLog, command: ScheduleCommand) -> None:
        await patiently(lambda: ask(client, "echo", command), "client")

    async def _supervise(self, slot: _Slot) -> None:
        while True:
            while not slot.up:
                await asyncio.sleep(0.5)
            slot.lives += 1
            name = f"executor {slot.number}.{slot.lives}"
            process = slot.process = Process(name)
            process.start(self._serve(slot, process, name, echo, self._faults))
            await process.ended
            process.kill()
            error = process.main and process.main.done() and process.main.exception()
            if error and not isinstance(first_of(error), LogUnavailable):
                raise error
            await asyncio.sleep(self._chance.uniform(0.0, 4.0))

    async def _serve(
        self, slot: _Slot, process: Process, name: str, served: Agent, faults: Faults
    ) -> None:
        slot.world = self._world.part(name)
        slot.log = SimulatedLog(self._server, name=name, faults=faults)
        process.killed.append(slot.log.link.close)
        slot.executor = Executor(slot.log, [served], world=slot.world, patience=PATIENCE)
        try:
            await slot.executor.run()
        finally:
            slot.log.link.close()

    async def _misfortunes(self) -> None:
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        fate = self._world.part("fate").random
        for fault in plan(fate, kinds=KINDS, targets=3, seconds=TROUBLE, number=10, longest=12.0):
            await asyncio.sleep(max(0.0, began + fault.at - loop.time()))
            await self._strike(fault, fate)

    async def _strike(self, fault: Fault, fate: Random) -> None:
        slot = self._slots[fault.target]
        self.told.counts[fault.kind] += 1
        if fault.kind == "server kill":
            self._server.kill()
            await asyncio.sleep(min(fault.seconds, 5.0))
            self._server.start()
        process, executor, log, world = slot.process, slot.executor, slot.log, slot.world
        if process is None or executor is None or log is None or world is None:
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
            world.skew = fate.uniform(-86_400.0, 86_400.0)

    async def _outage(self) -> None:
        """Kill all executors of the agent, and leave it alone for longer than any grace."""
        for slot in self._slots:
            slot.up = False
            if slot.process is not None:
                slot.process.kill()
        await asyncio.sleep(OUTAGE)
        if self._agent().status is not AgentStatus.OFFLINE:
            raise Violation(f"nobody has seen that the agent is alone: {self._agent().status}")
        for slot in self._slots:
            slot.up = True

    async def _settled(self) -> None:
        """Wait until all that has fired is done."""
        await asyncio.sleep(30.0)
        async with asyncio.timeout(300):
            while any(
                task.status.state not in SETTLED
                for context in self._contexts().values()
                for task in context.tasks.values()
            ):
                await asyncio.sleep(1.0)

    async def _removed(self, client: SimulatedLog) -> None:
        """Remove the agent, and see that no late heartbeat brings it back."""
        if self._agent().status is not AgentStatus.SERVING:
            raise Violation(f"it is served, and said to be {self._agent().status}")
        agents = agents_of(client, self._world)
        await witness(
            agents, "echo", Fact.REMOVED, world=self._world, source="client", tenant="local"
        )
        await client.beat("echo", "late", Beat.SERVING, ttl=60)
        await asyncio.sleep(40.0)
        if self._agent().status is not AgentStatus.REMOVED:
            raise Violation("a removed agent was revived")
        if any(slot.executor and slot.executor.active for slot in self._slots):
            raise Violation("a removed agent is worked for")

    # The oracles, on the records alone.

    def _agent(self) -> AgentState:
        state = AgentState(agent="echo")
        for stored in self._server.log:
            if stored.record.subject == subjects.agent_commits("echo"):
                state = fold_agent(state, stored.record.sequence, stored.record.data)
        return state

    def _contexts(self) -> dict[str, Context]:
        found: dict[str, Context] = {}
        for stored in self._server.log:
            subject = subjects.parse(stored.record.subject)
            if subject.kind == "evt" and subject.context:
                before = found.get(subject.context) or Context(
                    agent=subject.agent, id=subject.context
                )
                found[subject.context] = fold(before, stored.record.sequence, stored.record.data)
        return found

    def _check(self) -> None:
        self._check_presence()
        fired = self._check_slots()
        contexts = self._contexts()
        told = [
            task
            for context in contexts.values()
            for task in context.tasks.values()
            if SCHEDULED in (task.metadata or {})
        ]
        sent = Counter(task.command_id for task in told)
        if set(sent) != {firing.command_id for firing in fired} or any(
            count > 1 for count in sent.values()
        ):
            raise Violation(f"AS-56: fired {len(fired)}, sent {sent}")
        for firing in fired:
            if firing.command_id not in contexts[firing.context_id].commands:
                raise Violation(f"AS-56: sent elsewhere: {firing}")
        initial = [
            task
            for context in contexts.values()
            for task in context.tasks.values()
            if INITIAL in (task.metadata or {})
        ]
        if len(initial) != 1:
            raise Violation(f"AS-55: {len(initial)} initial prompts")

    def _check_presence(self) -> None:
        status = AgentStatus.STARTING
        for stored in self._server.log:
            if stored.record.subject != subjects.agent_commits("echo"):
                continue
            for event in decode_commit(stored.record.data).data.events:
                if isinstance(event, AgentStatusChanged):
                    if TRANSITIONS[status].get(event.fact) is not event.status:
                        raise Violation(f"from {status} by {event}")
                    status = event.status
                    self.told.counts[status] += 1

    def _check_slots(self) -> list[ScheduleFired]:
        """Check that each slot has fired or was missed, once, in order and for a reason."""
        schedules: dict[str, Schedule] = {}
        at: dict[str, str] = {}
        fired: list[ScheduleFired] = []
        accounted: defaultdict[str, int] = defaultdict(int)
        for stored in self._server.log:
            if stored.record.subject != subjects.schedule_commits("echo"):
                continue
            for event in decode_commit(stored.record.data).data.events:
                if isinstance(event, ScheduleSet):
                    name = event.schedule.name
                    schedules[name], at[name] = event.schedule, event.since
                    if event.schedule.at:
                        at[name] = ""
                if isinstance(event, ScheduleFired | ScheduleMissed):
                    schedule = schedules[event.name]
                    count = event.count if isinstance(event, ScheduleMissed) else 1
                    following = slots(schedule, at[event.name])
                    expected = [next(following) for _ in range(count)]
                    first = event.first if isinstance(event, ScheduleMissed) else event.slot
                    last = event.last if isinstance(event, ScheduleMissed) else event.slot
                    if (expected[0], expected[-1]) != (first, last):
                        raise Violation(f"AS-56: {event}, and {expected} were next")
                    at[event.name] = last
                    accounted[event.name] += count
                    self.told.counts[type(event).__name__] += count
                    age = (stored.record.received - datetime.fromisoformat(last)).total_seconds()
                    if age < 0 or (isinstance(event, ScheduleMissed) and age <= schedule.grace):
                        raise Violation(f"AS-56: {event} after {age} s")
                if isinstance(event, ScheduleFired):
                    fired.append(event)
        if set(accounted) != {schedule.name for schedule in (*DECLARED, *SET)}:
            raise Violation(f"AS-56: only {accounted}")
        return fired


class _Spy:
    """Takes all that is logged; what an executor calls unexpected fails the run."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        if event["event"] in {"context-failed", "agent-failed", "command-damaged"}:
            self.errors.append(f"{event} {traceback.format_exc()}")
        raise structlog.DropEvent


def play(seed: int) -> Told:
    """Play the calendar of a seed.

    Raises:
        Violation: a guarantee does not hold; its notes name the seed.
    """
    spy, before = _Spy(), structlog.get_config()
    structlog.configure(processors=[spy])
    try:
        told = run(seed, lambda world: Calendar(world).play(), limit=3_000.0)
    finally:
        structlog.configure(**before)
    if spy.errors:
        raise Violation("unexpected: " + "\n".join(spy.errors))
    return told
