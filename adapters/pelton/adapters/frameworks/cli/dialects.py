"""What commands print: plain text, or JSON objects on lines as coding agents print them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

Json = dict[str, Any]


class Heard(NamedTuple):
    """What a line says: text that goes on, or the whole answer; or that it failed, and of what."""

    text: str = ""
    whole: str | None = None
    failed: str | None = None


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
            return Heard(failed=str(value.get("result", value.get("subtype", ""))))
        case {"type": "result", "result": whole}:
            return Heard(whole=str(whole))
        case _:
            return Heard()


def _codex(value: Json) -> Heard:
    """Read `codex exec --json`: its last message is the answer."""
    match value:
        case {"type": "item.completed", "item": {"type": "agent_message", "text": text}}:
            return Heard(whole=str(text))
        case {"type": "turn.failed", "error": {"message": message}}:
            return Heard(failed=str(message))
        case _:
            return Heard()


def _gemini(value: Json) -> Heard:
    """Read `gemini --output-format stream-json`."""
    match value:
        case {"type": "message", "role": "assistant", "content": text}:
            return Heard(text=str(text))
        case {"type": "result", "status": "error"}:
            return Heard(failed=str(value.get("error", "")))
        case _:
            return Heard()


DIALECTS: Final[Mapping[str, Dialect]] = {
    "text": lines,
    "jsonl": _json(_plain),
    "claude": _json(_claude),
    "codex": _json(_codex),
    "gemini": _json(_gemini),
}
"""The dialects by name; that of a known program is its name."""
