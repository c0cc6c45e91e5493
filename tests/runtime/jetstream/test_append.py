"""Appends when answers are lost, the server dies, or there is no room."""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import msgspec
import pytest

from pelton.events.errors import InvalidInput
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.jetstream.client import Reply, Unanswered
from pelton.runtime.jetstream.streams import change
from pelton.runtime.log import Conflict, Log, LogFull, LogUnavailable, TooLarge
from pelton.runtime.server import EmbeddedServer
from tests.proxy import Proxy, proxy

SUBJECT = "evt.echo.c1"


async def chain(log: Log, subject: str, enough: asyncio.Event) -> list[int]:
    """Append a chain of records, each expecting the one before; what is unknown is tried again."""
    sequences = [0]
    while not enough.is_set():
        number = len(sequences) - 1
        data, id_ = b"%d" % number, f"{subject}/{number}"
        with contextlib.suppress(LogUnavailable):
            sequences.append(await log.append(subject, data, id=id_, expect=sequences[-1]))
    return sequences[1:]


def numbered(sequences: list[int]) -> list[tuple[int, bytes]]:
    """Return what must be stored when these were acknowledged."""
    return [(sequence, b"%d" % number) for number, sequence in enumerate(sequences)]


async def stored(log: Log, subject: str) -> list[tuple[int, bytes]]:
    return [(record.sequence, record.data) for record in await log.read(subject)]


@pytest.mark.accepts("G1", "G2", "AS-62")
async def test_kills_of_the_server_lose_and_double_nothing(nats_server: EmbeddedServer) -> None:
    """G1 and G2 in small: four chains of commits while the server is killed five times."""
    async with JetStreamLog.open(nats_server.url, profile=RELAXED) as log:
        enough = asyncio.Event()
        chains = [f"evt.echo.c{n}" for n in range(4)]
        writers = asyncio.gather(*(chain(log, subject, enough) for subject in chains))
        for _ in range(5):
            before = (await log.extent()).last
            while (await log.extent()).last < before + 50:
                pass  # a kill must hit work
            nats_server.kill()
            await asyncio.sleep(0.02)
            await nats_server.start()
        enough.set()
        acknowledged = await writers
        for subject, sequences in zip(chains, acknowledged, strict=True):
            assert await stored(log, subject) == numbered(sequences)
        assert (await log.extent()).last == sum(len(sequences) for sequences in acknowledged)


async def lose_answers(between: Proxy, *, times: int) -> None:
    chance = random.Random(7)
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0.01, 0.06))
        between.deaf = True
        await asyncio.sleep(chance.uniform(0.002, 0.02))
        between.cut()  # the stream of bytes has a hole: nothing can follow on it
        between.deaf = False


@pytest.mark.accepts("G2", "AS-9")
async def test_lost_answers_lose_and_double_nothing(nats_server: EmbeddedServer) -> None:
    """The real trap: stored, but the acknowledgement is lost; with and without expectation."""
    user = nats_server.url.rpartition("@")[0]
    async with (
        proxy(nats_server.address) as (between, address),
        JetStreamLog.open(f"{user}@{address}", profile=RELAXED) as log,
    ):
        enough = asyncio.Event()

        async def commands() -> list[int]:
            sequences: list[int] = []
            while not enough.is_set():
                number = len(sequences)
                data, id_ = b"%d" % number, f"command {number}"
                sequences.append(await log.append("cmd.echo.c1", data, id=id_))
            return sequences

        writers = asyncio.gather(chain(log, SUBJECT, enough), commands())
        await lose_answers(between, times=15)
        enough.set()
        commits, plain = await writers
        assert between.swallowed > 0, "no answer was lost: this run proves nothing"
        assert await stored(log, SUBJECT) == numbered(commits)
        assert await stored(log, "cmd.echo.c1") == numbered(plain)


async def test_a_frozen_server_is_unknown_and_then_recognised(nats_server: EmbeddedServer) -> None:
    async with JetStreamLog.open(nats_server.url, profile=RELAXED) as log:
        nats_server.pause()
        append = asyncio.ensure_future(log.append(SUBJECT, b"once", id="1", expect=0))
        await asyncio.sleep(1.5)  # longer than the first attempt waits
        nats_server.resume()
        assert await append == 1
        assert await stored(log, SUBJECT) == [(1, b"once")]


class Answers:
    """Stands between a log and its connection, and changes answers to appends."""

    def __init__(self, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script: list[str] = []
        self._ask = log._connection.request
        monkeypatch.setattr(log._connection, "request", self.request)

    async def request(
        self, subject: str, data: bytes = b"", *, headers: bytes = b"", within: float
    ) -> Reply:
        act = self.script.pop(0) if self.script and subject.startswith("evt.") else "pass"
        if act in {"pass", "lose", "store, then in flight"}:
            reply = await self._ask(subject, data, headers=headers, within=within)
        else:
            reply = Reply(b"", b"")
        if act == "lose":
            raise Unanswered("lost on the way back")
        if "in flight" in act:
            error = {"code": 400, "err_code": 10164, "description": "wrong last sequence"}
            return Reply(b"", msgspec.json.encode({"error": error, "stream": "LOG", "seq": 0}))
        return reply


@pytest.fixture
def answers(log: JetStreamLog, monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(log, monkeypatch)


@pytest.mark.parametrize(
    "script",
    [
        ["lose"],
        ["lose", "lose", "lose"],
        ["in flight"],
        ["in flight", "in flight"],
        ["in flight", "lose"],
        ["store, then in flight"],
        ["lose", "in flight"],
    ],
    ids="+".join,
)
async def test_an_append_finds_itself_again(
    log: JetStreamLog, answers: Answers, script: list[str]
) -> None:
    head = await log.append(SUBJECT, b"before", id="0", expect=0)
    answers.script = script
    assert await log.append(SUBJECT, b"mine", id="1", expect=head) == 2
    assert not answers.script
    assert await stored(log, SUBJECT) == [(1, b"before"), (2, b"mine")]


@pytest.mark.parametrize(("act", "actual"), [("in flight", None), ("pass", 2)])
async def test_both_codes_of_a_conflict(
    log: JetStreamLog, answers: Answers, act: str, actual: int | None
) -> None:
    await log.append(SUBJECT, b"theirs", id="theirs", expect=0)
    await log.append(SUBJECT, b"later", id="later", expect=1)
    answers.script = [act]
    with pytest.raises(Conflict) as conflict:
        await log.append(SUBJECT, b"mine", id="mine", expect=0)
    assert conflict.value.actual == actual
    assert len(await stored(log, SUBJECT)) == 2


async def test_what_stays_in_flight_is_unknown_at_the_deadline(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        log._api.deadline = 0.3
        Answers(log, monkeypatch).script = ["in flight"] * 100
        with pytest.raises(LogUnavailable, match="in flight"):
            await log.append(SUBJECT, b"mine", id="mine", expect=0)


@pytest.mark.parametrize("limit", ["max_bytes", "max_msgs"])
async def test_a_full_log_refuses_and_forgets_nothing(log: JetStreamLog, limit: str) -> None:
    await change(log._api, "LOG", {limit: 20_000 if limit == "max_bytes" else 12})
    head = 0

    async def fill() -> None:
        nonlocal head
        for number in range(50):
            head = await log.append(SUBJECT, bytes(1000), id=f"{number}", expect=head)

    with pytest.raises(LogFull, match="exceeded"):
        await fill()
    assert 5 < head < 30
    assert (await log.extent()).first == 1
    assert len(await log.read(SUBJECT)) == head
    await change(log._api, "LOG", {limit: -1})
    assert await log.append(SUBJECT, b"there is room again", id="room", expect=head) == head + 1


async def test_the_limit_of_an_account_is_a_full_log(tmp_path: Path) -> None:
    extra = """
accounts { small: {
  jetstream: { max_mem: 10MB, max_file: 200KB },
  users: [ { user: small, password: secret } ] } }
"""
    async with EmbeddedServer(tmp_path, profile=RELAXED, extra=extra) as server:
        url = f"nats://small:secret@{server.address}"
        async with JetStreamLog.open(url, profile=RELAXED) as log:
            appends = (log.append("cmd.echo.c1", bytes(1000), id=f"{n}") for n in range(400))
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {int, LogFull}
            assert (await log.extent()).last > 50


async def test_what_does_not_fit_a_message_is_never_sent(log: JetStreamLog) -> None:
    with pytest.raises(TooLarge):
        await log.append(SUBJECT, bytes(1024 * 1024 - 10), id="1")  # with its headers too much
    assert log.connected
    assert await log.append(SUBJECT, bytes(1024 * 1024 - 200), id="2") == 1


@pytest.mark.accepts("S6", "S7")
@pytest.mark.parametrize(
    "subject",
    [
        "",
        "evt",
        "evt.",
        "evt.a..b",
        "evt.a.*",
        "evt.a.>",
        "evt.a b.c",
        "evt.a.b\r\nPUB evt.x.y 1\r\nx",
        "evt.a.\x00",
        "evt.a.ü",
        "$JS.API.STREAM.DELETE.LOG",
        "live.evt.a.b",
        "evt.a." + "x" * 4097,
        "evt.a." + "x" * 1024,
    ],
)
async def test_bad_subjects_are_refused_before_they_are_sent(
    log: JetStreamLog, subject: str
) -> None:
    with pytest.raises(InvalidInput):
        await log.append(subject, b"", id="1")
    assert log.connected
    assert (await log.extent()).last == 0


@pytest.mark.parametrize("id_", ["", "a\r\nNats-TTL: 1s", "a\nb", " a", "a ", "ü", "x" * 257])
async def test_bad_ids_are_refused_before_they_are_sent(log: JetStreamLog, id_: str) -> None:
    with pytest.raises(InvalidInput):
        await log.append(SUBJECT, b"", id=id_)
    assert (await log.extent()).last == 0
