"""A sealed session as it would be if nothing were sealed: to be run again, and to be compared.

What is said in two contexts is sealed with two keys, and so looks different where it is the same.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.a2a import BlobRef, Message, Part, Role
from pelton.events.envelope import digest, encode
from pelton.events.upcast import decode_commit
from pelton.runtime.bulk import fetch, inline
from pelton.runtime.log import Record
from pelton.runtime.replay.session import Session, check_keys, sealed_with
from pelton.runtime.said import said

_REFERENCE: Final = {"sha256", "size", "member"}


async def unsealed(session: Session) -> Session:
    """Return a session with all of its content in plain; one where nothing is sealed as it is.

    It is no record any more: its commits chain anew. Nobody stores it.

    Raises:
        ContentErased: a key is destroyed.
        ContentSealed: there is no key of some content here.
        BlobMissing: content is gone or damaged.
    """
    if not sealed_with(session):
        return session
    check_keys(session)
    blobs, heads = dict(session.blobs), dict[str, str]()
    records: list[Record] = []
    for record in session.records:
        data = record.data
        if b'"sha256"' in data or b'"keyid"' in data:
            opened = await _opened(session, msgspec.json.decode(data), blobs)
            data = encode(opened)
        if record.subject.startswith("evt."):
            commit = decode_commit(data)
            data = encode(replace(commit, prevhash=heads.get(record.subject, "")))
            heads[record.subject] = digest(data)
        records.append(record._replace(data=data))
    return Session(records, blobs)


async def _opened(session: Session, value: Any, blobs: dict[str, bytes]) -> Any:
    """Return JSON with what is sealed in it opened, and the blobs of that added."""
    if isinstance(value, list):
        return [await _opened(session, each, blobs) for each in _items(value)]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    ref = _reference(members.get("blob"))
    if ref is not None and "type" not in members:  # a part of what was said
        part = msgspec.convert(members, Part)
        message = Message(message_id="", role=Role.USER, parts=(part,))
        return msgspec.to_builtins((await inline(session, message)).parts[0])
    if (ref := _reference(members)) is not None:
        data = await fetch(session, ref)
        plain = BlobRef(sha256=digest(data), size=len(data), member=ref.kind)
        blobs[plain.sha256] = data
        return msgspec.to_builtins(plain)
    found = {name: await _opened(session, each, blobs) for name, each in members.items()}
    key = found.pop("keyid", "") if str(found.get("subject", "")).startswith(_MEMORY) else ""
    for event in found["data"]["events"] if key else ():
        event["content"] = await said(session.vault, event["content"], key)
    return found


def _items(value: Any) -> list[Any]:
    """Return a list of JSON as one of anything."""
    return cast("list[Any]", value)


def _reference(value: Any) -> BlobRef | None:
    """Return what JSON refers to, if that is sealed."""
    if not isinstance(value, dict) or cast("dict[str, Any]", value).keys() != _REFERENCE:
        return None
    ref = msgspec.convert(value, BlobRef)
    return ref if ref.key else None


_MEMORY: Final = f"{subjects.MEMORY}/"
