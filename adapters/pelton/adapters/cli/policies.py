"""What commands change when recorded work goes on otherwise: steps, and options of agents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pelton.adapters.cli.output import CommandFailed

if TYPE_CHECKING:
    from pelton.events.context import TaskFold
    from pelton.runtime.agents import Agent
    from pelton.runtime.replay.fork import Policy, Tools
    from pelton.runtime.replay.session import Session
    from pelton.runtime.replay.trial import Ran
    from pelton.runtime.settings import Settings

Live = Annotated[
    list[str] | None,
    typer.Option("--live", metavar="STEP", help="Steps of that name run, with all their effects."),
]
Stub = Annotated[
    list[str] | None,
    typer.Option("--stub", metavar="STEP=JSON", help="Steps of that name have this result."),
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="The agent's option `model`.")
]
Prompt = Annotated[
    Path | None,
    typer.Option("--prompt", metavar="FILE", help="The agent's option `prompt`: a text file."),
]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=JSON", help="Another option of the agent."),
]


def named(given: Sequence[str] | None, what: str) -> dict[str, Any]:
    """Return what is given as NAME=JSON.

    Raises:
        CommandFailed: it is given otherwise.
    """
    import msgspec

    found: dict[str, Any] = {}
    for each in given or ():
        key, equals, text = each.partition("=")
        try:
            found[key] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            equals = ""
        if not key or not equals:
            raise CommandFailed(
                f"{each!r} is no {what}: write NAME=JSON, where a text stands in quotes", "usage"
            )
    return found


def policy(
    tools: str = "recorded",
    *,
    tool: Sequence[str] | None = None,
    live: Sequence[str] | None = None,
    stub: Sequence[str] | None = None,
    values: bool = False,
    costs: bool = False,
) -> Policy:
    """Return what becomes of steps.

    Raises:
        CommandFailed: there is no such policy.
    """
    from pelton.runtime.replay.fork import Policy, Tools

    own = dict.fromkeys(live or (), Tools.LIVE)
    for each in tool or ():
        name, equals, which = each.partition("=")
        if not name or not equals:
            raise CommandFailed(f"{each!r} is no policy of a step: write STEP=POLICY", "usage")
        own[name] = _tools(which)
    return Policy(
        tools=_tools(tools),
        named=own,
        stubs=named(stub, "stub"),
        ask=_ask,
        values=values,
        costs=costs,
    )


def _tools(text: str) -> Tools:
    from pelton.runtime.replay.fork import Tools

    try:
        return Tools(text)
    except ValueError:
        raise CommandFailed(f"{text!r} is no policy: use {', '.join(Tools)}", "usage") from None


def _ask(key: str, args: tuple[object, ...]) -> Any:
    """Ask on the terminal for the result of a step.

    Raises:
        CommandFailed: nobody says anything, or something that is no JSON.
    """
    import sys

    import msgspec

    from pelton.events.printable import printable

    try:
        shown = msgspec.json.encode(args).decode()
    except (TypeError, ValueError):
        shown = "…"
    sys.stderr.write(printable(f"{key}{shown}\nits result, as JSON: "))
    sys.stderr.flush()
    try:
        return msgspec.json.decode(sys.stdin.readline())
    except msgspec.DecodeError:
        raise CommandFailed(f"{key}: there is no result, or it is no JSON", "usage") from None


def overrides(
    model: str | None, prompt: Path | None, option: Sequence[str] | None
) -> dict[str, Any]:
    """Return the options that an agent gets in the place of its own."""
    found = named(option, "option")
    if model is not None:
        found["model"] = model
    if prompt is not None:
        found["prompt"] = prompt.read_text(encoding="utf-8")
    return found


def as_player(agent: Agent, options: Mapping[str, Any]) -> Agent:
    """Return an agent as it takes part in a trial: with options, and nothing of its own accord."""
    return dataclasses.replace(
        agent, schedules=(), initial="", options={**agent.options, **options}
    )


STILL: Final = 31 * 86_400.0
"""Seconds that may pass where time is virtual."""


def play(
    session: Session,
    task: str,
    agent: Agent,
    policy: Policy,
    *,
    within: float,
    other: Session | None = None,
) -> tuple[Ran, list[str]]:
    """Return what comes of a task from its start, with an agent: in memory, unless steps run.

    And the calls that the record does not have. What the session does not have is looked for in the
    other one.
    """
    import asyncio

    from pelton.adapters.cli.equip import played
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.replay.trial import from_start, play_live, play_still

    player = as_player(played(agent), {})
    if policy.live:
        now = RealWorld().now()
        trial, later = from_start(session, task, [player], policy, now=now, other=other)
        return asyncio.run(play_live(trial, within=within)), later.missed
    trial, later = from_start(session, task, [player], policy, other=other)
    return play_still(trial, within=STILL), later.missed


def agent_of(reference: str, session: Session, task: str, settings: Settings) -> Agent:
    """Return the agent that a reference names, under the name of the one that has a task."""
    from msgspec.structs import replace

    from pelton.adapters.cli.references import environ_of, load_agent
    from pelton.adapters.cli.rerun import names_of

    found, names = load_agent(reference, environ_of(settings)), names_of(task, session)
    if found.name in names:
        return found
    return dataclasses.replace(found, profile=replace(found.profile, name=names[0]))


_CANNOT_TELL: Final = 125  # as `git bisect run` has it


def checked(check: str, task: TaskFold) -> bool | None:
    """Return what the check says of a task; None if it cannot tell.

    Raises:
        CommandFailed: it takes too long, or a signal has ended it.
    """
    import subprocess

    import msgspec

    view = msgspec.json.encode(task.view())
    try:
        done = subprocess.run(  # the user's own command, on this machine
            ["/bin/sh", "-c", check],
            input=view,
            stdout=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed("the check takes longer than ten minutes") from None
    if done.returncode < 0:
        raise CommandFailed(f"a signal has ended the check ({-done.returncode})")
    return None if done.returncode == _CANNOT_TELL else done.returncode == 0
