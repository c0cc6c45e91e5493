"""Values cut down to what is worth looking at, with a note of what was left out and where.

A page need not get a megabyte to show forty lines. Whoever wants more asks for the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

TEXT: Final = 2_000
"""Characters of a text that are shown."""
MEMBERS: Final = 50
"""Members of a list or an object that are shown."""
BUDGET: Final = 5_000
"""Values that are shown of one value in all."""

Path = tuple[str | int, ...]


class Cut(msgspec.Struct, frozen=True):
    """What was left out at a place: of its `size` members or characters, those from `shown` on."""

    path: Path
    size: int
    shown: int


class Trimmed(msgspec.Struct, frozen=True):
    """A value, and what of it was left out."""

    value: Any
    cuts: tuple[Cut, ...] = ()


def trim(value: object, *, path: Sequence[str | int] = (), first: int = 0) -> Trimmed:
    """Return what is worth looking at of a value, or of what lies in it under a path.

    With `first`, what is there is shown from that member or character on. Who asks for a place
    gets more of it at a time; paths of cuts begin at the whole value nevertheless.

    Raises:
        LookupError, TypeError: nothing lies there.
    """
    found: Any = msgspec.to_builtins(value, str_keys=True)
    for step in path:
        found = found[step]
    return _Trimmer(10 if path or first else 1).trim(found, tuple(path), first)


class _Trimmer:
    """Trims one value; what it leaves out is noted on the way."""

    def __init__(self, more: int) -> None:
        self._more, self._left, self._cuts = more, BUDGET, list[Cut]()

    def trim(self, value: Any, path: Path, first: int) -> Trimmed:
        """Return what is shown of a value, from a member on."""
        return Trimmed(self._shown(value, path, first), tuple(self._cuts))

    def _shown(self, value: Any, path: Path, first: int = 0) -> Any:
        self._left -= 1
        if isinstance(value, str):
            return value[first : self._end(len(value), TEXT, path, first)]
        if isinstance(value, dict):
            members = list(cast("dict[str, Any]", value).items())
            kept = members[first : self._end(len(members), self._room, path, first)]
            return {name: self._inner(each, (*path, name)) for name, each in kept}
        if isinstance(value, list | tuple):
            items = cast("Sequence[Any]", value)
            end = self._end(len(items), self._room, path, first)
            return [self._inner(items[at], (*path, at)) for at in range(first, end)]
        return value

    def _inner(self, value: Any, path: Path) -> Any:
        self._more = 1  # it is the place itself of which more was asked for
        return self._shown(value, path)

    @property
    def _room(self) -> int:
        return max(min(MEMBERS, self._left), 0)

    def _end(self, size: int, room: int, path: Path, first: int) -> int:
        """Return up to where something is shown, and note what is left out."""
        end = first + room * self._more
        if end < size:
            self._cuts.append(Cut(path, size, end))
        return min(end, size)
