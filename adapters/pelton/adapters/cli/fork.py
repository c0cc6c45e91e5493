"""`pelton fork`: a task gone on with otherwise, from any point, beside the original."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pelton.adapters.cli import options, policies
from pelton.adapters.cli.output import CommandFailed, Output, words

if TYPE_CHECKING:
    from pelton.runtime.agents import Agent
    from pelton.runtime.replay.session import Reader, Session
    from pelton.runtime.replay.trial import Ran
    from pelton.runtime.settings import Settings


_PLACE: Final = re.compile(
    r"(?P<task>.+)@(?P<sequence>[0-9]{1,18})(?:/(?P<event>[1-9][0-9]{0,5}))?"
)


def fork(
    place: Annotated[
        str,
        typer.Argument(
            metavar="TASK[@SEQ[/EVENT]]",
            help="Where, as pelton step shows it; without a sequence, before its first turn.",
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Where to write the fork.")
    ] = Path("fork.pelton"),
    agent: Annotated[
        list[str] | None,
        typer.Option(
            "--agent",
            metavar="AGENT",
            help="module:name or file.py[:name], for each agent that goes on; default: those of the"
            " settings, and of the running pelton dev.",
        ),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", metavar="TEXT", help="Say this at the fork.")
    ] = None,
    result: Annotated[
        list[str] | None,
        typer.Option(
            "--tool-result", metavar="KEY=JSON", help="What a step before the fork has returned."
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            "--drop-memory", metavar="ID", help="A memory that the agent is given no more."
        ),
    ] = None,
    model: policies.Model = None,
    prompt: policies.Prompt = None,
    option: policies.Option = None,
    tools: Annotated[
        str,
        typer.Option(
            "--tools",
            metavar="POLICY",
            help="Steps that begin after the fork: recorded (the original's results), live, ask"
            " (for the result, on the terminal), or refused.",
        ),
    ] = "recorded",
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool", metavar="STEP=POLICY", help="The policy for the steps of that name alone."
        ),
    ] = None,
    live: policies.Live = None,
    stub: policies.Stub = None,
    within: Annotated[
        float, typer.Option("--within", help="Seconds for the task to come to rest in.")
    ] = 120.0,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Go on with a task from any point with one thing changed, on a log of its own in a file."""
    import asyncio

    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import conversation
    from pelton.adapters.cli.parts import quiet
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.replay.fork import Chosen, Later, opening, prefix
    from pelton.runtime.replay.lineage import played_session
    from pelton.runtime.replay.players import helpers
    from pelton.runtime.replay.trial import Trial, play_live
    from pelton.runtime.replay.without import without

    task, sequence, events = _place(place)
    if out.exists():
        raise CommandFailed(f"{str(out)!r} is there already: name another file with --out")
    settings = options.settings(config, data=data, nats__url=nats)

    async def read(reader: Reader) -> Session:
        return await played_session(reader, task)

    original = on_reader(settings, file, read, about=conversation(task))
    begins = opening(original, task)
    sequence = begins if sequence is None else sequence
    if sequence < begins:
        raise CommandFailed(
            f"at {sequence} the task was not there yet: it begins at {begins}", "usage"
        )
    others = policies.overrides(model, prompt, option)
    policy = policies.policy(tools, tool=tool, live=live, stub=stub)._replace(memory=True)
    now = RealWorld().now()
    if drop:
        original = without(original, drop, sequence)
    records = prefix(
        original,
        sequence,
        now=now,
        events=events,
        task_id=task,
        results=policies.named(result, "result"),
        options=others,
        memories=policy.remembers,
    )
    agents = _agents(settings, original, task, agent or [], others)
    there = {each.name for each in agents}
    trial = Trial(
        original,
        records,
        task,
        now,
        agents=[*agents, *(e for e in helpers(original, task) if e.name not in there)],
        steps=partial(Chosen, policy, Later(original, sequence)),
        message=message,
    )
    quiet()
    ran = asyncio.run(play_live(trial, within=within))
    _save(out, ran, asyncio.run(_keys(settings, original)), Output(json=json))


def _place(text: str) -> tuple[str, int | None, int | None]:
    """Return the task, the sequence, and the event of the commit there, if they are named."""
    found = _PLACE.fullmatch(text)
    if found is None:
        if "@" in text:
            raise CommandFailed(
                f"{text!r} is no place: write TASK, TASK@SEQ, or TASK@SEQ/EVENT as pelton step"
                " shows it",
                "usage",
            )
        return text, None, None
    return found["task"], int(found["sequence"]), int(found["event"]) if found["event"] else None


def _agents(
    settings: Settings,
    session: Session,
    task: str,
    given: list[str],
    others: Mapping[str, Any],
) -> list[Agent]:
    """Return the agents that go on; a single one that is given has the task, whatever its name.

    The one that has the task gets the `others` of its options.

    Raises:
        CommandFailed: nothing leads to the agent of the task.
    """
    from pelton.adapters.cli.equip import equipped
    from pelton.adapters.cli.references import environ_of, load_agent
    from pelton.adapters.cli.rerun import names_of
    from pelton.adapters.cli.stack import running

    dev, names = running(settings.directory), names_of(task, session)
    environ = environ_of(settings)
    loaded = [load_agent(each, environ) for each in given]
    if len(given) == 1:
        loaded = [policies.agent_of(given[0], session, task, settings)]
    there = {each.name: each for each in loaded}
    involved = {agent for agent, _ in session.contexts}
    for reference in (*settings.executor.agents, *(dev.agents if dev is not None else ())):
        each = load_agent(reference, environ)
        if each.name in involved:
            there.setdefault(each.name, each)
    if not there.keys() & set(names):
        who = " or ".join(names)
        raise CommandFailed(f"where is the code of {who}? Name it with --agent", "usage")
    return [
        policies.as_player(each, others if each.name in names else {})
        for each in equipped([*there.values()], settings)
    ]


async def _keys(settings: Settings, original: Session) -> Mapping[str, bytes]:
    """Return the keys that a fork's file carries: those that were carried to here in a file."""
    vault = original.vault
    if vault is None or not vault.carried:
        return {}
    from pelton.adapters.sealing import sealing_of

    cipher = sealing_of(settings).cipher
    assert cipher is not None  # it has read what was carried
    return await vault.wrapped_with(cipher)


def _save(out: Path, found: Ran, keys: Mapping[str, bytes], output: Output) -> None:
    import asyncio

    import msgspec

    from pelton.adapters.cli.sessions import save
    from pelton.adapters.cli.timeline import quoted
    from pelton.runtime.bulk import opened_task

    task = found.task
    digest = save(out, task.context_id, found.session, keys)
    view = asyncio.run(opened_task(found.session, task.view()))
    output.result(
        {"file": str(out), "digest": digest, "task": msgspec.to_builtins(view)},
        [
            f"{words(task.status.state)} task {task.id}",
            *([quoted(view.status.message.parts)] if view.status.message else []),
            f"wrote {out}: pelton show {task.id} --file {out}",
        ],
    )
