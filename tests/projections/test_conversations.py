"""Conversations in the read models: what one finds, in what order, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pelton.events.a2a import TaskState
from pelton.events.errors import InvalidInput
from pelton.projections.conversations import Conversations
from pelton.projections.database import connect
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from tests.stories import Story, Tape

SAID = ("open a bakery", "100% of_them", "a\\b", 'she said "no"', "Äpfel", "role")


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> Path:
    """Return read models with a conversation for each of `SAID`, and one that is handed on."""
    tape = Tape()
    for number, text in enumerate(SAID):
        story = Story(tape, agent="boss" if number else "echo", context=f"talk-{number}")
        story.send(text)
        story.begin()
        if number == 1:
            key = story.delegate("clerk", "hand this on")
            handed = story.turn.delegations[key]
            child = Story(tape, agent="clerk", context=handed.context_id)
            child.send("hand this on")
            child.begin()
        if number != 2:
            story.end(TaskState.COMPLETED, "done")
    path = tmp_path / "models.db"
    async with open_store(path) as store:
        await store.take(tape.records)
    return path


async def found(file: Path, **asked: Any) -> list[str]:
    """Return the ids of the conversations that are found, page by page."""
    async with open_read_models(file) as models:
        ids: list[str] = []
        cursor = ""
        while True:
            page = await models.conversations.page(page_size=2, cursor=cursor, **asked)
            ids += [each.id for each in page.items]
            if not page.next:
                assert page.total == len(ids)
                return ids
            cursor = page.next


async def test_the_latest_comes_first_and_what_is_handed_on_only_if_asked_for(file: Path) -> None:
    own = [f"talk-{number}" for number in reversed(range(len(SAID)))]
    assert await found(file) == own
    every = await found(file, handed_on=True)
    assert [each for each in every if each.startswith("talk-")] == own
    assert len(every) == len(own) + 1
    assert await found(file, agent="echo") == ["talk-0"]
    assert await found(file, agent="nobody") == []
    async with open_read_models(file) as models:
        page = await models.conversations.page(handed_on=True)
        rows = {each.agent: each for each in page.items}
        assert rows["clerk"].by == "boss"
        assert rows["echo"].text == "open a bakery"
        assert rows["echo"].state == TaskState.COMPLETED
        assert {each.id: each.state for each in page.items}["talk-2"] == TaskState.WORKING


@pytest.mark.accepts("S18")
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("BAKERY", ["talk-0"]),
        ("% of_", ["talk-1"]),
        ("%", ["talk-1"]),
        ("_", ["talk-1"]),
        ("\\", ["talk-2"]),
        ('"no"', ["talk-3"]),
        ("\\\\", []),
        ("ROLE_USER", []),
        ("role", ["talk-5"]),
        ("Äpfel", ["talk-4"]),
        ("talk-4", ["talk-4"]),
        ("'; DROP TABLE tasks; --", []),
    ],
)
async def test_one_finds_what_was_said_and_no_pattern(
    file: Path, text: str, ids: list[str]
) -> None:
    assert await found(file, find=text) == ids


async def test_a_page_is_one_statement_in_the_order_of_an_index(file: Path) -> None:
    async with connect(file, write=False) as database:
        statements: list[tuple[str, Any]] = []

        async def fetch(query: str, values: Any) -> list[Any]:
            statements.append((query, values))
            return list(await database.execute_fetchall(query, values))

        await Conversations(fetch).page(find="a")
        [(query, values)] = statements
        plan = await database.execute_fetchall(f"EXPLAIN QUERY PLAN {query}", values)
        steps = [str(step[-1]) for step in plan]
        assert any(step.startswith("SCAN x USING INDEX contexts_newest") for step in steps), steps


async def test_a_cursor_is_of_one_list(file: Path) -> None:
    async with open_read_models(file) as models:
        page = await models.conversations.page(page_size=2)
        assert page.next
        with pytest.raises(InvalidInput):
            await models.conversations.page(page_size=2, find="a", cursor=page.next)
        with pytest.raises(InvalidInput):
            await models.conversations.page(page_size=101)
