"""An executor of one kit, to be killed.

`python -m tests.adapters.frameworks.served URL MODEL KIT [POINT]`
"""

from __future__ import annotations

import asyncio
import os
import sys

from pelton.adapters.cli.parts import die_with
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.failpoints import Doom, Point, doom
from pelton.runtime.jetstream.log import JetStreamLog
from tests.adapters.frameworks.kits import KITS


async def main(url: str, model: str, kit: str, *point: str) -> None:
    """Serve until killed."""
    die_with(os.getppid())
    async with JetStreamLog.open(url, migrate=False) as log:
        doom(log, Doom(Point.parse(*point) if point else None))
        agent = KITS[kit].agent(model)
        async with KITS[kit].executor(model) as gateway:
            executor = Executor(log, [agent], world=RealWorld(), patience=1.0, gateway=gateway)
            await executor.run(serves=lambda: print("ready", flush=True))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
