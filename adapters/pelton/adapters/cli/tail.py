"""`pelton tail`: the log as it grows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from pelton.runtime.log import Record
    from pelton.runtime.replay.session import Reader

Pace = Literal["fast", "original"]

_AGO: Final = re.compile(r"(?P<number>\d+)(?P<unit>[smhd])")
_PLACES: Final = "start, a sequence, "
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def tail(
    filter: Annotated[
        str, typer.Argument(help="An agent's name, or a subject pattern such as evt.hello.>")
    ] = ">",
    *,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="Begin earlier: start, a sequence, a time (ISO 8601), or ago (90s, 5m, 1h, 2d).",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on as the log grows.")
    ] = True,
    pace: Annotated[
        Pace,
        typer.Option("--pace", metavar="PACE", help="fast, or original: as fast as it happened."),
    ] = "fast",
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Print the log's records as they are stored, until interrupted."""
    import asyncio
    import contextlib

    from pelton.adapters.cli.connect import open_reader

    settings = options.settings(config, data=data, nats__url=nats)
    output = Output(json=json)
    pattern = filter if "." in filter or filter == ">" else f"*.{filter}.>"

    async def run() -> None:
        clock = Metronome(asyncio.get_running_loop().time)
        async with open_reader(settings, file) as log:
            after = await begin_after(log, "start" if file and start is None else start)
            async for batch in log.scan(after=after, pattern=pattern, live=follow):
                for record in batch:
                    if pace == "original":
                        await asyncio.sleep(clock.left(record.received_ns / 1e9))
                    _print(output, record)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


class Metronome:
    """Keeps the pace of what happened at other times; all are in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._shift: float | None = None

    def left(self, moment: float) -> float:
        """Return how long to wait for a moment; the first one is now."""
        if self._shift is None:
            self._shift = self._now() - moment
        return max(0.0, moment + self._shift - self._now())


def _print(output: Output, record: Record) -> None:
    from pelton.adapters.cli.timeline import record_line, record_value

    if output.json:
        output.result(record_value(record))
    else:
        output.result(None, record_line(record))


async def begin_after(log: Reader, start: str | None) -> int:
    """Return the sequence after which to begin."""
    from pelton.runtime.replay.session import Session

    first, last = await log.extent()
    if start is None:
        return last
    if start == "start":
        return first - 1
    if start.isdecimal():
        sequence = int(start)
        if sequence > last + 1:
            raise CommandFailed(f"the log ends at {last}, before {sequence}", "usage")
        return max(sequence - 1, 0)
    if isinstance(log, Session):  # which has gaps
        return log.before(moment(start, _PLACES))
    return await _before(log, moment(start, _PLACES), first, last)


def moment(text: str, besides: str = "") -> datetime:
    """Return the moment in UTC that a text names: ISO 8601, UTC unless it says otherwise, or ago.

    `besides` is what else may be written there, for who has written something else.

    Raises:
        CommandFailed: it names none.
    """
    from datetime import UTC

    from pelton.runtime.clock import RealWorld

    try:
        if ago := _AGO.fullmatch(text):
            return RealWorld().now() - timedelta(**{_UNITS[ago["unit"]]: int(ago["number"])})
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise CommandFailed(
            f"{text!r} is no place in the log: use {besides}a time or 90s, 5m, 1h, 2d", "usage"
        ) from None


async def _before(log: Reader, when: datetime, first: int, last: int) -> int:
    """Return the sequence of the last record stored before a moment, by halving."""
    low, high = first, last + 1
    while low < high:
        middle = (low + high) // 2
        record = await log.at(middle)
        if record is not None and record.received < when:
            low = middle + 1
        else:
            high = middle
    return low - 1
