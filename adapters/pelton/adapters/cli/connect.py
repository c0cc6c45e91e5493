"""How commands find what they talk to: by the settings, else by the running `pelton dev`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from pelton.adapters.cli.output import CommandFailed
from pelton.adapters.cli.parts import open_log as open_log_of
from pelton.adapters.cli.parts import quiet
from pelton.adapters.cli.stack import running
from pelton.runtime.settings import Secret, Settings

if TYPE_CHECKING:
    from pelton.adapters.cli.library import Wanted
    from pelton.projections.read import ReadModels
    from pelton.runtime.jetstream.log import JetStreamLog
    from pelton.runtime.replay.archive import Opened
    from pelton.runtime.replay.session import Reader, Session

T = TypeVar("T")


def bridge_url(settings: Settings) -> str:
    """Return the URL of the bridge.

    Raises:
        CommandFailed: there is none.
    """
    found = running(settings.directory)
    if found is not None:
        return found.http
    if settings.bridge.public_url:
        return settings.bridge.public_url
    raise _nothing(settings, "name a bridge with --url")


def with_log(settings: Settings) -> Settings:
    """Return the settings with the log of the running `pelton dev`, unless they name one.

    Raises:
        CommandFailed: there is none.
    """
    if settings.nats.url is not None:
        return settings
    found = running(settings.directory)
    if found is None:
        raise _nothing(settings, "name a server in PELTON_NATS_URL")
    return replace(settings, nats=replace(settings.nats, url=Secret(found.nats)))


@contextlib.asynccontextmanager
async def open_log(settings: Settings) -> AsyncGenerator[JetStreamLog, None]:
    """Give the log, while the context lasts."""
    quiet()
    async with open_log_of(with_log(settings), name="cli") as log:
        yield log


@contextlib.asynccontextmanager
async def open_reader(
    settings: Settings, file: Path | None, about: Wanted | None = None
) -> AsyncGenerator[Reader, None]:
    """Give what is to be looked at, while the context lasts: a session file, or the log.

    What it is `about`, if that is not on the log, or where there is none, is looked for among the
    sessions that were imported.

    Raises:
        SessionDamaged: the file is none, or not as it was written.
        CommandFailed: there is no log, and it is not clear which session is meant.
    """
    if file is not None:
        from pelton.runtime.replay.archive import open_file

        yield await with_its_keys(settings, open_file(file))
        return
    from pelton.adapters.cli.library import Library

    library = Library(settings.directory)
    wanted = None if library.empty else about
    if wanted is not None and not _reachable(settings) and (opened := await library.find(wanted)):
        yield await with_its_keys(settings, opened)
        return
    async with open_log(settings) as log:
        away = wanted is not None and not wanted.place and not await wanted.holds(log)
        opened = await library.find(wanted) if wanted is not None and away else None
        yield log if opened is None else await with_its_keys(settings, opened, log)


async def with_its_keys(
    settings: Settings, opened: Opened, log: JetStreamLog | None = None
) -> Session:
    """Return a session with the keys of what is sealed in it: of its file, or else of the log."""
    from pelton.runtime.replay.session import sealed_with, with_keys

    session = opened.session
    if not settings.encryption.keys or not sealed_with(session):
        return session
    if opened.keys:
        from pelton.adapters.sealing import sealing_of
        from pelton.runtime.clock import RealWorld
        from pelton.runtime.vault import carried

        cipher = sealing_of(settings).cipher
        assert cipher is not None  # there is a file of keys
        found = await with_keys(session, carried(opened.keys, cipher, world=RealWorld()))
        if found.vault is not None and not found.vault.unreadable:
            return found
    if log is not None:
        return await with_keys(session, log.vault)
    if not _reachable(settings):
        return session
    async with open_log(settings) as reached:
        return await with_keys(session, reached.vault)


def _reachable(settings: Settings) -> bool:
    """Whether there is a log to look at, as far as is known here."""
    return settings.nats.url is not None or running(settings.directory) is not None


def on_reader(
    settings: Settings,
    file: Path | None,
    work: Callable[[Reader], Coroutine[Any, Any, T]],
    *,
    about: Wanted | None = None,
) -> T:
    """Run `work` on what `open_reader` gives, and return what it returned."""

    async def run() -> T:
        async with open_reader(settings, file, about) as reader:
            return await work(reader)

    return asyncio.run(run())


def on_log(settings: Settings, work: Callable[[JetStreamLog], Awaitable[T]]) -> T:
    """Run `work` on the log, which is closed after it, and return what it returned."""

    async def run() -> T:
        async with open_log(settings) as log:
            return await work(log)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def read_models(settings: Settings) -> AsyncGenerator[ReadModels, None]:
    """Give the read models, while the context lasts.

    Raises:
        CommandFailed: there are none.
    """
    from pelton.projections.read import open_read_models

    file = settings.projections_path
    if not file.exists():
        raise CommandFailed(
            f"there are no read models in {str(file)!r}: pelton dev and pelton serve projector keep"
            " them, pelton rebuild makes them",
            "unavailable",
        )
    async with open_read_models(file) as models:
        yield models


def _nothing(settings: Settings, otherwise: str) -> CommandFailed:
    return CommandFailed(
        f"no pelton dev is running on the data directory {settings.data!r}: start one, or"
        f" {otherwise}",
        "unavailable",
    )
