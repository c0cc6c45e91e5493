"""Work on one context: everything that its log calls for, one after the other.

Exclusion is the expectation on every append and nothing else (law 3): whoever is slower is refused
and stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.commands import Command, SendMessage, WhenBusy
from pelton.events.commit import Origin
from pelton.events.context import Context, TaskFold
from pelton.events.decide import LATE, about, ahead, decide, given_up, interrupt, reject
from pelton.events.delegation import TaskOutcome
from pelton.events.errors import DamagedRecord, UnknownVersion
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    MessageReceived,
    TaskSubmitted,
    TurnEnded,
)
from pelton.events.ids import derive
from pelton.events.reach import allowed
from pelton.events.retries import CRASHES
from pelton.events.upcast import decode_command
from pelton.runtime.agents import Agent
from pelton.runtime.assignment import CRASHED, Assignment, Host, begin, died, go_on
from pelton.runtime.attempt import Attempt, End
from pelton.runtime.clock import rfc3339
from pelton.runtime.idle import is_due, nudge, nudge_due
from pelton.runtime.log import Bell, Heard, Lease, LogUnavailable, Record
from pelton.runtime.mailbox import busy
from pelton.runtime.reception import receive
from pelton.runtime.vault import ContentSealed
from pelton.runtime.writer import Writer

UPGRADES: Final = 8
"""So often a command of a newer version is left for a newer executor, and one that is sealed for an
executor with keys, some minutes in all; then it is refused, or fails, so that it does not hold up
its context for ever."""

LONGEST: Final = 3600.0
"""Seconds after which a bell that waits for a time rings at the latest, to look."""

_LOOK: Final = 3.0
"""After how much of its patience an executor looks whether others follow what is elsewhere."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class HandedBack(Exception):
    """The context is for another executor, after a delay in seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(delay)
        self.delay = delay


class Work:
    """A context in hand. `rung` says that commands came whose bells were not kept."""

    def __init__(self, agent: Agent, context_id: str, bell: Bell, host: Host) -> None:
        self.agent, self.context_id, self.bell = agent, context_id, bell
        self._heir = agent
        self._host = host
        self.rung = False
        self.lease: Lease | None = None
        self.attempt: Attempt | None = None
        self._listening: asyncio.Task[None] | None = None
        self.look_again = False
        self._own_turn = bell.deliveries > 2  # after that, nobody else has it
        self._seen_to: set[int] = set()
        """The commands that were decided here, and what they call for elsewhere was sent."""
        self._listened = False
        self._quiet = True

    @property
    def place(self) -> str:
        """Which context this is."""
        return f"{self.agent.name}/{self.context_id}"

    def succeed(self, agent: Agent) -> None:
        """Go by another agent of the same name, from the next turn on."""
        self._heir = agent

    def hand_back(self) -> None:
        """Stop soon, and leave what is open to the next executor."""
        if self.attempt is not None:
            self.attempt.hand_back()

    def forget(self) -> None:
        """Drop what is remembered: somebody else has written."""
        self._host.contexts.forget(self.agent.name, self.context_id)

    async def put_down(self) -> None:
        """Give up what is held but the bell."""
        if self.lease is not None:
            await self.lease.release()
        await self._host.contexts.keep(self.agent.name, self.context_id)

    async def keep(self) -> None:
        """Keep it in hand: its bell, and the lease of a turn that lasts."""
        await self.bell.working()
        if self.lease is not None and not await self.lease.renew():
            self.lease = await self.take_lease()
        if self.look_again and self.attempt is not None:
            self.look_again = False
            await self.look(self.attempt)

    async def take_lease(self) -> Lease | None:
        """Take the context's lease, if nobody has it."""
        return await self._host.log.lease(
            self.agent.name, self.context_id, holder=self._host.executor, ttl=self._host.patience
        )

    async def drain(self) -> float | None:
        """Do all that the context calls for now.

        Returns in how many seconds its bell is to ring again, because something is due then: a bell
        that is handed back is a timer that survives everything. None if nothing is.
        """
        known = self._host.contexts.known(self.agent.name, self.context_id)
        if known is not None and self._over(known):
            await self._follow_up(known)
            if not is_due(self._host, self.agent, known):
                return self._until(known)
        opened = await self._opened()
        if opened and self._quiet and not self.rung and self.agent.terms.idle is None:
            return None
        while True:
            self.rung = False
            if self.lease is None:
                self.lease = await self.take_lease()
                if self.lease is None:
                    raise HandedBack(0.5)
            state = await self._host.contexts.load(self.agent.name, self.context_id, decisive=True)
            if not await self._advance(state) and not self.rung:
                sequence = self.bell.record.sequence
                if state.decided(sequence) and sequence not in self._seen_to:
                    await self._follow_up(state)
                if await nudge(self._host, self.agent, state):
                    return None
                return self._until(state)

    def _over(self, known: Context) -> bool:
        """Whether it is known already that the command that rang leaves nothing to do."""
        if known.open is not None or known.aside:
            return False
        return known.decided(self.bell.record.sequence)

    def _until(self, state: Context) -> float | None:
        """Return in how many seconds a context is to be looked at again, if it is."""
        last = self.bell.record.sequence >= max(state.handled, *state.ahead, 0)
        times = (state.due, nudge_due(self.agent, state) if last else "")
        waits = [_LOOK * self._host.patience] if state.abroad else []
        if due := min((time for time in times if time), default=""):
            left = (datetime.fromisoformat(due) - self._host.log.now).total_seconds()
            waits.append(min(max(left, 0.05), LONGEST))
        return min(waits, default=None)

    async def _advance(self, state: Context) -> bool:
        """Do the next thing that a context calls for; False if there is none."""
        now = rfc3339(self._host.log.now)
        held = state.open
        if (late := state.late_aside(now)) is not None:
            return await self._resume(state, late, now)
        task = held or state.next_aside(now)
        if task is not None and task.turn is not None and task.turn.ready(now):
            self._own_turn = True
            return await self._resume(state, task, now)
        subject = subjects.commands(self.agent.name, self.context_id)
        records = await self._host.log.read(subject, after=state.handled, decisive=True)
        waiting = [record for record in records if not state.decided(record.sequence)]
        if held is not None:
            return await self._ahead(state, held, waiting)
        if not waiting:
            return False
        if not self._own_turn and waiting[0].sequence < self.bell.record.sequence:
            raise HandedBack(0.1)  # somebody has the bell of that one
        self._own_turn = True
        writer = self._writer(state)
        for record in waiting:
            if writer.state.decided(record.sequence):
                continue
            if writer.state.next_aside(rfc3339(self._host.log.now)) is not None:
                break  # it was answered: what follows is for its task as it leaves it
            end = await self._process(writer, record)
            self._seen_to.add(record.sequence)
            if end is not End.DONE:
                break  # its turn has the context, or waits in it
        self._host.contexts.remember(writer.state)
        return True

    async def _ahead(self, state: Context, held: TaskFold, waiting: Sequence[Record]) -> bool:
        """Decide what does not wait for a turn that has the context and waits itself."""
        writer = self._writer(state)
        for record in waiting:
            try:
                command = decode_command(record.data)
            except DamagedRecord:  # refused when its turn comes
                continue
            now, turn = rfc3339(self._host.log.now), writer.state.tasks[held.id].turn
            sequence = record.sequence
            if turn is None:
                break
            if command.id in writer.state.commands:  # it came twice, and has been decided
                continue
            if ahead(writer.state, command):
                events = decide(writer.state, command, time=now)
                outfit = self.agent.fitted()
                refusal, rulings = await receive(outfit, writer.state, command, events, now)
                events = (*events, *rulings) if refusal is None else (refusal,)
            elif isinstance(command, SendMessage) and allowed(writer.state, command):
                mode = command.data.when_busy or self.agent.terms.when_busy
                if mode is WhenBusy.INTERRUPT:
                    events, sequence = interrupt(held, turn, now), 0
                elif mode is WhenBusy.REJECT:
                    events = (busy(writer.state, command),)
                else:
                    continue
            else:
                continue
            origin = Origin.caused_by(command, self._host.source)
            await writer.commit(events, origin=origin, command=sequence)
            if events and isinstance(events[0], CommandRejected):
                await self._report_refusal(command, events[0])
            await self._settle(writer.state, {about(writer.state, command), held.id}, origin)
            self._seen_to.add(sequence)
        self._host.contexts.remember(writer.state)
        return writer.state.head > state.head

    async def _opened(self) -> bool:
        """Process a command that opens its context, of which nothing need be read.

        Returns whether that is all there was to do. A publisher that lied is refused by the
        expectation, and the bell rings again.
        """
        if self.bell.deliveries > 1:
            return False
        try:
            command = decode_command(self.bell.record.data)
        except DamagedRecord:
            return False
        if not command.opens:
            return False
        writer = self._writer(Context(agent=self.agent.name, id=self.context_id))
        return await self._decide(writer, command, self.bell.record.sequence) is End.DONE

    def _writer(self, state: Context) -> Writer:
        return Writer(self._host.log, state, world=self._host.world)

    async def _process(self, writer: Writer, record: Record) -> End:
        """Decide a command and do what it asks; it is decided in the log when this returns."""
        try:
            command = decode_command(record.data)
        except DamagedRecord as damage:
            await self._refuse(writer, record, damage)
            return End.DONE
        return await self._decide(writer, command, record.sequence)

    async def _decide(self, writer: Writer, command: Command, sequence: int) -> End:
        self.agent = self._heir
        if isinstance(command, SendMessage):
            await self._check_legible(command.data.message)
        now = rfc3339(self._host.log.now)
        decided = decide(writer.state, command, time=now)
        received = decided[0] if decided else None
        outfit = self.agent.fitted()
        refusal, rulings = await receive(outfit, writer.state, command, decided, now)
        if refusal is not None:
            received, decided = refusal, (refusal,)
        if isinstance(received, TaskSubmitted | MessageReceived):
            first = begin(
                writer.state,
                command,
                sequence,
                decided,
                terms=self.agent.terms,
                host=self._host,
                outfit=outfit,
                rulings=rulings,
                now=now,
            )
            return await self._run(writer, first)
        origin = Origin.caused_by(command, self._host.source)
        await writer.commit(decided, origin=origin, command=sequence, handled=sequence)
        if isinstance(received, CommandRejected):
            await self._report_refusal(command, received)
        elif decided:
            await self._settle(writer.state, {about(writer.state, command)}, origin)
        return End.DONE

    async def _refuse(self, writer: Writer, record: Record, damage: DamagedRecord) -> None:
        """Refuse a command that cannot be read, for good unless a newer executor may read it."""
        if isinstance(damage, UnknownVersion) and self.bell.deliveries < UPGRADES:
            raise HandedBack(2.0**self.bell.deliveries) from damage
        name, sequence = f"record-{record.sequence}", record.sequence
        origin = Origin(self._host.source, self._host.tenant, self._host.source, name, name)
        events = (reject(name, damage),)
        await writer.commit(events, origin=origin, command=sequence, handled=sequence)
        logger.warning("command-damaged", subject=record.subject, sequence=sequence)

    async def _resume(self, state: Context, task: TaskFold, now: str) -> bool:
        """Go on with a turn whose executor died or stopped, or that has waited.

        Returns whether there was anything to do for it.
        """
        turn = task.turn
        assert turn is not None  # the caller has found it open
        self.agent = self._heir
        writer = self._writer(state)
        origin = Origin.caused_by(turn.cause, self._host.source)
        events: Sequence[AnyEvent] = ()
        if turn.deadline_passed(now):
            events = given_up(task, turn, LATE, now)
        elif turn.over is None and turn.failures:  # it has died before without progress
            chance = self._host.world.random.random()
            delay = CRASHES.delay(turn.failures + 1, chance)
            if delay is None:
                events = given_up(task, turn, CRASHED, now)
            else:
                events = (died(task, turn, rfc3339(self._host.log.now + timedelta(seconds=delay))),)
        if events:
            await writer.commit(events, origin=origin)
            for event in events:
                if isinstance(event, TurnEnded):
                    self._host.ended(self.agent.name, event)
            logger.warning("given-up" if len(events) > 1 else "died-again", task=task.id)
            await self._settle(writer.state, {task.id}, origin)
            self._host.contexts.remember(writer.state)
            return True
        goes_on = go_on(writer.state, task, self._host, now, self.agent.fitted())
        await self._check_legible(goes_on.message)
        logger.info("taken-over", task=task.id, context=state.id, attempt=turn.attempt + 1)
        await self._run(writer, goes_on)
        self._host.contexts.remember(writer.state)
        return True

    async def _check_legible(self, message: Message) -> None:
        """Leave a sealed message to executors that have keys, unless none of these is found.

        Then the turn fails, with what it lacks: it must not run on a part of what was said.
        """
        vault, deliveries = self._host.log.vault, self.bell.deliveries
        if vault is None or vault.seals or deliveries >= UPGRADES:
            return
        if any(part.blob is not None and part.blob.key for part in message.parts):
            error = ContentSealed("a message is sealed: name the file of keys in encryption.keys")
            await self._host.blind(self.agent.name, error)
            raise HandedBack(2.0**deliveries)

    async def _run(self, writer: Writer, task: Assignment) -> End:
        attempt = self.attempt = Attempt(
            self.agent,
            writer,
            task,
            self._host,
            outlived=self._outlived,
        )
        if self._host.hurry.is_set():
            attempt.hand_back()
        try:
            end = await attempt.run()
        finally:
            self.attempt = None
            # Without a lease others did not wait; with one, what came meanwhile was heard.
            self._quiet = self.lease is None or (self._listened and attempt.quiet)
            listening, self._listening = self._listening, None
            if listening is not None:
                await _ended(listening)
        if end is End.HANDED_BACK:
            raise HandedBack(0.0)
        touched = attempt.touched
        short = end is End.DONE and task.attempt == 1 and len(touched) == 1
        if not short or task.delegation or attempt.delegates:
            await self._settle(writer.state, touched, task.origin)
        return end

    # What follows elsewhere.

    async def _settle(self, state: Context, tasks: Iterable[str], origin: Origin) -> None:
        """Send what the rest of tasks calls for."""
        for id_ in tasks:
            task = state.tasks.get(id_)
            if task is not None:
                await self._host.outbox.settle(self.agent.name, task, origin)

    async def _report_refusal(self, command: Command, refusal: CommandRejected) -> None:
        """Tell a task that waits that what it has delegated was refused."""
        if not isinstance(command, SendMessage) or command.data.delegation is None:
            return
        waits = command.data.delegation
        message = Message(
            message_id=derive("refusal", command.id),
            role=Role.AGENT,
            parts=(Part(text=refusal.reason),),
        )
        outcome = TaskOutcome(task_id=refusal.task_id, state=TaskState.REJECTED, message=message)
        origin = Origin.caused_by(command, self._host.source)
        await self._host.outbox.report(waits, outcome, origin)

    async def _follow_up(self, state: Context) -> None:
        """Send what the bell of a decided command may stand for.

        Whoever decided it may have died, or a running turn decided it and left this to its bell.
        How often it has rung tells nothing, for a server that is killed forgets that.
        """
        try:
            command = decode_command(self.bell.record.data)
        except DamagedRecord:
            return
        if refusal := state.rejected.get(command.id):
            await self._report_refusal(command, refusal)
        await self._settle(state, state.tasks, Origin.caused_by(command, self._host.source))

    async def _outlived(self, attempt: Attempt) -> None:
        """Do what only a turn needs that lasts: hold the lease, and hear what comes meanwhile.

        The lease is taken before others can see the turn, lest they take it over; to listen has
        time beside its first commit.
        """
        if self.lease is None:
            try:
                self.lease = await self.take_lease()
            except LogUnavailable as error:  # the heart beat tries again
                logger.warning("cannot-lease", context=self.context_id, reason=str(error))
        self._listening = asyncio.create_task(
            self._listen(attempt), name=f"listen {self.context_id}"
        )

    async def _listen(self, attempt: Attempt) -> None:
        """Hand commands to a running turn as they come, until cancelled."""
        subject = subjects.commands(self.agent.name, self.context_id)

        def heard(live: Heard) -> None:
            self._hand_in(attempt, live.sequence, live.data)

        try:
            async with self._host.log.listen(subject, heard):
                await self.look(attempt)
                self._listened = True
                await asyncio.Event().wait()
        except LogUnavailable as error:  # the heart beat looks again
            self.look_again = True
            logger.warning("cannot-listen", context=self.context_id, reason=str(error))

    async def look(self, attempt: Attempt) -> None:
        """Read the commands that have come and are not decided."""
        subject = subjects.commands(self.agent.name, self.context_id)
        for record in await self._host.log.read(subject, after=attempt.after):
            self._hand_in(attempt, record.sequence, record.data)

    def _hand_in(self, attempt: Attempt, sequence: int, data: bytes) -> None:
        """Let a running turn know of a command for its context."""
        with suppress(DamagedRecord):  # refused when its turn comes
            attempt.mailbox.put(decode_command(data), sequence)


async def _ended(task: asyncio.Task[None]) -> None:
    """End a task of ours; raise what it has failed with."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()
