"""The signature of a notification, in the shape of Standard Webhooks (S10).

Three headers: `webhook-id` names the notification, the same at every attempt; `webhook-timestamp`
is when it is posted, in seconds; `webhook-signature` holds the HMAC-SHA256 of the two and the body,
once for each secret while one is exchanged for another. A receiver calls `verify`, and takes no id
twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

TOLERANCE: Final = 300
"""Seconds by which the clocks of the two sides may differ."""
_PREFIX: Final = "whsec_"
_VERSION: Final = "v1,"


class NotAuthentic(ValueError):
    """A notification that nobody who has the secret has posted just now as it is."""


def headers(secrets: Iterable[bytes], *, id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a notification with each of the secrets."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(_VERSION + _sign(s, id, str(seconds), body) for s in secrets),
    }


def verify(secret: bytes, given: Mapping[str, str], body: bytes, *, seconds: float) -> str:
    """Return the id of a notification that was signed with a secret, `seconds` being now.

    Raises:
        NotAuthentic: it was not, is altered, or was posted too long ago.
    """
    found = {name.lower(): value for name, value in given.items()}
    id_, timestamp = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 16):
        raise NotAuthentic("there is no timestamp")
    if abs(seconds - int(timestamp)) > TOLERANCE:
        raise NotAuthentic("the timestamp is too far from now")
    wanted = _VERSION + _sign(secret, id_, timestamp, body)
    signatures = found.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(wanted.encode(), each.encode()) for each in signatures):
        raise NotAuthentic("no signature is that of the secret")
    return id_


def spell(secret: bytes) -> str:
    """Return a secret as receivers are given it: `whsec_…`."""
    return _PREFIX + base64.b64encode(secret).decode()


def unspell(text: str) -> bytes:
    """Return the secret that a text spells.

    Raises:
        ValueError: it spells none.
    """
    if not text.startswith(_PREFIX):
        raise ValueError("a secret begins with whsec_")
    return base64.b64decode(text[len(_PREFIX) :], validate=True)


def _sign(secret: bytes, id: str, timestamp: str, body: bytes) -> str:
    signed = b"%b.%b.%b" % (id.encode(), timestamp.encode(), body)
    return base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
