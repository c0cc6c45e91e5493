"""An adapter as an agent: started with its executor, and turn by turn in the hands of the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from pelton.adapters.frameworks.contract import (
    Adapter,
    AdapterError,
    Led,
    Session,
    SessionBroken,
)
from pelton.events.card import AgentSkill
from pelton.events.errors import PeltonError
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.runtime.agents import DEFAULT, Agent, Terms, agent
from pelton.runtime.model_gateway import ModelGateway
from pelton.runtime.turn import Turn

START: Final = 60.0
"""Seconds that an adapter has to start."""
STOP: Final = 5.0
"""Seconds that an adapter has to stop."""
CANCEL: Final = 1.0
"""Seconds that a session has to stop in its own way; then its task is cancelled."""

ONCE: Final = Retry(attempts=2, first=0.1)
"""How a turn is tried again whose session was lost: once, with another session."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


def as_agent(
    adapter: Adapter,
    *,
    name: str,
    title: str | None = None,
    description: str | None = None,
    version: str = "1.0.0",
    skills: tuple[AgentSkill, ...] = (),
    terms: Terms = DEFAULT,
) -> Agent:
    """Return the agent of an adapter under a name.

    Raises:
        InvalidInput: the name may not name an agent.
    """

    async def run(turn: Turn) -> object:
        opening = turn.session.open(adapter.name, format=adapter.format, here=adapter.here(turn))
        try:
            session = await adapter.open(turn, opening)
            try:
                return await _driven(session, turn)
            finally:
                await _closed(session)
        except SessionBroken as broken:
            turn.session.invalidate(broken.reason)
            raise

    @asynccontextmanager
    async def opened(gateway: ModelGateway | None) -> AsyncGenerator[None]:
        if isinstance(adapter, Led):
            adapter.led(gateway)
        try:
            async with asyncio.timeout(START):
                await adapter.start()
        except TimeoutError as error:
            raise AdapterError(f"{adapter.name}: it was not ready after {START:g} s") from error
        except PeltonError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise AdapterError(f"{adapter.name}: it did not start: {said}") from error
        try:
            yield
        finally:
            async with asyncio.timeout(STOP):
                await adapter.stop()

    made = agent(
        name=name,
        title=title,
        description=description,
        version=version,
        skills=skills,
        options=adapter.options,
        terms=replace(terms, retries={FailureClass.SESSION_LOST: ONCE, **terms.retries}),
    )(run)
    return replace(made, opened=opened, health=adapter.health)


async def _driven(session: Session, turn: Turn) -> object:
    """Run a turn in a task of its own, so that its session can stop it in its own way first."""
    running = asyncio.create_task(session.turn(turn), name=f"turn of {turn.agent}")
    try:
        await asyncio.wait((running,))
    except asyncio.CancelledError:
        await _stopped(session, running)
        raise
    return running.result()


async def _closed(session: Session) -> None:
    """Close a session to the end, whoever cancels meanwhile: it may hold processes."""
    closing = asyncio.ensure_future(session.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait((closing,))
        raise


async def _stopped(session: Session, running: asyncio.Task[object]) -> None:
    """Stop what runs; what it raises on the way out concerns nobody any more."""
    try:
        async with asyncio.timeout(CANCEL):
            await session.cancel()
    except Exception:
        logger.exception("session-does-not-cancel")
    running.cancel()
    await asyncio.wait((running,))
    if not running.cancelled():
        running.exception()
