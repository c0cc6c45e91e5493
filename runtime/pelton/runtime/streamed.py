"""Texts that clients see as they grow: the events that write them, as few as say the same."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from pelton.events.a2a import Artifact, Part
from pelton.events.context import join
from pelton.events.events import AnyEvent, TaskArtifactUpdated
from pelton.events.growing import Growing
from pelton.events.redact import Redactor
from pelton.runtime.bulk import THRESHOLD


def joined(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """Return events with the pieces of a text that follow each other made one.

    They are stored together: tokens of a model, an event each, would be mostly envelope.
    """
    made: list[AnyEvent] = []
    for event in events:
        if made and (longer := _longer(made[-1], event)) is not None:
            made[-1] = longer
        else:
            made.append(event)
    return made


def _longer(first: AnyEvent, second: AnyEvent) -> TaskArtifactUpdated | None:
    """Return one event for two, if the second lets the text of the first go on."""
    if not (isinstance(first, TaskArtifactUpdated) and isinstance(second, TaskArtifactUpdated)):
        return None
    artifact, more = first.artifact, second.artifact
    parts = join((*artifact.parts, *more.parts))
    if (
        not second.append
        or first.last_chunk
        or (first.task_id, artifact.artifact_id) != (second.task_id, more.artifact_id)
        or len(parts) != 1
        or len(parts[0].text or "") > THRESHOLD
    ):
        return None
    return replace(first, artifact=replace(artifact, parts=parts), last_chunk=second.last_chunk)


class StreamedText:
    """A text that grows, and what the log has of it, which converges on what is said.

    What may become a secret is not written before what follows it is known.
    """

    def __init__(
        self, artifact_id: str, name: str, recorded: Artifact | None, redactor: Redactor
    ) -> None:
        self._id, self._name, self._redactor = artifact_id, name, redactor
        self.begin()
        parts = join(recorded.parts) if recorded is not None else ()
        self._stored: str | None = None
        if len(parts) == 1 and isinstance(parts[0].text, str):
            self._stored = parts[0].text

    def begin(self) -> None:
        """Begin, perhaps once more; what was said stands as far as it is said again."""
        self._growing = Growing(self._redactor)
        self._whole: list[str] = []
        self._said = ""

    def say(self, task_id: str, text: str, *, last: bool) -> list[TaskArtifactUpdated]:
        """Return the events that the log lacks after `text` was said."""
        self._hear(text, last=last)
        stored = self._stored
        if stored is None and text and not self._said and not last:
            return []  # it waits for what follows
        if stored is not None and stored.startswith(self._said) and not last:
            return []  # an earlier attempt has said as much, or more
        if stored is not None and self._said.startswith(stored):
            return self._update(task_id, self._said[len(stored) :], append=True, last=last)
        return self._update(task_id, self._said, append=False, last=last)

    def end(self, task_id: str) -> list[TaskArtifactUpdated]:
        """Return the events that make the log say no more than was said, and all of it."""
        self._hear("", last=True)
        stored = self._stored
        if self._said == (stored or ""):
            return []
        if stored is not None and self._said.startswith(stored):
            return self._update(task_id, self._said[len(stored) :], append=True, last=True)
        return self._update(task_id, self._said, append=False, last=True)

    def _hear(self, text: str, *, last: bool) -> None:
        self._whole.append(text)
        self._said += self._growing.add(text, last=last)
        if last and self._growing.touched:  # it is the same, in whatever pieces it has come
            self._said = self._redactor.text("".join(self._whole))

    def _update(
        self, task_id: str, text: str, *, append: bool, last: bool
    ) -> list[TaskArtifactUpdated]:
        self._stored = self._said
        pieces = [text[at : at + THRESHOLD] for at in range(0, len(text), THRESHOLD)] or [""]
        return [
            TaskArtifactUpdated(
                task_id=task_id,
                artifact=Artifact(artifact_id=self._id, name=self._name, parts=(Part(text=piece),)),
                append=append or place > 0,
                last_chunk=last and place == len(pieces) - 1,
            )
            for place, piece in enumerate(pieces)
        ]
