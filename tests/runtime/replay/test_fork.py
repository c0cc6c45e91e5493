"""Forks: a prefix that is a log of its own, steps by policy, and what differs in the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from pelton.events import subjects
from pelton.events.a2a import TaskState
from pelton.events.context import Context, fold
from pelton.events.errors import InvalidInput, TaskNotFound
from pelton.events.events import StepCompleted, TaskDelegated, ValueRecorded
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.replay.archive import open_file
from pelton.runtime.replay.diff import diff
from pelton.runtime.replay.fork import Chosen, Later, Policy, Tools, plant, prefix
from pelton.runtime.replay.session import Session, task_session
from pelton.runtime.turn import Turn
from tests.docs.generate import ROOT
from tests.runtime.clients import Client, reply, serving

NOW = datetime(2031, 1, 1, tzinfo=UTC)
BAKERY = open_file(ROOT / "examples" / "bakery.pelton").session
BOSS = "bakery-76fe1b63fd39c9ce"


@pytest.mark.parametrize("upto", [each.sequence for each in BAKERY.records])
def test_every_prefix_is_a_log(upto: int) -> None:
    """It chains, its commits know their commands, and it means what the original meant there."""
    records = prefix(BAKERY, upto, now=NOW)
    states: dict[str, Context] = {}
    for sequence, (subject, data) in enumerate(records, 1):
        name = subjects.parse(subject)
        if subject.startswith("evt.") and name.context:
            before = states.get(subject) or Context(agent=name.agent, id=name.context)
            states[subject] = fold(before, sequence, data)
            command = decode_commit(data).data.command
            assert not command or records[command - 1][0] == subject.replace("evt.", "cmd.", 1)
    for subject, state in states.items():
        original = Context(agent=state.agent, id=state.id)
        for record in BAKERY.records:
            if record.subject == subject and record.sequence <= upto:
                original = fold(original, record.sequence, record.data)
        assert state.messages == original.messages
        assert {i: t.status for i, t in state.tasks.items()} == {
            i: t.status for i, t in original.tasks.items()
        }


def events(records: list[tuple[str, bytes]]) -> list[Any]:
    return [
        event
        for subject, data in records
        if subject.startswith("evt.")
        for event in decode_commit(data).data.events
    ]


def test_deadlines_are_as_far_off_as_they_were() -> None:
    (end,) = {
        e.deadline for e in events(prefix(BAKERY, 11, now=NOW)) if isinstance(e, TaskDelegated)
    }
    assert datetime.fromisoformat(end) - NOW == pytest.approx(
        timedelta(seconds=120), abs=timedelta(0, 1)
    )
    values = [e for e in events(prefix(BAKERY, 11, now=NOW)) if isinstance(e, ValueRecorded)]
    assert {e.value for e in values if e.key.startswith("deadline:")} == {end}


def test_a_result_is_replaced_and_what_followed_it_is_cut() -> None:
    records = prefix(BAKERY, 11, events=1, now=NOW, task_id=BOSS, results={"plan#1": []})
    last = events(records)[-1]
    assert last == StepCompleted(task_id=BOSS, key="plan#1", result=[])
    with pytest.raises(InvalidInput, match="no step pay#1 has a result"):
        prefix(BAKERY, 11, now=NOW, task_id=BOSS, results={"pay#1": 1})
    with pytest.raises(InvalidInput, match="nothing of this conversation"):
        prefix(BAKERY, 0, now=NOW)
    for upto in (11, 10**6):
        with pytest.raises(InvalidInput, match=f"no event 99 at {upto}"):
            prefix(BAKERY, upto, events=99, now=NOW)


def worker(ran: list[str], last: str = "b") -> Agent:
    async def effect(text: str) -> str:
        ran.append(text)
        return f"<{text}>"

    @agent(name="echo")
    async def work(turn: Turn) -> str:
        found = [await turn.step("do", effect, each) for each in ("a", last)]
        return " ".join(found)

    return work


async def forked(
    account: Callable[[], Any], session: Session, task: str, agent_: Agent, tools: Tools
) -> tuple[str, Session]:
    """Go on with a task after its first step, and return how it ends and its session."""
    (first,) = [
        (record.sequence, at)
        for record in session.records
        if record.subject.startswith("evt.echo.") and not record.subject.endswith("_agent")
        for at, event in enumerate(decode_commit(record.data).data.events, 1)
        if isinstance(event, StepCompleted) and event.key == "do#1"
    ]
    now = datetime.now(UTC)
    records = prefix(session, first[0], events=first[1], now=now)
    steps = partial(Chosen, Policy(tools), Later(session, first[0]))
    async with JetStreamLog.open(await account()) as log:
        await plant(log, session, records)
        async with serving(log, agent_, steps=steps):
            ended = await Client(log).settled(task.rpartition("-")[0], task)
        return reply(ended), await task_session(log, task)


@pytest.mark.accepts("AS-21")
@pytest.mark.parametrize(
    ("policy", "expected", "ran"),
    [
        ((Tools.LIVE, "b"), "<a> <b>", ["b"]),
        ((Tools.LIVE, "c"), "<a> <c>", ["c"]),
        ((Tools.RECORDED, "b"), "<a> <b>", []),
        ((Tools.RECORDED, "c"), "The step 'do' did not run: the original has no such call.", []),
        ((Tools.REFUSED, "b"), "The step 'do' did not run: it is refused.", []),
    ],
)
async def test_what_follows_a_fork_is_done_as_the_policy_says(
    log: JetStreamLog,
    new_account: Callable[[], Any],
    policy: tuple[Tools, str],
    expected: str,
    ran: list[str],
) -> None:
    tools, last = policy
    before: list[str] = []
    client = Client(log)
    async with serving(log, worker(before)):
        context, task = await client.send("go")
        assert (await client.settled(context, task)).status.state is TaskState.COMPLETED
    assert before == ["a", "b"]
    extent, original = await log.extent(), await task_session(log, task)
    after: list[str] = []
    said, fork = await forked(new_account, original, task, worker(after, last), tools)
    assert said == expected
    assert after == ran  # what was before the fork is never done again
    found = diff(original, task, fork, task)
    if expected == "<a> <b>":
        assert not found.differences
        assert found.alike == 6
    else:
        first = found.differences[0]
        assert first.left is not None
        paths = [each.path for each in first.fields]
        assert (first.left.what, paths) in [
            ("turn 1 StepStarted do#2", ["call"]),
            ("turn 1 StepCompleted do#2", []),
        ]
    assert await log.extent() == extent  # the original is only read
    assert (await task_session(log, task)).records == original.records


async def test_two_tasks_that_were_asked_the_same_match(log: JetStreamLog) -> None:
    client, sessions = Client(log), list[tuple[Session, str]]()
    async with serving(log, worker([])):
        for _ in range(2):
            context, task = await client.send("go")
            await client.settled(context, task)
            sessions.append((await task_session(log, task), task))
    (one, task), (other, second) = sessions
    assert task != second
    assert not diff(one, task, other, second).differences
    with pytest.raises(TaskNotFound):
        diff(one, task, other, task)
