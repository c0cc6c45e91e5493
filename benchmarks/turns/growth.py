"""Bytes of the log per turn of one conversation whose history grows (law 8)."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role, TaskState, text_of
from pelton.events.commands import SendMessage, SendMessageData
from pelton.events.context import Context
from pelton.events.envelope import encode
from pelton.runtime.agents import agent
from pelton.runtime.clock import RealWorld, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.log import Record
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn

ASKED: Final = "What do you make of this, then? " * 10
ANSWER: Final = "It is as I have said before, and more so now. " * 40
DOCUMENT: Final = "All that the agent has to know about its work. " * 1000
_WITHIN: Final = 60.0  # seconds for a turn
_BLOB: Final = re.compile(rb'"sha256":"([0-9a-f]{64})","size":([0-9]+)')


class Grown(NamedTuple):
    """What one turn has added: bytes of records, and of content that was not stored before."""

    turn: int
    log: int
    bulk: int


async def read_up() -> str:
    """Return what is the same for every turn, and large."""
    return DOCUMENT


async def model(prompt: list[str]) -> str:
    """Answer a prompt."""
    return f"{ANSWER}({len(prompt)})"


@agent
async def talker(turn: Turn) -> str:
    """Sends the whole conversation to a model, with a document that it reads each time."""
    document = await turn.step("document", read_up, idempotent=True)
    history = [text_of(message.parts) for message in turn.history]
    return await turn.step("model", model, [document, *history, turn.text], idempotent=True)


def told(context: str, number: int, time: str) -> SendMessage:
    """Return the message of a turn to the agent `talker`."""
    id_ = f"turn-{number}"
    message = Message(message_id=id_, role=Role.USER, parts=(Part(text=ASKED),))
    return SendMessage(
        id=id_,
        source="bench",
        subject=f"talker/{context}",
        time=time,
        tenant="local",
        actor="somebody",
        correlationid=id_,
        causationid=id_,
        data=SendMessageData(message=message),
    )


async def growth(turns: Sequence[int]) -> list[Grown]:
    """Talk as long as the last of `turns` says, and return what these have added."""
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as data:
        async with (
            EmbeddedServer(Path(data) / "nats", profile=RELAXED) as server,
            JetStreamLog.open(server.url, profile=RELAXED) as log,
        ):
            executor = Executor(log, [talker], world=RealWorld())
            running = asyncio.create_task(executor.run(budget=1.0))
            try:
                async with asyncio.timeout(_WITHIN):
                    await executor.ready.wait()
                return await _talk(log, turns)
            finally:
                executor.stop()
                await running


async def _talk(log: JetStreamLog, turns: Sequence[int]) -> list[Grown]:
    context, contexts, changed = "talk", Contexts(log), asyncio.Event()
    commands, commits = subjects.commands("talker", context), subjects.commits("talker", context)
    found: list[Grown] = []
    seen: set[bytes] = set()
    after = 0

    def heard(_: Any) -> None:
        changed.set()

    async with log.listen(commits, heard):
        for number in range(1, max(turns) + 1):
            command = told(context, number, rfc3339(RealWorld().now()))
            await log.append(commands, encode(command), id=command.id)
            async with asyncio.timeout(_WITHIN):
                while not _done(await contexts.load("talker", context), number):
                    await changed.wait()
                    changed.clear()
            records = [
                *await log.read(commands, after=after),
                *await log.read(commits, after=after),
            ]
            after = max(record.sequence for record in records)
            added = _added(number, records, seen)
            if number in turns:
                found.append(added)
    return found


def _done(state: Context, number: int) -> bool:
    tasks = state.tasks.values()
    return len(tasks) == number and all(
        task.status.state is TaskState.COMPLETED and task.turn is None for task in tasks
    )


def _added(number: int, records: Sequence[Record], seen: set[bytes]) -> Grown:
    size = sum(len(record.subject) + len(record.data) for record in records)
    blobs = dict(ref for record in records for ref in _BLOB.findall(bytes(record.data)))
    new = {digest: int(length) for digest, length in blobs.items() if digest not in seen}
    seen.update(new)
    return Grown(number, size, sum(new.values()))
