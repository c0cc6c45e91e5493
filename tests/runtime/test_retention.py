"""Retention: the log and the blobs forget nothing, whatever a server is told (AS-24)."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# ruff: noqa: SLF001

from __future__ import annotations

from pathlib import Path
from typing import Any

import nats
import nats.js.errors
import pytest

from pelton.events.a2a import TaskState
from pelton.projections.dump import digest
from pelton.projections.read import open_read_models
from pelton.projections.store import Store, open_store
from pelton.runtime.agents import Terms, agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.streams import BLOBS, LOG, change
from pelton.runtime.log import LogFull, LogMisconfigured, LogRegressed
from pelton.runtime.rebuild import compare
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

BULK = "x" * 60_000


async def read() -> str:
    return BULK


@agent(name="echo", terms=Terms(suspend_after=0.05))
async def asking(turn: Turn) -> str:
    """Has something large, waits for a person, and needs all of it afterwards."""
    found = await turn.step("read", read)
    answer = await turn.ask("Go on?")
    return f"{len(found)} {answer}"


async def taken(log: JetStreamLog, store: Store) -> int:
    """Let read models take in all there is, and return the last sequence."""
    async for batch in log.scan(after=store.position.sequence):
        await store.take(batch)
    return store.position.sequence


async def try_to_remove(url: str, log: JetStreamLog) -> None:
    """Try all that a server knows to take something out of a stream."""
    async with await nats.connect(url) as client:
        stream = client.jetstream()
        for purge in (
            stream.purge_stream(LOG),
            stream.purge_stream(LOG, subject="evt.echo.>"),
            stream.purge_stream(LOG, keep=1),
            stream.purge_stream(LOG, seq=3),
        ):
            with pytest.raises(nats.js.errors.APIError):
                await purge
        for sequence in (1, 2):
            with pytest.raises(nats.js.errors.APIError):
                await stream.delete_msg(LOG, sequence)
        for headers in ({"Nats-Rollup": "sub"}, {"Nats-Rollup": "all"}, {"Nats-TTL": "1s"}):
            with pytest.raises(nats.js.errors.APIError):
                await stream.publish("evt.echo.c", b"", headers=headers)
        with pytest.raises(LogMisconfigured):  # what denies it cannot be taken back
            await change(log._api, LOG, {"deny_delete": False, "deny_purge": False})


@pytest.mark.accepts("AS-24")
async def test_what_an_open_task_and_a_read_model_need_is_never_removed(
    nats_url: str, log: JetStreamLog, tmp_path: Path
) -> None:
    client, path = Client(log), tmp_path / "models.db"
    async with serving(log, asking):
        context, task = await client.send("go")
        await client.until(context, lambda state: task in state.aside)
    async with open_store(path) as store:
        first = (await log.read("cmd.echo." + context))[0]
        await store.take([each async for e in log.scan() for each in e][:1])  # it is far behind
        assert store.position.sequence < first.sequence + 2
        before = [each async for e in log.scan() for each in e]

        await try_to_remove(nats_url, log)
        await change(log._api, LOG, {"max_msgs": len(before)})
        with pytest.raises(LogFull):  # a limit stops what is new
            await client.send("more", context)
        assert [each async for e in log.scan() for each in e] == before
        await change(log._api, LOG, {"max_msgs": -1})

        async with JetStreamLog.open(nats_url) as other, serving(other, asking):
            await client.send("yes", context, task=task)
            ended = await client.settled(context, task)
        assert (ended.status.state, reply(ended)) == (TaskState.COMPLETED, f"{len(BULK)} yes")
        last = await taken(log, store)
        assert (await log.extent()) == (1, last)
    async with open_read_models(path) as models:
        entry = await models.task(task, agent="echo")
        assert entry is not None
        assert entry.task.status.state is TaskState.COMPLETED
    assert (await compare(log, path)).equal
    assert (await digest(path)).sequence == last


@pytest.mark.accepts("AS-24")
@pytest.mark.parametrize(
    ("stream", "changed"),
    [
        (LOG, {"max_age": 3_600_000_000_000, "duplicate_window": 60_000_000_000}),
        (LOG, {"max_msgs_per_subject": 1}),
        (LOG, {"max_msgs": 100, "discard": "old"}),
        (LOG, {"allow_msg_ttl": True}),
        (BLOBS, {"max_age": 3_600_000_000_000}),
        (BLOBS, {"max_bytes": 1_000_000, "discard": "old"}),
    ],
    ids=str,
)
async def test_nothing_begins_on_a_server_that_was_told_to_forget(
    nats_url: str, log: JetStreamLog, stream: str, changed: dict[str, Any]
) -> None:
    await change(log._api, stream, changed)
    with pytest.raises(LogMisconfigured, match=f"{stream} has been changed by hand"):
        async with JetStreamLog.open(nats_url):
            pass
    if stream == LOG:
        with pytest.raises(LogMisconfigured, match="forgets"):
            async with JetStreamLog.open(nats_url, migrate=False):
                pass


@pytest.mark.accepts("AS-24", "G7")
async def test_nothing_begins_on_a_log_that_has_forgotten(nats_url: str, log: JetStreamLog) -> None:
    for number in range(3):
        await log.append("evt.a.c", b"%d" % number, id=f"{number}")
    await change(log._api, LOG, {"max_msgs_per_subject": 1})  # it does so at once
    await change(log._api, LOG, {"max_msgs_per_subject": -1})
    with pytest.raises(LogRegressed, match="2 of the 3 records"):
        async with JetStreamLog.open(nats_url):
            pass
