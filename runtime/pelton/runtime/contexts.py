"""Contexts as they stand: folds of the log, remembered and brought up to date when asked for."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Final

import structlog

from pelton.events import subjects
from pelton.events.context import Context, fold
from pelton.events.decide import foresee
from pelton.events.envelope import digest
from pelton.events.errors import DamagedRecord
from pelton.events.upcast import decode_command
from pelton.projections.database import StoreUnavailable, StoreUnusable
from pelton.projections.folds import Folds
from pelton.runtime.log import Log

LONG: Final = 1000
"""Once a context has so many events more than its kept fold, it is kept: they take a moment."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Contexts:
    """Reads contexts from the log; remembers the latest `capacity` of them (a cache, law 1).

    With `folds`, what is long is kept there, too, for processes that begin later.
    """

    def __init__(self, log: Log, *, capacity: int = 4096, folds: Folds | None = None) -> None:
        self._log, self._folds = log, folds
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, str], Context] = OrderedDict()
        self._kept: dict[tuple[str, str], int] = {}
        """How many events the kept folds of those have that are known here."""

    async def load(self, agent: str, context: str, *, decisive: bool = False) -> Context:
        """Return a context as of now; one that nobody has written to is empty.

        With `decisive` the leader is asked, so that a decision can rest on the answer.

        Raises:
            DamagedRecord: its commits do not chain (law 13).
            LogUnavailable: the log did not answer in time.
        """
        subject = subjects.commits(agent, context)
        known = self._known.get((agent, context))
        state = known or await self._begun(agent, context)
        for record in await self._log.read(subject, after=state.head, decisive=decisive):
            state = fold(state, record.sequence, record.data)
        self.remember(state)
        if known is None:
            await self.keep(agent, context)
        return state

    async def _begun(self, agent: str, context: str) -> Context:
        """Return a context to fold on from: as it was kept, if the log has what it ends with."""
        new = Context(agent=agent, id=context)
        self._kept.pop((agent, context), None)
        try:
            found = await self._folds.get(agent, context) if self._folds is not None else None
        except (StoreUnavailable, StoreUnusable) as error:
            logger.warning("fold-unreadable", agent=agent, code=error.code, reason=str(error))
            return new
        if found is None:
            return new
        last = await self._log.at(found.head)
        same = last is not None and last.subject == subjects.commits(agent, context)
        if last is None or not same or digest(last.data) != found.hash:
            return new
        self._kept[agent, context] = found.sequence
        return found

    async def keep(self, agent: str, context: str) -> None:
        """Keep the fold of a context that has become long, or much longer than what is kept of it.

        It takes some milliseconds: whoever works on one calls this when nobody waits.
        """
        key = agent, context
        state = self._known.get(key)
        if self._folds is None or state is None:
            return
        if state.sequence - self._kept.get(key, 0) < LONG:
            return
        self._kept[key] = state.sequence
        try:
            await self._folds.put(state)
        except (StoreUnavailable, StoreUnusable) as error:  # it is folded anew the next time
            logger.warning("fold-unkept", agent=state.agent, code=error.code, reason=str(error))

    async def foreseen(self, agent: str, context: str, *, decisive: bool = False) -> Context:
        """Return a context as clients see it: messages that wait to be decided count already.

        `decisive` and errors are as in `load`.
        """
        state = await self.load(agent, context, decisive=decisive)
        subject = subjects.commands(agent, context)
        for record in await self._log.read(subject, after=state.handled, decisive=decisive):
            if state.decided(record.sequence):
                continue
            with contextlib.suppress(DamagedRecord):  # it is refused when its turn comes
                state = foresee(state, decode_command(record.data))
        return state

    def known(self, agent: str, context: str) -> Context | None:
        """Return a context as it is remembered, without asking the log: it may be of the past."""
        return self._known.get((agent, context))

    def remember(self, state: Context) -> None:
        """Keep a context that somebody has folded further, unless a later one is known."""
        if not state.head:
            return
        key = state.agent, state.id
        known = self._known.pop(key, None)
        self._known[key] = known if known is not None and known.head > state.head else state
        if len(self._known) > self._capacity:
            gone, _ = self._known.popitem(last=False)
            self._kept.pop(gone, None)

    def forget(self, agent: str, context: str) -> None:
        """Drop what is remembered of a context, to read it whole the next time."""
        self._known.pop((agent, context), None)
