"""Anthropic's Messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pelton.testing.dialects.shape import (
    Call,
    Dialect,
    Event,
    Json,
    Line,
    Reply,
    body_model,
    body_streams,
    body_tools,
    text_of,
)


def _anthropic_lines(body: Json) -> Iterator[Line]:
    if body.get("system"):
        yield Line("system", text_of(body["system"]))
    for message in body.get("messages", ()):
        content = message["content"]
        blocks: list[Json] = (
            [{"type": "text", "text": content}] if isinstance(content, str) else content
        )
        for block in blocks:
            if block.get("type") == "tool_result":
                yield Line("tool", text_of(block), call=block["tool_use_id"])
        calls = tuple(
            Call(block["name"], block["input"], block["id"])
            for block in blocks
            if block.get("type") == "tool_use"
        )
        text = "".join(text_of(block) for block in blocks if block.get("type") == "text")
        if text or calls:
            yield Line(message["role"], text, calls)


def _anthropic_message(reply: Reply, content: list[Json], stop: str | None) -> Json:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": reply.tokens[0], "output_tokens": reply.tokens[1]},
    }


def _anthropic_stop(reply: Reply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _anthropic_whole(reply: Reply) -> Json:
    content: list[Json] = [{"type": "text", "text": reply.text}] if reply.pieces else []
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
        for call in reply.calls
    ]
    return _anthropic_message(reply, content, _anthropic_stop(reply))


def _anthropic_events(reply: Reply) -> Iterator[Event]:
    def event(kind: str, **members: Any) -> Event:
        return kind, {"type": kind, **members}

    yield event("message_start", message=_anthropic_message(reply, [], None))
    index = 0
    if reply.pieces:
        yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for piece in reply.pieces:
            delta = {"type": "text_delta", "text": piece}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
        index += 1
    for call in reply.calls:
        block: Json = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        yield event("content_block_start", index=index, content_block=block)
        whole = json.dumps(dict(call.arguments))
        for part in (whole[:5], whole[5:]):
            delta = {"type": "input_json_delta", "partial_json": part}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
        index += 1
    yield event(
        "message_delta",
        delta={"stop_reason": _anthropic_stop(reply), "stop_sequence": None},
        usage={"output_tokens": reply.tokens[1]},
    )
    yield event("message_stop")


_ANTHROPIC_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def _anthropic_error(status: int, message: str) -> Json:
    kind = _ANTHROPIC_KINDS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


MESSAGES: Final = Dialect(
    name="anthropic",
    path=re.compile(r"/messages$"),
    model=body_model,
    streams=body_streams,
    lines=_anthropic_lines,
    tools=body_tools,
    whole=_anthropic_whole,
    events=_anthropic_events,
    error=_anthropic_error,
)
