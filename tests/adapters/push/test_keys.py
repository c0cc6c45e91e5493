"""The keys of push notifications: what they seal, and how they are exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pelton.adapters.push.keys import SIGNING, KeyMissing, PushKeys, Sealed, new_key
from pelton.runtime.clock import RealWorld
from pelton.runtime.settings import SettingsError


@dataclass(frozen=True)
class Clock(RealWorld):
    """A world whose monotonic clock moves on at each look, so that files are read again."""

    def monotonic(self) -> float:
        return super().monotonic() * 1e9


WORLD = Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    new_key(path, world=WORLD)
    return path


def test_the_file_is_its_owners_alone(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        PushKeys(file, world=WORLD)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"keys":[]}', b"\xff", b'{"keys":[{"id":"a"}]}'])
def test_what_is_no_file_of_keys_is_said_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="pelton push key"):
        PushKeys(path, world=WORLD)
    with pytest.raises(ValueError):  # noqa: PT011  whatever it is that it is not
        new_key(path, world=WORLD)
    with pytest.raises(SettingsError, match="pelton push key"):
        PushKeys(tmp_path / "missing", world=WORLD)


@pytest.mark.accepts("AS-40")
def test_what_is_sealed_is_read_by_who_has_the_key(file: Path) -> None:
    keys = PushKeys(file, world=WORLD)
    sealed = keys.seal(b"canary", "here")
    assert "canary" not in sealed.text
    assert sealed != keys.seal(b"canary", "here")
    assert PushKeys(file, world=WORLD).open(sealed, "here") == b"canary"
    middle = len(sealed.text) // 2
    other = "A" if sealed.text[middle] != "A" else "B"
    altered = sealed.text[:middle] + other + sealed.text[middle + 1 :]
    for text, about in ((sealed.text, "there"), (altered, "here"), ("", "here")):
        with pytest.raises(KeyMissing):
            keys.open(Sealed(sealed.key_id, text), about)
    with pytest.raises(KeyMissing):
        keys.open(sealed._replace(key_id="0"), "here")


def test_a_new_key_seals_and_the_old_one_still_opens(file: Path) -> None:
    keys = PushKeys(file, world=WORLD)
    old = keys.seal(b"old", "")
    id_ = new_key(file, world=WORLD)
    new = keys.seal(b"new", "")
    assert new.key_id == id_ != old.key_id
    assert (keys.open(old, ""), keys.open(new, "")) == (b"old", b"new")


def test_what_another_bridge_has_sealed_with_a_newer_key_is_read(file: Path) -> None:
    """Even if this one has looked at the file just now."""
    late = PushKeys(file, world=RealWorld())
    new_key(file, world=WORLD)
    assert late.open(PushKeys(file, world=WORLD).seal(b"x", ""), "") == b"x"


def test_a_file_that_is_gone_for_a_while_changes_nothing(file: Path) -> None:
    keys = PushKeys(file, world=WORLD)
    sealed = keys.seal(b"x", "")
    file.unlink()
    assert keys.open(sealed, "") == b"x"


@pytest.mark.accepts("S10")
def test_each_principal_has_secrets_of_its_own_and_they_are_exchanged(file: Path) -> None:
    keys = PushKeys(file, world=WORLD)
    [first] = keys.secrets("acme", "anna")
    others = [
        keys.secrets(*who)[0] for who in (("acme", "bert"), ("globex", "anna"), ("ac", "meanna"))
    ]
    assert len({first, *others}) == 4
    new_key(file, world=WORLD)
    second, before = keys.secrets("acme", "anna")
    assert before == first != second
    new_key(file, world=WORLD)
    assert keys.secrets("acme", "anna")[1] == second
    assert SIGNING == 2, "more would be sent to receivers for ever"
