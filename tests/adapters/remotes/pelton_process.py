"""Another pelton, in one process: `pelton_process.py NATS_URL DATA PORT EFFECTS`.

Bridge, projector and an executor with an agent that works as it is told.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import closing
from pathlib import Path

import structlog
import uvloop

from pelton.adapters.a2a.server import bind, open_bridge, serve_bridge
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.agents import Terms, agent
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.projector import Projector
from pelton.runtime.turn import Turn

EFFECTS = Path(sys.argv[4] if len(sys.argv) > 4 else "/dev/null")


def note(text: str) -> None:
    """Have an effect outside."""
    with EFFECTS.open("a") as file:
        file.write(f"{text}\n")


@agent(name="worker", terms=Terms(suspend_after=0.2))
async def worker(turn: Turn) -> str:
    """Work, wait, ask or fail, as told."""
    await turn.step("note", note, turn.text, idempotent=True)
    if turn.text.startswith("slow"):
        await turn.sleep(3.0)
    if turn.text.startswith("endless"):
        await turn.sleep(300.0)
    if turn.text.startswith("ask"):
        return f"on {await turn.ask('which day?')}"
    if turn.text.startswith("fail"):
        await turn.fail("cannot")
    await turn.artifact("x" * 40_000, name="bulk")
    return f"worked on {turn.text} for {(turn.message.metadata or {})['origin']['agent']}"


async def main(url: str, data: Path, port: int) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        open_store(data / "models.db") as store,
        open_read_models(data / "models.db") as models,
        JetStreamLog.open(url, profile=RELAXED) as log,
        open_bridge(log, models) as bridge,
        asyncio.TaskGroup() as group,
    ):
        executor = Executor(log, [worker], world=RealWorld(), patience=0.5)
        running = group.create_task(executor.run(budget=0.5))
        projecting = group.create_task(Projector(log, store, world=RealWorld()).run())
        await executor.ready.wait()
        with closing(bind("127.0.0.1", port)) as listening:
            await serve_bridge(
                bridge, [listening], stop=stop, stop_within=1, ready=lambda: print("up", flush=True)
            )
        executor.stop()
        await running
        projecting.cancel()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
