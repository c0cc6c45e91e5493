"""An executor with a gateway, to be killed.

`python -m tests.adapters.gateway.served URL MODEL STEP…`
"""

from __future__ import annotations

import asyncio
import os
import sys

from pelton.adapters.cli.parts import die_with
from pelton.adapters.gateway.server import Gateway
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from tests.adapters.gateway.conftest import asker, environ


async def main(url: str, model: str, *steps: str) -> None:
    """Serve until killed."""
    die_with(os.getppid())
    async with (
        JetStreamLog.open(url, migrate=False) as log,
        Gateway(GatewaySettings(), environ=environ(model)) as gateway,
    ):
        executor = Executor(log, [asker(*steps)], world=RealWorld(), patience=1.0, gateway=gateway)
        await executor.run(serves=lambda: print("ready", flush=True))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
