"""`pelton dead-letters`: tasks that failed for good, and how they are done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns
from pelton.adapters.cli.people import undecided

if TYPE_CHECKING:
    from pelton.projections.ledgers import DeadLetter
    from pelton.projections.pages import Page
    from pelton.projections.read import TaskEntry
    from pelton.runtime.interventions import Intervention

app = typer.Typer(
    help="Tasks that failed for good: list them, show one, do one again.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Task = Annotated[str, typer.Argument(help="The task's id.")]


@app.command("list")
def list_(
    *,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="Only this agent's.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Those too that were redriven.")] = False,
    limit: options.Limit = 50,
    after: options.After = "",
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List dead letters, the latest first, from the read models."""
    import asyncio

    from pelton.adapters.cli.connect import read_models

    settings = options.settings(config, data=data)

    async def run() -> Page[DeadLetter]:
        async with read_models(settings) as models:
            return await models.ledgers.dead_letters(
                agent, redriven=every, page_size=limit, cursor=after
            )

    page = asyncio.run(run())
    rows = [
        [
            *(each.task_id, each.agent, each.time, each.kind, str(each.attempts)),
            *(each.redriven_as or "-", each.message),
        ]
        for each in page.items
    ]
    heading = ["TASK", "AGENT", "SINCE", "CLASS", "TRIED", "REDRIVEN AS", "WHAT WENT WRONG"]
    lines = columns([heading, *rows]) if rows else ["no dead letters"]
    if page.next:
        lines.append(f"{page.total} in all; go on with --after {page.next}")
    found = [_value(each) for each in page.items]
    value = {"deadLetters": found, "total": page.total, "next": page.next}
    Output(json=json).result(value, lines)


@app.command()
def show(
    task: Task,
    *,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Show a dead letter: what was asked, how it failed, and what became of it."""
    import asyncio

    import msgspec

    from pelton.adapters.cli.connect import read_models
    from pelton.adapters.cli.timeline import quoted

    settings = options.settings(config, data=data)

    async def run() -> tuple[DeadLetter | None, TaskEntry | None]:
        async with read_models(settings) as models:
            letter = await models.ledgers.dead_letter(task)
            if letter is None:
                return None, None
            return letter, await models.task(task, agent=letter.agent)

    letter, entry = asyncio.run(run())
    if letter is None:
        raise CommandFailed(
            f"{task[:80]!r} is no dead letter: pelton dead-letters list has them", "task-not-found"
        )
    shown = entry.task if entry is not None else None
    lines = [
        ["task", letter.task_id],
        ["agent", letter.agent],
        ["context", letter.context_id],
        ["since", letter.time],
        ["class", letter.kind],
        ["tried", f"{letter.attempts} times in a row, turn {letter.turn}"],
        ["failed", letter.message],
        *([["exception", letter.exception]] if letter.exception else []),
        ["command", letter.command_id],
        *(
            [message.role.removeprefix("ROLE_").lower(), quoted(message.parts)]
            for message in (shown.history if shown is not None else ())
        ),
        (
            ["redriven", f"as {letter.redriven_as}"]
            if letter.redriven_as
            else ["next", f"mend the cause, then pelton dead-letters redrive {letter.task_id}"]
        ),
    ]
    value = {**_value(letter), "task": msgspec.to_builtins(shown)}
    Output(json=json).result(value, columns(lines))


@app.command()
def redrive(
    task: Task,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Do a task again that has failed, as a new task; whoever waits for it is told of that one."""
    import asyncio

    from pelton.adapters.cli.connect import open_log
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.interventions import Interventions

    settings = options.settings(config, data=data, nats__url=nats)

    async def run() -> Intervention:
        async with open_log(settings) as log:
            people = Interventions(log, world=RealWorld(), tenant=settings.nats.tenant)
            return await people.redrive(task)

    done = asyncio.run(run())
    value = {
        "taskId": task,
        "redrivenAs": done.task_id,
        "agent": done.agent,
        "contextId": done.context_id,
        "commandId": done.command_id,
        "decided": done.decided,
    }
    output = Output(json=json)
    output.result(value, [f"redriven as {done.task_id}: pelton show {done.task_id}"])
    undecided(output, done)


def _value(letter: DeadLetter) -> dict[str, Any]:
    return {
        "agent": letter.agent,
        "contextId": letter.context_id,
        "taskId": letter.task_id,
        "turn": letter.turn,
        "commandId": letter.command_id,
        "class": letter.kind,
        "message": letter.message,
        "exception": letter.exception,
        "attempts": letter.attempts,
        "since": letter.time,
        "redrivenAs": letter.redriven_as,
    }
