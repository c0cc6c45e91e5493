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
    """What was left out at a place: it has `size` members or characters, and the first are shown.

    `shown` says how many.
    """

    path: Path
    size: int
    shown: int


class Trimmed(msgspec.Struct, frozen=True):
    """A value, and what of it was left out."""

    value: Any
    cuts: tuple[Cut, ...] = ()


def trim(value: object, *, path: Sequence[str | int] = (), first: int = 0) -> Trimmed:
    """Return what is worth looking at of a value, or of what lies in it under a path.

    With `first`, what is there is shown from that member or character on, and more of it.

    Raises:
        KeyError, IndexError, TypeError: nothing lies there.
    """
    found: Any = msgspec.to_builtins(value, str_keys=True)
    for step in path:
        found = found[step]
    cuts: list[Cut] = []
    left = [BUDGET]
    more = 10 if path or first else 1
    whole = _size(found)
    if first:
        found = _rest(found, first)
    shown = _trim(found, (), cuts, left, more)
    if first:
        kept = _size(shown)
        cuts = [each for each in cuts if each.path]
        cuts += [Cut((), whole, first + kept)] if first + kept < whole else []
    return Trimmed(shown, tuple(cuts))


def _rest(value: Any, first: int) -> Any:
    """Return what is left of a value from a member or a character on."""
    if isinstance(value, dict):
        return dict(list(cast("dict[str, Any]", value).items())[first:])
    return cast("Sequence[Any]", value)[first:]


def _size(value: Any) -> int:
    sized = isinstance(value, str | list | tuple | dict)
    return len(cast("Sequence[Any]", value)) if sized else 1


def _trim(value: Any, path: Path, cuts: list[Cut], left: list[int], more: int) -> Any:
    left[0] -= 1
    if isinstance(value, str):
        if len(value) <= TEXT * more:
            return value
        cuts.append(Cut(path, len(value), TEXT * more))
        return value[: TEXT * more]
    if isinstance(value, dict):
        members = list(cast("dict[str, Any]", value).items())
        kept = members[: _room(len(members), path, cuts, left, more)]
        return {name: _trim(each, (*path, name), cuts, left, 1) for name, each in kept}
    if isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        several = items[: _room(len(items), path, cuts, left, more)]
        return [_trim(each, (*path, at), cuts, left, 1) for at, each in enumerate(several)]
    return value


def _room(size: int, path: Path, cuts: list[Cut], left: list[int], more: int) -> int:
    room = min(size, MEMBERS * more, max(left[0], 0))
    if room < size:
        cuts.append(Cut(path, size, room))
    return room
