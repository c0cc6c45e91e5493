"""Sessions that were imported: files in the data directory, found by the ids that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pelton.runtime.replay.archive import Opened

FOLDER: Final = "sessions"
"""Where they lie in the data directory."""


class Imported(NamedTuple):
    """An imported session: its file, which nobody writes to, and what it holds."""

    file: Path
    opened: Opened


class Library:
    """The sessions that were imported into a data directory. All are read only."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER

    def add(self, data: bytes, *, noted: str = "") -> Imported:
        """Keep a session file, once, and return it; `noted` is the digest that it must have.

        Raises:
            SessionDamaged: it is none, or not as it was written.
        """
        from pelton.runtime.replay.archive import unpack

        opened = unpack(data, noted=noted)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._folder / f"{opened.digest}.pelton"
        if not file.exists():
            new = file.with_suffix(".new")
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)
            new.write_bytes(data)
            new.chmod(0o400)
            new.replace(file)
        return Imported(file, opened)

    @property
    def empty(self) -> bool:
        """Whether nothing was imported."""
        return next(self._folder.glob("*.pelton"), None) is None

    def sessions(self) -> Iterator[Imported]:
        """Yield all of them, those that were exported last first.

        Raises:
            SessionDamaged: one is not as it was imported.
        """
        found = [Imported(file, _opened(file)) for file in self._folder.glob("*.pelton")]
        yield from sorted(found, key=lambda each: each.opened.header.exported, reverse=True)

    def find(self, about: str) -> Opened | None:
        """Return the session exported last that holds a context, or the task of that id.

        Raises:
            SessionDamaged: one is not as it was imported.
        """
        from pelton.runtime.replay.session import check_context

        context_id = check_context(about)
        for each in self.sessions():
            if any(context_id == id_ for _, id_ in each.opened.session.contexts):
                return each.opened
        return None


def _opened(file: Path) -> Opened:
    """Return what an imported file holds.

    Raises:
        SessionDamaged: it is not as it was imported; the file is named.
    """
    from pelton.runtime.replay.archive import SessionDamaged, open_file

    try:
        opened = open_file(file)
    except SessionDamaged as error:
        raise SessionDamaged(f"{file}: {error}") from error
    if opened.digest != file.stem:
        raise SessionDamaged(f"{file}: it is another file than was imported: delete it")
    return opened
