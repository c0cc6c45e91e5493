"""The A2A 1.0.1 data model, as ProtoJSON spells it (specification §4, `lf.a2a.v1`).

Names are the protocol's own: attributes are its snake_case field names, JSON members their
camelCase. Unset members are left out, as ProtoJSON does; unknown members are ignored, as §5.7 asks.
Only the messages that travel through the log or the bridge are here; cards are in `card.py`.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec

JsonObject = dict[str, Any]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A number of things or a position, exact in the numbers of every language and database."""


class A2A(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """The base of all A2A messages: immutable, camelCase, unset members omitted."""


class Role(enum.StrEnum):
    """Who speaks (§4.1.5)."""

    USER = "ROLE_USER"
    AGENT = "ROLE_AGENT"


class TaskState(enum.StrEnum):
    """The life of a task (§4.1.3); which may follow which is the table in `states.py`."""

    SUBMITTED = "TASK_STATE_SUBMITTED"
    WORKING = "TASK_STATE_WORKING"
    INPUT_REQUIRED = "TASK_STATE_INPUT_REQUIRED"
    AUTH_REQUIRED = "TASK_STATE_AUTH_REQUIRED"
    COMPLETED = "TASK_STATE_COMPLETED"
    FAILED = "TASK_STATE_FAILED"
    CANCELED = "TASK_STATE_CANCELED"
    REJECTED = "TASK_STATE_REJECTED"


class BlobRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Bulk that was stored once, by content hash (law 8). Never leaves the bridge.

    `member` names the member of the part that the bytes are the value of: `text` (UTF-8), `raw`
    (the bytes themselves) or `data` (JSON). `size` is in bytes.
    """

    # What is sealed has the name of its key after the member, `text:<agent>.<token of context>`:
    # whoever knows of no keys takes it for no member. `url` is a member then too, in UTF-8. The
    # hash is that of the sealed bytes, and the size that of the content.

    sha256: str
    size: Count
    member: str

    @property
    def kind(self) -> str:
        """The member of the part that the content is the value of."""
        return self.member.partition(":")[0]

    @property
    def key(self) -> str:
        """The name of the key that the content is sealed with, empty if it is not."""
        return self.member.partition(":")[2]


class Part(A2A, frozen=True, kw_only=True):
    """A piece of content (§4.1.6): exactly one of `text`, `raw`, `url`, `data`.

    `raw` holds base64, as on the wire: nothing in pelton needs the bytes. In the log, and only
    there, `blob` may stand for `text`, `raw` or `data`.
    """

    text: str | msgspec.UnsetType = msgspec.UNSET
    raw: str | msgspec.UnsetType = msgspec.UNSET
    url: str | msgspec.UnsetType = msgspec.UNSET
    data: Any = msgspec.UNSET
    filename: str = ""
    media_type: str = ""
    metadata: JsonObject | None = None
    blob: BlobRef | None = None


class Message(A2A, frozen=True, kw_only=True):
    """One unit of communication (§4.1.4)."""

    message_id: str
    role: Role
    parts: tuple[Part, ...]
    context_id: str = ""
    task_id: str = ""
    metadata: JsonObject | None = None
    extensions: tuple[str, ...] = ()
    reference_task_ids: tuple[str, ...] = ()


class Artifact(A2A, frozen=True, kw_only=True):
    """An output of a task (§4.1.7); `artifact_id` is unique within the task."""

    artifact_id: str
    parts: tuple[Part, ...]
    name: str = ""
    description: str = ""
    metadata: JsonObject | None = None
    extensions: tuple[str, ...] = ()


class TaskStatus(A2A, frozen=True, kw_only=True):
    """Where a task stands (§4.1.2). `timestamp` is RFC 3339 in UTC with milliseconds."""

    state: TaskState
    message: Message | None = None
    timestamp: str = ""


class Task(A2A, frozen=True, kw_only=True):
    """The unit of work (§4.1.1)."""

    id: str
    status: TaskStatus
    context_id: str = ""
    artifacts: tuple[Artifact, ...] = ()
    history: tuple[Message, ...] = ()
    metadata: JsonObject | None = None


class TaskStatusUpdateEvent(A2A, frozen=True, kw_only=True):
    """A task's status changed (§4.2.1)."""

    task_id: str
    context_id: str
    status: TaskStatus
    metadata: JsonObject | None = None


class TaskArtifactUpdateEvent(A2A, frozen=True, kw_only=True):
    """A task's artifact was made or went on (§4.2.2)."""

    task_id: str
    context_id: str
    artifact: Artifact
    append: bool = False
    last_chunk: bool = False
    metadata: JsonObject | None = None


class StreamResponse(A2A, frozen=True, kw_only=True):
    """One event of a stream (§4.2.3): exactly one member is set."""

    task: Task | None = None
    message: Message | None = None
    status_update: TaskStatusUpdateEvent | None = None
    artifact_update: TaskArtifactUpdateEvent | None = None


def text_of(parts: tuple[Part, ...]) -> str:
    """Return the text parts of a message or artifact, joined as they stand."""
    return "".join(part.text for part in parts if isinstance(part.text, str))
