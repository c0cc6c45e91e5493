"""The same agent behind the official SDK's own server, everything in memory."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import Part, Task, TaskState, TaskStatus

from benchmarks.sdk_server import serve


class Talk(AgentExecutor):
    """Says so many things, at a pace, when it is told to begin."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Say it; each time with its number and the moment."""
        assert context.task_id is not None
        assert context.context_id is not None
        status = TaskStatus(state=TaskState.TASK_STATE_SUBMITTED)
        task = Task(id=context.task_id, context_id=context.context_id, status=status)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        count, pace, begin = context.get_user_input().split()
        while not await asyncio.to_thread(Path(begin).exists):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        began = time.monotonic()
        for number in range(int(count)):
            await asyncio.sleep(max(0.0, began + number * float(pace) - time.monotonic()))
            said = updater.new_agent_message([Part(text=f"@{number}.{time.time_ns()}@")])
            await updater.update_status(TaskState.TASK_STATE_WORKING, said)
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Nothing is cancelled here."""


if __name__ == "__main__":
    serve(Talk(), int(sys.argv[1]))
