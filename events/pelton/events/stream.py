"""What a client's stream shows of a task's events (A2A §3.1.2, §4.2.3)."""

from __future__ import annotations

from pelton.events.a2a import StreamResponse, TaskArtifactUpdateEvent, TaskStatusUpdateEvent
from pelton.events.events import AnyEvent, MessageAnswered, TaskArtifactUpdated, TaskStatusUpdated


def shown(event: AnyEvent, context_id: str) -> StreamResponse | None:
    """Return what a stream shows of an event, or None if it shows nothing."""
    match event:
        case TaskStatusUpdated():
            update = TaskStatusUpdateEvent(
                task_id=event.task_id, context_id=context_id, status=event.status
            )
            return StreamResponse(status_update=update)
        case TaskArtifactUpdated():
            artifact = TaskArtifactUpdateEvent(
                task_id=event.task_id,
                context_id=context_id,
                artifact=event.artifact,
                append=event.append,
                last_chunk=event.last_chunk,
            )
            return StreamResponse(artifact_update=artifact)
        case MessageAnswered():
            return StreamResponse(message=event.message)
        case _:
            return None
