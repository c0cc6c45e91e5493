"""Session files (`x.pelton`): a conversation to carry about, in which every change is noticed.

One JSON object a line, in this order: a header, the records as the log has them, the blobs, wrapped
keys of what is sealed if these were asked for, and a manifest with the SHA-256 of each. The digest
of the manifest stands for the whole. Whoever noted it elsewhere knows this very file again; without
that, `verify` still sees whatever was altered, taken out, added or moved by one who does not
rewrite the manifest too, and what no longer fits together.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Self

import msgspec

from pelton.events import subjects
from pelton.events.commit import Commit
from pelton.events.envelope import digest, encode
from pelton.events.errors import PeltonError
from pelton.events.upcast import decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.session import Session, named_blobs

FORMAT: Final = "pelton:Session.v1"


class SessionDamaged(PeltonError):
    """A session file is none, or is not as it was written: get it again from whoever exported it.

    `pelton verify` lists everything that is wrong with it.
    """

    code: ClassVar[str] = "session-damaged"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself: which conversation it is of, and when (RFC 3339) it was read."""

    context: str
    exported: str
    format: str = FORMAT


class RecordLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="record"):
    """A record; `received` is in nanoseconds since 1970 in UTC.

    `data` are its bytes as UTF-8, or as base64 if they are none.
    """

    sequence: int
    subject: str
    received: int
    data: str
    base64: bool = False

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return a record as a line."""
        try:
            data, other = record.data.decode(), False
        except UnicodeDecodeError:
            data, other = base64.b64encode(record.data).decode(), True
        return cls(
            sequence=record.sequence,
            subject=record.subject,
            received=record.received_ns,
            data=data,
            base64=other,
        )

    @property
    def record(self) -> Record:
        """The record.

        Raises:
            binascii.Error: it is not base64.
            InvalidInput: its subject is none of a log.
        """
        subjects.parse(self.subject)
        data = base64.b64decode(self.data, validate=True) if self.base64 else self.data.encode()
        return Record(self.sequence, self.subject, data, self.received)


class BlobLine(msgspec.Struct, frozen=True, kw_only=True, tag="blob"):
    """A blob by its SHA-256, its bytes in base64."""

    sha256: str
    data: str

    @classmethod
    def of(cls, name: str, data: bytes) -> Self:
        """Return a blob as a line."""
        return cls(sha256=name, data=base64.b64encode(data).decode())


class KeyLine(msgspec.Struct, frozen=True, kw_only=True, tag="key"):
    """A key of sealed content by its name, wrapped for the holder of a file of keys, in base64."""

    name: str
    wrapped: str

    @classmethod
    def of(cls, name: str, wrapped: bytes) -> Self:
        """Return a wrapped key as a line."""
        return cls(name=name, wrapped=base64.b64encode(wrapped).decode())


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The SHA-256 of the header's line, and in order of each record's, each blob's and key's."""

    header: str
    records: tuple[str, ...]
    blobs: tuple[str, ...]
    keys: tuple[str, ...] = ()


class _Last(msgspec.Struct, frozen=True, kw_only=True):
    manifest: Manifest
    digest: str


class Opened(NamedTuple):
    """What a file holds; `digest` stands for all of it, `keys` are wrapped."""

    header: Header
    session: Session
    digest: str
    keys: Mapping[str, bytes]


def pack(
    header: Header, session: Session, keys: Mapping[str, bytes] | None = None
) -> tuple[bytes, str]:
    """Return the bytes of a session file, and its digest; `keys` are wrapped."""
    first = encode(header)
    records = [encode(RecordLine.of(record)) for record in session.records]
    blobs = [encode(BlobLine.of(*each)) for each in sorted(session.blobs.items())]
    wrapped = [encode(KeyLine.of(*each)) for each in sorted((keys or {}).items())]
    manifest = Manifest(
        header=digest(first),
        records=tuple(map(digest, records)),
        blobs=tuple(map(digest, blobs)),
        keys=tuple(map(digest, wrapped)),
    )
    whole = digest(encode(manifest))
    lines = [first, *records, *blobs, *wrapped, encode(_Last(manifest=manifest, digest=whole))]
    return b"".join(line + b"\n" for line in lines), whole


def unpack(data: bytes, *, noted: str = "") -> Opened:
    """Return what a session file holds, verified; `noted` is the digest that it must have.

    Raises:
        SessionDamaged: it is none, or something in it is not as it was written.
    """
    found, wrong = _read(data)
    wrong = wrong or list(_check(data, found, noted))
    if wrong or found is None:
        raise SessionDamaged(f"{wrong[0]}: pelton verify lists all that is wrong with the file")
    return found


def verify(data: bytes, *, noted: str = "") -> tuple[Opened | None, list[str]]:
    """Return what a session file holds, as far as it can be read, and all that is wrong with it."""
    found, wrong = _read(data)
    return found, [*wrong, *_check(data, found, noted)]


def open_file(path: Path) -> Opened:
    """Return what a session file holds, verified.

    Raises:
        SessionDamaged: it is none, or something in it is not as it was written.
        OSError: it cannot be read.
    """
    return unpack(path.read_bytes())


_header: Final = msgspec.json.Decoder(Header)
_last: Final = msgspec.json.Decoder(_Last)
_line: Final[msgspec.json.Decoder[RecordLine | BlobLine | KeyLine]] = msgspec.json.Decoder(
    RecordLine | BlobLine | KeyLine
)
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_UNREADABLE: Final = (*_NO_JSON, binascii.Error, PeltonError)


def _read(data: bytes) -> tuple[Opened | None, list[str]]:
    """Return what can be read of a file, and what cannot."""
    lines = data.split(b"\n")
    if lines.pop() != b"" or len(lines) < 2:
        return None, ["it is no session file, or its end is missing"]
    try:
        header, last = _header.decode(lines[0]), _last.decode(lines[-1])
    except _NO_JSON:
        return None, ["it is no session file, or its first or last line is damaged"]
    if header.format != FORMAT:
        return None, [f"its format is {header.format[:40]!r}, and this pelton reads {FORMAT!r}"]
    records, wrong = list[Record](), list[str]()
    blobs, keys = dict[str, bytes](), dict[str, bytes]()
    for number, line in enumerate(lines[1:-1], 2):
        try:
            each = _line.decode(line)
            match each:
                case RecordLine():
                    records.append(each.record)
                case BlobLine():
                    blobs[each.sha256] = base64.b64decode(each.data, validate=True)
                case KeyLine():
                    keys[each.name] = base64.b64decode(each.wrapped, validate=True)
        except _UNREADABLE:
            wrong.append(f"line {number} cannot be read")
    return Opened(header, Session(records, blobs), last.digest, keys), wrong


def _check(data: bytes, found: Opened | None, noted: str) -> Iterator[str]:
    """Yield what is wrong with a file that can be read."""
    if found is None:
        return
    header, *body, end = data.split(b"\n")[:-1]
    last = _last.decode(end)
    if end != encode(last) or last.digest != digest(encode(last.manifest)):
        yield "the manifest was altered"
    if noted and last.digest != noted:
        yield "this is another file than the one whose digest was noted"
    if digest(header) != last.manifest.header:
        yield "the header was altered"
    yield from _lines(body, [*last.manifest.records, *last.manifest.blobs, *last.manifest.keys])
    yield from _blobs(found.session)
    yield from _chains(found.session)


def _lines(body: Sequence[bytes], written: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the lines between the first and the last, by the manifest."""
    hashes = [digest(line) for line in body]
    if hashes == written:
        return
    found, wanted = set(hashes), set(written)
    for number, (line, hash_) in enumerate(zip(body, hashes, strict=True), 2):
        if hash_ not in wanted:
            yield f"line {number}{_named(line)} was altered, or added"
    if missing := sum(hash_ not in found for hash_ in written):
        yield f"{missing} of the lines that were written are missing, or altered"
    if found == wanted:
        yield "lines were moved, or are there twice"


def _named(line: bytes) -> str:
    try:
        found = _line.decode(line)
    except _NO_JSON:
        return ""
    return f" (the record at {found.sequence})" if isinstance(found, RecordLine) else ""


def _blobs(session: Session) -> Iterator[str]:
    """Yield what is wrong with the blobs, whatever the manifest says."""
    for name, data in session.blobs.items():
        if digest(data) != name:
            yield f"the blob {name[:64]!r} was altered"
    named = {name for record in session.records for name in named_blobs(record.data)}
    for name in sorted(named - session.blobs.keys()):
        yield f"the blob {name[:64]!r} that a record names is missing"


def _chains(session: Session) -> Iterator[str]:
    """Yield where commits do not follow each other, or not from what they decide (law 13)."""
    heads: dict[str, tuple[str, int]] = {}
    sequences = [record.sequence for record in session.records]
    if len(set(sequences)) != len(sequences):
        yield "two records have the same sequence"
    commands = {record.sequence for record in session.records if record.subject.startswith("cmd.")}
    for record in session.records:
        if not record.subject.startswith("evt."):
            continue
        try:
            commit = decode_commit(record.data)
        except PeltonError as error:
            yield f"the record at {record.sequence} is no commit: {error}"
            continue
        hash_, count = heads.get(record.subject, ("", 0))
        if commit.prevhash != hash_ or commit.sequence != count + 1:
            yield f"the commit at {record.sequence} does not follow the one before it"
        if not _decides(commit, commands):
            yield f"the command that the commit at {record.sequence} decides is missing"
        heads[record.subject] = digest(record.data), count + len(commit.data.events)


def _decides(commit: Commit, commands: set[int]) -> bool:
    return not commit.data.command or commit.data.command in commands


def summary(found: Opened) -> Mapping[str, Any]:
    """Return what a file holds, in numbers."""
    session = found.session
    return {
        "context": found.header.context,
        "exported": found.header.exported,
        "contexts": [{"agent": agent, "context": id_} for agent, id_ in session.contexts],
        "records": len(session.records),
        "blobs": len(session.blobs),
        "keys": len(found.keys),
        "digest": found.digest,
    }
