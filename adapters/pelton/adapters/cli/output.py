"""What commands print: for people or, with `--json`, for machines; and how they end.

Results go to standard output, everything else to standard error. With `--json` a result is one JSON
value on one line, a list that goes on is one value a line, and an error is one object on standard
error: `{"error": {"code": …, "message": …}}`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from pelton.events.errors import PeltonError
from pelton.events.printable import printable

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNAVAILABLE: Final = 4
DIFFERENT: Final = 5

EXITS: Final = {
    "usage": USAGE,
    "settings": USAGE,
    "validation-denied": USAGE,
    "agent-not-found": NOT_FOUND,
    "task-not-found": NOT_FOUND,
    "schedule-not-found": NOT_FOUND,
    "key-not-found": NOT_FOUND,
    "family-not-found": NOT_FOUND,
    "context-not-found": NOT_FOUND,
    "memory-not-found": NOT_FOUND,
    "unavailable": UNAVAILABLE,
    "misconfigured": UNAVAILABLE,
    "log-full": UNAVAILABLE,
    "recall-unavailable": UNAVAILABLE,
    "session-damaged": DIFFERENT,
    "nothing-to-find": DIFFERENT,
}
"""From an error's code to the exit code of the command that met it; 1 for all others."""


class CommandFailed(PeltonError):
    """A command failed in a way of its own; `code` decides the exit code."""

    def __init__(self, message: str, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # an instance's own, where classes have theirs


def first_of(errors: BaseExceptionGroup[PeltonError]) -> PeltonError:
    """Return the first error in a group of groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, PeltonError)
    return error


def exit_code(code: str) -> int:
    """Return the exit code for an error's code."""
    return EXITS.get(code, FAILED)


class Output:
    """Where a command's words go."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def result(self, value: Any, lines: Iterable[str] = ()) -> None:
        """Print a result: `value` for machines, `lines` for people."""
        if self.json:
            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        else:
            for line in lines:
                sys.stdout.write(printable(line) + "\n")
        sys.stdout.flush()

    def piece(self, text: str) -> None:
        """Print a piece of text as it comes, for people."""
        sys.stdout.write(printable(text))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something beside the result, to people."""
        if not self.json:
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()

    def error(self, code: str, message: str) -> None:
        """Say why the command failed and what to do next."""
        if self.json:
            error = {"error": {"code": code, "message": message}}
            text = msgspec.json.encode(error).decode()
        else:
            text = f"pelton: {printable(message)}"
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def many(number: int, noun: str) -> str:
    """Return how many there are of something, as in `1 task`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def words(state: str) -> str:
    """Return a task's state as people write it: `input-required`."""
    return state.removeprefix("TASK_STATE_").lower().replace("_", "-")
