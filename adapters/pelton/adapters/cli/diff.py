"""`pelton diff`: two tasks side by side, and where they first differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import DIFFERENT, OK, CommandFailed, Output

if TYPE_CHECKING:
    from pelton.runtime.replay.session import Reader, Session
    from pelton.runtime.settings import Settings


def diff(
    left: Annotated[str, typer.Argument(metavar="A", help="A task, or a session file.")],
    right: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Compare two tasks, event by event; a file may name its task: fork.pelton:TASK."""
    from pelton.runtime.replay import diff as diffs

    settings = options.settings(config, data=data, nats__url=nats)
    one, other = sessions_of(settings, [left, right], played=False)
    found = diffs.diff(*one, *other)
    lines = [f"{found.alike} events are alike, {len(found.differences)} differ"]
    lines += [line for each in found.differences for line in each.lines()]
    Output(json=json).result(
        {"equal": not found.differences, "alike": found.alike, "differences": found.differences},
        lines,
    )
    return DIFFERENT if found.differences else OK


def sessions_of(
    settings: Settings, sides: Sequence[str], *, played: bool = True
) -> list[tuple[Session, str]]:
    """Return the sessions and tasks that are named: a file without one has that of another side.

    With what is needed to play them, unless they are not to be.

    Raises:
        CommandFailed: no task is named at all.
    """
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import conversation
    from pelton.runtime.replay.lineage import played_session
    from pelton.runtime.replay.session import task_session
    from pelton.runtime.replay.unsealed import unsealed

    named = [_side(each) for each in sides]
    tasks = [task for _, task in named if task]
    if not tasks:
        raise CommandFailed("of which task? Write fork.pelton:TASK", "usage")

    def session(file: Path | None, task: str) -> Session:
        async def read(reader: Reader) -> Session:
            found = await (played_session if played else task_session)(reader, task)
            if found.vault is None:
                return found  # nothing is sealed, or it looks as it does
            return await unsealed(found)

        return on_reader(settings, file, read, about=conversation(task))

    return [(session(file, task or tasks[0]), task or tasks[0]) for file, task in named]


def _side(text: str) -> tuple[Path | None, str]:
    """Return the file that one side is in, if it is in one, and its task, if it names one."""
    file, _, task = text.rpartition(":")
    if file and Path(file).is_file():
        return Path(file), task
    return (Path(text), "") if Path(text).is_file() else (None, text)
