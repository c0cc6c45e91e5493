"""The push configs of tasks in a tenant's log: read, remembered and decided about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import structlog

from pelton.events import subjects
from pelton.events.chain import following
from pelton.events.commit import Origin
from pelton.events.envelope import encode
from pelton.events.errors import PeltonError
from pelton.events.push import AnyPushEvent
from pelton.events.pushes import Pushes, fold, opened
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Conflict, Log, LogError, Record
from pelton.runtime.redaction import cleaned

Decide = Callable[[Pushes], Sequence[AnyPushEvent]]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.push")


class PushLog:
    """The push configs of all tasks; those that may have something to post are remembered."""

    def __init__(self, log: Log, *, world: World) -> None:
        self._log, self._world = log, world
        self._open: dict[str, Pushes] = {}

    def __iter__(self) -> Iterator[Pushes]:
        """Yield what is remembered: the tasks with a config that is open."""
        return iter(tuple(self._open.values()))

    def known(self, agent: str, task: str) -> Pushes:
        """Return the configs of a task as they are remembered: none, if none of them is open."""
        return self._open.get(subjects.pushes(agent, task)) or opened(agent, task)

    async def load(self, agent: str, task: str) -> Pushes:
        """Return the configs of a task as of now.

        Raises:
            DamagedRecord: their commits do not chain (law 13).
            LogUnavailable: the log did not answer in time.
        """
        state = self.known(agent, task)
        subject = subjects.pushes(agent, task)
        for record in await self._log.read(subject, after=state.head, decisive=True):
            state = fold(state, record.sequence, record.data)
        return self._remember(subject, state)

    async def change(self, agent: str, task: str, decide: Decide, *, origin: Origin) -> Pushes:
        """Append what `decide` makes of the configs of a task, and return what comes of it.

        Raises:
            LogError: the log does not take it.
            PeltonError: what `decide` raises.
        """
        subject = subjects.pushes(agent, task)
        state = self._open.get(subject) or await self.load(agent, task)
        while True:  # ends: every round that conflicts, somebody else has changed it
            events = tuple(decide(state))
            if not events:
                return state
            commit = following(
                state,
                events,
                id=self._world.new_id(),
                subject=f"{agent}/{subjects.PUSH}/{task}",
                time=rfc3339(self._log.now),
                origin=origin,
            )
            data = encode(cleaned(self._log.redactor, commit, subject))
            try:
                sequence = await self._log.append(subject, data, id=commit.id, expect=state.head)
            except Conflict:
                state = await self.load(agent, task)
                continue
            return self._remember(subject, fold(state, sequence, data))

    async def take(self, record: Record) -> Pushes | None:
        """Take in a record as the log has it; returns its task's configs, None if it is damaged.

        Raises:
            LogError: what comes before it is not remembered, and cannot be read.
        """
        subject = subjects.parse(record.subject)
        task = subject.beside.partition(".")[2]
        state = self.known(subject.agent, task)
        if record.sequence <= state.head:
            return state
        try:
            try:
                state = fold(state, record.sequence, record.data)
            except PeltonError:  # perhaps only because what came before is not remembered
                return await self.load(subject.agent, task)
        except PeltonError as error:
            if isinstance(error, LogError):
                raise
            logger.exception("push-damaged", subject=record.subject, code=error.code)
            self._open.pop(record.subject, None)
            return None
        return self._remember(record.subject, state)

    def _remember(self, subject: str, state: Pushes) -> Pushes:
        known = self._open.get(subject)
        if known is not None and known.head > state.head:
            return state
        if state.open:
            self._open[subject] = state
        else:
            self._open.pop(subject, None)
        return state
