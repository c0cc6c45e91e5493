"""What commands print: plain text, or JSON objects on lines as coding agents print them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

Json = dict[str, Any]


class Took(NamedTuple):
    """What a command says that its calls of models have taken; the model only if it names one."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    model: str = ""


class Heard(NamedTuple):
    """What a line says: text that goes on, or the whole answer; or that it failed, and of what.

    `took` is what all has taken, where it tells that at its end.
    """

    text: str = ""
    whole: str | None = None
    failed: str | None = None
    took: Took | None = None


Dialect = Callable[[bytes], Heard]
"""Reads one line, its end included."""


def lines(line: bytes) -> Heard:
    """Read plain text."""
    return Heard(text=line.decode(errors="replace"))


def _json(read: Callable[[Json], Heard]) -> Dialect:
    """Return what reads JSON lines; what else is printed between them is passed over."""

    def dialect(line: bytes) -> Heard:
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError:
            return Heard()
        return read(cast("Json", value)) if isinstance(value, dict) else Heard()

    return dialect


def _plain(value: Json) -> Heard:
    """Read `{"text": …}` as it goes on, `{"answer": …}` as the whole, `{"error": …}`."""
    if "error" in value:
        return Heard(failed=str(value["error"]))
    if "answer" in value:
        return Heard(whole=str(value["answer"]))
    return Heard(text=str(value.get("text", "")))


def _claude(value: Json) -> Heard:
    """Read `claude -p --output-format stream-json --verbose [--include-partial-messages]`."""
    match value:
        case {"type": "stream_event", "event": {"delta": {"type": "text_delta", "text": text}}}:
            return Heard(text=str(text))
        case {"type": "result", "is_error": True}:
            said = str(value.get("result", value.get("subtype", "")))
            return Heard(failed=said, took=claude_took(value))
        case {"type": "result", "result": whole}:
            return Heard(whole=str(whole), took=claude_took(value))
        case _:
            return Heard()


def _codex(value: Json) -> Heard:
    """Read `codex exec --json`: its last message is the answer."""
    match value:
        case {"type": "item.completed", "item": {"type": "agent_message", "text": text}}:
            return Heard(whole=str(text))
        case {"type": "turn.failed", "error": {"message": message}}:
            return Heard(failed=str(message))
        case {"type": "turn.completed"}:
            return Heard(took=_took(value.get("usage"), "input_tokens", "cached_input_tokens"))
        case _:
            return Heard()


def _gemini(value: Json) -> Heard:
    """Read `gemini --output-format stream-json`."""
    match value:
        case {"type": "message", "role": "assistant", "content": text}:
            return Heard(text=str(text))
        case {"type": "result", "status": "error"}:
            return Heard(failed=str(value.get("error", "")), took=_gemini_took(value))
        case {"type": "result"}:
            return Heard(took=_gemini_took(value))
        case _:
            return Heard()


def claude_took(value: Json) -> Took | None:
    """Return what Claude Code says at the end that all has taken; of its models, if it was one."""
    cached, models = "cache_read_input_tokens", value.get("modelUsage")
    took = _took(value.get("usage"), "input_tokens", cached, "cache_creation_input_tokens", cached)
    names = list(cast("Json", models)) if isinstance(models, dict) else []
    return took._replace(model=names[0]) if took is not None and len(names) == 1 else took


def _gemini_took(value: Json) -> Took | None:
    return _took(value.get("stats"), "input_tokens", "cached")


def _took(found: Any, read: str, cached: str, *beside: str) -> Took | None:
    """Return counts by their names; what was read is `read` and what stands beside it."""
    if not isinstance(found, dict):
        return None
    counts = cast("Json", found)
    took = Took(
        sum(_count(counts, name) for name in (read, *beside)),
        _count(counts, "output_tokens"),
        _count(counts, cached),
    )
    return took if any(took) else None


def _count(counts: Json, name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) and value > 0 else 0


DIALECTS: Final[Mapping[str, Dialect]] = {
    "text": lines,
    "jsonl": _json(_plain),
    "claude": _json(_claude),
    "codex": _json(_codex),
    "gemini": _json(_gemini),
}
"""The dialects by name; that of a known program is its name."""
