"""Blobs: bulk under its SHA-256, in pieces (law 8).

Piece `n` of a blob is the message on `blob.<sha256>.<n>`, written only if there is none. The first
is written last and says in a header how many there are: a blob is there when its first piece is.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.api import Api
from pelton.runtime.jetstream.errors import IN_FLIGHT
from pelton.runtime.jetstream.streams import BLOBS, PIECE
from pelton.runtime.log import BlobMissing, LogUnavailable

_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Blobs:
    """All blobs of a tenant."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def put(self, data: bytes) -> str:
        """Store bytes and return their hash."""
        sha256 = hashlib.sha256(data).hexdigest()
        pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)] or [b""]
        for number, piece in enumerate(pieces[1:], 1):
            await self._put(f"blob.{sha256}.{number}", piece, {})
        await self._put(f"blob.{sha256}.0", pieces[0], {"Pelton-Pieces": str(len(pieces))})
        return sha256

    async def _put(self, subject: str, piece: bytes, members: dict[str, str]) -> None:
        headers = wire.headers({"Nats-Expected-Last-Subject-Sequence": "0", **members})
        patience = self._api.patience()
        while True:
            ack = await self._api.store(subject, piece, headers, patience)
            if ack.error is None or ack.error.err_code != IN_FLIGHT:
                return  # what was there before has the same hash
            await patience.pause(LogUnavailable("the same blob is being stored"))

    async def get(self, sha256: str) -> bytes:
        """Return the bytes with that hash, verified."""
        if not _HASH.fullmatch(sha256):
            raise BlobMissing("this is not the hash of a blob")
        first, count = await self._get(sha256, 0)
        pieces = [first]
        pieces += [(await self._get(sha256, number))[0] for number in range(1, count)]
        data = b"".join(pieces)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobMissing(f"the blob {sha256} is damaged")
        return data

    async def _get(self, sha256: str, number: int) -> tuple[bytes, int]:
        subject = f"blob.{sha256}.{number}"
        headers, data = await self._api.ask(f"$JS.API.DIRECT.GET.{BLOBS}.{subject}", {})
        if wire.status(headers):  # perhaps only where we asked: that replica may be behind
            found = await self._api.stored(BLOBS, {"last_by_subj": subject})
            if found is None:
                raise BlobMissing(f"there is no blob {sha256}")
            headers, data = found.headers, found.record.data
        return data, int(wire.header(headers, b"Pelton-Pieces") or 1)
