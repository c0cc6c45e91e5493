"""The OpenAPI document of the HTTP+JSON binding (§11), made from its operations and their types.

Its paths are those below an agent's URL; each may have a tenant's segment before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from pelton.adapters.a2a.card import VERSION
from pelton.adapters.a2a.operations import OPERATIONS, Stream
from pelton.adapters.a2a.requests import (
    MAX_PARTS,
    CancelTaskBody,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
)
from pelton.adapters.a2a.sse import A2A_JSON, JSON
from pelton.adapters.api.openapi import REF, SECURITY, Json, components
from pelton.events.a2a import Role, StreamResponse, Task
from pelton.events.card import AgentCard
from pelton.events.ids import MAX_ID_BYTES


class Path(NamedTuple):
    """A path and verb of an operation; `query`, `body` and `answer` are the types of what they say.

    An operation that is asked by two verbs has the `id` of its own name by the first.
    """

    operation: str
    verb: str
    path: str
    text: str
    query: type[msgspec.Struct] | None = None
    body: Any = None
    answer: Any = None
    id: str = ""


_TASK: Final = "/tasks/{id}"
_PUSH: Final = f"{_TASK}/pushNotificationConfigs"

PATHS: Final = (
    *(
        Path(name, "post", path, text, body=SendMessageRequest, answer=answer)
        for name, path, text, answer in (
            ("SendMessage", "/message:send", "Send a message.", SendMessageResponse),
            (
                *("SendStreamingMessage", "/message:stream"),
                *("Send a message and follow what comes of it.", StreamResponse),
            ),
        )
    ),
    Path("GetTask", "get", _TASK, "Get a task.", query=GetTaskRequest, answer=Task),
    Path(
        *("ListTasks", "get", "/tasks", "List tasks, the latest status first."),
        query=ListTasksRequest,
        answer=ListTasksResponse,
    ),
    Path(
        *("CancelTask", "post", f"{_TASK}:cancel", "Cancel a task."),
        body=CancelTaskBody,
        answer=Task,
    ),
    *(
        Path(
            *("SubscribeToTask", verb, f"{_TASK}:subscribe", "Follow a task."),
            answer=StreamResponse,
            id=name,
        )
        for verb, name in (("post", "SubscribeToTask"), ("get", "GetTaskSubscription"))
    ),
    Path(
        *("CreateTaskPushNotificationConfig", "post", _PUSH, "Have notifications of a task sent."),
        body=dict[str, Any],
        answer=dict[str, Any],
    ),
    Path(
        *("ListTaskPushNotificationConfigs", "get", _PUSH, "List where a task's are sent."),
        answer=dict[str, Any],
    ),
    Path(
        *("GetTaskPushNotificationConfig", "get", f"{_PUSH}/{{config}}", "Get one of them."),
        answer=dict[str, Any],
    ),
    Path(
        *("DeleteTaskPushNotificationConfig", "delete", f"{_PUSH}/{{config}}"),
        *("Have no more sent there.",),
    ),
    Path(
        *("GetExtendedAgentCard", "get", "/extendedAgentCard", "Get the extended card."),
        answer=AgentCard,
    ),
)
"""All paths, one for each verb of an operation."""

_FAILURES: Final[Mapping[str, str]] = {
    "400": "The request is wrong, or the agent does not do this.",
    "401": "There is no credential, or none that is good here.",
    "403": "The credential does not allow this.",
    "404": "There is no such task or path, or it is not for whoever asks.",
    "405": "The path does not take this method.",
    "408": "The request took too long to arrive.",
    "409": "The task is busy, or the idempotency key stands for another request.",
    "413": "The request is larger than the bridge takes.",
    "415": "The body is no JSON by its Content-Type, or is compressed.",
    "429": "Too much was asked.",
    "431": "The headers are larger than the bridge takes.",
    "503": "The log or the read models cannot be reached.",
}
_ERROR: Final[Json] = {
    "title": "Error",
    "description": "The answer to a request that failed (§11.6): a `google.rpc.Status`.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "status", "message"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "status": {"type": "string", "description": "The code of google.rpc."},
                "message": {"type": "string"},
                "details": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["@type"],
                        "properties": {"@type": {"type": "string"}},
                    },
                },
            },
        }
    },
}


def openapi() -> Json:
    """Return the OpenAPI 3.1 document."""
    requests = [path.body for path in PATHS if path.body is not None]
    answers = [path.answer for path in PATHS if path.answer is not None]
    schemas = components([*requests, *answers])
    del schemas["BlobRef"]  # the log's alone
    for name in schemas.keys() & components(requests).keys():
        _nullable(schemas[name])
    _say_more(schemas)
    paths: Json = {}
    for path in PATHS:
        paths.setdefault(path.path, {})[path.verb] = _operation(path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "A2A over HTTP+JSON",
            "version": VERSION,
            "description": "What an agent on pelton answers below its URL.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{name: []} for name in SECURITY],
        "paths": paths,
        "components": {"schemas": {**schemas, "Error": _ERROR}, "securitySchemes": SECURITY},
    }


def _nullable(schema: Json) -> None:
    """Say of a type that is sent that a member that is null is not set (ProtoJSON)."""
    for name, member in schema.get("properties", {}).items():
        if name not in schema["required"] and member not in ({}, {"default": None}):
            given = dict(member)
            default = {"default": given.pop("default")} if "default" in given else {}
            kinds = given.pop("anyOf", [given])
            if {"type": "null"} not in kinds:
                kinds = [*kinds, {"type": "null"}]
            schema["properties"][name] = {"anyOf": kinds, **default}


def _say_more(schemas: dict[str, Json]) -> None:
    """Say of messages what types do not (`requests.check_message`)."""
    part, send = schemas["Part"], schemas["SendMessageRequest"]
    part["description"] = part["description"].partition("\n")[0]
    del part["properties"]["blob"]
    part["oneOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in ("text", "raw", "url")
    ]
    part["oneOf"].append({"required": ["data"]})
    part["properties"]["raw"]["anyOf"][0] |= {"contentEncoding": "base64", "pattern": _BASE64}
    own: Json = {
        "messageId": _ID,
        "role": {"const": Role.USER},
        "parts": {"minItems": 1, "maxItems": MAX_PARTS},
    }
    send["properties"]["message"] = {"allOf": [send["properties"]["message"], {"properties": own}]}
    send["examples"] = [
        {"message": {"messageId": "m1", "role": Role.USER, "parts": [{"text": "Hello"}]}}
    ]


def _operation(path: Path) -> Json:
    failure = {JSON.decode(): {"schema": {"$ref": REF.format(name="Error")}}}
    found: Json = {
        "operationId": path.id or path.operation,
        "summary": path.text,
        "parameters": _parameters(path),
    }
    if path.body is not None:
        schema = _schema(path.body)
        content = {media.decode(): {"schema": schema} for media in (JSON, A2A_JSON)}
        found["requestBody"] = {"content": content, "required": path.body is not CancelTaskBody}
    found["responses"] = {
        "200": _answer(path),
        **{status: {"description": text, "content": failure} for status, text in _FAILURES.items()},
    }
    return found


def _answer(path: Path) -> Json:
    found: Json = {"description": "It is done.", "links": _links(path)}
    if isinstance(OPERATIONS[path.operation], Stream):
        found["description"] = "A stream of events; the schema is that of one event."
        found["content"] = {"text/event-stream": {"schema": _EVENT}}
    elif path.answer is not None:
        found["content"] = {A2A_JSON.decode(): {"schema": _schema(path.answer)}}
    if not found["links"]:
        del found["links"]
    return found


def _schema(type: Any) -> Json:
    name = getattr(type, "__name__", "")
    return {"type": "object"} if name == "dict" else {"$ref": REF.format(name=name)}


def _links(path: Path) -> Json:
    """Return what one may ask next about the task in an answer."""
    place = {"SendMessage": "/task/id", "ListTasks": "/tasks/0/id", "GetTask": "/id"}
    if path.operation not in place:
        return {}
    return {
        name: {
            "operationId": name,
            "parameters": {"path.id": f"$response.body#{place[path.operation]}"},
        }
        for name in ("GetTask", "CancelTask", "SubscribeToTask")
    }


_EVENT: Final[Json] = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [{"$ref": REF.format(name=name)} for name in ("StreamResponse", "Error")]
            },
        },
    },
}
_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_ID: Final[Json] = {"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES}
_VERSION: Final[Json] = {
    "name": "A2A-Version",
    "in": "header",
    "required": True,
    "description": "The version of A2A that the client speaks (§3.6.1).",
    "schema": {"type": "string", "pattern": r"^1\.0(\.[0-9]+)?$"},
}
_EXTENSIONS: Final[Json] = {
    "name": "A2A-Extensions",
    "in": "header",
    "description": "The URIs of the extensions that the client asks for, with commas between.",
    "schema": {"type": "string"},
}
_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "What makes a send repeatable: the same key stands for the same request.",
    "schema": _ID,
}
_POSITION: Final[Json] = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The position after which a stream is resumed; 0 for all of it.",
    "schema": {"type": "string", "pattern": r"^[0-9]{1,19}(-[0-9a-f]{16})?$"},
}


def _parameters(path: Path) -> list[Json]:
    found = [_VERSION, _EXTENSIONS]
    if path.operation in ("SendMessage", "SendStreamingMessage"):
        found.append(_KEY)
    if path.operation == "SubscribeToTask":
        found.append(_POSITION)
    found += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in ("id", "config")
        if f"{{{name}}}" in path.path
    ]
    if path.query is None:
        return found
    shape: Json = components([path.query])[path.query.__name__]
    for name, member in shape["properties"].items():
        if name not in ("id", "tenant"):
            kinds = [each for each in member.get("anyOf", [member]) if each != {"type": "null"}]
            schema = {key: value for key, value in kinds[0].items() if key != "default"}
            found.append({"name": name, "in": "query", "schema": schema})
    return found
