"""What a part is told by signals while it runs: to stop, or to read its files anew."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import structlog

from pelton.runtime.setting_source import Source, waiting
from pelton.runtime.settings import Settings, SettingsError

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Stop:
    """The wish that a part should stop: `asked` once, `again` to hurry."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.again = asyncio.Event()

    def signal(self) -> None:
        """Ask, or ask again."""
        (self.again if self.asked.is_set() else self.asked).set()


class Anew:
    """The wish that a part should read its files anew: `asked`, or, with `watch`, when they change.

    `source` is where its settings are from.
    """

    def __init__(self, source: Source | None, *, watch: bool) -> None:
        self.asked = asyncio.Event()
        self.source, self.watch = source, watch

    async def say(self, settings: Settings) -> None:
        """Say, whenever it is asked, which of the settings wait for a restart; for ever."""
        while self.source is not None:
            await self.asked.wait()
            self.asked.clear()
            try:
                now = self.source.read()
            except SettingsError as error:
                logger.error("not-reloaded", reason=str(error))  # noqa: TRY400  it says all
                continue
            if paths := waiting(settings, now):
                logger.warning("restart-needed", settings=paths)


def hung_up(gone: Callable[[], None], wanted: Callable[[], None]) -> Callable[[], None]:
    """Return what to do on SIGHUP: `gone` if the terminal is that there was, else `wanted`."""
    at_one = _terminal()
    return lambda: gone() if at_one and not _terminal() else wanted()


def _terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def reading(source: Source) -> tuple[str, ...]:
    """Return the words by which a part that is started reads a source: its settings override it."""
    return f"--reads={source.file or ''}", f"--over={','.join(source.overriding)}"
