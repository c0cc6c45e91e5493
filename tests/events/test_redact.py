"""Secrets are found, wherever they stand; what is none stays, byte for byte."""

from __future__ import annotations

import base64
import json
import re
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events import commands
from pelton.events.a2a import Artifact, Message, Part, Role
from pelton.events.errors import InvalidInput
from pelton.events.events import EVENTS
from pelton.events.growing import Growing
from pelton.events.redact import IDENTITIES, MARKER, STANDARD, Finding, Redactor, leaves
from pelton.events.secret_kinds import KINDS
from tests.secrets import CONTEXTS, HARMLESS, MEMBERS, PREFIXED, TEXTS

CORPUS = {**PREFIXED, **{name: secret for name, (_, secret) in CONTEXTS.items()}}


def kind_of(name: str) -> str:
    return name.partition(" ")[0]


@pytest.mark.accepts("AS-40")
@pytest.mark.parametrize("name", TEXTS)
def test_a_secret_is_found_and_named(name: str) -> None:
    cleaned = STANDARD.text(TEXTS[name])
    assert CORPUS[name] not in cleaned
    assert f"(redacted:{kind_of(name)})" in cleaned
    assert STANDARD.findings(TEXTS[name]) == (Finding(kind_of(name), ""),)
    if name in CONTEXTS:
        form, _ = CONTEXTS[name]
        before = form.format("\0").partition("\0")[0]
        assert cleaned.startswith(before)  # what the secret stands in is still there to read


@pytest.mark.parametrize(
    "form", ["{}", "'{}'", "a={}&b=1", "({})", "/{}/", "a\\n{}\\n", "ключ:{}。"]
)
def test_a_secret_is_found_wherever_it_stands(form: str) -> None:
    left = [name for name, one in PREFIXED.items() if one in STANDARD.text(form.format(one))]
    assert not left


@pytest.mark.accepts("AS-40")
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_secret_stays(name: str) -> None:
    text = HARMLESS[name]
    assert STANDARD.text(text) is text
    value = {"value": [text], "text": {"it": text}}
    assert STANDARD.clean(value) is value


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_says_that_its_value_is_a_secret(name: str) -> None:
    member, secret = MEMBERS[name]
    cleaned = STANDARD.clean({"headers": {member: secret}})
    assert cleaned == {"headers": {member: f"(redacted:{kind_of(name)})"}}
    assert STANDARD.findings({"h": {member: secret}}) == (Finding(kind_of(name), f"h.{member}"),)


def test_every_kind_is_in_the_corpus() -> None:
    assert {kind.name for kind in KINDS} == {kind_of(name) for name in (*TEXTS, *MEMBERS)}


def test_structured_data_stays_structured() -> None:
    key = PREFIXED["github-token"]
    value = {
        "type": "object",
        key: {key + "x": 1},
        "list": [1, None, True, 1.5, key],
        "kty": "OKP",
        "d": CORPUS["private-jwk"],
        "x": CORPUS["private-jwk"],
    }
    cleaned = STANDARD.clean(value)
    assert cleaned == {
        "type": "object",
        "(redacted:github-token)": {"(redacted:github-token)": 1},
        "list": [1, None, True, 1.5, "(redacted:github-token)"],
        "kty": "OKP",
        "d": "(redacted:private-jwk)",
        "x": CORPUS["private-jwk"],
    }
    two = STANDARD.clean({PREFIXED["github-token"]: 1, PREFIXED["github-token app"]: 2})
    assert two == {"(redacted:github-token)": 1, "(redacted:github-token)-2": 2}


def test_identities_stay_and_content_does_not() -> None:
    key = PREFIXED["github-token"]
    message = Message(
        message_id=key,
        role=Role.USER,
        parts=(Part(text=f"it is {key}", filename=key), Part(data={"id": key})),
        metadata={"id": key},
    )
    cleaned = STANDARD.clean(message)
    assert cleaned.message_id == key
    assert key not in json.dumps(msgspec.to_builtins(cleaned.parts))
    assert cleaned.metadata == {"id": "(redacted:github-token)"}
    artifact = STANDARD.clean(Artifact(artifact_id="a", name=key, parts=()))
    assert artifact.name == "(redacted:github-token)"
    assert [finding.path for finding in STANDARD.findings(message)] == [
        "parts[0].text",
        "parts[0].filename",
        "parts[1].data.id",
        "metadata.id",
    ]


def _raw(data: bytes) -> Part:
    return Part(raw=base64.b64encode(data).decode(), media_type="application/octet-stream")


def test_files_of_text_are_looked_at_and_other_bytes_are_not() -> None:
    key = PREFIXED["aws-access-key"]
    env = _raw(f"AWS_ACCESS_KEY_ID={key}\n".encode())
    cleaned = STANDARD.clean(env)
    assert isinstance(cleaned.raw, str)
    assert base64.b64decode(cleaned.raw) == b"AWS_ACCESS_KEY_ID=(redacted:aws-access-key)\n"
    assert STANDARD.findings(env) == (Finding("aws-access-key", "raw"),)
    for data in (b"\x89PNG\r\n" + key.encode(), key.encode() + b"\0", key.encode("utf-16")):
        part = _raw(data)
        assert STANDARD.clean(part) is part
    broken = Part(raw="no base64: " + key)  # refused elsewhere
    assert STANDARD.clean(broken) is broken


def test_patterns_are_added_allowed_and_switched_off() -> None:
    own = Redactor({"acme-key": "acme-[0-9]{4}", "badge": "badge (?P<secret>[0-9]+)"})
    assert own.text("acme-1234, badge 77 !") == "(redacted:acme-key), badge (redacted:badge) !"
    key = PREFIXED["aws-access-key"]
    assert Redactor(allow=("AKIA.*",)).text(f"it is {key}") == f"it is {key}"
    allowed = {"password": "example-password"}
    assert Redactor(allow=("example-.*",)).clean(allowed) is allowed
    off = Redactor({"acme-key": "acme-[0-9]{4}"}, enabled=False)
    assert off.text(f"{key} acme-1234") == f"{key} acme-1234"
    assert off.clean(allowed) is allowed
    for patterns in ({"no good": "a"}, {"good": "("}, {"": "a"}):
        with pytest.raises(InvalidInput):
            Redactor(patterns)
    with pytest.raises(InvalidInput):
        Redactor(allow=("(",))


def test_what_is_nested_without_end_is_refused() -> None:
    value: object = "end"
    for _ in range(201):
        value = [value]
    with pytest.raises(InvalidInput):
        STANDARD.clean(value)


_PIECES = (*TEXTS.values(), *CORPUS.values(), *HARMLESS.values(), " ", "\n", "=", '"')
_WORDS = st.integers(0, len(_PIECES) - 1).map(_PIECES.__getitem__)
_MIXED = st.lists(_WORDS | st.text(max_size=20), max_size=6).map("".join)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _MIXED,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_MIXED, inner, max_size=3),
    max_leaves=12,
)


@given(_JSON)
def test_redacting_twice_is_redacting_once(value: object) -> None:
    once = STANDARD.clean(value)
    assert STANDARD.clean(once) is once
    assert json.loads(json.dumps(once)) == once


@given(_MIXED, _MIXED)
def test_only_markers_are_new(before: str, after: str) -> None:
    cleaned = STANDARD.text(before + after)
    at = 0
    for piece in MARKER.split(cleaned)[::2]:  # what was kept, in order
        found = (before + after).find(piece, at)
        assert found >= 0
        at = found + len(piece)


@pytest.mark.parametrize("before", ["é", "…", "😀", "\n", "\t", '"', "\\"])
def test_no_escape_of_json_is_taken_for_a_secret(before: str) -> None:
    """Its digits are those of what begins with digits, as a few tokens do."""
    for piece in _PIECES:
        cleaned = STANDARD.text(json.dumps(before + piece))
        assert json.loads(cleaned).startswith(before)


@given(st.dictionaries(st.text(max_size=8), _MIXED, max_size=3))
def test_json_in_a_text_stays_json(value: dict[str, str]) -> None:
    json.loads(STANDARD.text(json.dumps(value)))


@given(st.sampled_from([*TEXTS]), st.lists(st.integers(1, 60), max_size=12), st.booleans())
def test_a_text_that_grows_never_shows_a_part_of_a_secret(
    name: str,
    cuts: list[int],
    follows: bool,
) -> None:
    text = f"Before it. {TEXTS[name]}" + (" And after it." if follows else "")
    growing, said, at = Growing(STANDARD), [""], 0
    for cut in cuts:
        said.append(growing.add(text[at : at + cut]))
        at += cut
    said.append(growing.add(text[at:], last=True))
    secret = CORPUS[name]
    for shown in ("".join(said[: count + 1]) for count in range(len(said))):
        longest = max((n for n in range(len(secret)) if secret[:n] in shown), default=0)
        assert longest <= len(secret) / 2, (shown, name)  # what its issuer puts in front, at most
    assert secret not in "".join(said)


def test_a_text_may_be_cut_anywhere() -> None:
    for name, text in TEXTS.items():
        secret = CORPUS[name]
        begin = text.index(secret)
        for cut in range(begin + 1, len(text), 3):
            growing = Growing(STANDARD)
            first = growing.add(text[:cut])
            shown = max((n for n in range(cut - begin) if secret[: n + 1] in first), default=0)
            assert shown <= len(secret) / 2, (name, first)
            rest = growing.add(text[cut:], last=True)
            assert secret not in first + rest
            assert STANDARD.text(first + rest) == first + rest, (name, cut)


def test_what_is_no_secret_does_not_wait() -> None:
    growing = Growing(STANDARD)
    for piece in ("The ", "to", "ken of ", "my ", "sk", "etch: a", "bc. ", "password", " is lost"):
        assert growing.add(piece) == piece
    assert not growing.touched


def test_every_text_of_the_contract_is_an_identity_or_content() -> None:
    """A new member must be put on one side: in `IDENTITIES`, or here."""
    content = {
        *(
            "change",
            "content",
            "data",
            "description",
            "examples",
            "filename",
            "message",
            "metadata",
            "name",
            "params",
        ),
        *("detail", "raw", "reason", "result", "tags", "text", "title", "url", "value"),
        *("documentation_url", "icon_url", "organization"),
    }
    found: set[str] = set()
    seen: set[type] = set()
    todo: list[type] = [*EVENTS]
    todo += [
        each
        for name, each in vars(commands).items()
        if name.endswith("Data") and isinstance(each, type)
    ]
    while todo:
        kind = todo.pop()
        if kind in seen:
            continue
        seen.add(kind)
        for name, hint in typing.get_type_hints(kind).items():
            for leaf in leaves(hint):
                if leaf is str or leaf is typing.Any:
                    found.add(name)
                elif isinstance(leaf, type) and issubclass(leaf, msgspec.Struct):
                    todo.append(leaf)
    named = {name for name in found if not name.endswith(("_id", "_ids"))}
    assert sorted(named - IDENTITIES - content) == []
    assert not IDENTITIES - found


def test_no_text_takes_long() -> None:
    """What makes patterns go back and forth would take minutes if they did; they take a moment."""
    pieces = ("a1_", "eyJ", "x.", "-----BEGIN ", "://a:", "password=", "Cookie: a=", "A2", "\\n")
    for text in (piece * (200_000 // len(piece)) for piece in pieces):
        once = STANDARD.text(text)
        assert STANDARD.text(once) is once


def test_markers_are_as_documented() -> None:
    assert re.fullmatch(MARKER, "(redacted:github-token)")


@pytest.mark.accepts("AS-40")
def test_what_was_clean_once_says_nothing_of_anything_else() -> None:
    redactor, secret = Redactor({"word": "harmless"}), CORPUS["aws-access-key"]
    for number in range(1000):
        assert STANDARD.text(f"a harmless text {number}") == f"a harmless text {number}"
        assert redactor.text(f"a harmless text {number}") == f"a (redacted:word) text {number}"
    for _ in range(2):
        assert secret not in STANDARD.text(f"a harmless text and {secret}")
