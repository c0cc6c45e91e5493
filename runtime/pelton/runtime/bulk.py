"""Bulk out of records and back (law 8): large parts lie in the blob store, by content hash."""

from __future__ import annotations

import base64
import binascii
from typing import Final, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import (
    Artifact,
    BlobRef,
    Message,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from pelton.events.errors import InvalidInput
from pelton.events.redact import Redactor
from pelton.runtime.log import BlobMissing, Log
from pelton.runtime.patience import patiently
from pelton.runtime.redaction import cleaned

THRESHOLD: Final = 32 * 1024
"""Content of more bytes than this is stored as a blob."""

BUDGET: Final = 4 * THRESHOLD
"""So many bytes of one message or artifact stay in its record."""

_SMALL: Final = 256  # not worth a blob

Holder = TypeVar("Holder", Message, Artifact)


class StoredBlobs(Protocol):
    """Where blobs are to be read."""

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash."""
        ...


class Blobs(StoredBlobs, Protocol):
    """Where blobs are: a log, or `PatientBlobs`."""

    @property
    def redactor(self) -> Redactor:
        """What content goes through before it is stored; see `Log`."""
        ...

    async def put_blob(self, data: bytes) -> str:
        """Store bytes and return their SHA-256."""
        ...


class PatientBlobs:
    """The blobs of a log for whoever has time: it waits while the log is away.

    An agent's turn goes on when the server is back; whoever may not wait cancels the task.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.redactor: Final = log.redactor

    async def put_blob(self, data: bytes) -> str:
        """Store bytes and return their SHA-256."""
        return await patiently(lambda: self._log.put_blob(data), "blobs")

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash."""
        return await patiently(lambda: self._log.get_blob(sha256), "blobs")


async def offload(blobs: Blobs, holder: Holder) -> Holder:
    """Return a message or artifact without secrets, its bulk replaced by references to blobs.

    Parts above `THRESHOLD` go, and of many smaller ones those that together exceed `BUDGET`.

    Raises:
        InvalidInput: a `raw` part is not base64.
    """
    holder = cleaned(blobs.redactor, holder, type(holder).__name__)
    sizes = [_size(part) for part in holder.parts]
    if sum(sizes) <= THRESHOLD:
        return holder
    parts: list[Part] = []
    kept = 0
    for part, size in zip(holder.parts, sizes, strict=True):
        if size > THRESHOLD or (kept + size > BUDGET and size > _SMALL):
            parts.append(await _store(blobs, part))
        else:
            kept += size
            parts.append(part)
    return replace(holder, parts=tuple(parts))


def _size(part: Part) -> int:
    """Return how many bytes the content of a part has, at the most, for a text as for its JSON."""
    if isinstance(part.text, str):
        return len(part.text) if part.text.isascii() else len(part.text.encode())
    if isinstance(part.raw, str):
        return len(part.raw)
    return 0 if part.data is msgspec.UNSET else len(msgspec.json.encode(part.data))


async def _store(blobs: Blobs, part: Part) -> Part:
    if isinstance(part.text, str):
        member, data = "text", part.text.encode()
    elif isinstance(part.raw, str):
        try:
            member, data = "raw", base64.b64decode(part.raw, validate=True)
        except binascii.Error as error:
            raise InvalidInput("a raw part is not base64", field="parts.raw") from error
    else:
        member, data = "data", msgspec.json.encode(part.data)
    ref = BlobRef(sha256=await blobs.put_blob(data), size=len(data), member=member)
    unset = msgspec.UNSET
    return replace(part, text=unset, raw=unset, data=unset, blob=ref)


async def inline(blobs: StoredBlobs, holder: Holder) -> Holder:
    """Return a message or artifact as clients see it, every blob back in its place.

    Raises:
        BlobMissing: a blob is gone or damaged.
    """
    if all(part.blob is None for part in holder.parts):
        return holder
    return replace(holder, parts=tuple([await _fetch(blobs, part) for part in holder.parts]))


async def _fetch(blobs: StoredBlobs, part: Part) -> Part:
    ref = part.blob
    if ref is None:
        return part
    data = await blobs.get_blob(ref.sha256)
    if ref.member == "text":
        return replace(part, blob=None, text=data.decode())
    if ref.member == "raw":
        return replace(part, blob=None, raw=base64.b64encode(data).decode())
    if ref.member == "data":
        return replace(part, blob=None, data=msgspec.json.decode(data))
    raise BlobMissing("a reference to a blob names no member of a part")


async def _status(blobs: StoredBlobs, status: TaskStatus) -> TaskStatus:
    if status.message is None:
        return status
    return replace(status, message=await inline(blobs, status.message))


async def inline_task(blobs: StoredBlobs, task: Task) -> Task:
    """Return a task as clients see it; see `inline`."""
    holders: list[Message | Artifact] = [*task.history, *task.artifacts]
    if task.status.message is not None:
        holders.append(task.status.message)
    if all(part.blob is None for holder in holders for part in holder.parts):
        return task  # as nearly every one is
    return replace(
        task,
        status=await _status(blobs, task.status),
        artifacts=tuple([await inline(blobs, artifact) for artifact in task.artifacts]),
        history=tuple([await inline(blobs, message) for message in task.history]),
    )


async def inline_response(blobs: StoredBlobs, response: StreamResponse) -> StreamResponse:
    """Return an event of a stream as clients see it; see `inline`."""
    if response.task is not None:
        return StreamResponse(task=await inline_task(blobs, response.task))
    if response.message is not None:
        return StreamResponse(message=await inline(blobs, response.message))
    match response.status_update, response.artifact_update:
        case TaskStatusUpdateEvent() as update, _:
            status = await _status(blobs, update.status)
            return StreamResponse(status_update=replace(update, status=status))
        case _, TaskArtifactUpdateEvent() as update:
            artifact = await inline(blobs, update.artifact)
            return StreamResponse(artifact_update=replace(update, artifact=artifact))
        case _:
            return response
