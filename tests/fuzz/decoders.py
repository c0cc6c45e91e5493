"""What reads bytes from outside, and the only errors that each may raise.

Any other error, an answer that takes long, and memory without bound are what fuzzing looks for.
Each decoder has examples of what it takes, for a fuzzer to begin with.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from pelton.adapters.a2a import card, guard, jsonrpc, legacy, protobuf, rest, signing
from pelton.adapters.a2a.app import _parameters  # pyright: ignore[reportPrivateUsage]
from pelton.adapters.a2a.errors import HttpError, InvalidRequest, ParseError
from pelton.adapters.a2a.extensions import sequence_at
from pelton.adapters.a2a.grpc_server import PACKAGE, WIRES
from pelton.adapters.a2a.operations import OPERATIONS
from pelton.adapters.a2a.requests import (
    HttpRequest,
    SendMessageRequest,
    camel,
    check_depth,
    check_message,
    decode,
)
from pelton.adapters.a2a.requests import convert_members as members
from pelton.adapters.api import routes
from pelton.adapters.identity import grants, jwks
from pelton.adapters.identity.authenticator import Admission, Authenticator
from pelton.adapters.identity.limits import Limits, Rate, Rates
from pelton.adapters.identity.tokens import Tokens
from pelton.events import families, hitl, keys, subjects, upcast
from pelton.events.envelope import encode
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.ids import context_of, token, untoken
from pelton.events.schedule import Schedule
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.runtime.clock import RealWorld
from pelton.runtime.settings import SettingsError, load
from pelton.runtime.slots import check_times, slots
from tests.adapters.identity.issuing import Clock, Served, raw
from tests.adapters.identity.issuing import jwks as key_set
from tests.adapters.identity.issuing import token as signed
from tests.adapters.identity.issuing import tokens as issuer

ROOT: Final = Path(__file__).parents[2]
WORLD: Final = RealWorld()


class Decoder(NamedTuple):
    """A decoder of bytes, the errors that it declares, and examples of what it takes.

    `found` is what it once raised another error for.
    """

    reads: Callable[[bytes], object]
    declares: tuple[type[Exception], ...]
    examples: Sequence[bytes]
    found: Sequence[bytes] = ()

    def __call__(self, data: bytes) -> None:
        """Read bytes.

        Raises:
            Exception: one that is not declared.
        """
        try:
            self.reads(data)
        except self.declares:
            return


@functools.cache
def histories(kind: str) -> tuple[bytes, ...]:
    """Return recorded commands (`cmd`) or commits (`evt`), and what else there is of that kind."""
    found: list[bytes] = []
    for path in sorted((ROOT / "tests/histories/0.1").glob("*.ndjson")):
        records = map(json.loads, path.read_text().splitlines())
        found += [each["data"].encode() for each in records if each["subject"].startswith(kind)]
    return tuple(found)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _split(data: bytes, at: bytes = b"\n") -> tuple[bytes, bytes]:
    first, _, second = data.partition(at)
    return first, second


# The log


def _record(data: bytes) -> None:
    """Whatever is read is written again, to the same value."""
    for read in (upcast.decode_command, upcast.decode_schedule_command, upcast.decode_commit):
        try:
            found = read(data)
        except PeltonError:
            continue
        assert read(encode(found)) == found


def _subject(data: bytes) -> None:
    text = _text(data)
    assert str(subjects.parse(text)) == text


def _identity(data: bytes) -> None:
    text = _text(data)
    assert untoken(token(text)) == text
    context_of(text)


# HTTP


def _headers(data: bytes) -> None:
    """Headers as they come: one a line, of which each name is asked for what it decides."""
    pairs = [_split(line, b": ") for line in data.split(b"\n")]
    headers = {name.lower(): value for name, value in pairs}
    guard.Guard("0.0.0.0", ()).check(headers)
    guard.check_once(pairs)
    found = _parameters(pairs, headers, headers.get(b"query", b""))
    if found.position:
        sequence_at(found.position, "t-0123456789abcdef", 9)
    guard.check_media_type(headers)


def _cached(data: bytes) -> None:
    name, value = _split(data)
    card.answer({}, datetime(2026, 1, 1, tzinfo=UTC), {name: value})


def _position(data: bytes) -> None:
    found = sequence_at(data.decode("latin-1"), "t-0123456789abcdef", 2**53)
    assert 0 <= found <= 2**53


def _rpc(data: bytes) -> None:
    asked = jsonrpc._envelope_in(data)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    decoders = jsonrpc._decoders  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if (operation := decoders.get(asked.method)) is not None:
        found = decode(asked.params, operation)
        if isinstance(found, SendMessageRequest):
            check_message(found.message, ("text/*",))


def _rest(data: bytes) -> None:
    line, body = _split(data)
    verb, _, where = line.decode("latin-1").partition(" ")
    path, _, query = where.partition("?")
    for is_legacy in (False, True):
        found = rest.find(path.split("/")[1:] or [""], legacy=is_legacy)
        if found is not None and (name := found.methods.get(verb)) is not None:
            asked = HttpRequest(verb, path.split("/"), query.encode("latin-1"), body)
            rest._params(name, found, asked)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _legacy(data: bytes) -> None:
    check_depth(data)
    value = decode(data, msgspec.json.Decoder(Any))
    for method in ("SendMessage", "GetTask"):
        try:
            members(legacy.params(method, camel(value)), OPERATIONS[method].request)
        except InvalidInput:
            continue


def _protobuf(data: bytes) -> None:
    for name, wire in WIRES.items():
        try:
            value = protobuf.from_bytes(f"{PACKAGE}.{wire.request}", data)
            members(value, OPERATIONS[name].request)
        except InvalidInput:
            continue


def _hitl(data: bytes) -> None:
    value = msgspec.json.decode(data, type=SendMessageRequest)
    hitl.reply(value.message)
    hitl.answered(value.message)
    hitl.approves(value.message)


def _query(data: bytes) -> None:
    for route in routes.ROUTES:
        routes.parse_query(data, route.query)


# Lists, credentials


def _cursor(data: bytes) -> None:
    place = read_cursor(_text(data), ("tasks",), 2)
    assert len(place) == 2


class _Empty:
    """The keys of a tenant that has none."""

    loaded, damaged = True, False
    keys: Final[dict[str, Any]] = {}
    revoked: Final[frozenset[str]] = frozenset()


_AUTHENTICATOR: Final = Authenticator(
    Admission(keys=True, anyone=None), cast("Any", {"acme": _Empty()}), world=WORLD
)


def _credential(data: bytes) -> None:
    name, value = _split(data)
    asking = _AUTHENTICATOR.principal({name: value})
    try:
        asking.send(None)
    except StopIteration as done:
        raise AssertionError("somebody was let in") from done


@functools.cache
def _issuer() -> tuple[Tokens, asyncio.Runner]:
    return issuer(Clock(), Served()), asyncio.Runner()


def _token(data: bytes) -> None:
    found, runner = _issuer()
    text = _text(data)
    if text.isascii():  # as `Authorization` is checked before
        runner.run(found.principal(text))


def _form(data: bytes) -> None:
    header, body = _split(data)
    kind = {b"content-type": b"application/x-www-form-urlencoded", b"authorization": header}
    form = grants._form(kind, body)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    name, secret = grants._client(kind, form)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    keys.presented(keys.spell(name, secret))
    families.presented(form.get("refresh_token", ""))


def _news(data: bytes) -> None:
    limits = Limits(Rates(principal=Rate(1, 5)), world=WORLD)
    limits.hear(data)


# Cards, settings, schedules


@functools.cache
def _card_keys() -> tuple[Any, bytes]:
    """Return keys that are trusted, and a card that is signed with them."""
    path = Path(_folder()) / "key.json"
    path.write_bytes(msgspec.json.encode(signing.new_key()))
    found = signing.load_keys(path)
    given: dict[str, Any] = {
        "name": "a",
        "skills": [{"id": "s", "tags": []}],
        "capabilities": {"streaming": True},
    }
    return found, msgspec.json.encode(signing.sign(given, found))


def _with_header(header: dict[str, Any]) -> bytes:
    """Return a card whose signature says of itself what is given, and that it is of our key."""
    said = json.dumps(header | {"kid": _card_keys()[0].keys[0].kid}).encode()
    protected = base64.urlsafe_b64encode(said).rstrip(b"=").decode()
    return json.dumps({"signatures": [{"protected": protected, "signature": "AA"}]}).encode()


def _card(data: bytes) -> None:
    """A card that is verified says what was signed, and nothing else."""
    trusted, good = _card_keys()
    value = msgspec.json.decode(data, type=dict[str, Any])
    signing.verify(value, trusted)
    assert signing.canonical(value) == signing.canonical(msgspec.json.decode(good))


def _settings(data: bytes) -> None:
    """A file of settings, or variables, one a line."""
    text = _text(data)
    if not text.startswith("PELTON_"):
        path = Path(_folder()) / "pelton.toml"
        path.write_bytes(data)
        load(path, environment={})
        return
    pairs = (line.partition("=") for line in text.split("\n"))
    load(Path("/dev/null"), environment={name: value for name, _, value in pairs})


@functools.cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="pelton-fuzz-")


def _schedule(data: bytes) -> None:
    cron, _, rest_ = _text(data).partition("\n")
    at, _, zone = rest_.partition("\n")
    schedule = Schedule(name="s", text="t", cron=cron, at=at, zone=zone)
    check_times(schedule)
    after = "2026-01-01T00:00:00.000Z"
    for slot in islice(slots(schedule, after), 3):
        assert slot > after
        after = slot


_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SEND: Final = json.dumps(
    {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "t"}, {"raw": "dA=="}]}}
).encode()
_CURSOR: Final = write_cursor(("a", "b"), ("tasks",)).encode()
_RPC: Final = b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":%b}' % _SEND

DECODERS: Final[dict[str, Decoder]] = {
    "records": Decoder(_record, (), (*histories("cmd")[:20], *histories("evt")[:40])),
    "subjects": Decoder(
        _subject, (InvalidInput,), (b"cmd.echo.talk", b"evt.echo._key.abc", b"evt._access.=cg")
    ),
    "ids": Decoder(_identity, (InvalidInput,), (b"talk-0123456789abcdef", b"=c8-0123456789abcdef")),
    "headers": Decoder(
        _headers,
        (HttpError, PeltonError),
        (
            b"host: a.example\norigin: https://a.example\na2a-extensions: urn:a, urn:b",
            b"host: [::1]:80\nlast-event-id: 5-0123456789abcdef\nquery: A2A-Version=1.0",
            b"host: a\ncontent-type: application/json; charset=utf-8\nidempotency-key: k",
        ),
    ),
    "caching headers": Decoder(
        _cached,
        (),
        (b'if-none-match\nW/"a", *', b"if-modified-since\nWed, 21 Oct 2026 07:28:00 GMT"),
        (b"if-modified-since\nWed, 21 Oct 99999999999999999999 07:28:00 GMT",),
    ),
    "positions": Decoder(_position, (PeltonError,), (b"12-0123456789abcdef", b"0")),
    "json-rpc": Decoder(
        _rpc,
        (ParseError, InvalidRequest, PeltonError),
        (_RPC, b'{"jsonrpc":"2.0","id":"x","method":"ListTasks","params":{"pageSize":1}}'),
    ),
    "http+json": Decoder(
        _rest,
        (PeltonError,),
        (
            b"POST /message:send\n" + _SEND,
            b"GET /acme/tasks?pageSize=7&status=x",
            b"POST /tasks/a%20b:cancel\n{}",
            b"GET /v1/tasks/a?historyLength=0",
            b"GET /v1/card",
        ),
    ),
    "a2a 0.3": Decoder(
        _legacy,
        (ParseError, InvalidInput),
        (
            b'{"message":{"kind":"message","role":"user","parts":[{"kind":"text","text":"t"}]}}',
            b'{"request":{"content":[{"file":{"file_with_uri":"u","mime_type":"t"}}]},"id":"t"}',
        ),
    ),
    "protocol buffers": Decoder(
        _protobuf, (), (b"\n\x04echo", b"\n\x04echo\x12\n\n\x01m \x01*\x03\n\x01t")
    ),
    "answers of people": Decoder(
        _hitl,
        _JSON,
        tuple(
            json.dumps(
                {
                    "message": {
                        **json.loads(_SEND)["message"],
                        "extensions": [hitl.URI],
                        "metadata": {hitl.URI: said},
                    }
                }
            ).encode()
            for said in (hitl.answer("k", "yes"), hitl.decision("k", approved=True))
        ),
    ),
    "queries": Decoder(_query, (InvalidInput,), (b"pageSize=3&pageToken=x", b"historyLength=1")),
    "cursors": Decoder(_cursor, (InvalidInput,), (_CURSOR, b"WzEs")),
    "credentials": Decoder(
        _credential,
        (PeltonError,),
        (b"x-api-key\n" + keys.spell("0" * 16, "s" * 43).encode(), b"authorization\nBearer a.b.c"),
    ),
    "tokens": Decoder(_token, (), (signed(Clock()).encode(), raw({"alg": "none"}, {}).encode())),
    "key sets": Decoder(
        jwks.parse, (ValueError,), (key_set(),), (b'{"keys":[{"kty":"oct","kid":"a"}]}',)
    ),
    "token requests": Decoder(
        _form,
        (grants._Refused,),  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        (b"Basic YTpi\ngrant_type=client_credentials&scope=tasks%3Aread", b"\nrefresh_token=a"),
    ),
    "news of rates": Decoder(_news, (), (b'["b",{"panna":3,"t":1}]',), (b'["\xff",{}]',)),
    "cards": Decoder(
        _card,
        (*_JSON, signing.CardNotVerified, InvalidInput),
        (_card_keys()[1],),
        (
            *(b'{"skills":[1]}', b'{"name":9007199254740993}', b'{"name":1e400}'),
            _with_header({"alg": cast("Any", [])}),
            _with_header({"alg": "ES256", "crit": 1}),
        ),
    ),
    "settings": Decoder(
        _settings,
        (SettingsError,),
        (
            b'[nats]\nprofile = "durable"\n[auth]\naccept = ["keys"]\n',
            b'PELTON_TENANTS={"a": {"url": "nats://a"}}\nPELTON_BRIDGE_HTTP=127.0.0.1:80',
            b"PELTON_AUTH_ACCEPT=keys,tokens\nPELTON_LIMITS_TENANT_RATE=5",
        ),
        (
            *(b'PELTON_TENANTS={"\xff": {}}', b"PELTON_TENANTS=" + b"[" * 5000),
            *(b"a = " + b"9" * 5000, b"a = " + b"[" * 5000),
        ),
    ),
    "schedules": Decoder(
        _schedule,
        (InvalidInput,),
        (b"0 9 * * mon-fri\n\nEurope/Berlin", b"\n2026-12-24T18:00\nUTC", b"0 0 L * *\n\nUTC"),
    ),
}
"""All decoders by name."""
