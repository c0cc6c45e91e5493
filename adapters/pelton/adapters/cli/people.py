"""`pelton inbox`, `pelton answer`: what agents ask people, and what these answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns

if TYPE_CHECKING:
    from pelton.projections.ledgers import OpenQuestion
    from pelton.projections.pages import Page
    from pelton.runtime.interventions import Answer, Intervention


def inbox(
    *,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="Only this agent's questions.")
    ] = None,
    limit: options.Limit = 50,
    after: options.After = "",
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the questions that wait for a person, the oldest first, from the read models."""
    import asyncio

    import msgspec

    from pelton.adapters.cli.connect import read_models

    settings = options.settings(config, data=data)

    async def run() -> Page[OpenQuestion]:
        async with read_models(settings) as models:
            return await models.ledgers.inbox(agent, page_size=limit, cursor=after)

    page = asyncio.run(run())
    rows = [
        [
            *(each.task_id, each.agent, each.key or "-", each.time, each.expires or "-"),
            *(", ".join(each.approvers) or "the owner", _says(each)),
        ]
        for each in page.items
    ]
    heading = ["TASK", "AGENT", "QUESTION", "ASKED", "EXPIRES", "WHO MAY ANSWER", "WHAT IT ASKS"]
    lines = columns([heading, *rows]) if rows else ["nobody is asked anything"]
    if page.next:
        lines.append(f"{page.total} in all; go on with --after {page.next}")
    if rows:
        lines.append(f"answer one: pelton answer {page.items[0].task_id} …")
    value = {
        "questions": [_value(each, msgspec.to_builtins(each.message)) for each in page.items],
        "total": page.total,
        "next": page.next,
    }
    Output(json=json).result(value, lines)


def _says(question: OpenQuestion) -> str:
    from pelton.events.a2a import text_of

    if question.message is None:
        return "to go on"
    text = " ".join(text_of(question.message.parts).split())
    return text if len(text) <= 60 else text[:59] + "…"


def _value(question: OpenQuestion, message: Any) -> dict[str, Any]:
    return {
        "agent": question.agent,
        "contextId": question.context_id,
        "taskId": question.task_id,
        "question": question.key,
        "message": message,
        "approvers": question.approvers,
        "asked": question.time,
        "expires": question.expires,
    }


def answer(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    text: Annotated[str | None, typer.Argument(help="The answer in words.")] = None,
    *,
    question: Annotated[
        str, typer.Option("--question", metavar="KEY", help="Which, if it has asked several.")
    ] = "",
    value: Annotated[
        str | None, typer.Option("--value", metavar="JSON", help="The answer as JSON.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Yes, it may be done.")] = False,
    reject: Annotated[
        str | None, typer.Option("--reject", metavar="REASON", help="No, and why.")
    ] = None,
    actor: Annotated[
        str,
        typer.Option("--as", metavar="ACTOR", help="On whose behalf; default: anonymous."),
    ] = "",
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Answer a question that a task has asked: in words, as JSON, or yes or no."""
    import asyncio

    from pelton.adapters.cli.connect import open_log
    from pelton.events.envelope import ANONYMOUS
    from pelton.events.ids import check_id
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.interventions import Interventions

    given = _answer(text, value, approve=approve, reject=reject)
    by = check_id(actor or ANONYMOUS, "--as")
    settings = options.settings(config, data=data, nats__url=nats)

    async def run() -> Intervention:
        async with open_log(settings) as log:
            people = Interventions(log, world=RealWorld(), tenant=settings.nats.tenant)
            return await people.answer(task, given, key=question, actor=by)

    done = asyncio.run(run())
    said = {
        "taskId": task,
        "agent": done.agent,
        "contextId": done.context_id,
        "question": done.key,
        "by": by,
        "commandId": done.command_id,
        "decided": done.decided,
    }
    output = Output(json=json)
    output.result(said, [f"answered {done.key or 'the task'}: pelton show {task}"])
    undecided(output, done)


def _answer(text: str | None, value: str | None, *, approve: bool, reject: str | None) -> Answer:
    import msgspec

    from pelton.runtime.interventions import Answer

    if sum((text is not None, value is not None, approve, reject is not None)) != 1:
        raise CommandFailed("give one answer: TEXT, --value, --approve or --reject", "usage")
    if value is not None:
        try:
            return Answer(data=msgspec.json.decode(value))
        except msgspec.DecodeError as error:
            raise CommandFailed(f"--value is not JSON: {error}", "usage") from None
    if approve or reject is not None:
        return Answer(text=reject or "", approved=approve)
    if not (text or "").strip():
        raise CommandFailed("the answer is empty", "usage")
    return Answer(text=text or "")


def undecided(output: Output, done: Intervention) -> None:
    """Say of an intervention that nobody has decided that it stands nevertheless."""
    if not done.decided:
        output.note(
            "nobody has taken it in yet, and it stands: it will be when an executor serves"
            f" {done.agent!r}"
        )
