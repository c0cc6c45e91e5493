"""What parts and commands need beside a log, opened as the settings say; each may be an extra."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from pelton.runtime.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pelton.adapters.push.service import Pushing
    from pelton.projections.folds import Folds
    from pelton.runtime.clock import World
    from pelton.runtime.model_gateway import ModelGateway
    from pelton.runtime.remote import Remote
    from pelton.runtime.semantic import Embed


@contextlib.asynccontextmanager
async def remotes(settings: Settings) -> AsyncGenerator[Remote | None, None]:
    """Give what asks agents elsewhere while the context lasts, if the settings allow any.

    Raises:
        SettingsError: they name what is no URL, or the client is not installed.
    """
    if not settings.executor.remotes:
        yield None
        return
    try:
        from pelton.adapters.remotes import open_remotes
    except ImportError as error:
        raise SettingsError(
            "executor.remotes needs a client of A2A: install 'pelton[a2a-client]'"
        ) from error
    async with open_remotes(settings.executor.remotes) as client:
        yield client


@contextlib.asynccontextmanager
async def kept_folds(settings: Settings) -> AsyncGenerator[Folds | None]:
    """Give the folds of long contexts while the context lasts, if there is a place for them.

    It is a cache: where it cannot be, contexts are folded from the log.
    """
    import structlog

    from pelton.projections.database import StoreUnavailable, StoreUnusable
    from pelton.projections.folds import open_folds
    from pelton.runtime.patience import why

    async with contextlib.AsyncExitStack() as stack:
        try:
            settings.folds_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = await stack.enter_async_context(open_folds(settings.folds_path))
        except (StoreUnavailable, StoreUnusable, OSError) as error:
            structlog.get_logger().info("no-folds-kept", reason=why(error))
            found = None
        yield found


def embedding(settings: Settings) -> Embed | None:
    """Return what makes vectors of texts, if the settings name any.

    Raises:
        InvalidInput: they name no function.
        SettingsError: numpy is not installed.
    """
    if not settings.memory.embed:
        return None
    from importlib.util import find_spec

    from pelton.runtime.agents import function_of

    if find_spec("numpy") is None:  # which is known before anything is served
        raise SettingsError("memory.embed needs more: pip install 'pelton[semantic]'")
    return function_of(settings.memory.embed)


@contextlib.asynccontextmanager
async def pushing(settings: Settings, world: World) -> AsyncGenerator[Pushing | None, None]:
    """Give what push notifications are sent with while the context lasts, if they are.

    Raises:
        SettingsError: the settings cannot be, or the client is not installed.
    """
    if not settings.push.enabled or not settings.push.keys:
        yield None
        return
    try:
        from pelton.adapters.push.service import open_pushing
    except ModuleNotFoundError as error:
        raise SettingsError("push.keys needs more: pip install 'pelton[push]'") from error
    async with open_pushing(settings.push, world=world) as found:
        yield found


@contextlib.asynccontextmanager
async def gateway(settings: Settings) -> AsyncGenerator[ModelGateway | None]:
    """Give where agents' calls of models go while the context lasts, if they are to."""
    from pelton.adapters.gateway.providers import upstreams

    if not settings.gateway.enabled or not upstreams(settings.gateway, os.environ):
        yield None
        return
    try:
        from pelton.adapters.gateway.server import Gateway
    except ModuleNotFoundError:
        _no_gateway()
        yield None
        return
    async with Gateway(settings.gateway, environ=os.environ) as found:
        yield found


def _no_gateway() -> None:
    """Say that there is none, since it is not installed."""
    import structlog

    structlog.get_logger().warning(
        "no-model-gateway", reason="pip install 'pelton[gateway]', or set gateway.enabled = false"
    )
