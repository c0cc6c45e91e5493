"""The JSON-RPC binding (§9): one entry, every answer a JSON-RPC answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from pelton.adapters.a2a import legacy
from pelton.adapters.a2a.asked import ASKED
from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.errors import (
    InvalidRequest,
    MethodNotFound,
    ParseError,
    as_rpc,
    fault_of,
    headers_of,
    report,
)
from pelton.adapters.a2a.operations import OPERATIONS, Unary, operation
from pelton.adapters.a2a.requests import HttpRequest, check_depth, convert_members, decode
from pelton.adapters.a2a.sse import EventStream, Reply, begin
from pelton.adapters.a2a.waits import Update
from pelton.events.a2a import JsonObject, StreamResponse

Id = str | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | None


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A JSON-RPC request; `id` is required, for A2A has no notifications."""

    jsonrpc: Literal["2.0"]
    method: str
    id: Id
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A JSON-RPC answer."""

    jsonrpc: str = "2.0"
    id: Id
    result: Any


class Failure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A JSON-RPC answer that says what went wrong."""

    jsonrpc: str = "2.0"
    id: Id
    error: JsonObject


class _OnlyId(msgspec.Struct, frozen=True, gc=False):
    id: Id = None


_envelope: Final = msgspec.json.Decoder(Envelope)
_only_id: Final = msgspec.json.Decoder(_OnlyId)
_decoders: Final = {
    name: msgspec.json.Decoder(operation.request) for name, operation in OPERATIONS.items()
}
_encode: Final = msgspec.json.Encoder().encode


class JsonRpc:
    """Answers JSON-RPC requests; with `legacy` also those whose methods are A2A 0.3's."""

    def __init__(self, engine: Engine, *, legacy: bool = False) -> None:
        self._engine, self._legacy = engine, legacy

    async def answer(self, call: Call, request: HttpRequest) -> Reply | EventStream:
        """Return the answer to a request, whatever its body holds."""
        asked: Envelope | None = None
        try:
            asked = _envelope_in(request.body)
            if self._legacy and asked.method not in OPERATIONS:
                return await self._answer_legacy(call, asked)
            found = operation(call, asked.method)
            ASKED.get().method = asked.method
            params = decode(asked.params, _decoders[asked.method])
            if isinstance(found, Unary):
                result = await found.run(self._engine, call, params)
                return Reply(200, _encode(Result(id=asked.id, result=result)))
            return await _stream(call, asked.id, found.run(self._engine, call, params))
        except Exception as error:  # noqa: BLE001  this is the boundary: every error is an answer
            if asked is not None:
                return failure(error, call.id, asked.id)
            return failure(error, call.id, _id_in(request.body, error))

    async def _answer_legacy(self, call: Call, asked: Envelope) -> Reply | EventStream:
        """Answer a request of A2A 0.3."""
        name = legacy.METHODS.get(asked.method)
        if name is None:  # whatever version it is of
            raise MethodNotFound(f"Method not found: {asked.method[:80]!r}")
        found = operation(call, name, legacy=True)
        ASKED.get().method = name
        params = convert_members(
            legacy.params(name, msgspec.json.decode(asked.params)), found.request
        )
        if isinstance(found, Unary):
            result = legacy.answer(await found.run(self._engine, call, params), legacy.RPC)
            return Reply(200, _encode(Result(id=asked.id, result=result)))
        updates = found.run(self._engine, call, params)
        return await _stream(
            call, asked.id, updates, lambda event: legacy.answer(event, legacy.RPC)
        )


async def _stream(
    call: Call,
    id: Id,
    updates: AsyncGenerator[Update | None],
    shape: Callable[[StreamResponse], Any] = lambda event: event,
) -> EventStream:
    def frame(response: StreamResponse) -> bytes:
        return _encode(Result(id=id, result=shape(response)))

    def failed(error: Exception) -> bytes:
        return failure(error, call.id, id).body

    return await begin(updates, frame, failed)


def _envelope_in(body: bytes) -> Envelope:
    check_depth(body)
    try:
        return _envelope.decode(body)
    except msgspec.ValidationError as error:
        problem = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParseError("Invalid JSON payload") from None
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError:
        pass  # a number that no double holds: JSON nevertheless
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParseError("Invalid JSON payload") from None
    raise InvalidRequest(f"Request payload validation error: {problem}")


def _id_in(body: bytes, error: Exception) -> Id:
    """Return the id of what is no request, if it is JSON and has one."""
    if isinstance(error, ParseError):
        return None
    try:
        return _only_id.decode(body).id
    except msgspec.DecodeError:
        return None


def failure(error: Exception, correlation: str, id: Id = None) -> Reply:
    """Return the answer that says what went wrong."""
    report(error, correlation)
    fault = fault_of(error)
    body = _encode(Failure(id=id, error=as_rpc(error, correlation)))
    return Reply(fault.carried, body, headers=headers_of(error))
