"""Service parameters (§3.2.6), and the extensions of A2A that every agent here has.

`docs/a2a.md` is the specification of pelton's own. Who does not ask for them sees plain A2A.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec.structs import replace

from pelton.adapters.a2a.errors import ExtensionSupportRequired, PositionNotFound
from pelton.events import hitl
from pelton.events.a2a import JsonObject, StreamResponse, Task
from pelton.events.card import AgentExtension, AgentProfile

RESUME: Final = "urn:pelton:a2a:resume:v1"
"""The extension by which every event and task says its position, to resume after it."""
POSITION: Final = f"{RESUME}/position"
"""The member of metadata that holds a position."""

IDEMPOTENCY: Final = "urn:pelton:a2a:idempotency:v1"
"""The extension by which a send can be repeated: its key stands for one request, for ever."""
KEY: Final = f"{IDEMPOTENCY}/key"
"""The member of a send's metadata that holds its key, as the header Idempotency-Key does."""

OWN: Final = (
    AgentExtension(
        uri=hitl.URI, description="Questions to people and approvals, and their answers, as data."
    ),
    AgentExtension(
        uri=RESUME,
        description="Every event of a stream says its position; Last-Event-ID resumes after it.",
    ),
    AgentExtension(
        uri=IDEMPOTENCY,
        description="A send with an Idempotency-Key leads to the same task however often it comes.",
    ),
)

_POSITION: Final = re.compile(r"([0-9]{1,19})(?:-([0-9a-f]{16}))?", re.ASCII)


class Parameters(NamedTuple):
    """What a request says beside itself, whatever carries it: HTTP headers or gRPC metadata.

    `version` is the version of A2A that it names, `position` the one after which it resumes a
    stream, both empty if it names none; `extensions` are the URIs that it asks for, `key` is its
    idempotency key, if it has one.
    """

    version: str = ""
    extensions: frozenset[str] = frozenset()
    position: str = ""
    key: str | None = None


def listed(values: Iterable[str]) -> frozenset[str]:
    """Return the URIs in the values of `A2A-Extensions`, each a list with commas."""
    return frozenset(uri for value in values for each in value.split(",") if (uri := each.strip()))


def declared(profile: AgentProfile) -> tuple[AgentExtension, ...]:
    """Return the extensions of an agent: its own, and those that all have."""
    return (*profile.extensions, *OWN)


def active(profile: AgentProfile, asked: frozenset[str]) -> tuple[str, ...]:
    """Return the extensions that are in force for a request: those asked for that there are."""
    if not asked:
        return ()
    return tuple(each.uri for each in declared(profile) if each.uri in asked)


def check_required(profile: AgentProfile, asked: frozenset[str]) -> None:
    """Check that a request asks for what its agent requires (§3.3.4).

    Raises:
        ExtensionSupportRequired: it does not.
    """
    for each in profile.extensions:
        if each.required and each.uri not in asked:
            raise ExtensionSupportRequired(
                f"this agent requires the extension {each.uri}: name it in A2A-Extensions"
            )


def position(task: str, sequence: int) -> str:
    """Return the position of an event of a task: its number, and what is the task's alone."""
    return f"{sequence}-{task[-16:]}"


def sequence_at(text: str, task: str, last: int) -> int:
    """Return the number of the event of a task that a position names, 0 for before the first.

    A position as SSE has it, in `id:`, is the number alone.

    Raises:
        PositionNotFound: it names none that there is.
    """
    match = _POSITION.fullmatch(text)
    if match is None:
        raise PositionNotFound(f"{text[:40]!r} is not a position: resume from the beginning, 0")
    if match[2] is not None and match[2] != task[-16:]:
        raise PositionNotFound("this is a position of another task: resume from the beginning, 0")
    if int(match[1]) > last:
        raise PositionNotFound(f"the task has no event {match[1]}: resume from the beginning, 0")
    return int(match[1])


def _with(metadata: JsonObject | None, place: str) -> JsonObject:
    return {**(metadata or {}), POSITION: place}


def marked(task: Task, sequence: int) -> Task:
    """Return a task that says its position."""
    return replace(task, metadata=_with(task.metadata, position(task.id, sequence)))


def marked_event(response: StreamResponse, task: str, sequence: int) -> StreamResponse:
    """Return an event of a task's stream that says its position; a bare message has none."""
    place = position(task, sequence)
    if response.task is not None:
        return replace(response, task=marked(response.task, sequence))
    if (update := response.status_update) is not None:
        update = replace(update, metadata=_with(update.metadata, place))
        return replace(response, status_update=update)
    if (piece := response.artifact_update) is not None:
        piece = replace(piece, metadata=_with(piece.metadata, place))
        return replace(response, artifact_update=piece)
    return response
