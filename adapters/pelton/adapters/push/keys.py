"""The keys of push notifications: a file that all bridges of a place have.

Each key is 32 bytes of chance. The newest seals what the log must not show, all open what they have
sealed; a receiver's secret follows from the newest two and from who it is told to, so that nobody
who is told one can sign for others. Whoever deletes a key makes unreadable what it has sealed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pelton.adapters.keyfile import KeyFile, write
from pelton.events.errors import PeltonError
from pelton.runtime.clock import World, rfc3339

LOOK_AFTER: Final = 10.0
"""Seconds after which the file is looked at again."""
SIGNING: Final = 2
"""How many keys sign: while receivers are told the newest secret, they know the one before."""
_NONCE: Final = 12


class KeyMissing(PeltonError):
    """What was sealed cannot be opened: its key is not in the file of `push.keys`, or not yet."""

    code = "key-missing"


class _Key(msgspec.Struct):
    id: str
    key: str
    created: str


class _File(msgspec.Struct):
    keys: list[_Key]


class Sealed(NamedTuple):
    """What only a holder of a key can read."""

    key_id: str
    text: str


class PushKeys:
    """The keys of a file, which is read again when it changes."""

    def __init__(self, path: Path, *, world: World) -> None:
        self._file = KeyFile(
            path, keys_in, setting="push.keys", command="pelton push key", world=world
        )

    def seal(self, data: bytes, about: str) -> Sealed:
        """Encrypt data with the newest key; it can be opened as what is `about` the same alone."""
        key_id, key = [*self._file.look(LOOK_AFTER).items()][-1]
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(_derive(key, "seal")).encrypt(nonce, data, about.encode())
        return Sealed(key_id, _base64(nonce + sealed))

    def open(self, sealed: Sealed, about: str) -> bytes:
        """Decrypt what was sealed.

        Raises:
            KeyMissing: the key is not here, or what was sealed is altered or about another thing.
        """
        key = self._file.look(LOOK_AFTER).get(sealed.key_id)
        if key is None:
            key = self._file.look(0.0).get(sealed.key_id)
        if key is None:
            raise KeyMissing("the key of a push config is not in the file of push.keys")
        try:
            data = _unbase64(sealed.text)
            return AESGCM(_derive(key, "seal")).decrypt(
                data[:_NONCE], data[_NONCE:], about.encode()
            )
        except (InvalidTag, ValueError):
            raise KeyMissing("a push config is not as it was sealed") from None

    def secrets(self, tenant: str, principal: str) -> Sequence[bytes]:
        """Return the secrets that what a principal has asked for is signed with, newest first."""
        newest = [*self._file.look(LOOK_AFTER).values()][-SIGNING:]
        return [_derive(key, "sign", tenant, principal) for key in reversed(newest)]


def new_key(path: Path, *, world: World) -> str:
    """Add a key to a file, which is made if there is none, and return its id.

    Raises:
        OSError: the file cannot be written.
        ValueError: it is something else.
    """
    known = _read(path).keys if path.exists() else []
    key = secrets.token_bytes(32)
    id_ = hashlib.sha256(key).hexdigest()[:16]
    made = _Key(id=id_, key=_base64(key), created=rfc3339(world.now()))
    write(path, _File([*known, made]))
    return id_


def _read(path: Path) -> _File:
    found = msgspec.json.decode(path.read_bytes(), type=_File)
    if not found.keys or any(len(_unbase64(each.key)) != 32 for each in found.keys):
        raise ValueError("a file without keys")
    return found


def keys_in(path: Path) -> dict[str, bytes]:
    """Return the keys of a file by their ids, the newest last.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else.
    """
    return {each.id: _unbase64(each.key) for each in _read(path).keys}


def _derive(key: bytes, *what: str) -> bytes:
    """Return the key for one purpose; names are hashed with their lengths."""
    spelled = b"".join(len(each).to_bytes(8, "big") + each for each in (w.encode() for w in what))
    return hmac.new(key, spelled, hashlib.sha256).digest()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)
