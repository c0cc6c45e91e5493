"""A server of the official SDK, durable in two lines: `durable_process.py DATA PORT EFFECTS`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn
from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, Part
from starlette.applications import Starlette

from pelton.adapters.a2a_sdk import DurableRequestHandler
from pelton.runtime.settings import NatsSettings, Settings

DATA, PORT, EFFECTS = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


class Worker(AgentExecutor):
    """Works in two halves; the first time it never comes to the second one."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Work."""
        assert context.message is not None
        with EFFECTS.open("a") as file:
            file.write("worked\n")
        task = new_task_from_user_message(context.message)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        await updater.add_artifact([Part(text="half ")], artifact_id="a", last_chunk=False)
        if len(EFFECTS.read_text().splitlines()) == 1:
            await asyncio.Event().wait()
        await updater.add_artifact(
            [Part(text="done")], artifact_id="a", append=True, last_chunk=True
        )
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Be cancelled."""


async def main() -> None:
    """Serve until killed."""
    card = AgentCard(
        name="Worker",
        description="Works.",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
    )
    handler = DurableRequestHandler(
        agent_executor=Worker(),
        agent_card=card,
        settings=Settings(data=DATA, nats=NatsSettings(profile="relaxed")),
    )
    app = Starlette(routes=create_jsonrpc_routes(handler, "/"), lifespan=handler.lifespan)
    config = uvicorn.Config(app, host="127.0.0.1", port=PORT, log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    print("up", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
