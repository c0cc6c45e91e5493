"""`pelton step`: a task event by event, with what each changed and what had caused it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output
from pelton.events.printable import printable

if TYPE_CHECKING:
    from pelton.runtime.replay.session import Reader
    from pelton.runtime.replay.walk import Pace

_HELP: Final = "next: space, n, →   back: p, ←   first: g   last: G   quit: q"
_KEYS: Final = {
    **dict.fromkeys((" ", "n", "j", "\r", "\n", "\x1b[C", "\x1b[B"), 1),
    **dict.fromkeys(("p", "k", "\x7f", "\x1b[D", "\x1b[A"), -1),
}


def step(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    *,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="SEQ|TIME", help="Only up to a sequence, or a time."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--list", help="Print all of it, on a terminal too.")
    ] = False,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Walk through a task event by event: what each one changed, and what had caused it."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import conversation

    settings = options.settings(config, data=data, nats__url=nats)
    paces = on_reader(
        settings, file, lambda reader: _walk(reader, task, at), about=conversation(task)
    )
    output = Output(json=json)
    if paces and not (json or whole) and sys.stdin.isatty() and sys.stdout.isatty():
        _interactive(paces)
    else:
        value = {"task": task, "steps": [_value(pace) for pace in paces]}
        lines = [line for pace in paces for line in _lines(pace)]
        output.result(value, lines or ["nothing yet: what asks for it waits to be decided"])


async def _walk(reader: Reader, task: str, at: str | None) -> list[Pace]:
    from pelton.adapters.cli.tasks import find
    from pelton.runtime.replay.walk import walk

    found = await find(reader, task, at=at)
    last = found.records[-1].sequence if found.records else 0
    paces = walk(reader, found.agent, task)
    return [pace._replace(after=None) async for pace in paces if pace.record.sequence <= last]


def _value(pace: Pace) -> dict[str, Any]:
    from pelton.adapters.cli import timeline

    return {
        **timeline.value(pace.record, pace.recorded),
        "cause": {
            "id": pace.cause.id,
            "sequence": pace.cause.sequence,
            "what": pace.cause.what,
        },
        "changes": pace.changes,
    }


def _lines(pace: Pace) -> list[str]:
    """Return an event as lines: what it is, what had caused it, and what it changed."""
    from pelton.adapters.cli.timeline import describe
    from pelton.events.events import name_of

    event, record, cause = pace.recorded.event, pace.record, pace.cause
    place = pace.recorded.id.rpartition("/")[2]
    because = f"{cause.what} at {cause.sequence}" if cause.sequence else cause.id
    return [
        f"{f'{record.sequence}/{place}':>7}  {record.received:%H:%M:%S.%f}"[:-3]
        + f"  {name_of(event)}  {describe(event)}".rstrip(),
        f"         because of {because}",
        *(f"         {change.line()}" for change in pace.changes),
        "",
    ]


def _interactive(paces: Sequence[Pace]) -> None:
    """Show one event at a time, as keys say."""
    import os
    import termios
    import tty

    place, terminal = 0, sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        while True:
            shown = [f"event {place + 1} of {len(paces)}", "", *_lines(paces[place]), _HELP]
            sys.stdout.write("\x1b[2J\x1b[H" + "\n".join(map(printable, shown)) + "\n")
            sys.stdout.flush()
            key = os.read(terminal, 8).decode(errors="replace")
            if key in ("q", "\x04", ""):
                return
            if key in ("g", "G"):
                place = 0 if key == "g" else len(paces) - 1
            place = min(max(place + _KEYS.get(key, 0), 0), len(paces) - 1)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
