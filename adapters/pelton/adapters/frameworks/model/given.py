"""The options behind `?` in the reference of an agent: its prompt, its tools, and others."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

from pelton.adapters.frameworks.model.tools import Tool
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import named


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

    def tools(self, name: str, *more: str) -> list[Tool]:
        """Return the tools that options name, one or a list each, and those at `more` places.

        Raises:
            InvalidInput: what is named is none.
        """
        places = [*(value for key, value in self.pairs if key == name), *more]
        return [each for place in places for each in _tools(place, self.reference)]


def _tools(place: str, reference: str) -> list[Tool]:
    found: Any = named(place, reference)
    given: list[object] = [found]
    if isinstance(found, list | tuple) and not isinstance(found, Tool):
        given = [*found]  # pyright: ignore[reportUnknownVariableType]  they are looked at below
    tools = [each for each in given if isinstance(each, Tool)]
    if len(tools) < len(given):
        raise InvalidInput(
            f"{reference!r}: {place!r} is no tool, nor a list of such: make them with @tool"
        )
    return tools
