"""What came of a record is read once, however many pages and whoever asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from pelton.events.a2a import TaskState
from pelton.runtime.log import Record
from pelton.runtime.provenance import Taints, taint
from pelton.runtime.replay.session import Session
from tests.stories import Story


class Counted(Session):
    """A session that counts what was read of it."""

    read_of_it = 0

    async def scan(
        self, *, after: int = 0, pattern: str = ">", live: bool = False
    ) -> AsyncGenerator[Sequence[Record], None]:
        async for batch in super().scan(after=after, pattern=pattern, live=live):
            await asyncio.sleep(0)
            self.read_of_it += len(batch)
            yield batch


def grow(reader: Counted, story: Story) -> None:
    """Let a session have what the story has come to."""
    Session.__init__(reader, story.tape.records, {})


async def test_pages_go_on_from_one_pass() -> None:
    story = Story()
    story.send("bad")
    bad = len(story.tape.records)
    story.begin()
    reader = Counted(story.tape.records, {})
    taints = Taints(reader)
    found = await asyncio.gather(*(taints.of(bad) for _ in range(3)))
    assert reader.read_of_it == len(reader.records)
    assert [each.ended for each in found[0].tasks] == [0]

    read = len(reader.records)
    story.end(TaskState.COMPLETED, "done")
    grow(reader, story)
    again = await taints.of(bad)
    assert [(e.task_id, e.ended) for e in again.tasks] == [
        (e.task_id, e.ended) for e in (await taint(reader, bad)).tasks
    ]
    assert again.tasks[0].ended > read
    assert reader.read_of_it == 2 * len(reader.records), "what is new, and the pass beside it"
