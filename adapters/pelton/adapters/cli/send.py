"""`pelton send`: say something to an agent, over A2A as any client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import FAILED, OK, Output, words

if TYPE_CHECKING:
    from pelton.adapters.cli.client import Response
    from pelton.events.a2a import StreamResponse, TaskStatus

_BAD: Final = {"TASK_STATE_FAILED", "TASK_STATE_REJECTED", "TASK_STATE_CANCELED"}

_ASKS: Final = {"TASK_STATE_INPUT_REQUIRED", "TASK_STATE_AUTH_REQUIRED"}


def send(
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    text: Annotated[str, typer.Argument(help="What to say.")],
    *,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
    context: Annotated[
        str | None, typer.Option("--context", metavar="ID", help="Go on with this conversation.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ID", help="Go on with this task.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Bridge; default: that of pelton dev."),
    ] = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Send a message to an agent and print its answer."""
    from pelton.adapters.cli.client import Agent, user_message
    from pelton.adapters.cli.connect import bridge_url
    from pelton.runtime.clock import RealWorld

    settings = options.settings(config, data=data)
    message = user_message(text, id=RealWorld().new_id(), context=context, task=task)
    client = Agent(url or bridge_url(settings), agent, key=settings.client.key)
    output = Output(json=json)
    if stream:
        return _stream(client.stream(message), output)
    answer = client.send(message)
    output.result(answer.raw, filter(None, [_said(answer.value)]))
    ended = answer.value.task
    return _ended((ended.id, ended.context_id, ended.status) if ended else None, output)


def _stream(events: Iterator[Response], output: Output) -> int:
    """Print a stream as it comes: text goes on on its line, all else has lines of its own."""
    last: tuple[str, str, TaskStatus] | None = None
    open_line = False
    for raw, event in events:
        if output.json:
            output.result(raw)
        elif text := _piece(event):
            output.piece(text)
            open_line = not text.endswith("\n")
        elif said := _said(event):
            output.result(None, ["\n" + said if open_line else said])
            open_line = False
        if event.task is not None:
            last = event.task.id, event.task.context_id, event.task.status
        elif event.status_update is not None:
            update = event.status_update
            last = update.task_id, update.context_id, update.status
    if open_line:
        output.piece("\n")
    return _ended(last, output)


def _piece(event: StreamResponse) -> str:
    from pelton.events.a2a import text_of

    return text_of(event.artifact_update.artifact.parts) if event.artifact_update else ""


def _said(event: StreamResponse) -> str:
    """Return the words of an answer, or of an event of a stream."""
    from pelton.events.a2a import text_of

    if event.message is not None:
        return text_of(event.message.parts)
    holder = event.task or event.status_update
    words = [text_of(each.parts) for each in event.task.artifacts] if event.task else []
    if holder is not None and holder.status.message is not None:
        words.append(text_of(holder.status.message.parts))
    return "\n".join(filter(None, words))


def _ended(last: tuple[str, str, TaskStatus] | None, output: Output) -> int:
    """Say where a task stands, and return the exit code for it."""
    if last is None:
        return OK
    task, context, status = last
    output.note(f"[{words(status.state)}] task {task} context {context}")
    if status.state in _ASKS:
        output.note(f"it asks: pelton show {task} tells what, pelton answer {task} answers")
    return FAILED if status.state in _BAD else OK
