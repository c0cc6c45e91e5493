"""Work on the schedules of one agent: decides the commands about them and fires what is due.

The bell of the last command is the timer: it is handed back until the next slot, rings then at
whoever serves the agent, and survives everything. The log decides what is due, by its own clock;
each firing is appended with the expectation, so that a slot fires once, and what it sends follows
from it, so that whoever finds it unsent sends it again (laws 3, 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog

from pelton.events import subjects
from pelton.events.a2a import JsonObject
from pelton.events.commands import (
    RemoveSchedule,
    RemoveScheduleData,
    ScheduleCommand,
    SetSchedule,
    SetScheduleData,
)
from pelton.events.commit import Origin
from pelton.events.decide import reject
from pelton.events.envelope import encode
from pelton.events.errors import DamagedRecord, UnknownVersion
from pelton.events.schedule import Schedule
from pelton.events.schedules import Firing, Schedules, decide, declaring, due, fire
from pelton.events.upcast import decode_schedule_command
from pelton.runtime.agents import Agent
from pelton.runtime.aggregates import own
from pelton.runtime.assignment import Host
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Bell, Log, Record
from pelton.runtime.patience import patiently
from pelton.runtime.redaction import cleaned
from pelton.runtime.slots import slots
from pelton.runtime.work import LONGEST, UPGRADES, HandedBack

SCHEDULED: Final = "pelton/schedule"
"""The member of a message's metadata that says which slot of which schedule has sent it."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Timetable:
    """The schedules of an agent in hand; see `executor.InHand`."""

    def __init__(self, agent: Agent, bell: Bell, host: Host) -> None:
        self.agent, self.bell = agent, bell
        self._host = host
        self.rung = False
        self.look_again = False

    @property
    def place(self) -> str:
        """Whose schedules these are."""
        return f"{self.agent.name}/{subjects.SCHEDULES}"

    def succeed(self, agent: Agent) -> None:
        """Go by another agent of the same name."""
        self.agent = agent

    async def keep(self) -> None:
        """Keep it in hand: its bell."""
        await self.bell.working()

    def hand_back(self) -> None:
        """Stop soon: nothing here takes long."""

    def forget(self) -> None:
        """Drop what is remembered: somebody else has written."""
        self._host.schedules.forget(self.agent.name)

    async def put_down(self) -> None:
        """Keep nothing: there is nothing to give up."""

    async def drain(self) -> float | None:
        """Do all that is to be done now.

        Returns in how many seconds the bell is to ring again; None if nothing is to come, or the
        bell of a later command is the timer.
        """
        name, schedules = self.agent.name, self._host.schedules
        while True:
            self.rung = False
            state = await schedules.load(name)
            await self._send(state)
            subject = subjects.schedule_commands(name)
            waiting = await self._host.log.read(subject, after=state.handled, decisive=True)
            for record in waiting:
                state = await self._decide(state, record)
            events = fire(state, now=self._now(), slots=slots)
            if events:
                id_ = self._host.world.new_id()
                origin = own(self._host.source, self._host.tenant, id_)
                await schedules.append(state, events, origin=origin)
            elif not self.rung:
                return self._until(state)

    def _now(self) -> str:
        return rfc3339(self._host.log.now)

    async def _decide(self, state: Schedules, record: Record) -> Schedules:
        schedules, sequence = self._host.schedules, record.sequence
        try:
            command = decode_schedule_command(record.data)
        except DamagedRecord as damage:
            if isinstance(damage, UnknownVersion) and self.bell.deliveries < UPGRADES:
                raise HandedBack(2.0**self.bell.deliveries) from damage
            name = f"record-{sequence}"
            origin = own(self._host.source, self._host.tenant, name)
            logger.warning("command-damaged", subject=record.subject, sequence=sequence)
            return await schedules.append(
                state, (reject(name, damage),), origin=origin, command=sequence
            )
        events = decide(state, command, now=self._now(), slots=slots)
        origin = Origin.caused_by(command, self._host.source)
        return await schedules.append(state, events, origin=origin, command=sequence)

    def _until(self, state: Schedules) -> float | None:
        """Return in how many seconds the next slot comes, if this bell is the timer."""
        next_ = due(state, slots) if self.bell.record.sequence >= state.handled else ""
        if not next_:
            return None
        left = (datetime.fromisoformat(next_) - self._host.log.now).total_seconds()
        return min(max(left, 0.0), LONGEST)

    async def _send(self, state: Schedules) -> None:
        """Send what has fired, unless it was sent."""
        for entry in state.entries.values():
            for firing in entry.firings:
                await self._send_one(firing)

    async def _send_one(self, firing: Firing) -> None:
        event, cause = firing.event, firing.cause
        said: JsonObject = {SCHEDULED: {"name": event.name, "slot": event.slot}}
        origin = Origin.caused_by(cause, self._host.source)._replace(
            actor=firing.actor, correlationid=event.command_id
        )
        sent = await self._host.prompts.send(
            self.agent.name,
            event.context_id,
            command_id=event.command_id,
            text=firing.text,
            metadata=said,
            origin=origin,
        )
        if sent:
            logger.info("schedule-fired", agent=self.agent.name, name=event.name, slot=event.slot)


async def declare(host: Host, agent: str, schedules: Sequence[Schedule]) -> None:
    """Ask for the schedules that an agent's code declares, as far as the log lacks them.

    Raises:
        LogError: the log does not take it.
    """
    state = await host.schedules.load(agent)
    for change in tuple(declaring(state, tuple(schedules))):
        asked = envelope(host.world, agent, actor=f"agent/{agent}", tenant=host.tenant)
        asked["source"] = host.source
        command: ScheduleCommand
        if isinstance(change, str):
            command = RemoveSchedule(data=RemoveScheduleData(name=change, declared=True), **asked)
        else:
            command = SetSchedule(data=SetScheduleData(schedule=change, declared=True), **asked)
        await patiently(partial(ask, host.log, agent, command), command.subject)


async def ask(log: Log, agent: str, command: ScheduleCommand) -> int:
    """Append a command about the schedules of an agent, and return its stream sequence."""
    subject = subjects.schedule_commands(agent)
    data = encode(cleaned(log.redactor, command, subject))
    return await log.append(subject, data, id=command.id)


def envelope(world: World, agent: str, *, actor: str, tenant: str) -> dict[str, Any]:
    """Return the attributes of a new command about the schedules of an agent."""
    id_ = world.new_id()
    return {
        "id": id_,
        "source": actor,
        "subject": f"{agent}/{subjects.SCHEDULES}",
        "time": rfc3339(world.now()),
        "tenant": tenant,
        "actor": actor,
        "correlationid": id_,
        "causationid": id_,
    }
