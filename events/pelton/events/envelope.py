"""What every record of the log carries around its data: CloudEvents 1.0, and ours beside it.

Attributes that CloudEvents has keep its names; extensions are lower case without separators, as it
asks. One JSON object is one NATS message (structured mode), so `nats sub` and any language read it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

JSON: Final = "application/json"

ANONYMOUS: Final = "anonymous"
"""The actor of requests that nobody has authenticated."""


class Envelope(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type", omit_defaults=False
):
    """The attributes of a command and of a commit; `type` tells which it is, in which version.

    `id` names the record and is unique in the tenant; `source` is who wrote it (an URI reference
    such as `executor/0192…`), `actor` on whose behalf; `subject` is the aggregate it is about, as
    in `<agent>/<context>`. `correlationid` is the id of the command that a user's request began
    with, `causationid` that of the record that led to this one; a command that begins a request
    names itself in both. `time` is RFC 3339 in UTC. `keyid` names the key that what `data` says is
    sealed with (law 12), if it is: the `content` of a memory, in base64.
    """

    id: str
    source: str
    subject: str
    time: str
    tenant: str
    actor: str
    correlationid: str
    causationid: str
    dataschema: str
    specversion: str = "1.0"
    datacontenttype: str = JSON
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    keyid: str | msgspec.UnsetType = msgspec.UNSET


_encoder: Final = msgspec.json.Encoder(order="deterministic")


def encode(value: object) -> bytes:
    """Return the canonical JSON of a value: the same value always gives the same bytes.

    Members of maps are sorted, those of types stand in their declared order.
    """
    return _encoder.encode(value)


_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, ended by a quote or by the end of the text: always in one pass."""
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def deeper(data: bytes, limit: int) -> bool:
    """Whether JSON is nested deeper than `limit`, or its brackets do not close; parses nothing."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    brackets = _STRINGS.sub(b"", data).translate(_ALIKE, _NOT_BRACKETS)
    for _ in range(limit):  # each round peels off the innermost
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def digest(data: bytes) -> str:
    """Return the SHA-256 of a record's bytes in hexadecimal: what the next record's chain names."""
    return hashlib.sha256(data).hexdigest()
