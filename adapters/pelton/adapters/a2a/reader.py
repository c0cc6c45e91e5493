"""What streams and waits read: a context's past from the log, then what comes of it (law 9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final

from msgspec.structs import replace

from pelton.adapters.a2a.extensions import RESUME, marked_event
from pelton.adapters.a2a.waits import Update, Updates, Waiting
from pelton.events import subjects
from pelton.events.commands import SendMessage
from pelton.events.context import Context, TaskFold, fold_commit
from pelton.events.decide import foresee, refusal
from pelton.events.envelope import digest
from pelton.events.upcast import decode_commit
from pelton.runtime.bulk import inline_response
from pelton.runtime.contexts import Contexts
from pelton.runtime.follow import Follower, Followers
from pelton.runtime.log import Log, LogError

FIRST: Final = 1.0
"""Seconds after which a stream begins with the task as submitted, if nobody works on it yet."""
HEARTBEAT: Final = 15.0
"""Seconds of silence after which a stream says that it lives."""
_PAGE: Final = 100
"""How many records are in memory at once while a stream shows the past."""


class Reader:
    """Tells those who wait of contexts; `active` are the extensions that a stream asks for."""

    def __init__(self, log: Log, contexts: Contexts, followers: Followers) -> None:
        self._log, self._contexts, self._followers = log, contexts, followers
        self._waits: set[Waiting | Updates] = set()
        self.stopping = asyncio.Event()
        """Set when streams are to end, for the bridge does."""

    @property
    def waiting(self) -> int:
        """How many streams and blocking requests are open."""
        return len(self._waits)

    def end_streams(self) -> None:
        """End all streams, and those that come, as if there were no more: clients come again."""
        self.stopping.set()
        for wait in [each for each in self._waits if isinstance(each, Updates)]:
            wait.give_up()

    def end_waits(self) -> None:
        """Answer all who wait with their task as it is."""
        for wait in tuple(self._waits):
            wait.give_up()

    async def placed(self, state: Context, task: TaskFold) -> TaskFold:
        """Return a task that waits to be begun with its place among those that do (AS-49)."""
        if not task.position:
            return task
        try:
            seen = await self._contexts.foreseen(state.agent, state.id)
        except LogError:  # it is accepted, which is what matters
            return replace(task, position=0)
        found = seen.tasks.get(task.id)
        return replace(task, position=found.position if found else 0)

    async def watch(
        self, agent: str, context: str, updates: Updates, after: int
    ) -> AsyncGenerator[Update | None]:
        """Yield what a stream shows that is no client's: what the log holds, and what comes.

        If nothing of the task came after `after`, its past need not be read again.
        """
        state = await self._contexts.load(agent, context)
        task = state.tasks.get(updates.task)
        told = task is not None and task.sequence <= after and not (task.ended or task.answer)
        known = state if told else None
        async with aclosing(self.from_log((), state, updates, known=known)) as stream:
            async for update in stream:
                yield update

    async def catch_up(
        self, state: Context, wait: Waiting | Updates, *, known: Context | None = None
    ) -> AsyncGenerator[Follower | None]:
        """Tell a wait all that the log holds of a context; None after each commit.

        If it is `known` up to somewhere, only what comes after that is told. Last comes the
        follower that tells it of what is committed from then on.
        """
        past = known or Context(agent=state.agent, id=state.id)
        subject = subjects.commits(state.agent, state.id)
        while True:  # ends: see its last line; a page is read only when the one before is shown
            records = await self._log.read(subject, after=past.head, limit=_PAGE)
            for record in records:
                before, commit = past, decode_commit(record.data)
                past = fold_commit(before, record.sequence, commit, digest(record.data))
                wait.took(before, commit, past)
                yield None
            if len(records) == _PAGE:
                continue
            with self.watching(past, wait) as follower:
                if follower.context.head <= past.head:
                    yield follower
                    return

    async def from_log(
        self,
        active: Sequence[str],
        state: Context,
        updates: Updates,
        command: SendMessage | None = None,
        *,
        known: Context | None = None,
    ) -> AsyncGenerator[Update | None]:
        """Yield what the log holds, as fast as it is taken, then what comes (law 9)."""
        async with aclosing(self.catch_up(state, updates, known=known)) as steps:
            async for follower in steps:
                while updates.waiting:
                    yield await self._next(active, updates, 0.0)
                if updates.over:
                    return
                if follower is not None:
                    async for update in self.live(active, updates, follower, command):
                        yield update

    async def live(
        self,
        active: Sequence[str],
        updates: Updates,
        follower: Follower,
        command: SendMessage | None,
    ) -> AsyncGenerator[Update | None]:
        """Yield what comes; first the task as a command makes it, if nobody decides that soon."""
        if command is not None and not updates.introduced:
            first = await self._next(active, updates, FIRST)
            if first is not None:
                yield first
            elif not updates.over:
                seen = follower.context
                task = await self.placed(seen, foreseen(seen, command).tasks[updates.task])
                updates.introduce(task, seen.head)
        while not updates.over:
            update = await self._next(active, updates, HEARTBEAT)
            if update is not None or not updates.over:
                yield update

    async def _next(self, active: Sequence[str], updates: Updates, within: float) -> Update | None:
        update = await updates.next(within)
        if update is None:
            return None
        response = await inline_response(self._log, update.response)
        if RESUME in active:
            response = marked_event(response, updates.task, update.sequence)
        return update._replace(response=response)

    @contextmanager
    def watching(self, state: Context, wait: Waiting | Updates) -> Generator[Follower]:
        """Tell `wait` of what comes after a state of a context, while the context lasts."""
        follower = self._followers.join(state, wait)
        self._waits.add(wait)
        if self.stopping.is_set() and isinstance(wait, Updates):
            wait.give_up()
        try:
            yield follower
        finally:
            self._waits.discard(wait)
            self._followers.leave(follower, wait)


def foreseen(state: Context, command: SendMessage) -> Context:
    """Return a context with a message that waits to be decided, unless it will be refused."""
    state = foresee(state, command)
    if (rejected := state.rejected.get(command.id)) is not None:
        raise refusal(rejected)
    return state
