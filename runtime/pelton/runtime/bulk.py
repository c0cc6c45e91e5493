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
from pelton.runtime.vault import ContentErased, ContentSealed, Vault

THRESHOLD: Final = 32 * 1024
"""Content of more bytes than this is stored as a blob."""

BUDGET: Final = 4 * THRESHOLD
"""So many bytes of one message or artifact stay in its record."""

UNREADABLE: Final = "pelton/unreadable"
"""The member of a part's metadata that says why its content cannot be read."""

_SMALL: Final = 256  # not worth a blob

Holder = TypeVar("Holder", Message, Artifact)


class StoredBlobs(Protocol):
    """Where blobs are to be read."""

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash."""
        ...

    @property
    def vault(self) -> Vault | None:
        """The keys of those that are sealed, if they can be had."""
        ...


class Blobs(StoredBlobs, Protocol):
    """Where the blobs of a context go: `ContextBlobs`, or `PatientBlobs`."""

    @property
    def redactor(self) -> Redactor:
        """What content goes through before it is stored; see `Log`."""
        ...

    @property
    def seals(self) -> bool:
        """Whether all content of the context is sealed, whatever its size."""
        ...

    async def put_blob(self, data: bytes) -> str:
        """Store bytes as they are and return their SHA-256."""
        ...

    async def put(self, data: bytes, member: str) -> BlobRef:
        """Store content, sealed if the context's is, and return the reference to it.

        Raises:
            ContentErased: the context is erased.
        """
        ...

    async def get(self, ref: BlobRef) -> bytes:
        """Return the content that a reference leads to; see `fetch`."""
        ...


class ContextBlobs:
    """The blobs of one context."""

    def __init__(self, log: Log, agent: str, context_id: str) -> None:
        self._log, self._agent, self._context_id = log, agent, context_id
        self.redactor: Final = log.redactor
        self.vault: Final = log.vault
        self.seals: Final = log.vault is not None and log.vault.takes(agent)

    async def put_blob(self, data: bytes) -> str:
        """Store bytes and return their SHA-256."""
        return await self._log.put_blob(data)

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash."""
        return await self._log.get_blob(sha256)

    async def put(self, data: bytes, member: str) -> BlobRef:
        """Store content, sealed if the context's is, and return the reference to it."""
        size = len(data)
        if self.vault is not None and self.seals:
            key, data = await self._sealed(self.vault, data)
            member = f"{member}:{key}"
        return BlobRef(sha256=await self.put_blob(data), size=size, member=member)

    async def get(self, ref: BlobRef) -> bytes:
        """Return the content that a reference leads to."""
        return await fetch(self, ref)

    async def _sealed(self, vault: Vault, data: bytes) -> tuple[str, bytes]:
        return await vault.seal(self._agent, self._context_id, data)


class PatientBlobs(ContextBlobs):
    """The blobs of a context for whoever has time: it waits while the log is away.

    An agent's turn goes on when the server is back; whoever may not wait cancels the task.
    """

    async def put_blob(self, data: bytes) -> str:
        """Store bytes and return their SHA-256."""
        return await patiently(lambda: self._log.put_blob(data), "blobs")

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash."""
        return await patiently(lambda: self._log.get_blob(sha256), "blobs")

    async def get(self, ref: BlobRef) -> bytes:
        """Return the content that a reference leads to."""
        return await patiently(lambda: fetch(self._log, ref), "blobs")

    async def _sealed(self, vault: Vault, data: bytes) -> tuple[str, bytes]:
        return await patiently(lambda: vault.seal(self._agent, self._context_id, data), "keys")


async def fetch(blobs: StoredBlobs, ref: BlobRef) -> bytes:
    """Return the content that a reference leads to.

    Raises:
        BlobMissing: it is gone or damaged.
        ContentErased: it was sealed, and its key is destroyed.
        ContentSealed: it is sealed, and there is no key of it here.
    """
    data = await blobs.get_blob(ref.sha256)
    if not ref.key:
        return data
    if blobs.vault is None:
        raise ContentSealed("the content is sealed, and there are no keys here")
    return await blobs.vault.open(ref.key, data)


async def offload(blobs: Blobs, holder: Holder) -> Holder:
    """Return a message or artifact without secrets, its bulk replaced by references to blobs.

    Parts above `THRESHOLD` go, and of many smaller ones those that together exceed `BUDGET`. Where
    content is sealed, all of it goes.

    Raises:
        InvalidInput: a `raw` part is not base64.
        ContentErased: the context is erased.
    """
    holder = cleaned(blobs.redactor, holder, type(holder).__name__)
    if blobs.seals:
        return replace(holder, parts=tuple([await _store(blobs, part) for part in holder.parts]))
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
    if part.blob is not None:
        return part
    if isinstance(part.url, str):
        member, data = "url", part.url.encode()
    elif isinstance(part.text, str):
        member, data = "text", part.text.encode()
    elif isinstance(part.raw, str):
        try:
            member, data = "raw", base64.b64decode(part.raw, validate=True)
        except binascii.Error as error:
            raise InvalidInput("a raw part is not base64", field="parts.raw") from error
    else:
        member, data = "data", msgspec.json.encode(part.data)
    ref = await blobs.put(data, member)
    unset = msgspec.UNSET
    return replace(part, text=unset, raw=unset, data=unset, url=unset, blob=ref)


async def inline(blobs: StoredBlobs, holder: Holder) -> Holder:
    """Return a message or artifact as clients see it, every blob back in its place.

    Raises:
        BlobMissing: a blob is gone or damaged.
        ContentErased: it was sealed, and its key is destroyed.
        ContentSealed: it is sealed, and there is no key of it here.
    """
    if all(part.blob is None for part in holder.parts):
        return holder
    return replace(holder, parts=tuple([await _fetch(blobs, part) for part in holder.parts]))


async def readable(blobs: StoredBlobs, holder: Holder) -> Holder:
    """Return a message or artifact for somebody to look at; see `inline`.

    What is erased, or sealed without a key here, is a text that says so.

    Raises:
        BlobMissing: a blob is gone or damaged.
    """
    if all(part.blob is None for part in holder.parts):
        return holder
    return replace(holder, parts=tuple([await _readable(blobs, part) for part in holder.parts]))


async def _readable(blobs: StoredBlobs, part: Part) -> Part:
    try:
        return await _fetch(blobs, part)
    except ContentErased:
        return Part(text="(erased)", metadata={UNREADABLE: "erased"})
    except ContentSealed:
        return Part(text="(sealed)", metadata={UNREADABLE: "sealed"})


async def _fetch(blobs: StoredBlobs, part: Part) -> Part:
    ref = part.blob
    if ref is None:
        return part
    data = await fetch(blobs, ref)
    if ref.kind == "url":
        return replace(part, blob=None, url=data.decode())
    if ref.kind == "text":
        return replace(part, blob=None, text=data.decode())
    if ref.kind == "raw":
        return replace(part, blob=None, raw=base64.b64encode(data).decode())
    if ref.kind == "data":
        return replace(part, blob=None, data=msgspec.json.decode(data))
    raise BlobMissing("a reference to a blob names no member of a part")


async def _status(blobs: StoredBlobs, status: TaskStatus) -> TaskStatus:
    if status.message is None:
        return status
    return replace(status, message=await readable(blobs, status.message))


async def inline_task(blobs: StoredBlobs, task: Task) -> Task:
    """Return a task as clients see it; see `readable`."""
    holders: list[Message | Artifact] = [*task.history, *task.artifacts]
    if task.status.message is not None:
        holders.append(task.status.message)
    if all(part.blob is None for holder in holders for part in holder.parts):
        return task  # as nearly every one is
    return replace(
        task,
        status=await _status(blobs, task.status),
        artifacts=tuple([await readable(blobs, artifact) for artifact in task.artifacts]),
        history=tuple([await readable(blobs, message) for message in task.history]),
    )


async def opened_task(blobs: StoredBlobs, task: Task) -> Task:
    """Return a task with what of it is sealed in its place, and what else is in blobs left there.

    Raises:
        BlobMissing: a blob is gone or damaged.
    """

    async def opened(holder: Holder) -> Holder:
        parts = [
            await _readable(blobs, part) if part.blob is not None and part.blob.key else part
            for part in holder.parts
        ]
        return replace(holder, parts=tuple(parts))

    status = task.status
    if status.message is not None:
        status = replace(status, message=await opened(status.message))
    return replace(
        task,
        status=status,
        artifacts=tuple([await opened(artifact) for artifact in task.artifacts]),
        history=tuple([await opened(message) for message in task.history]),
    )


async def inline_response(blobs: StoredBlobs, response: StreamResponse) -> StreamResponse:
    """Return an event of a stream as clients see it; see `readable`."""
    if response.task is not None:
        return StreamResponse(task=await inline_task(blobs, response.task))
    if response.message is not None:
        return StreamResponse(message=await readable(blobs, response.message))
    match response.status_update, response.artifact_update:
        case TaskStatusUpdateEvent() as update, _:
            status = await _status(blobs, update.status)
            return StreamResponse(status_update=replace(update, status=status))
        case _, TaskArtifactUpdateEvent() as update:
            artifact = await readable(blobs, update.artifact)
            return StreamResponse(artifact_update=replace(update, artifact=artifact))
        case _:
            return response
