"""Following contexts as they are written: one listener for all, a fold for each that is watched.

Live copies are hints: whoever follows notices a gap by the sequence before, a silence by the clock,
a broken connection by the log's word, and reads what it missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Protocol, Self

import structlog

from pelton.events import subjects
from pelton.events.commit import Commit
from pelton.events.context import Context, fold_commit
from pelton.events.envelope import digest
from pelton.events.errors import PeltonError
from pelton.events.upcast import decode_commit
from pelton.runtime.clock import World
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Heard, Log, LogError


class Watch(Protocol):
    """What is told of a context's commits. Its methods are quick and do not raise."""

    def took(self, before: Context, commit: Commit, after: Context) -> None:
        """Take a commit, with the context before and after it."""
        ...

    def failed(self, error: PeltonError) -> None:
        """Take note that the context cannot be read any more (law 13)."""
        ...


SILENCE: Final = 2.0
"""Seconds without a live copy after which a follower looks itself; doubled each time in vain."""
_LONGEST_SILENCE: Final = 30.0
_READS: Final = 32
_TICK: Final = 0.5

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.follow")


class Follower:
    """One context, folded as its commits come; shared by all who watch it."""

    __slots__ = (
        "broken",
        "context",
        "due",
        "missed",
        "reading",
        "silence",
        "subject",
        "watches",
    )

    def __init__(self, context: Context, subject: str, now: float) -> None:
        self.context = context
        self.subject = subject
        self.watches: list[Watch] = []
        self.silence = SILENCE
        self.due = now + SILENCE
        self.reading = False
        self.missed = False
        """Whether a live copy came while reading: then what was read may not be the last word."""
        self.broken: PeltonError | None = None

    def fold(self, sequence: int, data: bytes) -> None:
        """Take the next commit, and tell those who watch."""
        before = self.context
        commit = decode_commit(data)
        self.context = fold_commit(before, sequence, commit, digest(data))
        for watch in tuple(self.watches):
            watch.took(before, commit, self.context)


class Followers:
    """Follows contexts for as long as anybody watches them; `async with Followers(…) as followers`.

    Whoever listens to `evt.>` hands what it hears to `heard`.
    """

    def __init__(self, log: Log, contexts: Contexts, *, world: World) -> None:
        self._log = log
        self._contexts = contexts
        self._world = world
        self._following: dict[str, Follower] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reads = asyncio.Semaphore(_READS)
        self._end: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        self._own(self._watch(), "followers")
        self._end = self._log.on_restored(self._restored)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; reads that run are given up."""
        assert self._end is not None  # it was entered
        self._end()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def join(self, context: Context, watch: Watch) -> Follower:
        """Follow a context from where it is folded to, and tell `watch`, until it leaves.

        Whoever joins before it appends misses nothing, and nothing need be read.

        Raises:
            DamagedRecord: the context cannot be read.
        """
        subject = subjects.commits(context.agent, context.id)
        follower = self._following.get(subject)
        if follower is not None and follower.broken is not None:
            raise follower.broken
        if follower is None:
            follower = Follower(context, subject, self._world.monotonic())
            self._following[subject] = follower
        elif follower.context.head < context.head:
            self._look(follower)
        follower.watches.append(watch)
        return follower

    def leave(self, follower: Follower, watch: Watch) -> None:
        """Tell `watch` no more; what nobody watches is followed no longer."""
        follower.watches.remove(watch)
        if not follower.watches:
            del self._following[follower.subject]
            if follower.broken is None:
                self._contexts.remember(follower.context)

    def heard(self, heard: Heard) -> None:
        """Take a live copy of a commit."""
        follower = self._following.get(heard.subject)
        if follower is None:
            return
        if follower.reading:
            follower.missed = True
        elif heard.previous == follower.context.head:
            follower.silence = SILENCE
            follower.due = self._world.monotonic() + SILENCE
            self._fold(follower, heard.sequence, heard.data)
        elif heard.sequence > follower.context.head:
            self._look(follower)

    def _fold(self, follower: Follower, sequence: int, data: bytes) -> bool:
        """Take a commit; False if the context is damaged, and those who watch are told."""
        try:
            follower.fold(sequence, data)
        except PeltonError as error:
            logger.exception("context-damaged", subject=follower.subject, sequence=sequence)
            follower.broken = error
            for watch in tuple(follower.watches):
                watch.failed(error)
            return False
        return True

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task-failed", task=task.get_name(), exc_info=error)

    def _restored(self) -> None:
        for follower in self._following.values():
            self._look(follower)

    async def _watch(self) -> None:
        """Look after those that have been silent."""
        while True:
            await asyncio.sleep(_TICK)
            now = self._world.monotonic()
            for follower in [each for each in self._following.values() if each.due <= now]:
                follower.silence = min(follower.silence * 2, _LONGEST_SILENCE)
                self._look(follower)

    def _look(self, follower: Follower) -> None:
        follower.due = self._world.monotonic() + follower.silence
        if not follower.reading and follower.broken is None:
            follower.reading = True
            self._own(self._read(follower), f"read {follower.subject}")

    async def _read(self, follower: Follower) -> None:
        """Read on until nothing is new; a log that is away is asked again after the silence."""
        try:
            async with self._reads:
                follower.missed = True
                while follower.missed:
                    follower.missed = False
                    head = follower.context.head
                    for record in await self._log.read(follower.subject, after=head):
                        if not self._fold(follower, record.sequence, record.data):
                            return
        except LogError as error:
            logger.info("context-not-read", subject=follower.subject, reason=error.code)
        finally:
            follower.reading = False
