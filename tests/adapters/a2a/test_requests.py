"""Reading requests: what is refused, with which words, and what is let in."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.adapters.a2a.errors import ParseError, VersionNotSupported
from pelton.adapters.a2a.requests import (
    MAX_DEPTH,
    MAX_PARTS,
    ListTasksRequest,
    SendMessageRequest,
    check_depth,
    check_message,
    check_secrets,
    check_version,
    convert,
    decode,
)
from pelton.events.a2a import Message, Part, Role
from pelton.events.card import AgentProfile, AgentSkill
from pelton.events.errors import ContentTypeNotSupported, InvalidInput
from pelton.events.redact import STANDARD
from tests.secrets import PREFIXED

DECODER = msgspec.json.Decoder(SendMessageRequest)
DEEP = (
    '{"message":{"messageId":"","role":"ROLE_USER","parts":[]},'
    '"configuration":{"historyLength":-1}}'
)
MODES = ("text/plain", "image/*")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=200,
)


@given(JSON)
def test_no_json_that_is_shallow_is_refused(value: Any) -> None:
    check_depth(json.dumps(value).encode())
    check_depth(json.dumps([value, "[" * 100, '\\"[{' * 30]).encode())


@pytest.mark.accepts("S16")
@pytest.mark.parametrize("text", ["[]", "{}", '"["'])
@pytest.mark.parametrize("level", [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 1100, 100_000])
def test_the_depth_is_bounded(text: str, level: int) -> None:
    body = '{"a":' * level + text + "}" * level
    if level + (text != '"["') <= MAX_DEPTH:
        check_depth(body.encode())
    else:
        with pytest.raises(ParseError):
            check_depth(body.encode())


@pytest.mark.parametrize(
    "body", [b"[" * 4_000_000, b'"\\"' * 1_300_000 + b"[" * 100, b'["' + b"\\" * 3_999_999]
)
@pytest.mark.timeout(10)
def test_a_bomb_costs_one_pass(body: bytes) -> None:
    with contextlib.suppress(ParseError):
        check_depth(body)


def test_a_null_member_is_one_that_is_not_set() -> None:
    body = {
        "message": {
            "messageId": "m",
            "role": "ROLE_USER",
            "parts": [{"data": {"x": None}, "filename": None, "metadata": {"y": None}}],
            "contextId": None,
            "referenceTaskIds": None,
        },
        "configuration": None,
        "metadata": {"z": None},
    }
    request = decode(json.dumps(body).encode(), DECODER)
    part = request.message.parts[0]
    assert part.data == {"x": None}
    assert part.metadata == {"y": None}
    assert request.metadata == {"z": None}
    assert request.message.context_id == ""


def test_names_may_be_those_of_the_proto() -> None:
    """ProtoJSON takes both; what is not understood would be ignored without a word."""
    body = {
        "message": {
            "message_id": "m",
            "role": "ROLE_USER",
            "parts": [{"data": {"a_b": {"c_d": 1}}, "media_type": "t/x", "metadata": {"e_f": 2}}],
            "reference_task_ids": ["t"],
        },
        "configuration": {"history_length": 3, "return_immediately": True},
        "metadata": {"g_h": 4},
    }
    request = decode(json.dumps(body).encode(), DECODER)
    part = request.message.parts[0]
    assert (part.data, part.media_type) == ({"a_b": {"c_d": 1}}, "t/x")
    assert (part.metadata, request.metadata) == ({"e_f": 2}, {"g_h": 4})
    assert request.message.reference_task_ids == ("t",)
    assert request.configuration.history_length == 3
    assert request.configuration.return_immediately
    assert convert({"page_size": "7"}, ListTasksRequest).page_size == 7


def test_a_part_may_be_the_value_null() -> None:
    body = b'{"message":{"messageId":"m","role":"ROLE_USER","taskId":null,"parts":[{"data":null}]}}'
    part = decode(body, DECODER).message.parts[0]
    assert part.data is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{}", "message"),
        ('{"message":null}', "message"),
        ('{"message":[]}', "message"),
        ('{"message":{"role":"ROLE_USER","parts":[]}}', "message.messageId"),
        ('{"message":{"messageId":1,"role":"ROLE_USER","parts":[]}}', "message.messageId"),
        ('{"message":{"messageId":"m","role":"user","parts":[]}}', "message.role"),
        ('{"message":{"messageId":"m","role":"ROLE_USER"}}', "message.parts"),
        (
            '{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"a"},{"text":7}]}}',
            "message.parts[1].text",
        ),
        (DEEP, "configuration.historyLength"),
        ("[]", ""),
        ("null", ""),
        ("7", ""),
    ],
)
@pytest.mark.accepts("AS-42")
def test_what_is_wrong_is_named(body: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(body.encode(), DECODER)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nope", b"NaN", b'{"a":NaN}', b'"\xff"', b'{"a":"\\ud800"}', b"{}{}"]
)
@pytest.mark.accepts("AS-42", "S16")
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ParseError):
        decode(body, DECODER)


def said(*parts: Part, **members: Any) -> Message:
    given: dict[str, Any] = {"message_id": "m", "role": Role.USER, "parts": parts, **members}
    return Message(**given)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (said(), "message.parts"),
        (said(*[Part(text="x")] * (MAX_PARTS + 1)), "message.parts"),
        (said(Part(text="x"), role=Role.AGENT), "message.role"),
        (said(Part(text="x"), message_id=""), "message.messageId"),
        (said(Part(text="x"), message_id="x" * 129), "message.messageId"),
        (said(Part(text="x"), message_id="a\nb"), "message.messageId"),
        (said(Part(text="x"), context_id="a\0b"), "message.contextId"),
        (said(Part()), "message.parts[0]"),
        (said(Part(text="x"), Part(text="x", url="y")), "message.parts[1]"),
        (said(Part(text="x", data=None)), "message.parts[0]"),
        (said(Part(raw="not base64!")), "message.parts[0].raw"),
        (said(Part(raw="abc")), "message.parts[0].raw"),
        (said(Part(raw="é")), "message.parts[0].raw"),
    ],
)
@pytest.mark.accepts("AS-42", "S14")
def test_a_message_is_checked_member_by_member(message: Message, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_message(message, MODES)
    assert caught.value.field == field


def test_a_client_cannot_refer_to_blobs() -> None:
    body = b'{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x","blob":%b}]}}'
    for blob in (b'{"sha256":"00","size":1,"member":"text"}', b'"x"'):
        with pytest.raises(InvalidInput):
            check_message(decode(body % blob, DECODER).message, MODES)


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("", True),
        ("text/plain", True),
        ("Text/Plain; charset=utf-8", True),
        ("image/png", True),
        ("text/html", False),
        ("application/x-unsupported-tck-type", False),
        ("image", False),
    ],
)
def test_a_media_type_is_taken_if_the_agent_says_so(kind: str, *, taken: bool) -> None:
    message = said(Part(raw="dGNr", media_type=kind))
    if taken:
        check_message(message, MODES)
    else:
        with pytest.raises(ContentTypeNotSupported):
            check_message(message, MODES)
    check_message(message, ("*/*",))


def test_a_skill_may_take_more() -> None:
    sees = AgentSkill(id="s", name="S", description="Sees.", tags=("s",), input_modes=("image/*",))
    profile = AgentProfile(
        name="a", title="A", description="A.", version="1", skills=(sees,), input_modes=("text/*",)
    )
    for kind in ("text/plain", "image/png"):
        check_message(said(Part(raw="dGNr", media_type=kind)), profile.takes)


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        ("1.0", True),
        ("1.0.1", True),
        ("1.0.99", True),
        ("", False),
        ("0.3", False),
        ("1.1", False),
        ("1", False),
        ("1.0.", False),
        ("1.0\n", False),
        ("10.0", False),
        ("1.0, 1.0", False),
    ],
)
def test_the_version_is_compared_by_major_and_minor(version: str, *, spoken: bool) -> None:
    if spoken:
        check_version(version)
    else:
        with pytest.raises(VersionNotSupported, match=r"1\.0"):
            check_version(version)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"pageSize": "0"}, "pageSize"),
        ({"pageSize": "101"}, "pageSize"),
        ({"pageSize": "-1"}, "pageSize"),
        ({"pageSize": "x"}, "pageSize"),
        ({"status": "WORKING"}, "status"),
        ({"historyLength": "-1"}, "historyLength"),
        ({"historyLength": "99999999999"}, "historyLength"),
        ({"includeArtifacts": "maybe"}, "includeArtifacts"),
        ({"statusTimestampAfter": "yesterday"}, "statusTimestampAfter"),
        ({"statusTimestampAfter": "2026-01-01T00:00:00"}, "statusTimestampAfter"),
    ],
)
def test_parameters_of_a_url_are_checked(parameters: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert(parameters, ListTasksRequest)
    assert caught.value.field == field


def test_parameters_of_a_url_are_read() -> None:
    request = convert(
        {"pageSize": "7", "includeArtifacts": "true", "status": "TASK_STATE_WORKING", "more": "x"},
        ListTasksRequest,
    )
    assert request.page_size == 7
    assert request.include_artifacts
    assert request.status == "TASK_STATE_WORKING"


@pytest.mark.accepts("AS-40")
@pytest.mark.parametrize("member", ["message_id", "context_id"])
def test_an_id_that_looks_like_a_secret_is_refused(member: str) -> None:
    message = Message(message_id="m", role=Role.USER, parts=(Part(text="go"),))
    check_secrets(message, STANDARD)
    secret = PREFIXED["github-token"]
    with pytest.raises(InvalidInput, match="looks like a secret") as refused:
        check_secrets(msgspec.structs.replace(message, **{member: secret}), STANDARD)
    assert secret not in str(refused.value)
