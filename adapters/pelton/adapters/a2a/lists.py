"""Lists of tasks: from the read models, as fresh as what this bridge has heard (§3.1.4)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from pelton.adapters.a2a.requests import ListTasksRequest, ListTasksResponse
from pelton.projections.read import ReadModels
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import LogRegressed

FRESH_WITHIN: Final = 1.0
"""Seconds that a list waits for the read models to catch up; then it is what they have."""
LAG: Final = 10_000
"""By how many records the read models may be behind for the bridge to be ready (AS-63): what comes
in about a second when much does."""
_LOOK: Final = 0.01
_ALMOST: Final = timedelta(microseconds=999)


class Reached(Protocol):
    """What a projector in the same process offers: to hurry, and say when it is there."""

    async def __call__(self, sequence: int, *, within: float) -> bool:
        """Return whether the read models have reached a sequence, within so many seconds."""
        ...


class TaskLists:
    """Gives pages of tasks. Without `reached`, whose projector is elsewhere, it looks often."""

    def __init__(self, models: ReadModels, *, world: World, reached: Reached | None = None) -> None:
        self._models = models
        self._world = world
        self._reached = reached or self._look
        self._last = 0

    def heard(self, sequence: int) -> None:
        """Take note that there is a record of this sequence: the next page shall know of it."""
        self._last = max(self._last, sequence)

    async def near(self, end: int) -> bool:
        """Return whether the read models are near the log's end.

        Raises:
            LogRegressed: the log ends before what was heard of it (law 13).
            PeltonError: they cannot be read.
        """
        if end < self._last:
            raise LogRegressed(f"the log ends at {end}, but a record was heard at {self._last}")
        self.heard(end)
        return (await self._models.position()).sequence >= self._last - LAG

    async def fresh(self) -> bool:
        """Wait until the read models know what was heard; say whether they do."""
        return await self._reached(self._last, within=FRESH_WITHIN)

    async def page(
        self, agent: str, request: ListTasksRequest, *, owner: str | None
    ) -> ListTasksResponse:
        """Return a page of an agent's tasks, the latest status first: all, or those of an owner.

        Without `historyLength` tasks come without their history: the server's default (§3.2.4).
        """
        await self.fresh()
        page = await self._models.tasks(
            agent,
            owner=owner,
            context_id=request.context_id or None,
            state=request.status,
            updated_after=_earliest(request.status_timestamp_after),
            page_size=request.page_size,
            cursor=request.page_token,
            history=request.history_length or 0,
            artifacts=request.include_artifacts,
        )
        return ListTasksResponse(
            tasks=tuple(entry.task for entry in page.items),
            next_page_token=page.next,
            page_size=request.page_size,
            total_size=page.total,
        )

    async def _look(self, sequence: int, *, within: float) -> bool:
        end = self._world.monotonic() + within
        while (await self._models.position()).sequence < sequence:
            if self._world.monotonic() > end:
                return False
            await asyncio.sleep(_LOOK)
        return True


def _earliest(moment: datetime | None) -> str | None:
    """Return the first millisecond that is not before a moment."""
    if moment is None:
        return None
    return rfc3339(moment.astimezone(UTC) + _ALMOST)
