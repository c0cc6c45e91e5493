"""The same echo agent behind the official SDK's own server, everything in memory."""

from __future__ import annotations

import sys

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
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
from starlette.applications import Starlette


class Echo(AgentExecutor):
    """Completes each task with the text it was sent."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer."""
        assert context.task_id is not None
        assert context.context_id is not None
        task = Task(
            id=context.task_id,
            context_id=context.context_id,
            status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED),
            history=[context.message] if context.message else [],
        )
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await updater.start_work()
        answer = updater.new_agent_message([Part(text=context.get_user_input())])
        await updater.complete(answer)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Nothing lasts long enough to be cancelled."""


def serve(executor: AgentExecutor, port: int) -> None:
    """Serve an agent on a port of the loopback address."""
    url = f"http://127.0.0.1:{port}/"
    card = AgentCard(
        name="echo",
        description="Say it again.",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")
        ],
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[],
    )
    handler = DefaultRequestHandler(
        agent_executor=executor, task_store=InMemoryTaskStore(), agent_card=card
    )
    routes = [*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")]
    config = uvicorn.Config(
        Starlette(routes=routes),
        host="127.0.0.1",
        port=port,
        http="httptools",
        loop="uvloop",
        log_level="error",
        access_log=False,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    serve(Echo(), int(sys.argv[1]))
