"""Folds of long contexts that are kept: used if the log has what they end with, else not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from pelton.adapters.push.keys import new_key
from pelton.adapters.sealing import TenantCipher
from pelton.events import subjects
from pelton.events.context import Context
from pelton.projections.folds import Folds, open_folds
from pelton.runtime import contexts as module
from pelton.runtime.agents import agent
from pelton.runtime.contexts import Contexts
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import Record
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from pelton.runtime.vault import Sealing
from tests.runtime.clients import WORLD, Client, serving
from tests.runtime.test_erasure import say


class Reads:
    """A log that says from where its subjects are read."""

    def __init__(self, log: JetStreamLog) -> None:
        self._log = log
        self.after: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    async def read(self, subject: str, *, after: int = 0, **options: Any) -> Sequence[Record]:
        self.after.append(after)
        return await self._log.read(subject, after=after, **options)


def look(text: str) -> dict[str, list[Any]]:
    return {"seen": [text, 1.5, None]}


@agent(name="echo")
async def echo(turn: Turn) -> str:
    """Remembers some things in every way that a fold has."""
    await turn.step("look", look, turn.text)
    await turn.stream(turn.text)
    await turn.artifact("done", name="note", metadata={"a": {"b": [1]}})
    return turn.text


@pytest.fixture(autouse=True)
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", 5)


@pytest_asyncio.fixture
async def context(log: JetStreamLog) -> str:
    client = Client(log)
    async with serving(log, echo):
        context, task = await client.send("one")
        await client.settled(context, task)
    return context


@pytest_asyncio.fixture
async def folds(tmp_path: Path) -> AsyncIterator[Folds]:
    async with open_folds(tmp_path / "folds.db") as folds:
        yield folds


async def loaded(log: JetStreamLog, context: str, folds: Folds | None) -> tuple[Context, list[int]]:
    """Return a context as a process has it that has just begun, and from where it has read."""
    reads: Any = Reads(log)
    state = await Contexts(reads, folds=folds).load("echo", context)
    return state, reads.after


async def test_a_long_context_is_read_on_from_where_it_was_kept(
    log: JetStreamLog, context: str, folds: Folds, tmp_path: Path
) -> None:
    whole, after = await loaded(log, context, folds)
    assert after == [0]
    async with open_folds(tmp_path / "folds.db") as later:
        assert await loaded(log, context, later) == (whole, [whole.head])
        client = Client(log)
        async with serving(log, echo):
            _, task = await client.send("two", context)
            await client.settled(context, task)
        anew, _ = await loaded(log, context, None)
        assert len(anew.tasks) == 2
        assert await loaded(log, context, later) == (anew, [whole.head])
        assert (await loaded(log, context, later))[1] == [anew.head], "it was kept again"
    (tmp_path / "folds.db").unlink()
    assert (await loaded(log, context, None))[0] == anew, "it is only a cache"


async def test_what_has_grown_long_in_one_process_is_kept_too(
    log: JetStreamLog, context: str, folds: Folds
) -> None:
    """An executor remembers what it has written, and never folds it: the next one would."""
    client = Client(log)
    async with serving(log, echo, folds=folds):
        for text in ("two", "three"):
            _, task = await client.send(text, context)
            await client.settled(context, task)
    grown, after = await loaded(log, context, folds)
    assert (len(grown.tasks), after) == (3, [grown.head])


@pytest.mark.accepts("G7")
async def test_what_the_log_does_not_have_is_not_gone_on_with(
    log: JetStreamLog, context: str, folds: Folds
) -> None:
    """A fold of another log, or of one that went backwards and on (law 13)."""
    whole, _ = await loaded(log, context, None)
    records = await log.read(subjects.commits("echo", context))
    commands = await log.read(subjects.commands("echo", context))
    for wrong in (
        replace(whole, hash="0" * 64),
        replace(whole, head=whole.head + 100),
        replace(whole, head=commands[0].sequence),
        replace(whole, head=records[0].sequence),
    ):
        await folds.put(wrong)
        assert await loaded(log, context, folds) == (whole, [0]), "it is folded anew"
        assert await folds.get("echo", context) == whole, "and kept as it is"


async def test_what_other_code_has_folded_is_not_used(
    log: JetStreamLog, context: str, folds: Folds, tmp_path: Path
) -> None:
    whole, _ = await loaded(log, context, folds)
    async with open_folds(tmp_path / "folds.db", code="another") as other:
        assert await other.get("echo", context) is None
        assert await loaded(log, context, other) == (whole, [0])


async def test_a_file_that_is_none_is_made_anew(
    log: JetStreamLog, context: str, tmp_path: Path
) -> None:
    (tmp_path / "folds.db").write_bytes(b"no database at all" * 1000)
    async with open_folds(tmp_path / "folds.db") as folds:
        whole, after = await loaded(log, context, folds)
        assert (await loaded(log, context, folds), after) == ((whole, [whole.head]), [0])


@pytest.mark.accepts("AS-24")
async def test_what_is_sealed_is_kept_sealed(
    nats_server: EmbeddedServer, tmp_path: Path, folds: Folds
) -> None:
    new_key(tmp_path / "keys", world=WORLD)
    sealing = Sealing(TenantCipher(tmp_path / "keys", world=WORLD))
    async with JetStreamLog.open(nats_server.url, sealing=sealing) as log:
        async with serving(log, echo):
            context, task = await say(log, "canary")
            await Client(log).settled(context, task)
        whole, _ = await loaded(log, context, folds)
    assert await folds.get("echo", context) == whole
    kept = b"".join(each.read_bytes() for each in tmp_path.glob("folds.db*"))
    assert context.encode() in kept
    assert b"canary" not in kept
