"""Files in TOML that say how things are to be: read, and what is wrong in them named by place."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from pelton.events.errors import PeltonError

_PLACE: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`")


Convert = Callable[[Any, Any], Any]
"""Makes a value one of a kind, as `msgspec.convert` does."""


class SettingsError(PeltonError):
    """A setting is wrong: the text names the file or variable, the setting, and what it may be."""

    code: ClassVar[str] = "settings"


class Fault(NamedTuple):
    """What is wrong with a value, and where.

    `unknown` if there is nothing of that name; `names` are then those that there are.
    """

    path: str
    says: str
    unknown: bool = False
    names: tuple[str, ...] = ()


def read(path: Path) -> dict[str, Any]:
    """Return what a file holds.

    Raises:
        SettingsError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{path}: cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:  # a number may have too many digits
        raise SettingsError(f"{path}: is not TOML: {error}") from error


def fault(
    error: msgspec.ValidationError, kind: Any, value: object, convert: Convert = msgspec.convert
) -> Fault:
    """Return what an error says that `convert` has raised of a value that was to be of a kind."""
    match = _PLACE.fullmatch(str(error))
    assert match  # the pattern matches every text
    what = match["what"]
    path, there = _reached(kind, value, match["path"] or "", convert)
    if unknown := _UNKNOWN.fullmatch(what):
        names: tuple[str, ...] = getattr(there, "__struct_fields__", ())
        return Fault(f"{path}.{unknown['name']}".lstrip("."), what, unknown=True, names=names)
    if what.startswith("Invalid enum value") and (choices := _choices(there)):
        return Fault(path, f"use one of {', '.join(choices)}")
    return Fault(path, what[:1].lower() + what[1:].replace("`", ""))


def _reached(kind: Any, value: Any, path: str, convert: Convert) -> tuple[str, Any]:
    """Return a path with the keys in it that msgspec leaves out, and the kind of what is there."""
    named = ""
    for member, index in _STEP.findall(path):
        kind = _bare(kind)
        within = get_args(kind) or (Any,)
        if member:
            hints = get_type_hints(kind, include_extras=True) if isinstance(kind, type) else {}
            kind, value = hints.get(member, Any), value.get(member)
            named = f"{named}.{member}".lstrip(".")
        elif index == "..." and isinstance(value, dict):
            kind, entries = within[-1], cast("dict[str, Any]", value)
            key = next((key for key, each in entries.items() if not _is(each, kind, convert)), "")
            value, named = entries.get(key), f"{named}.{key}"
        else:
            kind, value = within[0], value[int(index)] if index.isdigit() else value
            named += f"[{index}]"
    return named, _bare(kind)


def _bare(kind: Any) -> Any:
    """Return a kind without what is said of it, and without None in its place."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        return _bare(next(each for each in get_args(kind) if each is not NoneType))
    return kind


def _is(value: object, kind: Any, convert: Convert) -> bool:
    try:
        convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(map(str, kind)) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def hint(name: str, names: Iterable[str]) -> str:
    """Return the question whether the nearest of some names was meant."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"; did you mean {near[0]}?" if near else ""
