"""How two kinds of endpoints are asked, and what they answer: the dialects of `Endpoint`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from pelton.adapters.frameworks.conversation import Spoken, ToolCall
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.streams import Garbled
from pelton.events.errors import InvalidInput

Json = dict[str, Any]
MAX_TOKENS: Final = 8192
"""How long an answer may be, where an endpoint wants to be told; in tokens."""


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many tokens a model has read and written; of the former, so many from a cache."""

    read: int = 0
    wrote: int = 0
    cached: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What a model has answered, how much that was, and how long it took."""

    text: str
    calls: tuple[ToolCall, ...]
    tokens: Tokens
    seconds: float = 0.0


class Reader(Protocol):
    """Reads one answer, event by event."""

    def take(self, data: bytes) -> str:
        """Take an event; return what it says."""
        ...

    def answer(self) -> Answer:
        """Return the whole answer; raises `Garbled` if its end has not come."""
        ...


class Dialect(NamedTuple):
    """A way to ask."""

    path: str
    headers: Callable[[str], Mapping[str, str]]
    request: Callable[[str, str, Sequence[Spoken], Sequence[Tool]], Json]
    reader: Callable[[], Reader]


def of(name: str) -> Dialect:
    """Return a dialect by its name.

    Raises:
        InvalidInput: there is no such dialect.
    """
    if name not in DIALECTS:
        raise InvalidInput(f"no endpoint speaks {name!r}: write {' or '.join(sorted(DIALECTS))}")
    return DIALECTS[name]


class _Call:
    """A call that is being read."""

    def __init__(self, id_: str, name: str) -> None:
        self.id, self.name, self.arguments = id_, name, ""

    def made(self) -> ToolCall:
        try:
            arguments = msgspec.json.decode(self.arguments or "{}", type=Json)
        except msgspec.DecodeError as error:
            raise Garbled("the arguments of a call are no JSON") from error
        return ToolCall(self.id, self.name, arguments)


# OpenAI's Chat Completions


def _chat_message(line: Spoken) -> Json:
    message: Json = {"role": line.role, "content": line.text}
    if line.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": msgspec.json.encode(call.arguments).decode(),
                },
            }
            for call in line.calls
        ]
    if line.role == "tool":
        message["tool_call_id"] = line.call
    return message


def _chat(model: str, system: str, lines: Sequence[Spoken], tools: Sequence[Tool]) -> Json:
    messages = [{"role": "system", "content": system}] if system else []
    body: Json = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [*messages, *map(_chat_message, lines)],
    }
    if tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.schema,
                },
            }
            for tool in tools
        ]
    return body


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Piece(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: tuple[_Piece, ...] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None


class _Chunk(msgspec.Struct):
    choices: tuple[_Choice, ...] | None = None
    usage: _Usage | None = None
    error: Any = None


class _ChatReader:
    def __init__(self) -> None:
        self._text = ""
        self._calls: dict[int, _Call] = {}
        self._tokens = Tokens()
        self._ended = False

    def take(self, data: bytes) -> str:
        chunk = msgspec.json.decode(data, type=_Chunk)
        if chunk.error is not None:
            raise Garbled("an error in the middle of a stream")
        if chunk.usage is not None:
            cached = (chunk.usage.prompt_tokens_details or _Cached()).cached_tokens
            read, wrote = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
            self._tokens = Tokens(read, wrote, cached or 0)
        said = ""
        for choice in chunk.choices or ():
            self._ended = self._ended or bool(choice.finish_reason)
            delta = choice.delta or _Delta()
            for piece in delta.tool_calls or ():
                self._call(piece)
            said += delta.content or ""
        self._text += said
        return said

    def _call(self, piece: _Piece) -> None:
        function = piece.function or _Function()
        if piece.index not in self._calls:
            self._calls[piece.index] = _Call(piece.id or f"call-{piece.index}", "")
        call = self._calls[piece.index]
        call.name += function.name or ""
        call.arguments += function.arguments or ""

    def answer(self) -> Answer:
        if not self._ended:
            raise Garbled("the answer has no end")
        calls = tuple(self._calls[index].made() for index in sorted(self._calls))
        return Answer(self._text, calls, self._tokens)


# Anthropic's Messages


def _anthropic_content(line: Spoken) -> list[Json]:
    if line.role == "tool":
        return [{"type": "tool_result", "tool_use_id": line.call, "content": line.text}]
    content: list[Json] = [{"type": "text", "text": line.text}] if line.text else []
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
        for call in line.calls
    ]
    return content


def _anthropic(model: str, system: str, lines: Sequence[Spoken], tools: Sequence[Tool]) -> Json:
    messages: list[Json] = []
    for line in lines:
        role = "assistant" if line.role == "assistant" else "user"
        content = _anthropic_content(line)
        if messages and messages[-1]["role"] == role:  # the dialect wants them to take turns
            messages[-1]["content"] += content
        elif content:
            messages.append({"role": role, "content": content})
    body: Json = {
        "model": model,
        "stream": True,
        "max_tokens": MAX_TOKENS,
        "messages": messages,
    }
    if system:
        body["system"] = system
    if tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
            for tool in tools
        ]
    return body


class _Block(msgspec.Struct):
    type: str
    id: str = ""
    name: str = ""


class _Counted(msgspec.Struct):
    """What Anthropic counts: each of what is read is in one of three numbers."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None

    def read(self) -> Tokens:
        cached = self.cache_read_input_tokens or 0
        new = (self.input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        return Tokens(read=new + cached, cached=cached)


class _Opening(msgspec.Struct):
    usage: _Counted | None = None


class _Change(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Opening | None = None
    content_block: _Block | None = None
    delta: _Change | None = None
    usage: _Counted | None = None


class _AnthropicReader:
    def __init__(self) -> None:
        self._text = ""
        self._calls: dict[int, _Call] = {}
        self._tokens = Tokens()
        self._ended = False

    def take(self, data: bytes) -> str:
        match event := msgspec.json.decode(data, type=_Event):
            case _Event(type="message_start", message=_Opening(usage=_Counted() as usage)):
                self._tokens = usage.read()
            case _Event(type="content_block_start", content_block=_Block(type="tool_use") as block):
                self._calls[event.index] = _Call(block.id, block.name)
            case _Event(type="content_block_delta", delta=_Change() as change):
                return self._change(event.index, change)
            case _Event(type="message_delta", usage=_Counted(output_tokens=int(wrote))):
                self._tokens = replace(self._tokens, wrote=wrote)
            case _Event(type="message_stop"):
                self._ended = True
            case _Event(type="error"):
                raise Garbled("an error in the middle of a stream")
            case _:
                pass
        return ""

    def _change(self, index: int, change: _Change) -> str:
        if change.type == "input_json_delta" and index in self._calls:
            self._calls[index].arguments += change.partial_json
        elif change.type == "text_delta":
            self._text += change.text
            return change.text
        return ""

    def answer(self) -> Answer:
        if not self._ended:
            raise Garbled("the answer has no end")
        calls = tuple(self._calls[index].made() for index in sorted(self._calls))
        return Answer(self._text, calls, self._tokens)


def _bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _versioned(key: str) -> Mapping[str, str]:
    return {"x-api-key": key, "anthropic-version": "2023-06-01"}


DIALECTS: Final[Mapping[str, Dialect]] = {
    "openai": Dialect("/chat/completions", _bearer, _chat, _ChatReader),
    "anthropic": Dialect("/v1/messages", _versioned, _anthropic, _AnthropicReader),
}
"""The dialects by name."""
