"""A session file in which anything was altered, taken out, added or moved is found out (AS-25)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events.commit import Commit
from pelton.events.envelope import digest, encode
from pelton.events.upcast import decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.archive import Header, SessionDamaged, open_file, pack, unpack, verify
from pelton.runtime.replay.session import Session
from tests.histories.record import FOLDER, read

HISTORIES = sorted(FOLDER.glob("*/*.ndjson"))
HEADER = Header(context="c", exported="2030-01-01T00:00:00.000Z")
RECORDS = read(FOLDER / "0.1" / "attempts.ndjson")
BLOB = b"bulk" * 100
KEYS = {"echo.c-1": b"wrapped", "echo.c-2": b"another"}
WHOLE, DIGEST = pack(HEADER, Session(RECORDS, {digest(BLOB): BLOB}), KEYS)
LINES = WHOLE.split(b"\n")[:-1]


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def wrong(data: bytes, noted: str = "") -> list[str]:
    """Return what is wrong with a file; to open it must fail just then."""
    found = verify(data, noted=noted)[1]
    if found:
        with pytest.raises(SessionDamaged):
            unpack(data, noted=noted)
    else:
        unpack(data, noted=noted)
    return found


def test_a_file_gives_back_what_was_put_in(tmp_path: Path) -> None:
    assert wrong(WHOLE) == wrong(WHOLE, DIGEST) == []
    file = tmp_path / "x.pelton"
    file.write_bytes(WHOLE)
    opened = open_file(file)
    assert opened.header == HEADER
    assert opened.digest == DIGEST
    assert list(opened.session.records) == RECORDS
    assert opened.session.blobs == {digest(BLOB): BLOB}
    assert opened.keys == KEYS
    assert b'"key' not in pack(HEADER, Session(RECORDS, {}))[0].splitlines()[-1]


@pytest.mark.parametrize("history", HISTORIES, ids=lambda path: path.stem)
def test_every_history_can_be_carried_about(history: Path) -> None:
    records = read(history)
    found, complaints = verify(pack(HEADER, Session(records, {}))[0])
    assert found is not None
    assert list(found.session.records) == records
    assert not [each for each in complaints if not each.startswith("the blob")]


@pytest.mark.accepts("AS-25")
@given(place=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_any_bit_that_flips_is_noticed(place: int, bit: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= 1 << bit
    assert wrong(bytes(data))


@pytest.mark.accepts("AS-25")
@given(st.data())
def test_any_line_that_goes_comes_twice_or_moves_is_noticed(data: st.DataObject) -> None:
    lines, at = list(LINES), st.integers(0, len(LINES) - 1)
    line = lines.pop(data.draw(at))
    if data.draw(st.booleans()):
        lines.insert(data.draw(at), line)
        if data.draw(st.booleans()):
            lines.insert(data.draw(at), line)
    assert bool(wrong(joined(lines))) is (lines != LINES)


@pytest.mark.accepts("AS-25")
@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_off_is_noticed(length: int) -> None:
    assert wrong(WHOLE[:length])


def forged(change: Callable[[list[Record]], None]) -> bytes:
    """Return a file of other records, whose manifest fits them."""
    records = list(RECORDS)
    change(records)
    return pack(HEADER, Session(records, {digest(BLOB): BLOB}))[0]


def commits() -> list[int]:
    return [at for at, record in enumerate(RECORDS) if record.subject.startswith("evt.")]


@pytest.mark.accepts("AS-25")
@pytest.mark.parametrize("at", commits()[:-1])
def test_the_chain_of_commits_finds_a_forger_who_writes_the_manifest_anew(at: int) -> None:
    def altered(records: list[Record]) -> None:
        commit = decode_commit(records[at].data)
        later = msgspec.structs.replace(commit, time="2031-01-01T00:00:00.000Z")
        records[at] = records[at]._replace(data=encode(later))

    def removed(records: list[Record]) -> None:
        del records[at]

    def moved(records: list[Record]) -> None:
        other = commits()[commits().index(at) + 1]
        one, two = records[at], records[other]
        records[at] = one._replace(data=two.data)
        records[other] = two._replace(data=one.data)

    for change in (altered, removed, moved):
        assert any("does not follow" in each for each in wrong(forged(change)))


@pytest.mark.accepts("AS-25")
def test_a_command_that_was_decided_cannot_be_taken_out() -> None:
    first = next(at for at, record in enumerate(RECORDS) if record.subject.startswith("cmd."))

    def change(records: list[Record]) -> None:
        del records[first]

    assert any("is missing" in each for each in wrong(forged(change)))


@pytest.mark.accepts("AS-25")
def test_the_digest_that_was_noted_finds_every_forger() -> None:
    def last(records: list[Record]) -> None:
        commit: Commit = decode_commit(records[-1].data)
        records[-1] = records[-1]._replace(
            data=encode(msgspec.structs.replace(commit, time="2031-01-01T00:00:00.000Z"))
        )

    data = forged(last)
    assert wrong(data) == []  # nothing follows it that would not fit
    assert wrong(data, DIGEST) == ["this is another file than the one whose digest was noted"]


@pytest.mark.accepts("AS-25")
def test_blobs_are_checked_against_their_names() -> None:
    data, _ = pack(HEADER, Session(RECORDS, {digest(BLOB): b"other"}))
    assert any("was altered" in each for each in wrong(data))


@pytest.mark.parametrize("data", [b"", b"\n", b"x\ny\n", b"{}\n{}\n", WHOLE + b"more\n"])
def test_what_is_no_session_file_is_told(data: bytes) -> None:
    assert wrong(data)


DEEP = b'{"type":"record","x":' + b"[" * 50_000


@pytest.mark.accepts("AS-25")
@pytest.mark.parametrize("place", [0, 1, -1])
def test_what_is_nested_too_deep_is_told(place: int) -> None:
    lines = list(LINES)
    lines[place] = DEEP
    assert wrong(joined(lines))


def test_a_record_that_is_nested_too_deep_is_no_commit() -> None:
    odd = Record(99, "evt.echo.c", b'{"sha256":' + b"[" * 50_000, 1)
    assert any("is no commit" in each for each in wrong(pack(HEADER, Session([odd], {}))[0]))


@pytest.mark.accepts("AS-25")
def test_each_of_very_many_lines_that_were_altered_is_told_soon() -> None:
    records = [Record(at, "cmd.echo.c", b"x", at) for at in range(1, 20_001)]
    lines = pack(HEADER, Session(records, {}))[0].splitlines()
    altered = [each.replace(b"echo", b"ecHo") for each in lines]
    assert (
        len([each for each in wrong(joined(altered)) if "was altered, or added" in each]) == 20_000
    )


def test_another_format_is_told() -> None:
    header: Any = {"context": "c", "exported": "", "format": "pelton:Session.v9"}
    assert "pelton:Session.v9" in wrong(joined([encode(header), *LINES[1:]]))[0]


def test_a_record_that_is_no_text_is_carried_as_it_is() -> None:
    odd = Record(99, "cmd.echo.c", b"\xff\xfe", 1)
    found, _ = verify(pack(HEADER, Session([odd], {}))[0])
    assert found is not None
    assert found.session.records == (odd,)
