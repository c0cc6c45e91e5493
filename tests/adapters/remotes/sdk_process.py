"""A server of the official SDK: `sdk_process.py DATA PORT EFFECTS`.

Its tasks are in a file, so that it knows those that had ended before it was killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    Part,
    Task,
    TaskState,
    TaskStatus,
)
from google.protobuf.json_format import MessageToDict, ParseDict
from starlette.applications import Starlette

DATA, EFFECTS = Path(sys.argv[1]), Path(sys.argv[3])


class FileTaskStore(InMemoryTaskStore):
    """Keeps every task in a file too."""

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Save a task."""
        await super().save(task, context)
        (DATA / f"{task.id}.json").write_text(json.dumps(MessageToDict(task)))

    async def load(self) -> None:
        """Take in what an earlier process has saved."""
        for path in DATA.glob("*.json"):
            await super().save(ParseDict(json.loads(path.read_text()), Task()), ServerCallContext())


class Worker(AgentExecutor):
    """Works, waits, asks or fails, as told."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer."""
        assert context.task_id is not None
        assert context.context_id is not None
        assert context.message is not None
        text, known = context.get_user_input(), context.current_task
        with EFFECTS.open("a") as file:
            file.write(f"{text}\n")
        if known is None:
            task = Task(
                id=context.task_id,
                context_id=context.context_id,
                status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED),
                history=[context.message],
            )
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)

        def said(text: str) -> object:
            return updater.new_agent_message([Part(text=text)])

        await updater.start_work()
        if text.startswith("slow"):
            await asyncio.sleep(1.0)  # the work
        if text.startswith("endless"):
            await asyncio.sleep(300)  # work that lasts
        if text.startswith("ask"):
            await updater.requires_input(said("which day?"))  # type: ignore[arg-type]
        elif text.startswith("fail"):
            await updater.failed(said("cannot"))  # type: ignore[arg-type]
        elif known is not None:
            await updater.complete(said(f"on {text}"))  # type: ignore[arg-type]
        else:
            agent = MessageToDict(context.message)["metadata"]["origin"]["agent"]
            await updater.add_artifact([Part(text="x" * 40_000)], name="bulk")
            await updater.complete(said(f"worked on {text} for {agent}"))  # type: ignore[arg-type]

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """End as canceled."""
        assert context.task_id is not None
        assert context.context_id is not None
        with EFFECTS.open("a") as file:
            file.write("canceled\n")
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


async def main(port: int) -> None:
    """Serve until killed."""
    url = f"http://127.0.0.1:{port}/worker/"
    card = AgentCard(
        name="worker",
        description="Works as it is told.",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")
        ],
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[],
    )
    store = FileTaskStore()
    await store.load()
    handler = DefaultRequestHandler(agent_executor=Worker(), task_store=store, agent_card=card)
    routes = [
        *create_agent_card_routes(card, card_url="/worker/.well-known/agent-card.json"),
        *create_jsonrpc_routes(handler, "/worker/"),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error", access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    print("up", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[2])))
