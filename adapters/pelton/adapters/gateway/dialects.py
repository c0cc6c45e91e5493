"""The providers of models, and the dialects that clients speak to them: what a gateway must know.

Of what is said in a dialect it reads little: which model is asked, what that took, whether an
answer is whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from pelton.events.errors import InvalidInput

Json = dict[str, Any]


class Provider(NamedTuple):
    """Who has models: at `url`, with a key in a header.

    `base` is the environment variable of its clients for the URL, `keys` are those for keys: the
    first one is set for agents, and none of them is left as it was, nor any of `more`. `root` is
    what its clients' base URL has behind the host.
    """

    name: str
    url: str
    root: str
    base: str
    keys: tuple[str, ...]
    more: tuple[str, ...]
    header: Callable[[str], Mapping[str, str]]


class Tokens(NamedTuple):
    """How many tokens a model has read and written; of the former, so many from a cache."""

    read: int = 0
    wrote: int = 0
    cached: int = 0


class Dialect(NamedTuple):
    """What clients say to a provider under paths that match.

    `usage` finds what a part of an answer says of what it took, and `tokens` reads all that was
    found. `ends` tells the part that ends an answer, `fails` one that says that there is none.
    """

    name: str
    provider: Provider
    path: re.Pattern[str]
    usage: Callable[[Json], Json | None]
    tokens: Callable[[Json], Tokens]
    ends: Callable[[Json], bool]
    fails: Callable[[Json], bool]

    def model(self, path: str, body: Json) -> str:
        """Return the name of the model that is asked."""
        match = self.path.search(path)
        named = match.groupdict().get("model") if match else None
        return str(named or body.get("model", ""))


def _x_api_key(key: str) -> Mapping[str, str]:
    return {"x-api-key": key}


def _bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"}


def _goog(key: str) -> Mapping[str, str]:
    return {"x-goog-api-key": key}


ANTHROPIC: Final = Provider(
    name="anthropic",
    url="https://api.anthropic.com",
    root="",
    base="ANTHROPIC_BASE_URL",
    keys=("ANTHROPIC_API_KEY",),
    more=("ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
    header=_x_api_key,
)
OPENAI: Final = Provider(
    name="openai",
    url="https://api.openai.com/v1",
    root="/v1",
    base="OPENAI_BASE_URL",
    keys=("OPENAI_API_KEY",),
    more=("CODEX_API_KEY",),
    header=_bearer,
)
GEMINI: Final = Provider(
    name="gemini",
    url="https://generativelanguage.googleapis.com",
    root="",
    base="GOOGLE_GEMINI_BASE_URL",
    keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    more=(),
    header=_goog,
)
PROVIDERS: Final[Mapping[str, Provider]] = {each.name: each for each in (ANTHROPIC, OPENAI, GEMINI)}
"""All of them, by name."""


def provider_of(name: str) -> Provider:
    """Return a provider by its name.

    Raises:
        InvalidInput: there is no such provider.
    """
    if name not in PROVIDERS:
        raise InvalidInput(
            f"no provider is called {name[:40]!r}: use one of {', '.join(PROVIDERS)}"
        )
    return PROVIDERS[name]


def error_of(provider: str, status: int, message: str) -> Json:
    """Return an error as a provider's clients understand it."""
    match provider:
        case "anthropic":
            kind = _ANTHROPIC_ERRORS.get(status, "api_error")
            return {"type": "error", "error": {"type": kind, "message": message}}
        case "gemini":
            word = _GEMINI_ERRORS.get(status, "UNAVAILABLE")
            return {"error": {"code": status, "message": message, "status": word}}
        case _:
            kind = "invalid_request_error" if status < 500 else "server_error"
            return {"error": {"message": message, "type": kind, "param": None, "code": None}}


_ANTHROPIC_ERRORS: Final = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
}
_GEMINI_ERRORS: Final = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
}


def _member(name: str) -> Callable[[Json], Json | None]:
    """Return what finds a member that is an object."""

    def find(part: Json) -> Json | None:
        value = part.get(name)
        return cast("Json", value) if isinstance(value, dict) else None

    return find


def _count(counts: Json, *path: str) -> int:
    value: Any = counts
    for name in path:
        value = cast("Json", value).get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


_usage, _message, _response = _member("usage"), _member("message"), _member("response")


def _anthropic_usage(part: Json) -> Json | None:
    return _usage(_message(part) or part)


def _anthropic_tokens(counts: Json) -> Tokens:
    """Read what Anthropic counts: each of what is read is in one of three numbers."""
    cached = _count(counts, "cache_read_input_tokens")
    new = _count(counts, "input_tokens") + _count(counts, "cache_creation_input_tokens")
    return Tokens(new + cached, _count(counts, "output_tokens"), cached)


def _chat_tokens(counts: Json) -> Tokens:
    return Tokens(
        _count(counts, "prompt_tokens"),
        _count(counts, "completion_tokens"),
        _count(counts, "prompt_tokens_details", "cached_tokens"),
    )


def _responses_usage(part: Json) -> Json | None:
    return _usage(_response(part) or part)


def _responses_tokens(counts: Json) -> Tokens:
    return Tokens(
        _count(counts, "input_tokens"),
        _count(counts, "output_tokens"),
        _count(counts, "input_tokens_details", "cached_tokens"),
    )


def _gemini_tokens(counts: Json) -> Tokens:
    wrote = _count(counts, "candidatesTokenCount") + _count(counts, "thoughtsTokenCount")
    cached = _count(counts, "cachedContentTokenCount")
    return Tokens(_count(counts, "promptTokenCount"), wrote, cached)


def _first(part: Json, name: str) -> Json:
    """Return the first of some objects, or an empty one."""
    found = part.get(name)
    first = cast("Sequence[Any]", found)[0] if isinstance(found, list) and found else None
    return cast("Json", first) if isinstance(first, dict) else {}


def _anthropic_ends(part: Json) -> bool:
    return part.get("type") == "message_stop"


def _chat_ends(part: Json) -> bool:
    return bool(_first(part, "choices").get("finish_reason"))


def _responses_ends(part: Json) -> bool:
    return part.get("type") in ("response.completed", "response.incomplete")


def _gemini_ends(part: Json) -> bool:
    refused = (_member("promptFeedback")(part) or {}).get("blockReason")
    return bool(refused or _first(part, "candidates").get("finishReason"))


def _typed_error(part: Json) -> bool:
    return part.get("type") in ("error", "response.failed")


def _plain_error(part: Json) -> bool:
    return part.get("error") is not None


DIALECTS: Final = (
    Dialect(
        name="messages",
        provider=ANTHROPIC,
        path=re.compile(r"^/v1/messages(/count_tokens)?$"),
        usage=_anthropic_usage,
        tokens=_anthropic_tokens,
        ends=_anthropic_ends,
        fails=_typed_error,
    ),
    Dialect(
        name="chat",
        provider=OPENAI,
        path=re.compile(r"^/chat/completions$"),
        usage=_usage,
        tokens=_chat_tokens,
        ends=_chat_ends,
        fails=_plain_error,
    ),
    Dialect(
        name="responses",
        provider=OPENAI,
        path=re.compile(r"^/responses$"),
        usage=_responses_usage,
        tokens=_responses_tokens,
        ends=_responses_ends,
        fails=_typed_error,
    ),
    Dialect(
        name="generate",
        provider=GEMINI,
        path=re.compile(
            r"^/v1(alpha|beta)?/models/(?P<model>[^/:]+):"
            r"(generateContent|streamGenerateContent|countTokens)$"
        ),
        usage=_member("usageMetadata"),
        tokens=_gemini_tokens,
        ends=_gemini_ends,
        fails=_plain_error,
    ),
)
"""All of them. Paths are those behind the base URL of the provider."""


def dialect_of(provider: str, path: str) -> Dialect | None:
    """Return the dialect that is spoken to a provider at a path, if there is one."""
    own = (each for each in DIALECTS if each.provider.name == provider)
    return next((each for each in own if each.path.search(path)), None)
