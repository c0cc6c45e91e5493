"""Sessions that were imported: files in the data directory, found by the ids that they hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pelton.adapters.cli.output import CommandFailed

if TYPE_CHECKING:
    from pelton.runtime.replay.archive import Opened
    from pelton.runtime.replay.session import Reader

FOLDER: Final = "sessions"
"""Where they lie in the data directory."""


class Wanted(NamedTuple):
    """What a command is about: on the log, or in a session that was imported.

    `holds` tells whether either has it. A `place` is one of each log, and of each another.
    """

    holds: Callable[[Reader], Awaitable[bool]]
    place: bool = False


def conversation(about: str) -> Wanted:
    """Return how to find the context of that id, or that of the task of that id."""

    async def holds(reader: Reader) -> bool:
        from pelton.events.ids import token
        from pelton.runtime.replay.session import check_context

        return bool(await reader.latest(f"cmd.*.{token(check_context(about))}"))

    return Wanted(holds)


def remembered(memory_id: str) -> Wanted:
    """Return how to find the memory of that id."""

    async def holds(reader: Reader) -> bool:
        from pelton.events import subjects

        return bool(await reader.latest(subjects.memory(memory_id)))

    return Wanted(holds)


def cut(sequence: int) -> Wanted:
    """Return how to find what there was at a sequence."""

    async def holds(reader: Reader) -> bool:
        return sequence <= (await reader.extent()).last

    return Wanted(holds, place=True)


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

    async def find(self, wanted: Wanted) -> Opened | None:
        """Return the session exported last that has what is wanted, if one has it.

        Raises:
            SessionDamaged: one is not as it was imported.
            CommandFailed: several have such a place.
        """
        found = None
        for each in self.sessions():
            if not await wanted.holds(each.opened.session):
                continue
            if not wanted.place:
                return each.opened
            if found is not None:
                raise CommandFailed(
                    "several imported sessions go that far: name the one that is meant with --file"
                )
            found = each.opened
        return found


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
