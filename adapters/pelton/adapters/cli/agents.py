"""`pelton agents`: which agents there are, how they stand, and how to be rid of one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns, words

if TYPE_CHECKING:
    from pathlib import Path

    from pelton.events.agent import AgentState
    from pelton.events.presence import Beat
    from pelton.runtime.contexts import Contexts
    from pelton.runtime.jetstream.log import JetStreamLog
    from pelton.runtime.log import Log

app = typer.Typer(
    help="List the agents of this log: how they stand, who serves them, how many turns are open.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def agents(
    context: typer.Context,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the agents of this log: how they stand, who serves them, how many turns are open."""
    import asyncio

    from pelton.adapters.cli.connect import open_log
    from pelton.runtime.contexts import Contexts

    if context.invoked_subcommand is not None:
        return
    settings = options.settings(config, data=data, nats__url=nats)
    models = settings.projections_path if settings.projections_path.exists() else None

    async def run() -> list[dict[str, Any]]:
        async with open_log(settings) as log:
            contexts, active = Contexts(log), await _active(models)
            return [
                {
                    **standing,
                    "activeTurns": None if active is None else active.get(state.agent, 0),
                    "initialPrompt": await _prompt(contexts, state),
                }
                for state, standing in await standings(log)
            ]

    found = asyncio.run(run())
    nothing: dict[str, str] = {}
    rows: list[list[str]] = [
        [
            *(each["name"], each["status"] if each["life"] else "not started"),
            *(each["since"], str(len(each["executors"]))),
            "?" if each["activeTurns"] is None else str(each["activeTurns"]),
            *((each["profile"] or nothing).get(key, "") for key in ("version", "description")),
        ]
        for each in found
    ]
    head = ["AGENT", "STATUS", "SINCE", "EXECUTORS", "TURNS", "VERSION", "WHAT IT DOES"]
    lines = columns([head, *rows]) if rows else ["no agents yet"]
    lines += [
        f"{each['name']}: its initial prompt is {words(each['initialPrompt']['state'])},"
        f" see pelton show {each['initialPrompt']['taskId']}"
        for each in found
        if each["initialPrompt"] and each["initialPrompt"]["state"] == "TASK_STATE_FAILED"
    ]
    lines += [
        f"{each['name']}: at {error['at']}, {error['stage']} failed: {error['detail']}"
        for each in found
        if (error := each["lastError"])
    ]
    Output(json=json).result({"agents": found}, lines)


async def standings(log: Log) -> list[tuple[AgentState, dict[str, Any]]]:
    """Return all agents of a log by name, and how each stands now."""
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.roster import Roster

    roster = Roster(log, world=RealWorld())
    await roster.refresh()
    beats: defaultdict[str, dict[str, Beat]] = defaultdict(dict)
    for each in await log.beats():
        beats[each.agent][each.executor] = each.beat
    return [
        (each.state, _standing(each.state, beats[each.state.agent]))
        for each in (*roster, *roster.failing)
    ]


def _standing(state: AgentState, beats: dict[str, Beat]) -> dict[str, Any]:
    """Return how an agent stands: by its events, and the heartbeats that are newer."""
    import msgspec

    from pelton.events.presence import follow, seen

    return {
        "name": state.agent,
        "status": follow(state.status, seen(beats.values())),
        "since": state.since,
        "life": state.life,
        "team": state.team,
        "executors": [{"id": id_, "beat": beat} for id_, beat in sorted(beats.items())],
        "profile": msgspec.to_builtins(state.profile),
        "lastError": _trouble(state),
    }


def _trouble(state: AgentState) -> dict[str, Any] | None:
    """Return what went wrong last with starting an agent or serving it, if that is not over."""
    if state.trouble is None:
        return None
    event = state.trouble.event
    return {
        "at": state.trouble.at,
        "stage": event.stage,
        "kind": event.kind,
        "detail": event.detail,
        "executor": event.executor,
    }


async def _prompt(contexts: Contexts, state: AgentState) -> dict[str, Any] | None:
    """Return what became of the initial prompt of an agent, if it got one in this life."""
    if state.prompted is None:
        return None
    event = state.prompted.event
    context = await contexts.foreseen(state.agent, event.context_id)
    task = context.tasks.get(context.commands.get(event.command_id, ""))
    return {
        "contextId": event.context_id,
        "taskId": task.id if task else None,
        "state": task.status.state if task else "unsent",
    }


async def _active(file: Path | None) -> dict[str, int] | None:
    """Return how many turns of each agent are open, by the read models; None if there are none."""
    from pelton.projections.read import open_read_models

    if file is None:
        return None
    async with open_read_models(file) as models:
        return await models.active()


@app.command("remove")
def remove(
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Remove an agent: nobody serves it until an executor that is started registers it again."""
    import asyncio

    from pelton.adapters.cli.connect import open_log
    from pelton.events.errors import UnknownAgent
    from pelton.events.ids import check_agent
    from pelton.events.presence import AgentStatus, Fact
    from pelton.runtime.aggregates import agents_of
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.witness import witness

    settings = options.settings(config, data=data, nats__url=nats)
    check_agent(agent)

    async def run(log: JetStreamLog) -> AgentState:
        world = RealWorld()
        agents = agents_of(log, world)
        if (await agents.load(agent)).status is AgentStatus.REMOVED:
            raise UnknownAgent(f"there is no agent {agent!r}: pelton agents lists them")
        tenant = settings.nats.tenant
        return await witness(agents, agent, Fact.REMOVED, world=world, source="cli", tenant=tenant)

    async def main() -> AgentState:
        async with open_log(settings) as log:
            return await run(log)

    state = asyncio.run(main())
    value = {"name": agent, "status": state.status, "life": state.life}
    Output(json=json).result(value, [f"{agent} is removed"])


@app.command("move")
def move(
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    team: Annotated[str, typer.Argument(help="The team; none without.")] = "",
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Put an agent into a team, whose memory it shares from now on, or into none."""
    from pelton.adapters.cli.connect import on_log
    from pelton.events.ids import check_agent
    from pelton.runtime import registration
    from pelton.runtime.aggregates import agents_of
    from pelton.runtime.clock import RealWorld

    settings = options.settings(config, data=data, nats__url=nats)
    check_agent(agent)

    async def run(log: JetStreamLog) -> AgentState:
        world = RealWorld()
        return await registration.move(
            agents_of(log, world),
            agent,
            team,
            world=world,
            source="cli",
            tenant=settings.nats.tenant,
        )

    state = on_log(settings, run)
    said = f"{agent} is in the team {state.team}" if state.team else f"{agent} is in no team"
    Output(json=json).result({"name": agent, "team": state.team}, [said])
