"""Questions to the read models: order, filters, pages, and what they cost."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import aiosqlite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.events.a2a import Part, TaskState
from pelton.events.card import AgentProfile
from pelton.events.commit import Commit, CommitData
from pelton.events.envelope import encode
from pelton.events.errors import InvalidInput
from pelton.events.events import AgentRegistered
from pelton.events.subjects import agent_commits
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.projections.database import connect
from pelton.projections.pages import Page
from pelton.projections.read import ReadModels, TaskEntry, open_read_models
from pelton.projections.store import open_store
from tests.stories import Story, Tape


def lived(tape: Tape, agent: str, count: int) -> list[Story]:
    """Let contexts of an agent live: a task each, every third one still at work."""
    stories = [Story(tape, agent=agent, context=f"{agent} {number}") for number in range(count)]
    for number, story in enumerate(stories):
        story.send(f"question {number}")
        story.begin()
        story.progress("reading")
        story.write("answer", "one ", Part(data={"n": number}))
        story.write("answer", "two", append=True)
        if number % 3:
            story.end(TaskState.COMPLETED if number % 2 else TaskState.FAILED, "done")
    return stories


async def fill(path: Path, tape: Tape) -> None:
    async with open_store(path) as store:
        await store.take(tape.records)


async def all_pages(
    ask: Callable[[str], Awaitable[Page[TaskEntry]]], total: int
) -> list[TaskEntry]:
    found: list[TaskEntry] = []
    cursor = ""
    while True:
        page = await ask(cursor)
        assert page.total == total
        found += page.items
        cursor = page.next
        if not cursor:
            return found


async def test_lists_come_newest_status_first_page_by_page(tmp_path: Path) -> None:
    tape = Tape()
    stories = [*lived(tape, "echo", 8), *lived(tape, "poet", 5)]
    await fill(tmp_path / "models.db", tape)
    tasks = [(story.agent, task) for story in stories for task in story.state.tasks.values()]
    tasks.sort(key=lambda each: (each[1].status.timestamp, each[1].id), reverse=True)

    async with open_read_models(tmp_path / "models.db") as models:
        every = await all_pages(lambda at: models.tasks(page_size=3, cursor=at), 13)
        echo = await all_pages(lambda at: models.tasks("echo", page_size=3, cursor=at), 8)
        failed = await models.tasks("echo", state=TaskState.FAILED)
        one = await models.tasks("echo", context_id="echo 3")
        since = tasks[4][1].status.timestamp
        late = await models.tasks(updated_after=since)
        nothing = await models.tasks("nobody", page_size=1)

    assert [entry.task.id for entry in every] == [task.id for _, task in tasks]
    assert [entry.task.id for entry in echo] == [task.id for name, task in tasks if name == "echo"]
    assert {entry.task.context_id for entry in failed.items} == {"echo 2", "echo 4"}
    assert [entry.task.context_id for entry in one.items] == ["echo 3"]
    assert [entry.task.id for entry in late.items] == [task.id for _, task in tasks[:5]]
    assert nothing == Page(items=(), next="", total=0)


async def test_a_task_is_served_whole_or_in_part(tmp_path: Path) -> None:
    tape = Tape()
    [*_, story] = lived(tape, "echo", 2)
    story.send("more?")
    story.begin()
    await fill(tmp_path / "models.db", tape)
    task = story.state.tasks[next(iter(story.state.tasks))]

    async with open_read_models(tmp_path / "models.db") as models:
        whole = await models.task(task.id)
        short = await models.task(task.id, agent="echo", history=1, artifacts=False)
        listed = await models.tasks("echo", context_id="echo 1")
        elsewhere = await models.task(task.id, agent="poet")

    assert whole is not None
    assert whole.task == task.view()
    assert whole.sequence == task.sequence
    assert len(task.history) > 1
    assert short is not None
    assert short.task == task.view(history=1, artifacts=False)
    assert all(not entry.task.artifacts and not entry.task.history for entry in listed.items)
    assert elsewhere is None


async def test_a_message_shows_before_it_is_decided(tmp_path: Path) -> None:
    story = Story()
    story.send("hello")
    path = tmp_path / "models.db"
    async with open_store(path) as store, open_read_models(path) as models:
        await store.take(story.tape.records)
        [waiting] = (await models.tasks("echo")).items
        story.begin()
        await store.take(story.tape.records)
        [begun] = (await models.tasks("echo")).items

    assert waiting.pending
    assert waiting.task.status.state is TaskState.SUBMITTED
    assert not begun.pending
    assert (begun.executor, begun.attempt) == ("one", 1)
    assert begun.task.id == waiting.task.id
    assert begun.created == waiting.created == 1


async def test_a_bare_answer_is_no_task(tmp_path: Path) -> None:
    story = Story()
    story.send("hello")
    story.begin()
    story.end(text="hi", bare=True)
    await fill(tmp_path / "models.db", story.tape)

    async with open_read_models(tmp_path / "models.db") as models:
        [id_] = story.state.tasks
        assert await models.task(id_) is None
        assert (await models.tasks()).total == 0


async def test_refusals_can_be_asked_for(tmp_path: Path) -> None:
    story = Story()
    story.cancel("no-such-task")
    story.decide()
    await fill(tmp_path / "models.db", story.tape)

    async with open_read_models(tmp_path / "models.db") as models:
        refusal = await models.rejection("echo", "no-such-task")
        assert refusal is not None
        assert refusal.code == "task-not-found"
        assert await models.rejections("echo") == (refusal,)
        assert await models.rejection("echo", "another") is None


async def test_agents_and_contexts_are_listed(tmp_path: Path) -> None:
    tape = Tape()
    lived(tape, "echo", 3)
    first = len(tape.records) + 1
    for version in ("1", "2"):
        profile = AgentProfile(
            name="echo", title="Echo", description="", version=version, skills=()
        )
        commit = Commit(
            id=f"profile-{version}",
            source="executor/one",
            subject="echo",
            time=tape.now,
            tenant="t",
            actor="echo",
            correlationid="c",
            causationid="c",
            sequence=int(version),
            prevhash="",
            data=CommitData(events=(AgentRegistered(profile=profile),)),
        )
        tape.append(agent_commits("echo"), encode(commit))
    path = tmp_path / "models.db"
    async with open_store(path) as store:
        for record in tape.records:
            await store.take([record])

    async with open_read_models(path) as models:
        [agent] = await models.agents()
        assert agent.profile.version == "2"
        assert (agent.registered, agent.updated) == (first, first + 1)
        assert await models.agent("echo") == agent
        assert await models.agent("poet") is None
        page = await models.contexts("echo", page_size=2)
        rest = await models.contexts("echo", page_size=2, cursor=page.next)
        assert [entry.id for entry in (*page.items, *rest.items)] == ["echo 2", "echo 1", "echo 0"]
        assert page.total == rest.total == 3
        assert not rest.next
        assert page.items[0].tasks == 1
        assert (await models.position()).sequence == len(tape.records)


@pytest.mark.parametrize("size", [-1, 0, 101])
async def test_pages_have_1_to_100_entries(tmp_path: Path, size: int) -> None:
    async with open_read_models(tmp_path / "models.db") as models:
        with pytest.raises(InvalidInput):
            await models.tasks(page_size=size)
        with pytest.raises(InvalidInput):
            await models.contexts(page_size=size)


Ask = Callable[[ReadModels], Awaitable[object]]


async def statements_of(database: aiosqlite.Connection, ask: Ask) -> list[str]:
    """Return the statements that a question takes."""
    statements: list[str] = []
    await database.set_trace_callback(statements.append)  # pyright: ignore[reportUnknownMemberType]
    await ask(ReadModels(database))
    return list(statements)


@pytest.mark.accepts("AS-65")
async def test_a_question_is_one_statement_however_many_rows(tmp_path: Path) -> None:
    tape = Tape()
    [*_, story] = lived(tape, "echo", 30)
    path = tmp_path / "models.db"
    await fill(path, tape)
    [task] = story.state.tasks
    asks: list[Ask] = [
        lambda models: models.tasks(page_size=1, history=None, artifacts=True),
        lambda models: models.tasks(page_size=30, history=None, artifacts=True),
        lambda models: models.contexts(page_size=1),
        lambda models: models.contexts(page_size=30),
        lambda models: models.task(task),
    ]

    async with connect(path, write=False) as database:
        for ask in asks:
            assert len(await statements_of(database, ask)) == 1


NOTHING_ELSE = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
"""What a question may have the database do; SQLITE_RECURSIVE, ATTACH and writes are no part."""
INJECTED = (
    st.sampled_from(["'", '"', "' OR 1=1 --", "'; DROP TABLE tasks; --", "%", "_", "*", "?1"])
    | st.sampled_from(["') UNION SELECT * FROM sqlite_master --", "echo'--", ":owner", "\0", "\\"])
    | st.text(max_size=20)
)


@pytest.mark.accepts("S18", "AS-42", "AS-65")
async def test_whatever_is_asked_is_a_value_and_no_sql(tmp_path: Path) -> None:
    """Every filter of every list: it finds nothing, or what is so called, and runs no other SQL."""
    tape = Tape()
    lived(tape, "echo", 3)
    await fill(tmp_path / "models.db", tape)
    done: set[int] = set()

    def noted(action: int, *_: object) -> int:
        done.add(action)
        return sqlite3.SQLITE_OK

    async with connect(tmp_path / "models.db", write=False) as database:
        models = ReadModels(database)
        inner = cast("Any", database)  # aiosqlite has no authorizers
        await inner._execute(inner._conn.set_authorizer, noted)  # noqa: SLF001

        async def ask(text: str) -> None:
            assert await models.task(text) is None
            assert await models.task(text, owner=text, agent=text) is None
            for page in (
                await models.tasks(text),
                await models.tasks(owner=text),
                await models.tasks(context_id=text),
            ):
                assert page.total == 0
            assert (await models.tasks(updated_after=text)).total in (0, 3)
            for list_ in (models.tasks, models.contexts, models.damage):
                with contextlib.suppress(InvalidInput):
                    await list_(cursor=text)

        found: list[str] = []

        @settings(max_examples=60, derandomize=True, database=None)
        @given(INJECTED)
        def collect(text: str) -> None:
            found.append(text)

        collect()
        for text in found:
            await ask(text)
    assert done == NOTHING_ELSE


@pytest.mark.accepts("AS-65")
async def test_lists_and_filters_use_indexes(tmp_path: Path) -> None:
    tape = Tape()
    [*_, story] = lived(tape, "echo", 3)
    path = tmp_path / "models.db"
    await fill(path, tape)
    [task] = story.state.tasks
    async with open_read_models(path) as models:
        cursor = (await models.tasks("echo", page_size=1)).next
    asks: list[Ask] = [
        lambda models: models.tasks(),
        lambda models: models.tasks("echo"),
        lambda models: models.tasks("echo", cursor=cursor),
        lambda models: models.tasks("echo", context_id="echo 1"),
        lambda models: models.tasks(context_id="echo 1"),
        lambda models: models.tasks("echo", state=TaskState.FAILED),
        lambda models: models.tasks("echo", updated_after=tape.now),
        lambda models: models.task(task),
        lambda models: models.contexts(),
        lambda models: models.contexts("echo"),
        lambda models: models.rejection("echo", task),
        lambda models: models.rejections("echo"),
        lambda models: models.agent("echo"),
        lambda models: models.active(),
        lambda models: models.ledgers.inbox(),
        lambda models: models.ledgers.inbox("echo"),
        lambda models: models.ledgers.inbox(person="anna"),
        lambda models: models.ledgers.dead_letters(),
        lambda models: models.ledgers.dead_letters("echo", redriven=True),
        lambda models: models.ledgers.dead_letter(task),
        lambda models: models.ledgers.delegations(task),
    ]

    async with connect(path, write=False) as database:
        for ask in asks:
            [statement] = await statements_of(database, ask)
            plan = await database.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}")
            for *_, step in plan:
                # A scan in the order of an index is stopped by LIMIT; one of a table is not.
                assert "USING" in step or not step.startswith(("SCAN t", "SCAN x")), statement
                assert step != "USE TEMP B-TREE FOR ORDER BY", statement


places = st.lists(st.text(max_size=20), min_size=3, max_size=3).map(tuple)


@given(places, st.lists(st.text(max_size=5), max_size=3).map(tuple))
def test_a_cursor_leads_back_to_its_place(place: tuple[str, ...], asked: tuple[str, ...]) -> None:
    assert read_cursor(write_cursor(place, asked), asked, 3) == place


@given(
    st.one_of(
        st.text(),
        st.binary(max_size=40).map(lambda data: base64.urlsafe_b64encode(data).decode()),
        places.map(lambda place: write_cursor(place, ("agent", "poet"))),
        places.map(lambda place: write_cursor(place[:2], ("agent", "echo"))),
        st.just("A" * 100_000),
    )
)
def test_what_is_no_cursor_of_the_list_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_cursor(cursor, ("agent", "echo"), 3)
    assert refused.value.field == "pageToken"
