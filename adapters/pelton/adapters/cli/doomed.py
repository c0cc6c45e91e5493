"""An executor that dies at a chosen moment: `python -m pelton.adapters.cli.doomed [POINT] AGENT…`.

The URL of the log comes in `PELTON_NATS_URL`. It says on standard output, one JSON value a line,
when it is ready, and at its end, by SIGTERM, which moments it has passed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from pelton.adapters.cli.equip import equipped
from pelton.adapters.cli.parts import die_with, quiet
from pelton.adapters.cli.references import environ_of, load_agent
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.failpoints import Doom, Point, doom
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.settings import load

PATIENCE: Final = 1.0
"""Seconds of silence after which another one takes over: short, for that is waited for."""


def say(**facts: object) -> None:
    """Print a line for whoever started us."""
    sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
    sys.stdout.flush()


async def serve(url: str, references: Sequence[str], fate: Doom) -> None:
    """Serve agents until told to stop, or to its end."""
    settings = load(None, environment=os.environ)
    environ = environ_of(settings)
    agents = equipped([load_agent(reference, environ) for reference in references], settings)
    async with JetStreamLog.open(url, migrate=False) as log:
        doom(log, fate)
        executor = Executor(log, agents, world=RealWorld(), patience=PATIENCE)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, executor.stop)
        await executor.run(serves=lambda: say(agents=[agent.name for agent in agents]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="pelton.adapters.cli.doomed")
    parser.add_argument("agents", nargs="+")
    parser.add_argument("--at", type=Point.parse)
    parser.add_argument("--parent", type=int)
    given = parser.parse_args(arguments)
    if given.parent:
        die_with(given.parent)
    quiet()
    fate = Doom(given.at)
    asyncio.run(serve(os.environ["PELTON_NATS_URL"], given.agents, fate))
    say(passed=fate.passed)


if __name__ == "__main__":
    main()
