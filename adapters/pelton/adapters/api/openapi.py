"""The OpenAPI document of the API, made from its table of routes and its types."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec

from pelton.adapters.a2a.errors import FAULTS
from pelton.adapters.api import live
from pelton.adapters.api.route import Route
from pelton.adapters.api.routes import CALLBACK, ROOT, ROUTES
from pelton.adapters.api.shapes import (
    EventView,
    Failure,
    LiveQuery,
    Query,
)
from pelton.adapters.frameworks.callback import Callback

Json = dict[str, Any]

VERSION: Final = "1.4"
"""The version of the API; what is added counts up its second number, what breaks its first."""
REF: Final = "#/components/schemas/{name}"
"""How a document refers to one of its schemas."""
SECURITY: Final[Json] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
"""How one is let in: with a credential of any one of these kinds."""
_FAILURES: Final = {
    "400": "A parameter is wrong, or what is asked for is switched off.",
    "401": "There is no credential, or none that is good here.",
    "403": "The credential does not allow this.",
    "404": "There is nothing of that name, or it is not for whoever asks.",
    "429": "Too much was asked.",
    "503": "The log or the read models cannot be reached.",
}
_WHERE: Final = ("agent", "task")
_CODES: Final = (
    *("auth-denied", "policy-denied", "validation-denied", "agent-not-found", "task-not-found"),
    "push-notification-not-supported",
    *(
        "memory-not-found",
        "record-not-found",
        "path-not-found",
        "method-not-allowed",
        "rate-limited",
        "unavailable",
    ),
    *("position-not-found", "log-regressed", "internal"),
    *("post-not-found", "callback-early", "callback-late", "parse"),
)


def openapi() -> Json:
    """Return the OpenAPI 3.1 document."""
    answers: list[type] = [Callback, Failure, EventView, *(route.answer for route in ROUTES)]
    schemas = components(answers)
    schemas["Problem"]["properties"]["code"]["examples"] = list(_CODES)
    assert set(_CODES) - {"internal"} <= set(FAULTS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pelton",
            "version": VERSION,
            "description": "Agents, tasks, questions, dead letters, memories and records of a"
            " tenant, to read; and where agents elsewhere answer. Agents are talked to over A2A.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{name: []} for name in SECURITY],
        "paths": _paths(),
        "components": {"schemas": schemas, "securitySchemes": SECURITY},
    }


def components(types: Iterable[object]) -> dict[str, Json]:
    """Return the schemas of types and of all that they are made of, by name."""
    _, found = msgspec.json.schema_components(types, ref_template=REF)
    schemas = cast("dict[str, Json]", found)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return schemas


def _paths() -> Json:
    paths = {path_of(route): {"get": _operation(route)} for route in ROUTES}
    paths["/" + "/".join((ROOT, *live.PATH))] = {"get": _live()}
    return paths | {"/" + "/".join((*CALLBACK[1:], "{agent}", "{task}")): {"post": _callback()}}


def path_of(route: Route) -> str:
    """Return the path of a route, as in `/v1/tasks/{task}`."""
    parameter = (f"{{{route.parameter}}}",) if route.parameter else ()
    tail = (route.tail,) if route.tail else ()
    return "/" + "/".join((ROOT, route.path, *parameter, *tail))


def _operation(route: Route) -> Json:
    answer = {"application/json": {"schema": {"$ref": REF.format(name=route.answer.__name__)}}}
    return {
        "operationId": route.id,
        "summary": route.text,
        "description": f"Needs the scope `{route.scope.value}`.",
        "parameters": _parameters(route.query, route.parameter),
        "responses": {"200": {"description": "It is there.", "content": answer}, **_failures()},
    }


def _live() -> Json:
    position = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "After which record to begin, 0 for the first; without it, from now on.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    }
    answer = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "operationId": "followEvents",
        "summary": "Follow the records of the log as they are stored.",
        "description": f"Needs the scope `{live.SCOPE.value}`. Server-sent events, or frames of a"
        " WebSocket if the request is its opening; each holds an `EventView`.",
        "parameters": [*_parameters(LiveQuery), position],
        "responses": {
            "101": {"description": "The records follow, each in a frame."},
            "200": {"description": "The records follow, each in an event.", "content": answer},
            **_failures(),
        },
    }


def _callback() -> Json:
    text = {"type": "string", "minLength": 1}
    signed = {
        "webhook-id": "The `Idempotency-Key` of the post that this answers.",
        "webhook-timestamp": "When it is sent, in seconds; at most five minutes off.",
        "webhook-signature": "`v1,` and the signature, as Standard Webhooks have it.",
    }
    return {
        "operationId": "callBack",
        "summary": "Answer a post that was answered 202: for endpoints elsewhere.",
        "description": "Needs no credential but its signature, and no scope.",
        "security": [],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": text} for name in _WHERE),
            *(
                {"name": name, "in": "header", "required": True, "description": said}
                | {"schema": text}
                for name, said in signed.items()
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REF.format(name="Callback")}}},
        },
        "responses": {
            "204": {"description": "It is stored."},
            **_failures(),
            "409": _failure("The post is answered already, or its turn is over."),
        },
    }


def _failure(text: str) -> Json:
    failure = {"application/json": {"schema": {"$ref": REF.format(name="Failure")}}}
    return {"description": text, "content": failure}


def _failures() -> Json:
    return {status: _failure(text) for status, text in _FAILURES.items()}


def _parameters(query: type[Query], parameter: str = "") -> list[Json]:
    found: list[Json] = []
    if parameter:
        named = {"name": parameter, "in": "path", "required": True}
        found.append({**named, "schema": {"type": "string", "minLength": 1}})
    known = cast("dict[str, Json]", msgspec.json.schema_components([query])[1])
    for name, member in known[query.__name__]["properties"].items():
        schema = dict(member)
        text = schema.pop("description", "")
        # What is left out is no parameter that is null.
        for each in (schema, *schema.get("anyOf", ()), *schema.get("allOf", ())):
            if "$ref" in each:
                values = known[each["$ref"].rpartition("/")[2]]["enum"]
                schema = {"type": "string", "enum": values}
        schema.pop("default", None)
        found.append({"name": name, "in": "query", "description": text, "schema": schema})
    return found
