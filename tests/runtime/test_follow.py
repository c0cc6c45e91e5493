"""Following a context: what live copies lose, the log makes good; damage is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import cast

import pytest
import pytest_asyncio

from pelton.events import subjects
from pelton.events.commit import Commit, CommitData
from pelton.events.context import Context
from pelton.events.envelope import digest, encode
from pelton.events.errors import DamagedRecord, PeltonError
from pelton.events.events import CommandRejected
from pelton.runtime import follow
from pelton.runtime.clock import RealWorld
from pelton.runtime.contexts import Contexts
from pelton.runtime.follow import Followers
from pelton.runtime.log import Heard, Log, LogUnavailable, Record

EMPTY = Context(agent="a", id="c")
SUBJECT = subjects.commits("a", "c")


def chain(count: int) -> list[Record]:
    """Return that many commits, each with one event, at even sequences."""
    records: list[Record] = []
    for number in range(1, count + 1):
        event = CommandRejected(command_id=str(number), code="x", reason="x")
        commit = Commit(
            id=str(number),
            source="x",
            subject="a/c",
            time="2026-01-01T00:00:00.000Z",
            tenant="x",
            actor="x",
            correlationid="x",
            causationid="x",
            sequence=number,
            prevhash=digest(records[-1].data) if records else "",
            data=CommitData(events=(event,)),
        )
        records.append(Record(number * 2, SUBJECT, encode(commit), 1))
    return records


class Tape:
    """A log that reads what it was given, and fails when told to."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.reads = 0
        self.away = False
        self.during: Callable[[], None] = lambda: None
        self.restored: Callable[[], None] = lambda: None

    async def read(
        self, subject: str, *, after: int = 0, decisive: bool = False
    ) -> Sequence[Record]:
        """Return what is there; then something may happen before the reader knows."""
        assert (subject, decisive) == (SUBJECT, False)
        self.reads += 1
        if self.away:
            raise LogUnavailable("no answer")
        found = [each for each in self.records if each.sequence > after]
        self.during()
        await asyncio.sleep(0)
        return found

    def on_restored(self, restored: Callable[[], None]) -> Callable[[], None]:
        """Take note of who wants to know."""
        self.restored = restored
        return lambda: None


class Seen:
    """Watches a context."""

    def __init__(self) -> None:
        self.heads: list[int] = []
        self.error: PeltonError | None = None
        self.news = asyncio.Event()

    def took(self, before: Context, commit: Commit, after: Context) -> None:
        """Take a commit."""
        assert before.sequence + len(commit.data.events) == after.sequence
        self.heads.append(after.head)
        self.news.set()

    def failed(self, error: PeltonError) -> None:
        """Take an error."""
        self.error = error
        self.news.set()

    async def until(self, *heads: int) -> None:
        """Wait until exactly these commits were seen, in this order."""
        async with asyncio.timeout(5):
            while len(self.heads) < len(heads) and self.error is None:
                self.news.clear()
                await self.news.wait()
        assert self.heads == list(heads)


def live(record: Record, previous: int) -> Heard:
    return Heard(record.sequence, previous, record.subject, record.data)


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest_asyncio.fixture
async def followers(tape: Tape) -> AsyncIterator[Followers]:
    log = cast("Log", tape)
    async with Followers(log, Contexts(log), world=RealWorld()) as followers:
        yield followers


async def test_what_is_heard_in_order_is_folded_without_reading(
    tape: Tape, followers: Followers
) -> None:
    seen = Seen()
    follower = followers.join(EMPTY, seen)
    one, two, _ = chain(3)
    followers.heard(live(one, 0))
    followers.heard(live(two, 2))
    followers.heard(live(one, 0))  # again: nothing new
    assert seen.heads == [2, 4]
    assert tape.reads == 0
    followers.leave(follower, seen)
    followers.heard(live(two, 2))  # nobody watches
    assert seen.heads == [2, 4]


async def test_a_gap_is_read(tape: Tape, followers: Followers) -> None:
    seen = Seen()
    followers.join(EMPTY, seen)
    tape.records = chain(3)
    followers.heard(live(tape.records[2], 4))
    await seen.until(2, 4, 6)


async def test_what_comes_while_reading_is_not_missed(tape: Tape, followers: Followers) -> None:
    seen = Seen()
    followers.join(EMPTY, seen)
    all_ = chain(3)
    tape.records = all_[:2]

    def more() -> None:
        tape.during = lambda: None
        tape.records = all_
        followers.heard(live(all_[2], 4))

    tape.during = more
    followers.heard(live(all_[1], 2))
    await seen.until(2, 4, 6)


async def test_a_restored_connection_makes_it_look(tape: Tape, followers: Followers) -> None:
    seen = Seen()
    followers.join(EMPTY, seen)
    tape.records = chain(2)
    tape.restored()
    await seen.until(2, 4)


async def test_a_silence_makes_it_look_and_an_absent_log_again(
    tape: Tape, followers: Followers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "SILENCE", 0.0)
    seen = Seen()
    followers.join(EMPTY, seen)
    tape.away = True
    async with asyncio.timeout(5):
        while tape.reads < 2:
            await asyncio.sleep(0.01)
    tape.away, tape.records = False, chain(1)
    await seen.until(2)


async def test_who_knows_more_than_those_who_follow_makes_them_look(
    tape: Tape, followers: Followers
) -> None:
    first, second = Seen(), Seen()
    follower = followers.join(EMPTY, first)
    tape.records = chain(2)
    ahead = await Contexts(cast("Log", tape)).load("a", "c")
    assert followers.join(ahead, second) is follower
    await first.until(2, 4)
    await second.until(2, 4)


async def test_a_damaged_context_fails_all_who_watch(tape: Tape, followers: Followers) -> None:
    seen = Seen()
    follower = followers.join(EMPTY, seen)
    one, two = chain(2)
    altered = one._replace(data=one.data.replace(b'"reason":"x"', b'"reason":"y"'))
    followers.heard(live(altered, 0))
    followers.heard(live(two, 2))
    assert isinstance(seen.error, DamagedRecord)
    assert seen.heads == [2]
    with pytest.raises(DamagedRecord):
        followers.join(EMPTY, Seen())
    followers.leave(follower, seen)
