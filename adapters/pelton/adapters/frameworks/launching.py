"""Programs that are spoken with by JSON-RPC, each in a home of its own: how they are started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pelton.adapters.frameworks.processes import Processes
from pelton.adapters.frameworks.rpc import Peer
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError
from pelton.runtime.model_gateway import ModelRoute

OPENS: Final = 60.0
"""Seconds that a program has to open a session."""


@asynccontextmanager
async def launched(
    processes: Processes,
    command: Sequence[str],
    *,
    more: Mapping[str, str],
    directory: str,
    home: Mapping[str, str] | None,
    route: ModelRoute | None = None,
) -> AsyncGenerator[tuple[Peer, AsyncExitStack]]:
    """Start a program; the block opens a session, and takes over the stack that ends it.

    With `home` it has a home of its own, with the files that this names; `{home}` in a variable's
    value stands for it. With a `route`, that is where its calls of models go.

    Raises:
        AgentError: no session is open in time.
    """
    async with AsyncExitStack() as stack:
        if home is not None:
            place = stack.enter_context(TemporaryDirectory(prefix="pelton-home-"))
            await asyncio.to_thread(_furnish, Path(place), home)
            own = {"HOME": place, "XDG_CONFIG_HOME": place, "XDG_DATA_HOME": place}
            more = own | {key: text.replace("{home}", place) for key, text in more.items()}
        peer = await stack.enter_async_context(
            Peer.open(processes, command, more=more, directory=directory, route=route)
        )
        try:
            async with asyncio.timeout(OPENS):
                yield peer, stack
        except TimeoutError as error:
            raise AgentError(
                "The agent does not open a session.", kind=FailureClass.TIMEOUT
            ) from error


def _furnish(home: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
