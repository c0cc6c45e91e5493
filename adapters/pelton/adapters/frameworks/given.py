"""The options behind `?` in the reference of an agent."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Self, TypeVar
from urllib.parse import parse_qsl

from pelton.events.errors import InvalidInput

N = TypeVar("N", int, float)


def either(reference: str, what: str, named: str, said: str) -> str:
    """Return what a reference names, or the file beside it says.

    Raises:
        InvalidInput: both do, and one would be left out silently.
    """
    if named and said:
        raise InvalidInput(f"{reference!r} names a {what} already, and {said[:80]!r} is another")
    return named or said


class Given(NamedTuple):
    """What was given; errors speak of the whole `reference`."""

    reference: str
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, reference: str, query: str, known: Collection[str]) -> Self:
        """Return what a query gives.

        Raises:
            InvalidInput: it gives what is not known.
        """
        pairs = parse_qsl(query, keep_blank_values=True)
        if unknown := {key for key, _ in pairs} - {*known}:
            names = ", ".join(sorted(known))
            raise InvalidInput(f"{reference!r}: no option is called {min(unknown)!r}: {names} are")
        return cls(reference, tuple(pairs))

    def one(self, name: str) -> str:
        """Return an option, the last one if there are several, or nothing."""
        return dict(self.pairs).get(name, "")

    def number(self, name: str, otherwise: N) -> N:
        """Return an option that is a number and not below 0, of the kind of the one without it.

        Raises:
            InvalidInput: it is none.
        """
        text = self.one(name)
        try:
            found = type(otherwise)(text) if text else otherwise
        except ValueError:
            found = type(otherwise)(-1)
        if not 0 <= found < float("inf"):
            raise InvalidInput(f"{self.reference!r}: {name} is no number from 0 on: {text[:40]!r}")
        return found

    def several(self, name: str) -> list[str]:
        """Return what an option lists, with commas between."""
        return [*filter(None, self.one(name).split(","))]

    def text(self, name: str) -> str:
        """Return what the file has that an option names.

        Raises:
            InvalidInput: it is no text.
        """
        file = self.one(name)
        if not file:
            return ""
        try:
            return Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{self.reference!r}: the file {file!r} cannot be read as a text"
            ) from error

    def all(self, name: str) -> list[str]:
        """Return an option as often as it was given."""
        return [value for key, value in self.pairs if key == name]
