"""The HTTP+JSON binding (§11): paths and verbs, on the same engine as JSON-RPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec.structs import replace

from pelton.adapters.a2a import legacy
from pelton.adapters.a2a.asked import ASKED
from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.errors import (
    MethodNotAllowed,
    PathNotFound,
    as_rest,
    fault_of,
    headers_of,
    report,
)
from pelton.adapters.a2a.operations import OPERATIONS, Unary, operation
from pelton.adapters.a2a.requests import (
    CancelTaskBody,
    CancelTaskRequest,
    HttpRequest,
    camel,
    check_depth,
    convert,
    convert_members,
    decode,
)
from pelton.adapters.a2a.sse import A2A_JSON, JSON, EventStream, Reply, begin
from pelton.events.a2a import StreamResponse
from pelton.events.errors import InvalidInput

_decoders: Final = {
    name: msgspec.json.Decoder(operation.request) for name, operation in OPERATIONS.items()
}
_any: Final = msgspec.json.Decoder(Any)
_cancel: Final = msgspec.json.Decoder(CancelTaskBody)
_encode: Final = msgspec.json.Encoder().encode


class Resource(NamedTuple):
    """What a path names: an operation for each HTTP method it takes, and the task it is about.

    `tenant` is the segment before it, if there is one. `legacy`: it is a path of A2A 0.3. `config`
    is the push config of the task.
    """

    methods: dict[str, str]
    task: str = ""
    tenant: str = ""
    legacy: bool = False
    config: str = ""


T = TypeVar("T")

_SUBSCRIBE: Final = {"POST": "SubscribeToTask", "GET": "SubscribeToTask"}
_PUSH: Final = {
    "GET": "ListTaskPushNotificationConfigs",
    "POST": "CreateTaskPushNotificationConfig",
}
_PUSH_ONE: Final = {
    "GET": "GetTaskPushNotificationConfig",
    "DELETE": "DeleteTaskPushNotificationConfig",
}


_OF_PUSH: Final = {*_PUSH.values(), *_PUSH_ONE.values()}


def resource(path: Sequence[str]) -> Resource | None:
    """Return what a path below an agent's URL names, its segments still percent-encoded."""
    match path:
        case ["message:send"]:
            return Resource({"POST": "SendMessage"})
        case ["message:stream"]:
            return Resource({"POST": "SendStreamingMessage"})
        case ["tasks"]:
            return Resource({"GET": "ListTasks"})
        case ["tasks", task]:
            name = unquote(task)
            if name.endswith(":cancel"):
                return Resource({"POST": "CancelTask"}, name[: -len(":cancel")])
            if name.endswith(":subscribe"):
                return Resource(_SUBSCRIBE, name[: -len(":subscribe")])
            return Resource({"GET": "GetTask"}, name)
        case ["tasks", task, "pushNotificationConfigs"]:
            return Resource(_PUSH, unquote(task))
        case ["tasks", task, "pushNotificationConfigs", config]:
            return Resource(_PUSH_ONE, unquote(task), config=unquote(config))
        case ["extendedAgentCard"]:
            return Resource({"GET": "GetExtendedAgentCard"})
        case _:
            return None


def find(path: Sequence[str], *, legacy: bool = False) -> Resource | None:
    """Return what a path names, with or without a tenant before it, or `v1` for A2A 0.3."""
    if legacy and path[0] == "v1":
        if path[1:] == ["card"]:
            return Resource({"GET": "GetExtendedAgentCard"}, legacy=True)
        found = resource(path[1:])
        return found and found._replace(legacy=True)
    found = resource(path)
    if found is None and len(path) > 1 and (found := resource(path[1:])):
        return found._replace(tenant=unquote(path[0]))
    return found


class Rest:
    """Answers HTTP+JSON requests; with `legacy` also those of A2A 0.3, below `v1/`."""

    def __init__(self, engine: Engine, *, legacy: bool = False) -> None:
        self._engine, self._legacy = engine, legacy

    async def answer(self, call: Call, request: HttpRequest) -> Reply | EventStream:
        """Return the answer to a request for a path below an agent's URL."""
        found = find(request.path, legacy=self._legacy)
        try:
            if found is None:
                raise PathNotFound("nothing is served under this path")
            name = found.methods.get(request.method)
            if name is None:
                raise MethodNotAllowed(*found.methods)
            asked = operation(call, name, legacy=found.legacy)
            ASKED.get().method = name
            params = _params(name, found, request)
            if isinstance(asked, Unary):
                result = await asked.run(self._engine, call, params)
                return _ok(_shape(result)) if found.legacy else _ok(result, A2A_JSON)
            updates = asked.run(self._engine, call, params)
            frame = _legacy_frame if found.legacy else _encode
            return await begin(updates, frame, lambda error: failure(error, call.id).body)
        except Exception as error:  # noqa: BLE001  this is the boundary: every error is an answer
            reply = failure(error, call.id)
            if found is not None and found.legacy:
                return reply._replace(body=legacy.error(error, reply.body))
            return reply


def _shape(result: Any) -> Any:
    return legacy.answer(result, legacy.REST)


def _legacy_frame(response: StreamResponse) -> bytes:
    return _encode(_shape(response))


def _params(name: str, found: Resource, request: HttpRequest) -> Any:
    """Return the parameters of an operation, from path, query and body (§11.5)."""
    if name in ("SendMessage", "SendStreamingMessage"):
        if found.legacy:
            value = legacy.params(name, camel(_body(request.body, _any)))
            return convert_members(value, OPERATIONS[name].request)
        return _body(request.body, _decoders[name])
    if name == "CancelTask":
        metadata = _body(request.body or b"{}", _cancel).metadata
        return CancelTaskRequest(id=found.task, tenant=found.tenant, metadata=metadata)
    if name in _OF_PUSH:
        return _push_params(name, found, request)
    members = _parameters(request.query) if request.method == "GET" else {}
    if found.task:
        members["id"] = found.task
    if found.legacy and members.get("historyLength") == "0":  # as many as there are
        del members["historyLength"]
    return convert(members, OPERATIONS[name].request)


def _push_params(name: str, found: Resource, request: HttpRequest) -> Any:
    """Return the parameters of an operation on push configs; the path says of what task."""
    shape = OPERATIONS[name].request
    place = {"taskId": found.task, "tenant": found.tenant}
    if name == _PUSH["POST"]:
        if found.legacy:
            value = legacy.config_in(camel(_body(request.body, _any)))
            return convert_members(value | place if isinstance(value, dict) else value, shape)
        return replace(_body(request.body, _decoders[name]), task_id=found.task)
    members = _parameters(request.query) if request.method == "GET" else {}
    return convert(members | place | ({"id": found.config} if found.config else {}), shape)


def _ok(value: object, media_type: bytes = JSON) -> Reply:
    return Reply(200, _encode(value), media_type)


def _body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    check_depth(body)
    return decode(body, decoder)


def _parameters(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=False, errors="strict")
    except ValueError:
        raise InvalidInput("the query is not UTF-8, percent-encoded") from None
    return dict(pairs)


def failure(error: Exception, correlation: str) -> Reply:
    """Return the answer that says what went wrong."""
    report(error, correlation)
    fault = fault_of(error)
    return Reply(fault.http, as_rest(error, correlation), headers=headers_of(error))
