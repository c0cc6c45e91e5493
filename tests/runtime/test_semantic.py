"""Recall by meaning: near memories are found, words still count, and a failure is no empty page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.events.memories import Member
from pelton.events.memory import MemoryScope
from pelton.projections.memories import MemoryQuery
from pelton.projections.read import ReadModels
from pelton.projections.store import open_private
from pelton.runtime.agents import agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.remembered import RecallFailed
from pelton.runtime.semantic import NEAREST, EmbeddingFailed, Nearness, Vectors
from pelton.runtime.turn import Turn
from tests.projections.test_memories import ANNA, BERT, LATER, Diary
from tests.runtime.clients import Client, reply, serving

MEANINGS = (("car", "automobile", "wheels"), ("bread", "loaf", "bakery"), ("rain", "wet"))
"""Words that mean the same: each group is a direction."""


Made = Callable[[list[str]], Any]


def embed(texts: list[str]) -> Any:
    """Return how often the words of each group are in texts."""
    return [
        [sum(text.lower().count(word) for word in group) for group in MEANINGS] for text in texts
    ]


async def found(diary: Diary, text: str, embed_: Made = embed, **more: Any) -> list[str]:
    """Return what all pages of a hybrid recall say."""
    async with open_private() as (store, database):
        await store.take(diary.tape.records)
        memories, nearness = ReadModels(database).memories, Nearness(embed_)
        said: list[str] = []
        cursor = ""
        while True:
            query = MemoryQuery(now=LATER, text=text, limit=2, cursor=cursor, **more)
            page = await memories.recall(query, near=await nearness.nearest(memories, query))
            said += [entry.content for entry in page.items]
            if not (cursor := page.next):
                assert page.total == len(said)
                return said


async def test_the_near_and_the_fitting_are_ranked_together() -> None:
    diary = Diary()
    for text in ("It rains, all is wet.", "An automobile.", "A car is red.", "The loaf is warm."):
        diary.commit(text)
    said = await found(diary, "car")
    assert said[:2] == ["A car is red.", "An automobile."], "both, then by meaning"
    assert set(said) == {memory.versions[-1].content for memory in diary.memories.values()}
    assert (await found(diary, "warm"))[0] == "The loaf is warm.", "by its words alone"


@pytest.mark.accepts("AS-53")
async def test_meaning_opens_no_door() -> None:
    diary = Diary()
    diary.commit("Anna's automobile.", ANNA)
    diary.commit("Bert's car.", BERT)
    gone = diary.commit("A car for all.", ANNA, scope=MemoryScope.GLOBAL, owner="", life=0)
    diary.forget(gone)
    assert await found(diary, "car", member=ANNA) == ["Anna's automobile."]
    assert await found(diary, "car", member=BERT) == ["Bert's car."]
    assert await found(diary, "car", member=Member("carl", 1, "")) == []


@settings(max_examples=25)
@given(st.lists(st.sampled_from([w for g in MEANINGS for w in g]), min_size=1, max_size=12))
def test_the_search_is_exact(words: Sequence[str]) -> None:
    diary = Diary()
    for word in words:
        diary.commit(word)

    async def look() -> list[int]:
        async with open_private() as (store, database):
            await store.take(diary.tape.records)
            memories = ReadModels(database).memories
            return await Nearness(embed).nearest(memories, MemoryQuery(now=LATER, text="car rain"))

    asked = np.array([1, 0, 1]) / np.sqrt(2)
    likeness = {
        number + 1: float(np.array(embed([w])[0]) @ asked) for number, w in enumerate(words)
    }
    expected = sorted(likeness, key=lambda number: (-round(likeness[number], 6), number))
    assert asyncio.run(look()) == expected[:NEAREST]


async def test_only_what_has_changed_is_made_vectors_of() -> None:
    diary, asked = Diary(), list[str]()

    def counting(texts: list[str]) -> Any:
        asked.extend(texts)
        return embed(texts)

    one = diary.commit("A car.")
    diary.commit("A loaf.")
    query = MemoryQuery(now=LATER, text="bread")
    async with open_private() as (store, database):
        await store.take(diary.tape.records)
        memories, nearness = ReadModels(database).memories, Nearness(counting)
        assert await nearness.nearest(memories, query) == [2, 1]
        taken = len(diary.tape.records)
        diary.revise(one, "Bread, bread.")
        await store.take(diary.tape.records[taken:])
        assert await nearness.nearest(memories, query) == [1, 2]
    assert asked == ["A car.", "A loaf.", "bread", "Bread, bread.", "bread"]


def broken(_texts: list[str]) -> Vectors:
    raise OSError("the model is gone")


WRONG: dict[str, Made] = {
    "raises": broken,
    "a row too few": lambda texts: embed(texts)[1:],
    "no rows": len,
    "not numbers": lambda texts: [[float("nan")]] * len(texts),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_what_makes_no_vectors_is_told(wrong: Made) -> None:
    diary = Diary()
    diary.commit("A car.")
    diary.commit("A loaf.")
    with pytest.raises(EmbeddingFailed):
        await found(diary, "car", wrong)


@pytest.mark.accepts("AS-54")
async def test_an_agent_recalls_by_meaning_or_is_told_that_it_cannot(log: JetStreamLog) -> None:
    working = True

    def sometimes(texts: list[str]) -> Any:
        return embed(texts) if working else broken(texts)

    @agent(name="echo")
    async def driver(turn: Turn) -> str:
        if turn.text == "note":
            return (await turn.memory.commit("The automobile is red.")).memory_id
        try:
            return " ".join(each.content for each in (await turn.memory.recall("car")).items)
        except RecallFailed:
            return "not known"

    client = Client(log)

    async def say(text: str) -> str:
        context, task = await client.send(text)
        return reply(await client.settled(context, task))

    async with serving(log, driver, embed=sometimes):
        await say("note")
        assert await say("what of the car?") == "The automobile is red."
        working = False
        assert await say("what of the car?") == "not known"
