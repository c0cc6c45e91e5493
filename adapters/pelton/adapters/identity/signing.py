"""The keys that pelton signs its own tokens with: a file that all bridges of a place have.

The file is a JWKS document with Ed25519 keys and when each was made. The newest that is older than
`SETTLES` signs and all verify, and bridges look at the file again and again: so a key is known
everywhere before anything is signed with it, and nobody need be restarted (AS-36).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt import PyJWK

from pelton.adapters.identity.jwks import PublicKey
from pelton.adapters.keyfile import KeyFile, write
from pelton.events.envelope import digest
from pelton.runtime.clock import World, rfc3339

ACCESS: Final = 300
"""Seconds that an access token lasts."""
SETTLES: Final = 120.0
"""Seconds after which a new key signs."""
LOOK_AFTER: Final = 30.0
"""Seconds after which the file is looked at again."""
KEPT: Final = 4
"""How many keys the file keeps: those before verify what was signed with them."""


class _Key(msgspec.Struct, omit_defaults=True):
    kid: str
    x: str
    d: str
    created: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = "EdDSA"
    use: str = "sig"


class _File(msgspec.Struct):
    keys: list[_Key]


class _Signer(NamedTuple):
    kid: str
    created: str
    private: PyJWK
    public: PublicKey
    shown: Mapping[str, str]


class SigningKeys:
    """The keys of a file; gives public ones, and signs."""

    def __init__(self, path: Path, *, world: World) -> None:
        self._world = world
        self._file = KeyFile(
            path, _signers, setting="auth.signing_keys", command="pelton tokens key", world=world
        )

    async def key(self, kid: str) -> PublicKey | None:
        """Return the public key of an id, if there is one."""
        return next((each.public for each in self._file.look(LOOK_AFTER) if each.kid == kid), None)

    async def close(self) -> None:
        """End nothing."""

    def jwks(self) -> Mapping[str, Any]:
        """Return the public keys as others read them."""
        return {"keys": [each.shown for each in self._file.look(LOOK_AFTER)]}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a token."""
        signers = self._file.look(LOOK_AFTER)
        now = self._world.now().timestamp() - SETTLES
        settled = [each for each in signers if _moment(each.created) <= now]
        signer = settled[-1] if settled else signers[0]
        headers = {"kid": signer.kid, "typ": "at+jwt"}
        return jwt.encode(dict(claims), signer.private.key, algorithm="EdDSA", headers=headers)


def new_key(path: Path, *, world: World) -> str:
    """Add a key to a file, which is made if there is none, and return its id.

    Raises:
        OSError: the file cannot be written.
        ValueError: it is something else.
    """
    known = _read(path).keys if path.exists() else []
    private = Ed25519PrivateKey.generate()
    seed = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = _base64(public)
    thumbprint = digest(b'{"crv":"Ed25519","kty":"OKP","x":"%b"}' % x.encode())[:32]
    key = _Key(kid=thumbprint, x=x, d=_base64(seed), created=rfc3339(world.now()))
    write(path, {"keys": [_all(each) for each in [*known, key][-KEPT:]]})
    return thumbprint


def _read(path: Path) -> _File:
    found = msgspec.json.decode(path.read_bytes(), type=_File)
    if not found.keys:
        raise ValueError("a file without keys")
    return found


def _signers(path: Path) -> list[_Signer]:
    try:
        return [_signer(key) for key in _read(path).keys]
    except jwt.PyJWTError as error:
        raise ValueError("a key that is none") from error


def _all(key: _Key) -> Mapping[str, str]:
    return {name: getattr(key, name) for name in _Key.__struct_fields__}


def _signer(key: _Key) -> _Signer:
    every = _all(key)
    shown = {name: text for name, text in every.items() if name not in ("d", "created")}
    public = PublicKey(PyJWK(dict(shown)), "EdDSA")
    return _Signer(key.kid, key.created, PyJWK(dict(every)), public, shown)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
