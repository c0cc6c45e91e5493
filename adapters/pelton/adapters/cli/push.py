"""`pelton push`: where a task's updates are posted to, and the keys of push notifications."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns

if TYPE_CHECKING:
    from pelton.events.pushes import Push, Pushes
    from pelton.runtime.log import Log
    from pelton.runtime.settings import Settings

app = typer.Typer(
    help="Push notifications: what became of them, and their keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list")
def list_(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the push configs of a task: to whom, how far each is, and what is in its way."""
    from pelton.adapters.cli.connect import on_log

    settings = options.settings(config, data=data, nats__url=nats)
    state = on_log(settings, lambda log: _find(log, task))
    rows = [
        [
            *(push.id, push.origin, str(push.position), push.standing),
            *(str(push.attempt), push.reason or "-", push.retry or "-"),
        ]
        for push in state.configs.values()
    ]
    heading = ["CONFIG", "RECEIVER", "HAS UP TO", "IS", "TRIED", "WHY", "AGAIN AT"]
    lines = columns([heading, *rows]) if rows else ["no push configs"]
    found = [value(push) for push in state.configs.values()]
    Output(json=json).result({"taskId": task, "agent": state.agent, "configs": found}, lines)


@app.command()
def key(
    file: Annotated[
        Path | None, typer.Argument(help="The file; default push.keys of the settings.")
    ] = None,
    *,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Make the file with the keys of push notifications, or add one: it is used from now on."""
    from pelton.adapters.push.keys import new_key
    from pelton.runtime.clock import RealWorld

    named = file or _file(options.settings(config, data=data))
    try:
        id_ = new_key(named, world=RealWorld())
    except ValueError as error:
        raise CommandFailed(f"{str(named)!r} is no file with push keys", "usage") from error
    Output(json=json).result({"keyId": id_, "file": str(named)}, [f"{id_} is in {named}"])


@app.command()
def secret(
    principal: Annotated[str, typer.Argument(help="Who creates the configs: the owner of a key.")],
    *,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="The keys; default push.keys of the settings."),
    ] = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Print the secret with which a principal's receivers verify what is posted to them."""
    from pelton.adapters.push.keys import PushKeys
    from pelton.adapters.push.signature import spell
    from pelton.runtime.clock import RealWorld

    settings = options.settings(config, data=data)
    found = PushKeys(keys or _file(settings), world=RealWorld())
    newest = spell(found.secrets(settings.nats.tenant, principal)[0])
    Output(json=json).result({"principal": principal, "secret": newest}, [newest])


def value(push: Push) -> dict[str, Any]:
    """Return a config as JSON shows it, without what is sealed."""
    return {
        "id": push.id,
        "receiver": push.origin,
        "createdBy": push.creator,
        "since": push.since,
        "position": push.position,
        "standing": push.standing,
        "attempts": push.attempt,
        "reason": push.reason,
        "retry": push.retry,
    }


def _file(settings: Settings) -> Path:
    """Return the file with the keys: that of the settings, or what a `pelton dev` has made."""
    from pelton.adapters.cli.stack import PUSH_KEYS

    made = settings.directory / PUSH_KEYS
    if settings.push.keys:
        return Path(settings.push.keys)
    if made.exists():
        return made
    raise CommandFailed("name the file, or set push.keys", "usage")


async def _find(log: Log, task: str) -> Pushes:
    from pelton.events import subjects
    from pelton.events.errors import InvalidInput, TaskNotFound
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.push import PushLog

    try:
        pattern = subjects.pushes_of(task)
    except InvalidInput:
        raise TaskNotFound("there is no such task") from None
    for record in await log.latest(pattern):
        return await PushLog(log, world=RealWorld()).load(
            subjects.parse(record.subject).agent, task
        )
    raise TaskNotFound("there is no such task, or it has never had a push config")
