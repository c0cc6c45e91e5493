"""What content is sealed with: AES-SIV with a key for each context, wrapped with the tenant's.

The tenant's keys are in a file, of which the newest wraps and all unwrap. AES-SIV (RFC 5297), since
the same content must be the same again when a turn is tried again, and AES-GCM must never be.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from pelton.adapters.keyfile import KeyFile
from pelton.adapters.push.keys import LOOK_AFTER, keys_in
from pelton.runtime.clock import RealWorld, World
from pelton.runtime.settings import Settings
from pelton.runtime.vault import OPEN, ContentSealed, Sealing

_NONCE: Final = 12
_ID: Final = 16  # of a tenant's key, in front of what it has wrapped


class TenantCipher:
    """Seals with keys that are wrapped with those of a file."""

    def __init__(self, path: Path, *, world: World) -> None:
        self._file = KeyFile(
            path, keys_in, setting="encryption.keys", command="pelton seal-key", world=world
        )

    def new_key(self) -> bytes:
        """Return a key, for one context."""
        return AESSIV.generate_key(512)

    def wrap(self, key: bytes, name: str) -> bytes:
        """Return a key as only a holder of the tenant's keys can read it."""
        id_, tenant = [*self._file.look(LOOK_AFTER).items()][-1]
        nonce = secrets.token_bytes(_NONCE)
        return id_.encode() + nonce + AESGCM(tenant).encrypt(nonce, key, name.encode())

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Return the key that was wrapped.

        Raises:
            ContentSealed: the tenant's key is not in the file, or it is no such key.
        """
        id_, nonce = wrapped[:_ID], wrapped[_ID : _ID + _NONCE]
        for age in (LOOK_AFTER, 0.0):
            tenant = self._file.look(age).get(id_.decode("ascii", "replace"))
            if tenant is not None:
                break
        else:
            raise ContentSealed("the tenant's key is not in the file of encryption.keys")
        try:
            return AESGCM(tenant).decrypt(nonce, wrapped[_ID + _NONCE :], name.encode())
        except (InvalidTag, ValueError):
            raise ContentSealed("the key of the context is not as it was wrapped") from None

    def seal(self, key: bytes, data: bytes) -> bytes:
        """Encrypt data; the same with the same key is the same again."""
        return AESSIV(key).encrypt(data, None)

    def open(self, key: bytes, data: bytes) -> bytes:
        """Decrypt data.

        Raises:
            ContentSealed: it is altered, or sealed with another key.
        """
        try:
            return AESSIV(key).decrypt(data, None)
        except (InvalidTag, ValueError):
            raise ContentSealed("this was not sealed with that key") from None


def sealing_of(settings: Settings) -> Sealing:
    """Return what content is sealed with, as the settings have it.

    Raises:
        SettingsError: the file of keys cannot be read, or others may read it.
    """
    given = settings.encryption
    if not given.keys:
        return OPEN
    return Sealing(TenantCipher(Path(given.keys), world=RealWorld()), given.agents)
