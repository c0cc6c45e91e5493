"""What differs between two values, field by field: of a state before and after, of two events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

_SHORT: Final = 160


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field that differs: `path` as in `turn.steps["pay#1"].done`; absent is None."""

    path: str
    before: Any = None
    after: Any = None

    def line(self) -> str:
        """Return it on a line, for people."""
        if self.before is None:
            return f"+ {self.path} = {short(self.after)}"
        if self.after is None:
            return f"- {self.path} = {short(self.before)}"
        return f"~ {self.path}: {short(self.before)} → {short(self.after)}"


def short(value: object) -> str:
    """Return a value as JSON, cut off where that is long."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def changes(before: object, after: object) -> list[Change]:
    """Return what differs between two values, in the order of their members."""
    return list(_changes(_plain(before), _plain(after), ""))


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True)


def _changes(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        left, right = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        for name in dict.fromkeys((*left, *right)):
            yield from _changes(left.get(name), right.get(name), _member(path, name))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        old, new = list(cast("list[Any]", before)), list(cast("list[Any]", after))
        for place in range(max(len(old), len(new))):
            yield from _changes(
                old[place] if place < len(old) else None,
                new[place] if place < len(new) else None,
                f"{path}[{place}]",
            )
    else:
        yield Change(path=path, before=before, after=after)


def _member(path: str, name: str) -> str:
    if not name.isidentifier():
        return f'{path}["{name}"]'
    return f"{path}.{name}" if path else name
