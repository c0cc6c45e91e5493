"""A bridge as a process of its own: `bridge_process.py NATS_URL DATA PORT [SERVER…]`.

If the data directory holds keys for it, it sends push notifications, to this machine too. It serves
the tools of the servers that are named.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from pelton.adapters.a2a.server import bind, open_bridge, serve_bridge
from pelton.adapters.push.service import Pushing, open_pushing
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.push_settings import PushSettings

if TYPE_CHECKING:
    from pelton.adapters.mcp.door import Door


async def main(url: str, data: Path, port: int, servers: Sequence[str]) -> None:
    """Serve until SIGTERM; the second one ends it at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    serving = asyncio.current_task()
    assert serving is not None

    def signaled() -> None:
        if stop.is_set():
            serving.cancel()
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, signaled)
    async with (
        pushing(data / "push-keys.json") as push,
        open_store(data / "models.db"),
        open_read_models(data / "models.db") as models,
        JetStreamLog.open(url, profile=RELAXED) as log,
        open_bridge(log, models, push=push, tools=tooled(servers)) as bridge,
    ):
        with closing(bind("127.0.0.1", port)) as listening:
            await serve_bridge(
                bridge, [listening], stop=stop, stop_within=3, ready=lambda: print("up", flush=True)
            )


def tooled(servers: Sequence[str]) -> Door | None:
    """Return what serves tools, if any are to be."""
    if not servers:
        return None
    from pelton.adapters.mcp.door import Door  # noqa: PLC0415  most of these bridges need none

    return Door(servers, world=RealWorld())


@asynccontextmanager
async def pushing(keys: Path) -> AsyncGenerator[Pushing | None]:
    """Give what is sent with, if there are keys."""
    if not keys.exists():
        yield None
        return
    given = PushSettings(
        keys=str(keys), allow=("http://localhost",), first_wait=0.02, longest_wait=0.1
    )
    async with open_pushing(given, world=RealWorld()) as push:
        yield push


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
        except asyncio.CancelledError:
            sys.exit(1)
