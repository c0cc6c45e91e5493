"""An agent written for the official SDK, with nothing of pelton in it."""

from __future__ import annotations

import asyncio

from a2a.helpers import new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import a2a_pb2 as pb

agent_card = pb.AgentCard(
    name="Sdk Sample",
    description="Does what its message says.",
    version="7.1",
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[pb.AgentSkill(id="s", name="S", description="Says.", tags=["t"])],
)


signed_in = asyncio.Event()
"""What somebody does elsewhere, out of this band."""


class SampleAgentExecutor(AgentExecutor):
    """Works by `TaskUpdater`, as the SDK's samples do."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        text = context.get_user_input()
        if text == "message":
            await event_queue.enqueue_event(new_text_message("just a message"))
            return
        task = context.current_task or new_task_from_user_message(context.message)
        if text == "no status":
            task.ClearField("status")
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work(updater.new_agent_message([pb.Part(text="working on it")]))
        match text:
            case "ask":
                question = updater.new_agent_message([pb.Part(text="what?")])
                await updater.requires_input(question)
            case "fail":
                raise RuntimeError("secret")
            case "say failed":
                await updater.failed(updater.new_agent_message([pb.Part(text="it failed")]))
            case "reject":
                await updater.reject()
            case "sign in" | "sign in and come again":
                link = updater.new_agent_message([pb.Part(text="over there")])
                await updater.requires_auth(link)
                if text == "sign in":
                    await signed_in.wait()
                    await updater.start_work()
                    await updater.complete()
            case "wait":
                await asyncio.Event().wait()
            case "stream":
                for number in range(3):
                    await updater.add_artifact(
                        [pb.Part(text=f"{number} ")],
                        artifact_id="a",
                        name="numbers",
                        append=number > 0,
                        last_chunk=number == 2,
                    )
                await updater.add_artifact([pb.Part(raw=b"x", filename="f")], artifact_id="b")
                await updater.complete()
            case _:
                said = len(context.current_task.history) if context.current_task else 0
                answer = f"{text}, after {said}"
                await updater.complete(updater.new_agent_message([pb.Part(text=answer)]))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        raise NotImplementedError


class NoExecutor:
    """Is none."""
