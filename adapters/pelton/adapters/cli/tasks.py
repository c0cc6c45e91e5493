"""`pelton tasks`, `pelton show`: what is there, and how it came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns, words

if TYPE_CHECKING:
    from pelton.events.a2a import Task
    from pelton.events.context import Context, TaskFold
    from pelton.projections.read import TaskEntry
    from pelton.runtime.log import Record
    from pelton.runtime.replay.session import Reader


class Found(NamedTuple):
    """A task as the log has it: who works it, how it stands, and the commits of its context."""

    agent: str
    fold: TaskFold
    records: list[Record]

    @property
    def task(self) -> Task:
        """The task as A2A shows it."""
        return self.fold.view()


def show(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    *,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="SEQ|TIME", help="As of a sequence of the log, or a time."),
    ] = None,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Show a task and its timeline, as of now or as of then."""
    import msgspec

    from pelton.adapters.cli import outlook, timeline
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import conversation

    settings = options.settings(config, data=data, nats__url=nats)

    async def run(reader: Reader) -> tuple[Found, Task]:
        from pelton.runtime.bulk import opened_task

        found = await find(reader, task, at=at)
        return found, await opened_task(reader, found.task)

    found, view = on_reader(settings, file, run, about=conversation(task))
    events = list(timeline.of_task(found.records, task))
    value = {
        "agent": found.agent,
        "task": msgspec.to_builtins(view),
        "outlook": outlook.value(found.fold),
        "timeline": [timeline.value(*event) for event in events],
    }
    Output(json=json).result(value, [*_described(found, view), "", *timeline.lines(events)])


def _described(found: Found, task: Task) -> list[str]:
    from pelton.adapters.cli import outlook
    from pelton.adapters.cli.timeline import quoted

    rows = [
        ["task", task.id],
        ["agent", found.agent],
        ["context", task.context_id],
        [
            "state",
            f"{words(task.status.state)} since {task.status.timestamp}".removesuffix(" since "),
        ],
    ]
    rows += [
        [message.role.removeprefix("ROLE_").lower(), quoted(message.parts)]
        for message in task.history
    ]
    if task.status.message is not None:
        rows.append(["says", quoted(task.status.message.parts)])
    rows += [[each.name or "artifact", quoted(each.parts)] for each in task.artifacts]
    return columns([*rows, *outlook.rows(found.fold)])


async def find(log: Reader, task: str, *, at: str | None = None) -> Found:
    """Return a task as the log has it, as of `at`.

    Raises:
        TaskNotFound: there is none, or there was none then.
    """
    from pelton.events import subjects
    from pelton.events.errors import InvalidInput, TaskNotFound
    from pelton.events.ids import context_of, token

    try:
        context_id = context_of(task)
    except InvalidInput:
        raise TaskNotFound(f"{task[:80]!r} is not the id of a task") from None
    for last in await log.latest(f"cmd.*.{token(context_id)}"):
        agent = subjects.parse(last.subject).agent
        records = _until(at, await log.read(subjects.commits(agent, context_id)))
        commands = _until(at, await log.read(subjects.commands(agent, context_id)))
        context = _folded(agent, context_id, records, commands)
        if task in context.tasks:
            return Found(agent, context.tasks[task], records)
    then = f" as of {at}" if at else ""
    raise TaskNotFound(f"there is no task {task!r}{then}: pelton tasks lists them")


def _until(at: str | None, records: Any) -> list[Record]:
    if at is None:
        return list(records)
    if at.isdecimal():
        return [record for record in records if record.sequence <= int(at)]
    from pelton.adapters.cli.tail import moment

    when = moment(at, "a sequence, ")
    return [record for record in records if record.received <= when]


def _folded(agent: str, context_id: str, records: list[Record], commands: list[Record]) -> Context:
    """Return the context as its commits make it, and the commands that wait."""
    from pelton.events.context import Context, fold
    from pelton.events.decide import foresee
    from pelton.events.errors import DamagedRecord
    from pelton.events.upcast import decode_command

    context = Context(agent=agent, id=context_id)
    for record in records:
        context = fold(context, record.sequence, record.data)
    for record in commands:
        if not context.decided(record.sequence):
            try:
                context = foresee(context, decode_command(record.data))
            except DamagedRecord:  # it will be refused when its turn comes
                continue
    return context


def tasks(
    agent: Annotated[str | None, typer.Argument(help="Only this agent's.")] = None,
    *,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only those: working, completed, …"),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="ID", help="Only this conversation's.")
    ] = None,
    limit: options.Limit = 50,
    after: options.After = "",
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List tasks, the latest status first, from the read models."""
    import asyncio

    import msgspec

    from pelton.adapters.cli.connect import read_models
    from pelton.adapters.cli.outlook import brief
    from pelton.events.a2a import TaskState
    from pelton.projections.pages import Page

    settings = options.settings(config, data=data)
    wanted = {words(each): each for each in TaskState}
    if state is not None and state not in wanted:
        raise CommandFailed(f"there is no state {state!r}: use one of {', '.join(wanted)}", "usage")

    async def run() -> Page[TaskEntry]:
        async with read_models(settings) as models:
            return await models.tasks(
                agent,
                context_id=context,
                state=wanted[state] if state else None,
                page_size=limit,
                cursor=after,
            )

    page = asyncio.run(run())
    rows = [
        [
            *(each.task.id, each.agent, words(each.task.status.state)),
            *(each.task.status.timestamp, brief(each)),
        ]
        for each in page.items
    ]
    heading = ["TASK", "AGENT", "STATE", "SINCE", "WAITS FOR"]
    lines = columns([heading, *rows]) if rows else ["no tasks"]
    if page.next:
        lines.append(f"{page.total} in all; go on with --after {page.next}")
    entries = [
        {
            "agent": each.agent,
            **msgspec.to_builtins(each.task),
            "waits": each.waits,
            "pause": each.pause,
            "againAt": each.again_at,
        }
        for each in page.items
    ]
    Output(json=json).result({"tasks": entries, "total": page.total, "next": page.next}, lines)
