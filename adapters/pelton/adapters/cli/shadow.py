"""`pelton shadow`: recorded tasks against a new version of their agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from pelton.adapters.cli import options, policies
from pelton.adapters.cli.output import DIFFERENT, OK, CommandFailed, Output, columns, many, words

if TYPE_CHECKING:
    from pelton.events.a2a import TaskState
    from pelton.projections.read import ReadModels
    from pelton.runtime.replay.session import Reader, Session
    from pelton.runtime.replay.shadow import Played, Report, Shadowed
    from pelton.runtime.settings import Settings

_FILTERS: Final = ("agent", "state", "context", "since")


def shadow(
    *,
    agent: Annotated[
        str,
        typer.Option(
            "--agent", metavar="NEW", help="The new version: module:name or file.py[:name]"
        ),
    ],
    cohort: Annotated[
        str,
        typer.Option(
            "--cohort",
            metavar="FILTER",
            help="Which tasks, as in agent=writer,state=completed,since=30d,context=ID; by default"
            " all of the agent of that name.",
        ),
    ] = "",
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", metavar="FILE", help="Tasks of session files, in the place of a server's."
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--baseline-again", help="Run the present version, too: what differs there is noise."
        ),
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="AGENT",
            help="The present version; default: the one of the settings, or of the running pelton"
            " dev.",
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="CMD",
            help="A command for the shell: it gets the task as JSON, and ends with 0 if that is"
            " good, 125 if it cannot tell, and else otherwise.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="How many tasks, the newest first.")
    ] = 100,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page, too.")
    ] = None,
    live: policies.Live = None,
    stub: policies.Stub = None,
    within: Annotated[
        float, typer.Option("--within", help="Seconds for each task to come to rest in.")
    ] = 120.0,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Play recorded tasks with a new version of their agent, and tell what changes.

    Nothing but the steps named with --live runs: all else is answered from the record.
    """
    from pelton.adapters.cli.parts import quiet
    from pelton.adapters.cli.references import environ_of, load_agent
    from pelton.adapters.cli.rerun import reference_of
    from pelton.events.errors import InvalidInput
    from pelton.runtime.replay import shadow as shadows

    settings = options.settings(config, data=data, nats__url=nats)
    name, output = load_agent(agent, environ_of(settings)).name, Output(json=json)
    wanted = _cohort(cohort, name)
    policy = policies.policy(live=live, stub=stub, values=True, costs=True)
    quiet()

    def play(session: Session, task: str, reference: str) -> Played:
        code = policies.agent_of(reference, session, task, settings)
        return shadows.Played(*policies.play(session, task, code, policy, within=within))

    found: list[Shadowed] = []
    skipped: list[shadows.Skipped] = []
    for session, task in recorded(settings, file, wanted, limit):
        second = None
        if again or baseline:
            old = baseline or reference_of(settings, task, session)
            second = partial(play, session, task, old)
        try:
            one = shadows.shadow(
                session,
                task,
                partial(play, session, task, agent),
                second,
                partial(policies.checked, check) if check else None,
            )
        except InvalidInput as error:
            skipped.append(shadows.Skipped(task=task, why=str(error)))
        else:
            found.append(one)
            output.note(f"{len(found)}: {one.judged} {task}")
    if not found and not skipped:
        raise CommandFailed("no task is in the cohort: pelton tasks lists them", "task-not-found")
    report = shadows.Report(agent=agent, tasks=tuple(found), skipped=tuple(skipped))
    value = {"counts": report.counts, "lanes": report.lanes, **_members(report)}
    lines = list(told(report))
    if html is not None:
        from pelton.adapters.cli.shadow_page import page

        html.write_text(page(report), encoding="utf-8")
        lines.append(f"wrote {html}")
    output.result(value, lines)
    return DIFFERENT if report.count(shadows.Judged.WORSE) else OK


class Cohort(NamedTuple):
    """Which tasks: of an agent, in a state, of a context, whose status is no older."""

    agent: str
    state: TaskState | None
    context: str | None
    since: str


def _cohort(text: str, agent: str) -> Cohort:
    """Return what a filter says; without an agent in it, of the one of that name.

    Raises:
        CommandFailed: it is none.
    """
    from pelton.adapters.cli.tail import moment
    from pelton.events.a2a import TaskState
    from pelton.runtime.clock import rfc3339

    given: dict[str, str] = {}
    for each in text.split(",") if text else ():
        name, equals, value = each.partition("=")
        if name not in _FILTERS or not equals or not value or name in given:
            raise CommandFailed(
                f"{each!r} is no filter: write {', '.join(f'{e}=…' for e in _FILTERS)}", "usage"
            )
        given[name] = value
    states = {words(each): each for each in TaskState}
    if "state" in given and given["state"] not in states:
        raise CommandFailed(
            f"there is no state {given['state']!r}: use one of {', '.join(states)}", "usage"
        )
    return Cohort(
        agent=given.get("agent", agent),
        state=states[given["state"]] if "state" in given else None,
        context=given.get("context"),
        since=rfc3339(moment(given["since"])) if "since" in given else "",
    )


def recorded(
    settings: Settings, files: Sequence[Path] | None, cohort: Cohort, limit: int
) -> Iterator[tuple[Session, str]]:
    """Yield the tasks of a cohort, each with its session."""
    import asyncio

    from pelton.adapters.cli.connect import on_reader, with_its_keys
    from pelton.adapters.cli.library import conversation
    from pelton.runtime.replay.archive import open_file
    from pelton.runtime.replay.lineage import played_session

    if files:
        sessions = (asyncio.run(with_its_keys(settings, open_file(each))) for each in files)
        of_files = (
            (session, task) for session in sessions for task in _of_session(session, cohort)
        )
        for _, found in zip(range(limit), of_files, strict=False):
            yield found
        return
    for task in asyncio.run(_of_models(settings, cohort, limit)):

        async def read(reader: Reader, task: str = task) -> Session:
            return await played_session(reader, task)

        yield on_reader(settings, None, read, about=conversation(task)), task


def _of_session(session: Session, cohort: Cohort) -> Iterator[str]:
    from pelton.events.context import Context, fold

    for agent, context in session.contexts:
        if agent != cohort.agent or cohort.context not in (None, context):
            continue
        state = Context(agent=agent, id=context)
        for record in session.commits(agent, context):
            state = fold(state, record.sequence, record.data)
        for task in state.tasks.values():
            if cohort.state in (None, task.status.state) and task.status.timestamp >= cohort.since:
                yield task.id


async def _of_models(settings: Settings, cohort: Cohort, limit: int) -> list[str]:
    from pelton.adapters.cli.connect import read_models
    from pelton.projections.pages import MAX_PAGE

    async def pages(models: ReadModels) -> list[str]:
        found: list[str] = []
        cursor = ""
        while True:
            page = await models.tasks(
                cohort.agent,
                context_id=cohort.context,
                state=cohort.state,
                updated_after=cohort.since or None,
                page_size=MAX_PAGE,
                cursor=cursor,
            )
            found += [each.task.id for each in page.items]
            cursor = page.next
            if not cursor or len(found) >= limit:
                return found[:limit]

    async with read_models(settings) as models:
        return await pages(models)


def _members(report: Report) -> dict[str, Any]:
    return {"agent": report.agent, "tasks": report.tasks, "skipped": report.skipped}


def told(report: Report) -> Iterator[str]:
    """Yield a report for people, line by line."""
    from pelton.runtime.replay.shadow import Judged

    counted = ", ".join(f"{number} {name}" for name, number in report.counts.items())
    played = f"{many(len(report.tasks), 'task')} with {report.agent}"
    yield f"{played}: {counted}, {len(report.skipped)} skipped"
    heading = ["LANE", "TASKS", "TOKENS", "COST", "WORKED", "MEDIAN", "SLOWEST"]
    rows = [
        [
            *(name, str(each.tasks), str(each.tokens), f"{each.cost:.4f}"),
            *(f"{each.worked:.3f} s", f"{each.median:.3f} s", f"{each.slowest:.3f} s"),
        ]
        for name, each in report.lanes.items()
    ]
    if rows:
        yield from columns([heading, *rows])
    order = list(Judged)
    for each in sorted(report.tasks, key=lambda one: -order.index(one.judged)):
        if each.judged is Judged.IDENTICAL:
            continue
        yield f"{each.judged} {each.task} of {each.agent}: {how(each)}"
        for difference in each.differences[:1]:
            yield from (f"  {line}" for line in difference.lines())
    for skipped in report.skipped:
        yield f"skipped {skipped.task}: {skipped.why}"


def how(each: Shadowed) -> str:
    """Return how a task came out before and now, and what the record did not have, on a line."""
    before, now = (
        words(lane.state) if lane.state else "not at rest" for lane in (each.recorded, each.new)
    )
    differ = len(each.differences)
    parts = [f"{before} → {now}", f"{differ} events differ" if differ != 1 else "1 event differs"]
    if each.new.good is not None:
        parts.append("the check passes" if each.new.good else "the check fails")
    if each.noise:
        parts.append(f"{each.noise} more differ without it, too")
    if each.new.missed:
        parts.append(f"the record has no {', '.join(each.new.missed)}")
    return ", ".join(parts)
