"""Redaction: secrets are replaced before anything is stored: a log cannot un-publish (law 12).

Pure: the same text always gives the same text. What replaces a secret is `(redacted:<kind>)`, and
what was redacted once is not changed again. Nothing here ever returns, keeps or raises a secret.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import Artifact
from pelton.events.envelope import JSON, Envelope, encode
from pelton.events.errors import InvalidInput
from pelton.events.secret_kinds import (
    FAMILIES,
    JWK,
    JWK_MEMBERS,
    PLACEHOLDERS,
    PREFIXED,
    SCREENS,
    SPACED,
    WORDS,
    Kind,
)

T = TypeVar("T")

MARKER: Final = re.compile(r"\(redacted:(?P<kind>[a-z][a-z0-9-]{0,31})\)")
"""What stands in the place of a secret."""

DEEPEST: Final = 200
"""How deep what is redacted may be nested."""

IDENTITIES: Final = frozenset(
    (
        *(
            "id",
            "adapter",
            "agent",
            "name",
            "key",
            "child",
            "chain",
            "context",
            "family",
            "member",
            "redrives",
        ),
        *("sha256", "hash", "digest", "call", "spent", "sealed", "idempotency_key", "version"),
        *("executor", "principal", "by", "approvers", "answers", "roles", "scopes", "waits"),
        *("at", "since", "slot", "first", "last", "due", "again_at", "deadline", "expires"),
        *("until", "overlap", "timestamp", "retry", "cron", "zone", "code", "exception"),
        *(
            "owner",
            "author",
            "team",
            "namespace",
            "operation",
            "model",
            "uri",
            "origin",
            "protocol",
            "extensions",
            "media_type",
        ),
        *("accepted_output_modes", "input_modes", "output_modes"),
    )
)
"""Members that say which thing is meant, when, or of what sort, beside those that end in `_id`.

They are never changed, or the thing would be another one. All others are content.
"""

_ROUNDS: Final = 3  # a secret that begins where another one ends is seen once that is gone
_NESTED: Final = (dict, list, tuple)
_KEPT: Final = 512 * 1024  # so many letters of texts are known to be clean
_SHORTEST: Final = 12  # no shorter text holds a secret that is known by how it is written
_BEFORE: Final = 64  # so far before what a screen finds, its kinds may begin
_LONGEST_NAME: Final = 64
_LETTERS: Final = frozenset(map(chr, (*range(48, 58), *range(65, 91), *range(97, 123))))
_IN_WORD: Final = _LETTERS | frozenset("_.-")
_ESCAPE: Final = re.compile(r"\\u[0-9a-fA-F]{4}")
_REST: Final = re.compile(r"[A-Za-z0-9_.-]*")
_GAP: Final = re.compile(r"[_.-]")
_LOWER: Final = {code: code + 32 for code in range(65, 91)}


def _begins(source: str) -> set[str]:
    """Return the letters that what a prefixed kind's pattern matches may begin with."""
    if source.startswith("(?:"):
        depth, place, begins = 0, 3, set[str]()
        for at in range(3, len(source)):
            depth += {"(": 1, ")": -1}.get(source[at], 0)
            if depth < 0 or (depth == 0 and source[at] == "|"):
                begins |= _begins(source[place:at])
                place = at + 1
            if depth < 0:
                break
        return begins
    return set(source[1 : source.index("]")]) if source[0] == "[" else {source[0]}


def _by_letter() -> dict[str, re.Pattern[str]]:
    """Return all prefixed kinds as one pattern for each letter: `k<place>` is the kind's group."""
    found: dict[str, list[str]] = {}
    for place, kind in enumerate(PREFIXED):
        for letter in _begins(kind.pattern.pattern):
            found.setdefault(letter, []).append(f"(?P<k{place}>{kind.pattern.pattern})")
    return {letter: re.compile("|".join(each), re.ASCII) for letter, each in found.items()}


_PREFIXED: Final = _by_letter()


class Finding(NamedTuple):
    """A secret that was found: of which kind, and where in what was looked at; never the secret.

    `path` is as in `data.events[0].message.parts[1].text`, empty for a text by itself.
    """

    kind: str
    path: str


class Span(NamedTuple):
    """Where in a text a secret is."""

    start: int
    end: int
    kind: str


class Redactor:
    """Replaces secrets: those of all known kinds, and of `patterns`, by the names of their kinds.

    A pattern that has a group `secret` finds that, else all of it. What a pattern in `allow`
    matches whole is no secret. With `enabled` false, nothing is one.

    Raises:
        InvalidInput: a pattern is no regular expression, or its name cannot be in a marker.
    """

    def __init__(
        self,
        patterns: Mapping[str, str] | None = None,
        *,
        allow: Sequence[str] = (),
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        for name in patterns or {}:
            if not MARKER.fullmatch(f"(redacted:{name})"):
                raise InvalidInput(f"{name[:40]!r}: use a to z, 0 to 9 and '-'", field=name[:40])
        self._own = tuple(
            Kind(name, "", _compiled(name, pattern)) for name, pattern in (patterns or {}).items()
        )
        self._allow = tuple(_compiled("allow", pattern) for pattern in allow)
        self._clean: set[str] = set()
        """Texts without secrets that were looked at lately: each comes by several times."""
        self._kept = 0

    def text(self, text: str) -> str:
        """Return a text without its secrets; the same object if it has none."""
        if len(text) < _SHORTEST or text in self._clean:
            return text
        for _ in range(_ROUNDS):
            spans = self.spans(text)
            if not spans:
                break
            text = replaced(text, spans)
        else:
            return text
        if len(text) <= _KEPT:
            self._kept += len(text)
            if self._kept > _KEPT:
                self._clean.clear()
                self._kept = len(text)
            self._clean.add(text)
        return text

    def clean(self, value: T) -> T:
        """Return JSON, or a record or any other type of the contract, without its secrets.

        It is the same object if it has none. Identities stay as they are, whatever they look like.

        Raises:
            InvalidInput: it is nested deeper than `DEEPEST`.
        """
        return cast("T", self._any(value, 0)) if self.enabled else value

    def findings(self, value: object) -> tuple[Finding, ...]:
        """Return which secrets a value has, and where."""
        return tuple(_differences(value, self.clean(value), ""))

    def spans(self, text: str) -> list[Span]:
        """Return where secrets are, in order and apart."""
        if not self.enabled or len(text) < _SHORTEST:
            return []
        found: list[Span] = []
        for pattern in SPACED:
            if (hit := pattern.search(text)) is not None:
                found += _prefixed(text, pattern, hit.start())
        lowered = text.lower()
        if len(lowered) != len(text):
            lowered = text.translate(_LOWER)
        for screen in SCREENS if ":" in text or "=" in text else WORDS:
            subject = lowered if screen.lowered else text
            if (hit := screen.pattern.search(subject)) is not None:
                for kind in screen.kinds:
                    found += _searched(kind, subject, text, max(0, hit.start() - _BEFORE))
        if '"kty' in text:
            found += _searched(JWK, text, text, 0)
        for kind in self._own:
            found += _searched(kind, text, text, 0)
        if found and self._allow:
            found = [span for span in found if not self._allowed(text[span.start : span.end])]
        return _apart(found) if found else found

    def _allowed(self, secret: str) -> bool:
        return any(pattern.fullmatch(secret) for pattern in self._allow)

    def _any(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return value if isinstance(value, enum.Enum) else self.text(value)
        if isinstance(value, msgspec.Struct):
            return self._struct(value, depth)
        if not isinstance(value, _NESTED):
            return value
        if depth >= DEEPEST:
            raise InvalidInput(f"this is nested deeper than {DEEPEST} levels")
        if isinstance(value, dict):
            return self._members(cast("dict[object, object]", value), depth)
        return self._items(cast("Sequence[object]", value), depth)

    def _items(self, items: Sequence[object], depth: int) -> Sequence[object]:
        made: list[object] | None = None
        for place, old in enumerate(items):
            new = self._any(old, depth + 1)
            if new is not old:
                made = made or list(items)
                made[place] = new
        if made is None:
            return items
        return made if isinstance(items, list) else tuple(made)

    def _struct(self, value: msgspec.Struct, depth: int) -> msgspec.Struct:
        changes: dict[str, object] | None = None
        for name in _content(type(value)):
            old = getattr(value, name)
            if not old:  # most of what may be left out is
                continue
            if name == "raw":
                new = self._raw(old)
            elif isinstance(old, msgspec.Struct):
                new = self._struct(old, depth)
            elif name == "content" and getattr(value, "media_type", "") == JSON:
                new = self._json(old)
            else:
                new = self._any(old, depth)
            if new is not old:
                changes = changes or {}
                changes[name] = new
        return replace(value, **changes) if changes else value

    def _json(self, text: object) -> object:
        """Return JSON that stands in a text without its secrets."""
        assert isinstance(text, str)
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return self.text(text)
        cleaned = self.clean(value)
        return text if cleaned is value else encode(cleaned).decode()

    def _raw(self, raw: object) -> object:
        """Return base64 without the secrets of the text that it spells; other bytes stay."""
        text = _spelled(raw)
        cleaned = self.text(text)
        return raw if cleaned is text else base64.b64encode(cleaned.encode()).decode()

    def _members(self, value: dict[object, object], depth: int) -> object:
        made: dict[object, object] | None = None
        is_key = "kty" in value
        for place, (name, old) in enumerate(value.items()):
            new = self._any(old, depth + 1)
            if isinstance(old, str) and new is old and isinstance(name, str):
                named = "private-jwk" if is_key and name in JWK_MEMBERS else _named(name, old)
                if named and not self._allowed(old):
                    new = f"(redacted:{named})"
            key = self.text(name) if isinstance(name, str) and len(name) >= _SHORTEST else name
            if made is None:
                if new is old and key is name:
                    continue
                made = dict(islice(value.items(), place))
            made[_free(key, made)] = new
        return value if made is None else made


STANDARD: Final = Redactor()
"""Looks for all known kinds."""


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInput(f"{name}: is no regular expression: {error}", field=name) from None


def _prefixed(text: str, screen: re.Pattern[str], start: int) -> Iterator[Span]:
    """Yield the secrets in words in which a screen finds something, from a place on."""
    done = 0
    for hit in screen.finditer(text, start):
        begin = hit.start()
        if begin < done:
            continue
        while begin > done and text[begin - 1] in _IN_WORD:
            begin -= 1
        rest = _REST.match(text, begin)
        assert rest is not None  # it matches anything
        done = max(rest.end(), begin + 1)
        places = [begin, *(gap.end() for gap in _GAP.finditer(text, begin, done))]
        if begin and text[begin - 1] in "\\%":  # the first letters may be those of an escape
            places[1:1] = [begin + 1, begin + 2]
        end = 0
        for place in places:
            pattern = _PREFIXED.get(text[place : place + 1])
            if pattern is None or place < end:
                continue
            if (match := pattern.match(text, place)) is not None:
                end = match.end()
                yield Span(place, end, PREFIXED[int((match.lastgroup or "k0")[1:])].name)


def _past_escape(text: str, begin: int) -> int:
    r"""Return the place, or if it is in an escape of JSON, such as \u00e9, the one behind it."""
    at = text.rfind("\\u", max(0, begin - 5), begin + 1)
    escape = _ESCAPE.match(text, at) if at >= 0 else None
    return max(begin, escape.end()) if escape else begin


def _searched(kind: Kind, subject: str, text: str, start: int) -> Iterator[Span]:
    group = "secret" if "secret" in kind.pattern.groupindex else 0
    for match in kind.pattern.finditer(subject, start):
        begin, end = match.span(group)
        begin = _past_escape(text, begin)
        if begin < end and (kind.check is None or kind.check(text[begin:end])):
            yield Span(begin, end, kind.name)


def _apart(spans: list[Span]) -> list[Span]:
    """Return spans in order, those that overlap as one, named as the first that was found."""
    made: list[Span] = []
    for span in sorted(spans, key=lambda each: each.start):
        if made and span.start < made[-1].end:
            made[-1] = made[-1]._replace(end=max(made[-1].end, span.end))
        else:
            made.append(span)
    return made


def replaced(text: str, spans: Sequence[Span]) -> str:
    """Return a text in which the kinds of secrets stand in their place."""
    pieces: list[str] = []
    at = 0
    for span in spans:
        pieces += (text[at : span.start], f"(redacted:{span.kind})")
        at = span.end
    return "".join((*pieces, text[at:]))


_NAMES: Final = tuple((re.compile(family.name + r"s?\Z"), family) for family in FAMILIES)


@lru_cache(maxsize=1024)
def _family(name: str) -> str:
    """Return what kind of secret a member of that name has, if it has any."""
    lowered = name.lower()
    if lowered in {"authorization", "proxy-authorization"}:
        return "authorization"
    if lowered in {"cookie", "set-cookie"}:
        return "cookie"
    return next((family.kind for pattern, family in _NAMES if pattern.search(lowered)), "")


_CHECKS: Final = {family.kind: family.check for family in FAMILIES}


def _named(name: str, value: str) -> str:
    """Return what kind of secret a member of JSON is by its name, if it is one."""
    kind = _family(name) if len(name) <= _LONGEST_NAME else ""
    if not kind or MARKER.search(value):
        return ""
    match kind:
        case "password":
            is_one = (
                len(value) >= 4 and value.lower() not in PLACEHOLDERS and value[0] not in "$*{<"
            )
        case "authorization" | "cookie":
            is_one = len(value) >= _SHORTEST and any(letter.isdigit() for letter in value)
        case _:
            is_one = _CHECKS[kind](value)
    return kind if is_one else ""


def _free(key: object, taken: Mapping[object, object]) -> object:
    """Return the name of a member, another one if several were redacted to the same."""
    if key not in taken:
        return key
    number = 2
    while f"{key}-{number}" in taken:
        number += 1
    return f"{key}-{number}"


def _spelled(raw: object) -> str:
    """Return the text that base64 spells; empty if it spells no text."""
    if not isinstance(raw, str):
        return ""
    try:
        data = base64.b64decode(raw, validate=True)
        return "" if b"\0" in data else data.decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


@cache
def _content(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the members of a type that may hold content."""
    hints = typing.get_type_hints(kind)
    return tuple(name for name in kind.__struct_fields__ if _is_content(kind, name, hints[name]))


def _is_content(kind: type, name: str, hint: Any) -> bool:
    if issubclass(kind, Envelope):
        return name == "data"
    if issubclass(kind, Artifact) and name == "name":  # it is made for people
        return True
    is_identity = name in IDENTITIES or name.endswith(("_id", "_ids"))
    return not is_identity and any(_may_hold(each) for each in leaves(hint))


def leaves(hint: Any) -> Iterator[Any]:
    """Yield the types that a hint is made of."""
    arguments = typing.get_args(hint)
    for each in arguments:
        yield from leaves(each)
    if not arguments:
        yield hint


def _may_hold(kind: Any) -> bool:
    if kind is Any or kind is str or kind is object:
        return True
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct) and bool(_content(kind))


def _differences(before: object, after: object, path: str) -> Iterator[Finding]:
    """Yield what was redacted, by what stands there now."""
    if before is after:
        return
    if isinstance(before, str) and isinstance(after, str):
        known = Counter(MARKER.findall(before))
        for match in MARKER.finditer(after):
            if known[match["kind"]]:
                known[match["kind"]] -= 1
            else:
                yield Finding(match["kind"], path)
    elif isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
        for member in _content(type(before)):
            within = f"{path}.{member}" if path else member
            old, new = getattr(before, member), getattr(after, member)
            if member == "raw":
                old, new = _spelled(old), _spelled(new)
            yield from _differences(old, new, within)
    elif isinstance(before, dict) and isinstance(after, dict):
        old_members = cast("dict[object, object]", before)
        new_members = cast("dict[object, object]", after)
        for (name, old_one), (key, new_one) in zip(
            old_members.items(), new_members.items(), strict=True
        ):
            yield from _differences(name, key, path)
            yield from _differences(old_one, new_one, f"{path}.{key}" if path else str(key))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        pairs = zip(cast("Sequence[object]", before), cast("Sequence[object]", after), strict=True)
        for place, (old_one, new_one) in enumerate(pairs):
            yield from _differences(old_one, new_one, f"{path}[{place}]")
