"""Conversations whole, tasks event by event, and who asked whom: from a log as from a session."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pelton.events import subjects
from pelton.events.a2a import TaskState
from pelton.events.context import Context, fold
from pelton.events.events import StepCompleted, TaskSubmitted, TurnEnded
from pelton.events.ids import context_of
from pelton.runtime.agents import Terms, agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import BlobMissing
from pelton.runtime.replay.changes import Change, changes
from pelton.runtime.replay.graph import Graph, dot, graph, mermaid
from pelton.runtime.replay.render import render
from pelton.runtime.replay.session import ContextNotFound, Session, session_of, task_session
from pelton.runtime.replay.walk import walk
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, serving

SOON = Terms(suspend_after=0.1)


@agent(name="worker")
async def worker(turn: Turn) -> str:
    """Work, or ask what to do."""
    if turn.text == "odd":
        await turn.require_input("how?")
    await turn.artifact("x" * 40_000, name="bulk")
    return f"did {turn.text}"


@agent(name="boss", terms=SOON)
async def boss(turn: Turn) -> str:
    """Hand on a piece of work, and its questions to whoever asks for it."""
    await turn.step("think", str.upper, turn.text, idempotent=True)
    report = await turn.delegate("worker", turn.text)
    if report.state is TaskState.INPUT_REQUIRED:
        answer = await turn.ask("how?")
        report = await turn.delegate("worker", answer, task=report.task_id)
    return report.text[-10:]


async def handed_on(log: JetStreamLog, text: str) -> tuple[str, str]:
    """Return the context and the task of work that was handed on."""
    client = Client(log, "boss")
    async with serving(log, boss, worker):
        context, task = await client.send(text)
        if text == "odd":
            await client.until(context, lambda s: task in s.aside)  # no process holds it
            await client.send("well", context, task=task)
        await client.settled(context, task)
    return context, task


async def test_a_session_is_everybody_who_took_part_wherever_one_begins(log: JetStreamLog) -> None:
    context, task = await handed_on(log, "odd")
    await handed_on(log, "other")
    whole = await session_of(log, context)
    assert {name for name, _ in whole.contexts} == {"boss", "worker"}
    assert len(whole.contexts) == 2
    (child,) = [id_ for name, id_ in whole.contexts if name == "worker"]
    assert (await session_of(log, child)).records == whole.records
    assert (await task_session(log, task)).records == whole.records
    assert {subjects.parse(each.subject).agent for each in whole.records} == {"boss", "worker"}
    agents = [each for each in whole.records if subjects.parse(each.subject).beside]
    assert len(agents) >= 2  # their cards
    assert len(whole.blobs) == 1
    assert await whole.get_blob(*whole.blobs) == await log.get_blob(*whole.blobs)
    with pytest.raises(BlobMissing):
        await whole.get_blob("0" * 64)
    with pytest.raises(ContextNotFound):
        await session_of(log, "nobody")


async def test_a_session_reads_as_its_log_does(log: JetStreamLog) -> None:
    context, _ = await handed_on(log, "it")
    session = await session_of(log, context)
    subject = subjects.commits("boss", context)
    records = list(await log.read(subject))
    assert list(await session.read(subject)) == records
    assert list(await session.read(subject, after=records[0].sequence, limit=1)) == records[1:2]
    assert list(await session.latest(subject)) == list(await log.latest(subject))
    assert await session.at(records[0].sequence) == records[0]
    assert await session.at(10**9) is None
    assert await session.at(0) is None
    first, last = await session.extent()
    assert (first, last) == (session.records[0].sequence, session.records[-1].sequence)
    pattern = f"*.boss.{context}"
    found = [each async for batch in session.scan(pattern=pattern, after=first) for each in batch]
    wanted = [each async for batch in log.scan(pattern=pattern, after=first) for each in batch]
    assert found == wanted
    assert session.before(records[0].received) < records[0].sequence
    assert session.before(records[-1].received + timedelta(days=1)) == last
    nothing = Session([], {})
    assert await nothing.extent() == (1, 0)
    assert [batch async for batch in nothing.scan()] == []


@pytest.mark.accepts("AS-22")
async def test_every_event_tells_what_it_changed_and_why(log: JetStreamLog) -> None:
    context, task = await handed_on(log, "odd")
    paces = [pace async for pace in walk(log, "boss", task)]
    state = Context(agent="boss", id=context)
    for record in await log.read(subjects.commits("boss", context)):
        state = fold(state, record.sequence, record.data)
        mine = [pace for pace in paces if pace.record.sequence == record.sequence]
        assert mine[-1].after == state.tasks[task]  # state as of then (AS-22)
    assert all(pace.changes for pace in paces)
    first, last = paces[0], paces[-1]
    assert isinstance(first.recorded.event, TaskSubmitted)
    assert first.cause.what == "SendMessage"
    assert 0 < first.cause.sequence < first.record.sequence
    assert isinstance(last.recorded.event, TurnEnded)
    assert [each.path for each in last.changes] == ["turn"]
    (done,) = [pace for pace in paces if isinstance(pace.recorded.event, StepCompleted)]
    assert Change(path='turn.steps["think#1"].done', before=False, after=True) in done.changes
    names = {pace.cause.what for pace in paces}
    assert {"SendMessage", "ReportTask", "TaskSubmitted"} <= names
    assert all(pace.cause.sequence < pace.record.sequence for pace in paces)


def delegates(state: Context, task: str) -> bool:
    """Whether a task waits for another one."""
    turn = state.tasks[task].turn if task in state.tasks else None
    return turn is not None and bool(turn.delegated)


async def drawn(log: JetStreamLog, context: str) -> Graph:
    return graph(await session_of(log, context, blobs=False))


async def test_the_graph_tells_who_asked_whom(log: JetStreamLog) -> None:
    context, task = await handed_on(log, "odd")
    found = await drawn(log, context)
    one, other = found.nodes
    assert (one.task, one.agent, one.state, one.steps) == (task, "boss", "TASK_STATE_COMPLETED", 1)
    assert (other.agent, other.turns, other.waits) == ("worker", 2, ())
    assert [(each.key, each.state) for each in found.edges] == [
        ("delegate#1", "reported"),
        ("delegate#2", "reported"),
    ]
    assert {each.child for each in found.edges} == {other.task}
    assert found.roots == [one]
    took = found.branch(task)
    assert (took.tasks, took.turns, took.attempts, took.steps) == (2, 3, one.attempts + 2, 1)
    assert found.branch(other.task).tasks == 1


async def test_the_graph_tells_who_waits_for_whom(log: JetStreamLog) -> None:
    client = Client(log, "boss")
    async with serving(log, worker):
        pass  # it is known, and not there
    async with serving(log, boss):
        context, task = await client.send("it")
        await client.until(context, lambda s: delegates(s, task))
        found = await drawn(log, context)
        (one, other), (edge,) = found.nodes, found.edges
        assert (one.waits, edge.state, edge.task, edge.child) == (
            ("delegate#1",),
            "open",
            task,
            other.task,
        )
        assert (other.agent, other.state) == ("worker", "")
        await client.cancel(context, task)
        await client.until(context, lambda s: s.tasks[task].ended)
    (edge,) = (await drawn(log, context)).edges
    assert edge.state == "dropped"
    assert context_of(edge.child) == other.context
    found = await drawn(log, context)
    took = f"2 tasks, 1 turn, 1 step, {found.nodes[0].seconds:.3f} s"
    label = f"boss: canceled\n{took}"
    assert dot(found)[1:3] == ["  node [shape=box];", f'  "{task}" [label="{label}"];']
    label = f"boss: canceled<br/>{took.replace(',', '#44;')}"
    assert mermaid(found)[1:3] == [f'  t0["{label}"]', '  t1["worker: elsewhere"]']
    assert mermaid(found)[3] == '  t0 -->|"delegate#35;1 dropped"| t1'


async def test_a_rendering_holds_nothing_that_a_terminal_obeys(log: JetStreamLog) -> None:
    client = Client(log, "worker")
    async with serving(log, worker):
        context, task = await client.send("\x1b[31mred\r\n\u202egnp.exe \U0001f469\u200d\U0001f467")
        await client.settled(context, task)
    lines = render(await session_of(log, context), context)["context.md"].splitlines()
    assert "> \ufffd[31mred" in lines
    assert "> \ufffdgnp.exe \U0001f469\u200d\U0001f467" in lines


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3, 4]}}, ["a.b[1]", "a.b[2]"]),
        ({"a": {"x#1": 1}}, {"a": {}}, ['a["x#1"]']),
        ([1], {"a": 1}, [""]),
    ],
)
def test_changes_name_the_fields(before: object, after: object, paths: list[str]) -> None:
    assert [each.path for each in changes(before, after)] == paths
