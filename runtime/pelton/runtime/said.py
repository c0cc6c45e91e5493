"""What memories say, sealed in the log, and opened for whoever has the keys (law 12).

A version that came from a context is sealed with the key of that context, and one that a person has
written with a key of the memory's own. The name of the key is the commit's `keyid`; `content` is
what was said, encrypted, in base64. Projections that lie on a disk keep it as it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.commit import Commit
from pelton.events.errors import DamagedRecord
from pelton.events.memories import SEALED, Memory, Version
from pelton.events.memory import MemoryBegun, MemoryCause, MemoryContent, MemoryRevised
from pelton.events.upcast import decode_commit
from pelton.projections.memories import MemoryEntry, VersionEntry
from pelton.runtime.vault import ContentErased, ContentSealed, Vault

ERASED: Final = "(erased)"
"""What stands in the place of what nobody can read any more."""

Says = TypeVar("Says", Version, MemoryEntry, VersionEntry)


class _Stored(Protocol):
    """A record of the log."""

    @property
    def sequence(self) -> int: ...

    @property
    def data(self) -> bytes: ...


def place_of(cause: MemoryCause, memory_id: str) -> tuple[str, str]:
    """Return whose key seals what came from a cause: a context's, or the memory's own."""
    if cause.context_id:
        return cause.agent, cause.context_id
    return subjects.MEMORY, memory_id


async def sealed(vault: Vault | None, commit: Commit, memory: Memory) -> Commit:
    """Return a commit of a memory as it is stored; `memory` is as it was before.

    What a memory reverts to stays sealed as it was. A person's words are sealed where those of its
    owner are.

    Raises:
        ContentErased: the key is destroyed: what came from there is remembered no more.
        ContentSealed: the key cannot be read here.
    """
    (event,) = commit.data.events
    if not isinstance(event, MemoryContent):
        return commit
    before = memory.version(event.reverts) if isinstance(event, MemoryRevised) else None
    if before is not None and before.keyid:
        name, content = before.keyid, before.content
    else:
        place = place_of(event.cause, memory.id)
        owner = event.owner if isinstance(event, MemoryBegun) else memory.owner
        if vault is None or not vault.takes(event.cause.agent if event.cause.context_id else owner):
            return commit
        name, data = await vault.seal(*place, event.content.encode())
        content = base64.b64encode(data).decode()
    data_ = replace(commit.data, events=(replace(event, content=content),))
    return replace(commit, keyid=name, data=data_)


async def said(vault: Vault | None, content: str, keyid: str) -> str:
    """Return what a version says, of what is stored of it.

    Raises:
        ContentErased: its key is destroyed.
        ContentSealed: it is sealed, and there is no key of it here.
    """
    if not keyid:
        return content
    if vault is None:
        raise ContentSealed("the memory is sealed, and there are no keys here")
    try:
        return (await vault.open(keyid, base64.b64decode(content, validate=True))).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ContentSealed("what the memory says was not sealed here") from None


async def shown(vault: Vault | None, entry: Says) -> Says:
    """Return a version, or a memory by its last one, for somebody to look at.

    What is erased, or sealed without a key here, is a text that says so.
    """
    if not entry.keyid:
        return entry
    try:
        text = await said(vault, entry.content, entry.keyid)
    except ContentErased:
        text = ERASED
    except ContentSealed:
        text = SEALED
    return replace(entry, content=text, keyid="")


async def shown_whole(vault: Vault | None, memory: Memory) -> Memory:
    """Return a memory with all its versions as `shown` has them."""
    if not any(version.keyid for version in memory.versions):
        return memory
    return replace(memory, versions=tuple([await shown(vault, v) for v in memory.versions]))


async def opened(vault: Vault | None, records: Sequence[_Stored]) -> dict[int, str]:
    """Return what sealed commits of memories say, by their sequences, as far as it can be read."""
    found: dict[int, str] = {}
    for record in records:
        if b'"keyid"' not in record.data:
            continue
        try:
            commit = decode_commit(record.data)
        except DamagedRecord:  # whoever takes it in tells of it
            continue
        for event in commit.data.events:
            if isinstance(event, MemoryContent) and isinstance(commit.keyid, str):
                try:
                    found[record.sequence] = await said(vault, event.content, commit.keyid)
                except (ContentErased, ContentSealed):
                    continue
    return found
