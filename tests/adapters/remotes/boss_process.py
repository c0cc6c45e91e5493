"""An executor whose agent delegates to a URL: `boss_process.py NATS_URL REMOTE_URL WHEN`.

`WHEN` is `before` or `after` the message is sent, `following` or `never`: when it kills itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import structlog

from pelton.adapters.remotes import OfficialClient, open_remotes
from pelton.events.a2a import Message, Task
from pelton.runtime.agents import Terms, agent
from pelton.runtime.answers import DelegationFailed
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.turn import Turn


@agent(name="boss", terms=Terms(suspend_after=0.1))
async def boss(turn: Turn) -> str:
    """Hand it on, answer what is asked, and say what came of it."""
    try:
        report = await turn.delegate(sys.argv[2], turn.text)
        if report.state == "TASK_STATE_INPUT_REQUIRED":
            report = await turn.delegate(sys.argv[2], "monday", task=report.task_id)
    except DelegationFailed as failed:
        return f"{failed.failure.kind}: {failed.report.text}"
    bulk = "".join(str(part.text) for each in report.artifacts for part in each.parts)
    return f"{len(bulk)} {report.text.removeprefix(bulk)}"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(client: OfficialClient, when: str) -> None:
    """Let a client kill its process."""
    send, changed = client.send, client.changed

    async def killing(url: str, message: Message, *, deadline: str) -> Task | Message:
        if when == "before":
            die()
        found = await send(url, message, deadline=deadline)
        if when == "after":
            die()
        return found

    async def following(url: str, task_id: str) -> None:
        if when == "following":
            asyncio.get_running_loop().call_later(0.3, die)
        await changed(url, task_id)

    client.send, client.changed = killing, following  # type: ignore[method-assign]


async def main(url: str, remote: str, when: str) -> None:
    """Serve until SIGTERM, or killed."""
    async with (
        JetStreamLog.open(url, profile=RELAXED) as log,
        open_remotes([remote]) as client,
        asyncio.TaskGroup() as group,
    ):
        deadly(client, when)
        executor = Executor(log, [boss], world=RealWorld(), patience=0.5, remote=client)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, executor.stop)
        group.create_task(executor.run(budget=0.5))
        await executor.ready.wait()
        print("up", flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
