"""The options of an agent, such as its model and its prompt, as a turn has recorded them.

They are recorded with the first attempt that asks for them, so that every attempt has the same,
whatever the agent's code says by then. What is long lies in a blob: a prompt is stored once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import msgspec

from pelton.events.a2a import BlobRef
from pelton.events.envelope import encode
from pelton.runtime.bulk import Blobs

NAME: Final = "turn:options"
"""How the value is called that holds them."""

KEY: Final = f"{NAME}#1"
"""The key of that value: a turn asks for them once."""

_SMALL: Final = 512  # bytes that are not worth a blob


class Choice:
    """The options that a turn has, its agent's `own` unless others are recorded."""

    def __init__(
        self,
        own: Mapping[str, Any],
        blobs: Blobs,
        *,
        record: Callable[[str, Callable[[], Any]], Any],
    ) -> None:
        self._own, self._blobs, self._record = own, blobs, record
        self._made: dict[str, Any] | None = None
        self._making = asyncio.Lock()

    async def made(self) -> dict[str, Any]:
        """Return them; whoever asks first has them recorded."""
        async with self._making:
            if self._made is None:
                own = await pack(self._own, self._blobs.put_blob)
                value = self._record(NAME, lambda: own)
                self._made = await unpack(value, self._blobs.get_blob)
        return dict(self._made)


async def pack(options: Mapping[str, Any], put: Callable[[bytes], Awaitable[str]]) -> Any:
    """Return options as the value that a turn records."""
    data = encode(dict(options))
    if len(data) <= _SMALL:
        return msgspec.json.decode(data)
    ref = BlobRef(sha256=await put(data), size=len(data), member="data")
    return {"blob": msgspec.to_builtins(ref)}


async def unpack(value: Any, get: Callable[[str], Awaitable[bytes]]) -> dict[str, Any]:
    """Return the options that a recorded value holds."""
    name = blob_of(value)
    return msgspec.json.decode(await get(name)) if name else dict(value)


def blob_of(value: Any) -> str:
    """Return the hash of the blob that holds the options, or nothing if they are in the value."""
    if not isinstance(value, dict):
        return ""
    ref = cast("dict[str, Any]", value).get("blob")
    if not isinstance(ref, dict):
        return ""
    member = cast("dict[str, Any]", ref)
    return str(member["sha256"]) if member.keys() == {"sha256", "size", "member"} else ""
