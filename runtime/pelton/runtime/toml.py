"""Files in TOML that say how things are to be: read, and what is wrong in them named by place."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from pelton.events.errors import PeltonError

_PLACE: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`")


class SettingsError(PeltonError):
    """A setting is wrong: the text names the file or variable, the setting, and what it may be."""

    code: ClassVar[str] = "settings"


class Fault(NamedTuple):
    """What is wrong with a value, and where: `unknown` if there is nothing of that name."""

    path: str
    says: str
    unknown: bool = False


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


def fault(error: msgspec.ValidationError) -> Fault:
    """Return what an error says that msgspec has raised of a value."""
    match = _PLACE.fullmatch(str(error))
    assert match  # the pattern matches every text
    what, path = match["what"], match["path"] or ""
    if unknown := _UNKNOWN.fullmatch(what):
        return Fault(f"{path}.{unknown['name']}".lstrip("."), what, unknown=True)
    return Fault(path, what[:1].lower() + what[1:].replace("`", ""))


def hint(name: str, names: Iterable[str]) -> str:
    """Return the question whether the nearest of some names was meant."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"; did you mean {near[0]}?" if near else ""
