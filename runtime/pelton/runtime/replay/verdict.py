"""What comes of a re-run: equal to the record, or the first event that differs."""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.runtime.replay.changes import Change, short


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a divergence: an event, and the sequence of the commit that it is recorded in."""

    event: dict[str, Any]
    sequence: int = 0


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Where a re-run first differs: what the record has there, what the agent did, and the fields.

    Without `recorded` the record has nothing more there; without `found` the agent did nothing.
    """

    turn: int
    recorded: Told | None
    found: Told | None
    fields: tuple[Change, ...] = ()

    def lines(self) -> list[str]:
        """Return where it differs, for people."""
        at = f" at {self.recorded.sequence}" if self.recorded and self.recorded.sequence else ""
        lines = [
            f"  turn {self.turn}, the first event that differs{at}:",
            f"  recorded  {_said(self.recorded)}",
            f"  found     {_said(self.found)}",
        ]
        return lines + [f"  {each.line()}" for each in self.fields]


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that was run again: how many recorded events it has met, and how the record ends.

    `ending` is `agent` if its agent has ended it, `cut` if it was ended from outside, and `open` if
    it goes on: of these two the re-run goes as far as the record does.
    """

    number: int
    attempts: int
    events: int
    ending: str

    def lines(self) -> list[str]:
        """Return how far it went, for people, where that is not its end."""
        how = {"cut": "was ended from outside", "open": "goes on"}
        if self.ending not in how:
            return []
        return [f"  turn {self.number} {how[self.ending]}: compared as far as it is recorded"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a re-run: the turns that were run, and the first divergence, if there is one."""

    task_id: str
    agent: str
    turns: tuple[Turned, ...]
    divergence: Divergence | None = None

    @property
    def equal(self) -> bool:
        """Whether the agent did what the record says."""
        return self.divergence is None

    def check(self) -> None:
        """Raise if the agent did something else: for tests.

        Raises:
            AssertionError: it did; the text says what was recorded, and what it did.
        """
        __tracebackhide__ = True  # pytest: what was found is the text
        if self.divergence is not None:
            raise AssertionError("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return what came of it, for people."""
        if self.divergence is None:
            events = sum(turn.events for turn in self.turns)
            lines = [f"equal: {self.task_id} of {self.agent}, {events} events, no effect"]
        else:
            lines = [f"DIFFERENT: {self.task_id} of {self.agent}", *self.divergence.lines()]
        return lines + [line for turn in self.turns for line in turn.lines()]


def _said(told: Told | None) -> str:
    """Return an event on a line: its type, and what it says."""
    if told is None:
        return "nothing"
    rest = {name: value for name, value in told.event.items() if name not in ("type", "taskId")}
    kind = str(told.event.get("type", "")).partition(".")[0]
    return f"{kind} {short(rest)}".lstrip()
