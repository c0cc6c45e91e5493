"""The read models are the fold of the log, whatever the batches (G6, AS-12, AS-20)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.events import subjects
from pelton.events.a2a import Task, TaskState
from pelton.events.commit import Origin
from pelton.events.context import Context, fold
from pelton.events.decide import foresee, reject
from pelton.events.errors import InvalidInput
from pelton.events.upcast import decode_command
from pelton.projections.database import Database, StoreUnusable, connect
from pelton.projections.dump import Digest, digest
from pelton.projections.read import TaskEntry, open_read_models
from pelton.projections.store import Store, open_new, open_store
from pelton.projections.write import Position, PositionMoved
from pelton.runtime.log import Record
from tests.moves import histories
from tests.stories import Story, Tape

T = TypeVar("T")


def in_directory(work: Callable[[Path], Coroutine[Any, Any, T]]) -> T:
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(work(Path(directory)))


async def build(path: Path, batches: Sequence[Sequence[Record]]) -> Digest:
    """Take in batches and return the digest."""
    async with open_store(path) as store:
        for batch in batches:
            await store.take(batch)
    return await digest(path)


async def make(path: Path, batches: Sequence[Sequence[Record]]) -> Digest:
    """Make a new file as a rebuild does, and return the digest."""
    async with open_new(path) as store:
        for batch in batches:
            await store.take(batch)
        await store.finish()
    return await digest(path)


def cut(records: Sequence[Record], sizes: Sequence[int]) -> list[Sequence[Record]]:
    """Return records in batches of those sizes, repeated."""
    batches: list[Sequence[Record]] = []
    start = 0
    while start < len(records):
        size = sizes[len(batches) % len(sizes)]
        batches.append(records[start : start + size])
        start += size
    return batches


def seen(tape: Tape, agent: str, context_id: str) -> Context:
    """Return a context as clients see it, by the domain's own rules."""
    state = Context(agent=agent, id=context_id)
    for record in tape.on(subjects.commits(agent, context_id)):
        state = fold(state, record.sequence, record.data)
    for record in tape.on(subjects.commands(agent, context_id)):
        if not state.decided(record.sequence):
            state = foresee(state, decode_command(record.data))
    return state


async def served(path: Path) -> dict[tuple[str, str], TaskEntry]:
    """Return all tasks as they are served."""
    found: dict[tuple[str, str], TaskEntry] = {}
    async with open_read_models(path) as models:
        cursor = ""
        while True:
            page = await models.tasks(page_size=7, cursor=cursor, history=None, artifacts=True)
            found |= {(entry.agent, entry.task.id): entry for entry in page.items}
            assert page.total >= len(found)
            cursor = page.next
            if not cursor:
                assert page.total == len(found)
                return found


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@pytest.mark.accepts("G6", "AS-12")
@given(histories(), sizes)
@settings(deadline=None, max_examples=30)
def test_tasks_are_served_as_the_domain_folds_them(
    history: tuple[Tape, Sequence[Story]], batches: Sequence[int]
) -> None:
    tape, stories = history

    async def work(directory: Path) -> dict[tuple[str, str], TaskEntry]:
        path = directory / "models.db"
        await build(path, cut(tape.records, batches))
        return await served(path)

    found = in_directory(work)

    expected: dict[tuple[str, str], Task] = {}
    counts: dict[tuple[str, str], int] = {}
    for story in stories:
        state = seen(tape, story.agent, story.context)
        for task in state.tasks.values():
            if task.answer is None:
                expected[story.agent, task.id] = task.view()
                counts[story.agent, task.id] = len(task.history)
    assert {key: entry.task for key, entry in found.items()} == expected


@pytest.mark.accepts("G6")
@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("actor", ["anna", "boss", "carl"])
async def test_an_answer_that_waits_is_shown_if_who_gives_it_may(
    tmp_path: Path, batch: int, actor: str
) -> None:
    story = Story()
    story.send("pay it")
    story.begin()
    story.ask("really?", approvers=("boss",))
    story.send("yes", task=story.task.id, actor=actor)

    await build(tmp_path / "models.db", cut(story.tape.records, [batch]))
    [entry] = (await served(tmp_path / "models.db")).values()

    assert entry.task == seen(story.tape, story.agent, story.context).tasks[entry.task.id].view()
    assert (entry.task.history[-1].parts[0].text == "yes") is (actor == "boss")


@pytest.mark.accepts("G6", "AS-12", "AS-20")
@pytest.mark.accepts("AS-48")
@given(histories(), sizes)
@settings(deadline=None, max_examples=30)
def test_active_are_the_turns_that_have_begun_and_not_ended(
    history: tuple[Tape, Sequence[Story]], batches: Sequence[int]
) -> None:
    tape, stories = history

    async def work(directory: Path) -> dict[str, int]:
        path = directory / "models.db"
        await build(path, cut(tape.records, batches))
        async with open_read_models(path) as models:
            return await models.active()

    expected: Counter[str] = Counter()
    for story in stories:
        tasks = seen(tape, story.agent, story.context).tasks.values()
        expected[story.agent] += sum(task.turn is not None for task in tasks)
    assert in_directory(work) == {agent: count for agent, count in expected.items() if count}


@given(histories(), sizes, st.data())
@settings(deadline=None, max_examples=30)
def test_the_digest_depends_on_the_log_alone(
    history: tuple[Tape, Sequence[Story]], batches: Sequence[int], data: st.DataObject
) -> None:
    """Any batches, whatever is delivered again, and making it anew, give what one batch gives."""
    tape, _ = history
    again = [
        tape.records[data.draw(st.integers(0, max(0, batch[0].sequence - 1))) : batch[-1].sequence]
        for batch in cut(tape.records, batches)
    ]

    async def work(directory: Path) -> tuple[Digest, Digest, Digest]:
        whole = await build(directory / "whole.db", [tape.records])
        repeated = await build(directory / "again.db", again)
        return whole, repeated, await make(directory / "anew.db", again)

    whole, repeated, anew = in_directory(work)

    assert repeated == whole
    assert anew == whole
    assert whole.sequence == len(tape.records)


@pytest.mark.accepts("G2", "G6")
@pytest.mark.parametrize("size", [1, 100])
async def test_a_message_that_a_running_turn_took_does_not_wait_when_it_comes_again(
    tmp_path: Path, size: int
) -> None:
    story = Story()
    story.send("hello")
    story.begin()
    again = story.send("and this")
    story.steer()
    story.put(again)
    path = tmp_path / "models.db"

    await build(path, cut(story.tape.records, [size]))

    assert {id_ for _, id_ in await served(path)} == {story.task.id}


def by_hand(sequence: int, record: Record, data: bytes) -> Record:
    return Record(sequence, record.subject, data, record.received_ns)


class Crash(Exception):
    """What stands for the end of the process."""


@pytest.mark.accepts("G6", "AS-12")
@given(histories(max_moves=20), st.data())
@settings(deadline=None, max_examples=30)
def test_a_crash_between_any_two_statements_changes_nothing(
    history: tuple[Tape, Sequence[Story]], data: st.DataObject
) -> None:
    """The connection is lost before a statement of a batch; the batch is taken in again."""
    tape, _ = history
    half = data.draw(st.integers(0, len(tape.records)))
    fatal = data.draw(st.integers(0, 12))

    async def work(directory: Path) -> None:
        path = directory / "models.db"
        before = await build(path, [tape.records[:half]])
        with contextlib.suppress(Crash, StoreUnusable):  # nothing can be read of it after a crash
            async with connect(path, write=True) as database:
                [[sequence, hash_]] = await database.execute_fetchall("SELECT * FROM position")
                store = Store(Crashing(database, fatal), Position(sequence, hash_))  # type: ignore[arg-type]
                await store.take(tape.records[half:])
                before = await digest(path)
        assert await digest(path) == before
        assert await build(path, [tape.records]) == await build(directory / "x.db", [tape.records])

    in_directory(work)


class Crashing:
    """A connection that is lost before its nth statement."""

    def __init__(self, database: Database, fatal: int) -> None:
        self._database, self._left = database, fatal
        self._connection: sqlite3.Connection | None = None

    async def execute_fetchall(self, *arguments: Any) -> Any:
        return await self._database.execute_fetchall(*arguments)

    async def run(self, work: Callable[[Any], T]) -> T:
        def losing(connection: sqlite3.Connection) -> T:
            self._connection = connection
            return work(self)

        return await self._database.run(losing)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        assert self._connection is not None
        if self._left == 0:
            self._connection.close()
        self._left -= 1
        if self._left < 0:
            raise Crash
        return self._connection.execute(*arguments)


async def test_a_damaged_command_is_written_down_until_it_is_decided(tmp_path: Path) -> None:
    story = Story()
    bad = story.tape.append(subjects.commands("echo", "chat"), b"{")
    story.send("hello")
    path = tmp_path / "models.db"
    async with open_store(path) as store, open_read_models(path) as models:
        damaged = await store.take(story.tape.records)
        assert [each.sequence for each in damaged] == [bad]
        assert await models.damaged() == 1
        assert (await models.tasks()).total == 1

        story.begin()  # of the second command: all up to it are decided
        assert not await store.take(story.tape.records)
        assert await models.damaged() == 0
        assert (await models.contexts()).items[0].waiting == 0


@pytest.mark.parametrize("spoil", ["bytes", "gap", "unknown task", "newer version"])
async def test_after_a_damaged_commit_its_context_stands_still(tmp_path: Path, spoil: str) -> None:
    tape = Tape()
    broken, sound = Story(tape, context="broken"), Story(tape, context="sound")
    for story in (broken, sound):
        story.send("hello")
        story.begin()
    before = broken.task.view()
    broken.progress("reading")
    at = len(tape.records)
    spoilt = tape.records[-1]
    match spoil:
        case "bytes":
            data = spoilt.data[:-2]
        case "gap":
            data = spoilt.data.replace(b'"sequence":4', b'"sequence":5')
        case "unknown task":
            data = spoilt.data.replace(broken.task.id.encode(), b"another")
        case _:
            data = spoilt.data.replace(b"Commit.v1", b"Commit.v9", 1)
    assert data != spoilt.data
    tape.records[-1] = by_hand(at, spoilt, data)
    broken.end()
    sound.end()

    digests: list[Digest] = []
    for size in (1, 3, 100):
        path = tmp_path / f"{size}.db"
        digests.append(await build(path, cut(tape.records, [size])))
        digests.append(await make(tmp_path / f"new-{size}.db", cut(tape.records, [size])))
    async with open_read_models(path) as models:
        contexts = {entry.id: entry for entry in (await models.contexts()).items}
        tasks = {entry.task.context_id: entry for entry in (await served(path)).values()}

    assert contexts["broken"].stopped == at
    assert tasks["broken"].task == before
    assert contexts["sound"].stopped == 0
    assert tasks["sound"].task == next(iter(sound.state.tasks.values())).view()
    assert len(set(digests)) == 1


async def test_what_is_no_subject_of_the_log_is_written_down(tmp_path: Path) -> None:
    tape = Tape()
    tape.append("evt.echo.too.long", b"{}")
    tape.append("evt.echo._agent", b"{}")
    async with open_store(tmp_path / "models.db") as store:
        damaged = await store.take(tape.records)

        assert [each.sequence for each in damaged] == [1, 2]
        assert store.position.sequence == 2


async def test_two_writers_do_not_both_take_in_a_record(tmp_path: Path) -> None:
    story = Story()
    story.send("hello")
    path = tmp_path / "models.db"
    async with open_store(path) as one, open_store(path) as other:
        await one.take(story.tape.records)

        with pytest.raises(PositionMoved):
            await other.take(story.tape.records)

        assert other.position == one.position
        story.begin()
        await other.take(story.tape.records)
    assert await digest(path) == await build(tmp_path / "x.db", [story.tape.records])


async def test_a_digest_tells_contents_apart(tmp_path: Path) -> None:
    story = Story()
    story.send("hello")
    path = tmp_path / "models.db"
    before = await build(path, [story.tape.records])
    async with connect(path, write=True) as database:
        await database.execute_fetchall("UPDATE messages SET message = message || ' '")

    assert await digest(path) != before


async def test_cancelled_at_any_moment_it_has_taken_in_all_or_nothing(tmp_path: Path) -> None:
    story = Story()
    story.send("hello")
    story.begin()
    whole = await build(tmp_path / "whole.db", [story.tape.records])
    cancelled = 0
    for turns in range(40):
        path = tmp_path / f"{turns}.db"
        async with open_store(path) as store:
            nothing = await digest(path)
            taking = asyncio.ensure_future(store.take(story.tape.records))
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            taking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await taking
            cancelled += taking.cancelled()
            found = await digest(path)
            assert found in (nothing, whole)
            assert store.position.sequence == found.sequence
            await store.take(story.tape.records)
        assert await digest(path) == whole

    assert cancelled


@pytest.mark.accepts("G6")
async def test_the_digest_of_a_known_log_is_known(tmp_path: Path) -> None:
    """The same with every version of Python and SQLite; another value is another set of tables."""
    story = Story()
    story.send("hello")
    story.begin()
    story.write("answer", "één ", "two")
    story.progress("reading")
    story.end(text="done")
    story.cancel("no-such-task")
    story.decide()
    story.send("again")

    found = await build(tmp_path / "models.db", [story.tape.records])

    assert found == Digest(8, "e248be94ee1e8eaf31888c03f9124779d5269d4c5bf2d578048885a1d0e1bd02")


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.accepts("AS-12")
async def test_a_command_that_comes_again_shows_nothing_new(tmp_path: Path, size: int) -> None:
    """Beyond the deduplication window the log may hold a command twice; the second adds nothing."""
    story = Story()
    opening = story.send("hello")
    story.begin()
    story.end(TaskState.INPUT_REQUIRED, "which one?")
    [task] = story.state.tasks
    further = story.send("that one", task=task)
    story.decide()
    refused = story.cancel("no-such-task")
    story.decide()
    for command in (opening, further, refused):
        story.put(command)
    path = tmp_path / "models.db"
    await build(path, cut(story.tape.records, [size]))

    expected = seen(story.tape, "echo", "chat").tasks[task].view()
    assert {key: entry.task for key, entry in (await served(path)).items()} == {
        ("echo", task): expected
    }
    assert len(expected.history) == 3  # the question stands between


async def test_what_showed_and_was_refused_is_gone(tmp_path: Path) -> None:
    """An executor may refuse for reasons that nobody else can foresee."""
    story = Story()
    command = story.send("hello")
    path = tmp_path / "models.db"
    async with open_store(path) as store, open_read_models(path) as models:
        await store.take(story.tape.records)
        assert (await models.tasks()).total == 1
        refusal = reject(command.id, InvalidInput("not today"))
        story.commit(refusal, origin=Origin.caused_by(command, "executor"), command=1, handled=1)
        await store.take(story.tape.records)
        assert (await models.tasks()).total == 0
        assert len(await models.rejections("echo")) == 1
    assert await digest(path) == await build(tmp_path / "x.db", [story.tape.records])
