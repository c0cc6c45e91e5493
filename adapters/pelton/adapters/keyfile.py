"""Files of keys that all bridges of a place have: read again when they change, and for nobody else.

`pelton tokens key` and `pelton push key` write them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from pelton.runtime.clock import World
from pelton.runtime.settings import SettingsError

T = TypeVar("T")


class KeyFile(Generic[T]):
    """What `read` makes of a file that a setting names, and `command` makes.

    Raises:
        SettingsError: the file cannot be read at the start, or others may read it.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        *,
        setting: str,
        command: str,
        world: World,
    ) -> None:
        self._path, self._read, self._world = path, read, world
        self._setting, self._command = setting, command
        self._seen = (0, 0)
        self._looked = world.monotonic()
        self._found = self._load()

    def look(self, after: float) -> T:
        """Return what the file has; it is looked at if that was not done for `after` seconds.

        What cannot be read by then changes nothing.
        """
        now = self._world.monotonic()
        if now - self._looked >= after:
            self._looked = now
            with suppress(OSError, SettingsError):  # what is known stays good
                if self._mark() != self._seen:
                    self._found = self._load()
        return self._found

    def _mark(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_ino

    def _load(self) -> T:
        try:
            mark = self._mark()
            if self._path.stat().st_mode & 0o077:
                raise SettingsError(
                    f"{self._setting}: others may read {self._path.name!r}: chmod 600"
                )
            found = self._read(self._path)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{self._setting}: {self._path.name!r} cannot be read: {self._command} makes it"
            ) from error
        self._seen = mark
        return found


def write(path: Path, document: object) -> None:
    """Put a document into the place of a file, readable by nobody else at any time.

    Raises:
        OSError: the file cannot be written.
    """
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(document)))
    new.replace(path)
