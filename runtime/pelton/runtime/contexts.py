"""Contexts as they stand: folds of the log, remembered and brought up to date when asked for."""

from __future__ import annotations

import contextlib
from collections import OrderedDict

from pelton.events import subjects
from pelton.events.context import Context, fold
from pelton.events.decide import foresee
from pelton.events.errors import DamagedRecord
from pelton.events.upcast import decode_command
from pelton.runtime.log import Log


class Contexts:
    """Reads contexts from the log; remembers the latest `capacity` of them (a cache, law 1)."""

    def __init__(self, log: Log, *, capacity: int = 4096) -> None:
        self._log = log
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, str], Context] = OrderedDict()

    async def load(self, agent: str, context: str, *, decisive: bool = False) -> Context:
        """Return a context as of now; one that nobody has written to is empty.

        With `decisive` the leader is asked, so that a decision can rest on the answer.

        Raises:
            DamagedRecord: its commits do not chain (law 13).
            LogUnavailable: the log did not answer in time.
        """
        state = self._known.get((agent, context)) or Context(agent=agent, id=context)
        subject = subjects.commits(agent, context)
        for record in await self._log.read(subject, after=state.head, decisive=decisive):
            state = fold(state, record.sequence, record.data)
        self.remember(state)
        return state

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
            self._known.popitem(last=False)

    def forget(self, agent: str, context: str) -> None:
        """Drop what is remembered of a context, to read it whole the next time."""
        self._known.pop((agent, context), None)
