"""Record histories, to be read by every later version (law 11).

`python -m tests.histories.record` records each tale of `tales.py` that the current contract lacks;
`python -m tests.histories.record NAME nats://…` records a log. What is there is never changed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pelton.events import agent as agents
from pelton.events import memories, pushes, schedules, subjects
from pelton.events.agent import AgentState
from pelton.events.commit import Commit
from pelton.events.context import Context, TaskFold, fold
from pelton.events.families import fold_family
from pelton.events.keys import Keys, fold_keys
from pelton.events.memories import Memory
from pelton.events.pushes import Pushes
from pelton.events.schedules import Schedules
from pelton.events.schema import CONTRACT
from pelton.events.upcast import decode_commit
from pelton.runtime.access import revoked
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import Record
from tests.histories.tales import TALES
from tests.strategies import canonical

FOLDER = Path(__file__).parent


def portraits(records: Sequence[Record]) -> dict[str, Any]:
    """Return what the records mean, by subject: the state of each aggregate."""
    contexts: dict[str, Context] = {}
    beside: dict[str, AgentState | Schedules] = {}
    claims: dict[str, Any] = {}
    pushed: dict[str, Pushes] = {}
    access: dict[str, list[Commit]] = {}
    remembered: dict[str, Memory] = {}
    for record in records:
        subject = subjects.parse(record.subject)
        if subject.kind != "evt":
            continue
        if subject.agent == subjects.MEMORY:
            memory = remembered.get(record.subject) or Memory(id=subject.beside)
            remembered[record.subject] = memories.fold(memory, record.sequence, record.data)
            continue
        if subject.agent == subjects.ACCESS:
            access.setdefault(subject.context, []).append(decode_commit(record.data))
            continue
        if subject.beside == subjects.AGENT:
            agent = beside.get(record.subject)
            assert not isinstance(agent, Schedules)
            agent = agent or AgentState(agent=subject.agent)
            beside[record.subject] = agents.fold(agent, record.sequence, record.data)
            continue
        if subject.beside == subjects.SCHEDULES:
            timetable = beside.get(record.subject)
            assert not isinstance(timetable, AgentState)
            timetable = timetable or Schedules(agent=subject.agent)
            beside[record.subject] = schedules.fold(timetable, record.sequence, record.data)
            continue
        if subject.beside.startswith(subjects.PUSH):
            configs = pushed.get(record.subject)
            task = subject.beside.partition(".")[2]
            configs = configs or pushes.opened(subject.agent, task)
            pushed[record.subject] = pushes.fold(configs, record.sequence, record.data)
            continue
        if subject.beside:
            events = canonical(decode_commit(record.data).data.events)
            claims[record.subject] = {"events": events}
            continue
        before = contexts.get(record.subject)
        if before is None:
            before = Context(agent=subject.agent, id=subject.context)
        contexts[record.subject] = fold(before, record.sequence, record.data)
    told = {name: portrait_beside(state) for name, state in beside.items()}
    told |= {name: canonical(state) for name, state in pushed.items()}
    told |= {name: _memory(state) for name, state in remembered.items()}
    told |= {subjects.access(name): _access(name, each) for name, each in access.items()}
    return claims | told | {name: portrait(context) for name, context in contexts.items()}


def _memory(state: Memory) -> Any:
    """Return what a memory means; versions that are not sealed have no key."""
    told = canonical(state)
    for version in told["versions"]:
        if not version["keyid"]:
            del version["keyid"]
    return told


def portrait_beside(state: AgentState | Schedules) -> Any:
    """Return what an aggregate beside the contexts means; see `portrait`."""
    place = {"agent": state.agent, "head": state.head, "hash": state.hash}
    if isinstance(state, AgentState):
        own: dict[str, Any] = {
            "profile": state.profile,
            "life": state.life,
            "status": state.status,
            "since": state.since,
            "prompted": state.prompted and state.prompted.event,
        }
        if state.team or state.declared_team:
            own |= {"team": state.team, "declaredTeam": state.declared_team}
        if state.trouble:
            own |= {"trouble": state.trouble.event, "troubleAt": state.trouble.at}
    else:
        own = {
            "handled": state.handled,
            "commands": sorted(state.commands),
            "rejected": dict(state.rejected),
            "entries": {
                name: {
                    "schedule": entry.schedule,
                    "declared": entry.declared,
                    "actor": entry.actor,
                    "since": entry.since,
                    "last": entry.last,
                    "firings": [firing.event for firing in entry.firings],
                }
                for name, entry in state.entries.items()
            },
        }
    return canonical({**place, "sequence": state.sequence, **own})


def _access(name: str, commits: Sequence[Commit]) -> Any:
    if name == subjects.ERASURES:
        return canonical({"erased": [event for each in commits for event in each.data.events]})
    if name != subjects.KEYS:
        return canonical(fold_family(commits))
    keys: Keys = {}
    for commit in commits:
        keys = fold_keys(keys, commit)
    ended = sorted(family for commit in commits for family in revoked(commit))
    return canonical({"keys": dict(keys), "revoked": ended})


def portrait(context: Context) -> Any:
    """Return what a context means, in words that do not depend on how the fold keeps it."""
    return canonical(
        {
            "agent": context.agent,
            "id": context.id,
            "head": context.head,
            "hash": context.hash,
            "sequence": context.sequence,
            "handled": context.handled,
            "ahead": sorted(context.ahead),
            "commands": dict(context.commands),
            "rejected": dict(context.rejected),
            "messages": list(context.messages),
            "tasks": {id_: _task(task) for id_, task in context.tasks.items()},
            **({"session": context.session} if context.session else {}),
        }
    )


def _task(task: TaskFold) -> Any:
    turn = task.turn
    return {
        "view": task.view(),
        "command": task.command_id,
        "sequence": task.sequence,
        "turns": task.turns,
        "answer": task.answer,
        "deadline": task.deadline,
        "delegation": task.delegation,
        "orphans": list(task.orphans),
        "redriven": task.redriven,
        "turn": turn
        and {
            "number": turn.number,
            "attempt": turn.attempt,
            "message": turn.message_id,
            "executor": turn.executor,
            "cause": turn.cause.id,
            "deadline": turn.deadline,
            "steps": dict(turn.steps),
            "values": dict(turn.values),
            "timers": dict(turn.timers),
            "questions": dict(turn.questions),
            "delegations": dict(turn.delegations),
            "received": dict(turn.received),
            "over": turn.over,
            "failures": turn.failures,
            **({"rulings": dict(turn.rulings)} if turn.rulings else {}),
            "progress": list(turn.progress),
            "artifacts": list(turn.artifacts),
        },
    }


def write(name: str, records: Sequence[Record]) -> None:
    """Write a history of the current contract, and the state it folds to."""
    folder = FOLDER / CONTRACT
    folder.mkdir(exist_ok=True)
    lines = (
        {
            "sequence": record.sequence,
            "subject": record.subject,
            "received": record.received_ns,
            "data": record.data.decode(),
        }
        for record in records
    )
    state = json.dumps(portraits(records), indent=1, sort_keys=True)
    with (folder / f"{name}.ndjson").open("x") as file:  # never over one that is there
        file.writelines(json.dumps(line) + "\n" for line in lines)
    (folder / f"{name}.state.json").write_text(state + "\n")


def read(path: Path) -> list[Record]:
    """Return the records of a history."""
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return [
        Record(line["sequence"], line["subject"], line["data"].encode(), line["received"])
        for line in lines
    ]


async def _recorded(url: str) -> list[Record]:
    async with JetStreamLog.open(url, migrate=False) as log:
        return [record async for batch in log.scan() for record in batch]


def main(arguments: list[str]) -> None:
    """Record what the arguments say."""
    if arguments:
        name, url = arguments
        write(name, asyncio.run(_recorded(url)))
        return
    for name, tale in TALES.items():
        if not (FOLDER / CONTRACT / f"{name}.ndjson").exists():
            write(name, tale().records)


if __name__ == "__main__":
    main(sys.argv[1:])
