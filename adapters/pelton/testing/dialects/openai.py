"""OpenAI's Chat Completions and Responses."""

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
    loads,
    text_of,
)


def _chat_lines(body: Json) -> Iterator[Line]:
    for message in body.get("messages", ()):
        calls = tuple(
            Call(call["function"]["name"], loads(call["function"]["arguments"]), call["id"])
            for call in message.get("tool_calls") or ()
        )
        role = "system" if message["role"] == "developer" else message["role"]
        text = text_of(message.get("content") or "")
        yield Line(role, text, calls, message.get("tool_call_id", ""))


def _chat_usage(reply: Reply) -> Json:
    asked, said = reply.tokens
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _chat_call(call: Call, index: int | None = None) -> Json:
    made: Json = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
    }
    return made if index is None else {"index": index, **made}


def _chat_whole(reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [_chat_call(call) for call in reply.calls]
    stop = "tool_calls" if reply.calls else "stop"
    choice = {"index": 0, "message": message, "finish_reason": stop, "logprobs": None}
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": 0,
        "model": reply.model,
        "choices": [choice],
        "usage": _chat_usage(reply),
    }


def _chat_events(reply: Reply) -> Iterator[Event]:
    def chunk(delta: Json, stop: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": stop, "logprobs": None}
        return "", {
            "id": reply.id,
            "object": "chat.completion.chunk",
            "created": 0,
            "model": reply.model,
            "choices": [choice],
        }

    yield chunk({"role": "assistant", "content": ""})
    for piece in reply.pieces:
        yield chunk({"content": piece})
    for index, call in enumerate(reply.calls):
        whole = json.dumps(dict(call.arguments))
        head = _chat_call(call, index)
        head["function"]["arguments"] = whole[:5]
        yield chunk({"tool_calls": [head]})
        yield chunk({"tool_calls": [{"index": index, "function": {"arguments": whole[5:]}}]})
    yield chunk({}, "tool_calls" if reply.calls else "stop")
    _, last = chunk({})
    yield "", {**last, "choices": [], "usage": _chat_usage(reply)}


def _openai_error(status: int, message: str) -> Json:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


# OpenAI Responses


def _responses_lines(body: Json) -> Iterator[Line]:
    if body.get("instructions"):
        yield Line("system", str(body["instructions"]))
    given = body.get("input", ())
    items: list[Json] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for item in items:
        match item.get("type", "message"):
            case "function_call":
                call = Call(item["name"], loads(item["arguments"]), item["call_id"])
                yield Line("assistant", "", (call,))
            case "function_call_output":
                yield Line("tool", text_of(item["output"]), call=item["call_id"])
            case "message":
                role = "system" if item["role"] == "developer" else item["role"]
                yield Line(role, text_of(item["content"]))
            case _:
                continue


def _responses_items(reply: Reply) -> list[Json]:
    items: list[Json] = []
    if reply.pieces:
        content: Json = {
            "type": "output_text",
            "text": reply.text,
            "annotations": [],
            "logprobs": [],
        }
        items.append(
            {
                "id": f"{reply.id}-text",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [content],
            }
        )
    items += [
        {
            "id": f"{reply.id}-{call.id}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": json.dumps(dict(call.arguments)),
            "status": "completed",
        }
        for call in reply.calls
    ]
    return items


def _response(reply: Reply, status: str, items: list[Json]) -> Json:
    asked, said = reply.tokens
    usage = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + said,
    }
    return {
        "id": reply.id,
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": reply.model,
        "output": items,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if status == "completed" else None,
    }


def _responses_whole(reply: Reply) -> Json:
    return _response(reply, "completed", _responses_items(reply))


def _responses_events(reply: Reply) -> Iterator[Event]:
    number = 0

    def event(kind: str, **members: Any) -> Event:
        nonlocal number
        number += 1
        return kind, {"type": kind, "sequence_number": number - 1, **members}

    yield event("response.created", response=_response(reply, "in_progress", []))
    for index, item in enumerate(_responses_items(reply)):
        at: Json = {"output_index": index, "item_id": item["id"]}
        begun: Json = {**item, "status": "in_progress"}
        if item["type"] == "message":
            begun["content"] = []
        else:
            begun["arguments"] = ""
        yield event("response.output_item.added", output_index=index, item=begun)
        if item["type"] == "message":
            [part] = item["content"]
            empty = {**part, "text": ""}
            yield event("response.content_part.added", **at, content_index=0, part=empty)
            for piece in reply.pieces:
                yield event(
                    "response.output_text.delta", **at, content_index=0, delta=piece, logprobs=[]
                )
            yield event(
                "response.output_text.done", **at, content_index=0, text=reply.text, logprobs=[]
            )
            yield event("response.content_part.done", **at, content_index=0, part=part)
        else:
            whole = item["arguments"]
            yield event("response.function_call_arguments.delta", **at, delta=whole)
            yield event(
                "response.function_call_arguments.done", **at, name=item["name"], arguments=whole
            )
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=_responses_whole(reply))


def _chat_tools(body: Json) -> Iterator[str]:
    return (tool["function"]["name"] for tool in body.get("tools", ()))


CHAT: Final = Dialect(
    name="openai",
    path=re.compile(r"/chat/completions$"),
    model=body_model,
    streams=body_streams,
    lines=_chat_lines,
    tools=_chat_tools,
    whole=_chat_whole,
    events=_chat_events,
    error=_openai_error,
    end="[DONE]",
)
RESPONSES: Final = Dialect(
    name="responses",
    path=re.compile(r"/responses$"),
    model=body_model,
    streams=body_streams,
    lines=_responses_lines,
    tools=body_tools,
    whole=_responses_whole,
    events=_responses_events,
    error=_openai_error,
)
