"""Pieces of a text that are stored together are one event, and read the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pelton.events.a2a import Artifact, Part
from pelton.events.context import join
from pelton.events.events import AnyEvent, TaskArtifactUpdated, TaskArtifactWithdrawn
from pelton.runtime.agents import agent
from pelton.runtime.bulk import THRESHOLD
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.streamed import joined
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, serving
from tests.strategies import parts

Artifacts = dict[str, tuple[tuple[Part, ...], bool]]


def updated(name: str, part: Part, append: bool, last: bool) -> TaskArtifactUpdated:
    """Return an event that writes an artifact, or lets it go on."""
    artifact = Artifact(artifact_id=name, parts=(part,))
    return TaskArtifactUpdated(task_id="t", artifact=artifact, append=append, last_chunk=last)


def withdrawn(name: str) -> TaskArtifactWithdrawn:
    """Return an event that takes an artifact back."""
    return TaskArtifactWithdrawn(task_id="t", artifact_id=name)


_names = st.sampled_from(["a", "b"])
_parts = st.builds(Part, text=st.text(max_size=5)) | parts
_updates = st.builds(updated, _names, _parts, st.booleans(), st.booleans())
_withdrawals = st.builds(withdrawn, _names)


def written(events: list[AnyEvent]) -> tuple[Artifacts, list[str]]:
    """Return what events leave of artifacts, and the order in which these were touched."""
    left: Artifacts = {}
    touched: list[str] = []
    for event in events:
        if isinstance(event, TaskArtifactUpdated):
            id_ = event.artifact.artifact_id
            before = left.get(id_, ((), False))[0] if event.append else ()
            left[id_] = join((*before, *event.artifact.parts)), event.last_chunk
            touched.append(id_)
        elif isinstance(event, TaskArtifactWithdrawn):
            left.pop(event.artifact_id, None)
            touched.append("")
    return left, [b for a, b in pairwise(["", *touched]) if a != b]


@given(st.lists(_updates | _withdrawals, max_size=12))
def test_joined_events_read_the_same(events: list[AnyEvent]) -> None:
    fewer = joined(events)
    assert written(fewer) == written(events)
    assert joined(fewer) == fewer


def piece(text: str, *, append: bool = True, last: bool = False) -> TaskArtifactUpdated:
    """Return an event by which a text goes on."""
    return updated("a", Part(text=text), append, last)


def test_an_artifact_that_is_complete_or_begins_anew_stays_apart() -> None:
    events: list[AnyEvent] = [piece("one", last=True), piece("two"), piece("3", append=False)]
    assert joined(events) == events


def test_none_grows_beyond_what_one_message_holds() -> None:
    half = "x" * (THRESHOLD // 2 + 1)
    assert len(joined([piece(half), piece(half)])) == 2


async def test_tokens_are_few_events(log: JetStreamLog) -> None:
    @agent(name="echo")
    async def talking(turn: Turn) -> None:
        for number in range(200):
            await turn.stream(f"{number} ")

    client = Client(log)
    async with serving(log, talking):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    (answer,) = ended.artifacts.values()
    assert join(answer.parts) == (Part(text="".join(f"{number} " for number in range(200))),)
    updates = [e for e in await client.events(context) if isinstance(e, TaskArtifactUpdated)]
    commits = len(await log.read(f"evt.echo.{context}"))
    assert len(updates) <= commits
