"""`pelton bisect`: which input, or which version of an agent, makes a check fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options, policies
from pelton.adapters.cli.output import CommandFailed, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from pelton.runtime.agents import Agent
    from pelton.runtime.replay.bisect import Found, Probe
    from pelton.runtime.replay.inputs import Swap
    from pelton.runtime.replay.session import Session


def bisect(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="GOOD BAD",
            help="Two tasks, or session files (x.pelton:TASK), whose inputs are compared; or one"
            " task, for several versions of its agent.",
        ),
    ],
    *,
    check: Annotated[
        str,
        typer.Option(
            "--check",
            metavar="CMD",
            help="A command for the shell: it gets the task as JSON, and ends with 0 if that is"
            " good, 125 if it cannot tell, and else otherwise.",
        ),
    ],
    agent: Annotated[
        list[str] | None,
        typer.Option(
            "--agent",
            metavar="AGENT",
            help="module:name or file.py[:name]; several, from the good one to the bad one, to find"
            " the version.",
        ),
    ] = None,
    times: Annotated[
        int, typer.Option("--times", min=1, max=1000, help="How often each trial is made.")
    ] = 1,
    live: policies.Live = None,
    stub: policies.Stub = None,
    within: Annotated[
        float, typer.Option("--within", help="Seconds for the task to come to rest in.")
    ] = 120.0,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Find what makes a check fail: an input that two tasks have otherwise, or an agent's version.

    Nothing but the steps named with --live runs: all else is answered from the record.
    """
    from pelton.adapters.cli.diff import sessions_of
    from pelton.adapters.cli.parts import quiet
    from pelton.adapters.cli.rerun import reference_of
    from pelton.runtime.replay.bisect import Probe
    from pelton.runtime.replay.bisect import bisect as halve

    settings = options.settings(config, data=data, nats__url=nats)
    given, output = agent or [], Output(json=json)
    if (len(sides), len(given) > 1) not in ((2, False), (1, True)):
        raise CommandFailed(
            "write two tasks, or one task and its agent in several versions with --agent", "usage"
        )
    quiet()
    found = sessions_of(settings, sides)
    bad, task = found[-1]
    other = found[0][0] if len(found) > 1 else None
    policy = policies.policy(live=live, stub=stub, values=True)

    def probe(at: int, session: Session, code: Agent) -> Probe:
        passed = runs = 0
        for _ in range(times):
            ran, _ = policies.play(session, task, code, policy, within=within, other=other)
            verdict = policies.checked(check, ran.task)
            if verdict is not None:
                passed, runs = passed + verdict, runs + 1
        if not runs:
            raise CommandFailed(f"the check could tell nothing in {times} runs")
        output.note(f"{at}: {passed} of {runs} runs passed")
        return Probe(at=at, passed=passed, runs=runs)

    if len(sides) == 1:
        codes = [policies.agent_of(each, bad, task, settings) for each in given]
        output.note(f"{len(given)} versions, from 0 (good) to {len(given) - 1} (bad)")
        versions = halve(0, len(codes) - 1, lambda at: probe(at, bad, codes[at]))
        _told_versions(versions, given, output)
        return
    code = policies.agent_of(
        given[0] if given else reference_of(settings, task, bad), bad, task, settings
    )
    swaps, way = _swapping(found)
    output.note(f"{len(swaps)} inputs differ; at N, the first N are the good task's")
    halved = halve(len(swaps), 0, lambda at: probe(at, way(at), code))
    _told_inputs(halved, swaps, output)


def _swapping(
    found: list[tuple[Session, str]],
) -> tuple[list[Swap], Callable[[int], Session]]:
    """Return what differs, and what makes the bad session with the first few of it as in the good.

    Raises:
        CommandFailed: nothing differs.
    """
    from pelton.runtime.replay.inputs import differing, inputs, swapped

    (good, one), (bad, other) = found
    swaps = differing(inputs(good, one), inputs(bad, other))
    if not swaps:
        raise CommandFailed(
            "both tasks were given the same, as far as both were given it: compare them with"
            " pelton diff, or versions of the agent with --agent"
        )
    return swaps, lambda at: swapped(bad, good, swaps[:at])


def _told_inputs(found: Found, swaps: list[Swap], output: Output) -> None:
    swap = swaps[found.bad.at]
    value = {
        "input": swap.bad.what,
        "good": swap.good.content,
        "bad": swap.bad.content,
        **_value(found),
    }
    lines = [
        f"it is {swap.bad.what}, at {swap.bad.sequence}:",
        *(f"  {each.line()}" for each in swap.fields()),
        _odds(found),
    ]
    output.result(value, lines)


def _told_versions(found: Found, given: list[str], output: Output) -> None:
    bad, good = given[found.bad.at], given[found.good.at]
    lines = [f"it is {bad}: {good} is still good", _odds(found)]
    output.result({"agent": bad, "good": good, **_value(found)}, lines)


def _value(found: Found) -> dict[str, Any]:
    probes = [
        {"at": each.at, "passed": each.passed, "runs": each.runs, "share": each.share}
        for each in found.probes
    ]
    return {"before": found.bad.share, "after": found.good.share, "probes": probes}


def _odds(found: Found) -> str:
    return f"  passes with {found.good.share:.0%} where it is good, {found.bad.share:.0%} where bad"
