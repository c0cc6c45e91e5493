"""Gemini's generateContent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from pelton.testing.dialects.shape import (
    Call,
    Dialect,
    Event,
    Json,
    Line,
    Reply,
)


def _gemini_lines(body: Json) -> Iterator[Line]:
    system = body.get("systemInstruction")
    if system:
        yield Line("system", "".join(part.get("text", "") for part in system["parts"]))
    for content in body.get("contents", ()):
        parts: list[Json] = content["parts"]
        for part in parts:
            if "functionResponse" in part:
                said = part["functionResponse"]
                yield Line("tool", _result(said["response"]), call=said.get("id") or said["name"])
        calls = tuple(
            Call(part["functionCall"]["name"], part["functionCall"].get("args") or {}, "")
            for part in parts
            if "functionCall" in part
        )
        text = "".join(part.get("text", "") for part in parts)
        if text or calls:
            role = "assistant" if content.get("role") == "model" else "user"
            yield Line(role, text, calls)


def _result(response: Json) -> str:
    """Return the result of a call: what is no object lies in one, as clients have agreed on."""
    (name, value), *others = response.items() or [("", "")]
    found: object = value if name == "result" and not others else response
    return found if isinstance(found, str) else json.dumps(found)


def _gemini_chunk(reply: Reply, parts: list[Json], stop: str | None) -> Json:
    asked, said = reply.tokens
    candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
    if stop:
        candidate["finishReason"] = stop
    return {
        "candidates": [candidate],
        "modelVersion": reply.model,
        "responseId": reply.id,
        "usageMetadata": {
            "promptTokenCount": asked,
            "candidatesTokenCount": said,
            "totalTokenCount": asked + said,
        },
    }


def _gemini_calls(reply: Reply) -> list[Json]:
    return [
        {"functionCall": {"id": call.id, "name": call.name, "args": dict(call.arguments)}}
        for call in reply.calls
    ]


def _gemini_whole(reply: Reply) -> Json:
    said: list[Json] = [{"text": reply.text}] if reply.pieces else []
    return _gemini_chunk(reply, [*said, *_gemini_calls(reply)], "STOP")


def _gemini_events(reply: Reply) -> Iterator[Event]:
    for piece in reply.pieces:
        yield "", _gemini_chunk(reply, [{"text": piece}], None)
    yield "", _gemini_chunk(reply, _gemini_calls(reply), "STOP")


def _gemini_model(_: Json, match: re.Match[str]) -> str:
    return match["model"]


def _gemini_streams(_: Json, match: re.Match[str]) -> bool:
    return match["verb"].startswith("stream")


def _gemini_error(status: int, message: str) -> Json:
    return {"error": {"code": status, "message": message, "status": "UNAVAILABLE"}}


def _gemini_tools(body: Json) -> Iterator[str]:
    for tool in body.get("tools", ()):
        yield from (each["name"] for each in tool.get("functionDeclarations", ()))


GENERATE: Final = Dialect(
    name="gemini",
    path=re.compile(r"/models/(?P<model>[^/:]+):(?P<verb>generateContent|streamGenerateContent)$"),
    model=_gemini_model,
    streams=_gemini_streams,
    lines=_gemini_lines,
    tools=_gemini_tools,
    whole=_gemini_whole,
    events=_gemini_events,
    error=_gemini_error,
    head=0,
)
