"""What turns took, added up: tokens, cost and time by day, agent, context, owner and model.

All is counted in whole numbers, so that the sums do not depend on how the log was cut in batches.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec

from pelton.events.commit import Commit
from pelton.events.events import UsageReported
from pelton.projections import schema
from pelton.projections.database import put
from pelton.projections.rows import TaskRow


class Took(msgspec.Struct, gc=False):
    """What is added to a row: turns that ended and how long they were worked on, and calls.

    `busy` and `duration` are in milliseconds, `cost` in billionths of a unit of currency.
    """

    turns: int = 0
    busy: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: int = 0
    duration: int = 0


Key = tuple[str, str, str, str, str]


class Spending(msgspec.Struct):
    """What one batch adds."""

    rows: dict[Key, Took] = {}

    def called(self, task: TaskRow, commit: Commit, event: UsageReported) -> None:
        """Add what a turn reports."""
        took = self._row(task, commit, event.model)
        took.calls += 1
        took.input_tokens += event.input_tokens
        took.output_tokens += event.output_tokens
        took.cached_tokens += event.cached_tokens
        took.cost += event.cost
        took.duration += event.duration

    def worked(self, task: TaskRow, commit: Commit, until: str, *, over: bool) -> None:
        """Add an attempt that has ended at a time (RFC 3339); with `over`, its turn has, too."""
        took = self._row(task, commit, "")
        took.turns += over
        took.busy += _milliseconds(task.began, until)
        task.began = ""

    def write(self, database: sqlite3.Connection) -> None:
        """Add it to the table."""
        rows = [(*key, *msgspec.structs.astuple(took)) for key, took in self.rows.items()]
        put(database, schema.USAGE, rows, add=True)

    def _row(self, task: TaskRow, commit: Commit, model: str) -> Took:
        key = (commit.time[:10], task.agent, task.context_id, task.owner, model)
        took = self.rows.get(key)
        if took is None:
            took = self.rows[key] = Took()
        return took


def _milliseconds(began: str, ended: str) -> int:
    """Return how long something took; nothing if a time is none."""
    if began == ended:  # most turns of agents that ask no model
        return 0
    try:
        took = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
    except (ValueError, TypeError):  # there is none, or only one has a zone
        return 0
    return max(0, round(took.total_seconds() * 1_000))
