"""A2A 0.3 beside 1.0: its JSON in both dialects, made from ours and into ours; off unless wanted.

0.3 is two dialects: JSON-RPC has members named `kind`, HTTP+JSON is ProtoJSON of the package
`a2a.v1`. What comes is understood in either; what goes out is a table of names for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec

from pelton.adapters.a2a.errors import VersionNotSupported, fault_of
from pelton.adapters.a2a.requests import (
    Deleted,
    ListPushConfigsResponse,
    TaskPushNotificationConfig,
    default_id,
)
from pelton.events.a2a import JsonObject, TaskState
from pelton.events.card import AgentCard
from pelton.events.errors import InvalidInput
from pelton.events.states import TERMINAL

VERSION: Final = "0.3.0"
_SPOKEN: Final = re.compile(r"(0\.3(\.[0-9]+)?)?", re.ASCII)

METHODS: Final[Mapping[str, str]] = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/cancel": "CancelTask",
    "tasks/resubscribe": "SubscribeToTask",
    "tasks/pushNotificationConfig/set": "CreateTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/get": "GetTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/list": "ListTaskPushNotificationConfigs",
    "tasks/pushNotificationConfig/delete": "DeleteTaskPushNotificationConfig",
    "agent/getAuthenticatedExtendedCard": "GetExtendedAgentCard",
}
"""The operations by their names in JSON-RPC 0.3; none is a name in 1.0."""


def check_version(version: str) -> None:
    """Check that a request is one of A2A 0.3, as one that names no version is.

    Raises:
        VersionNotSupported: it is of another version.
    """
    if not _SPOKEN.fullmatch(version):
        raise VersionNotSupported(f"A2A version {version[:20]!r} has no such method; 0.3 has it")


# What comes


def params(name: str, value: Any) -> Any:
    """Return the parameters of an operation as 1.0 has them.

    Raises:
        InvalidInput: they are none in 0.3 either.
    """
    if not isinstance(value, dict):
        return value
    given = cast("JsonObject", value)
    if name in ("SendMessage", "SendStreamingMessage"):
        return {
            "message": _message_in(given.get("message", given.get("request"))),
            "configuration": _configuration(given.get("configuration")),
            "metadata": given.get("metadata"),
        }
    if "PushNotificationConfig" in name:
        if name.startswith("Create"):
            config = config_in(given)
            if isinstance(config, dict):
                return cast("JsonObject", config) | {"taskId": given.get("taskId")}
            return config
        task = given.get("id")
        if name.startswith("List"):
            return {"taskId": task}
        usual = default_id(task) if isinstance(task, str) else None
        return {"taskId": task, "id": given.get("pushNotificationConfigId") or usual}
    if name == "GetTask" and given.get("historyLength") == 0:  # as many as there are
        return {**given, "historyLength": None}
    return given


def _configuration(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    given = cast("JsonObject", value)
    return {
        "acceptedOutputModes": given.get("acceptedOutputModes"),
        "historyLength": given.get("historyLength") or None,
        "returnImmediately": given.get("blocking") is False,
        "taskPushNotificationConfig": _inline(
            given.get("pushNotificationConfig", given.get("pushNotification"))
        ),
    }


def _inline(value: Any) -> Any:
    return _config_in(cast("JsonObject", value)) if isinstance(value, dict) else value


def config_in(value: Any) -> Any:
    """Return a push config that is asked for as 1.0 has it, in whichever wrapping it came."""
    if not isinstance(value, dict):
        return value
    given = cast("JsonObject", value)
    wrapped = given.get("config", given)
    if isinstance(wrapped, dict):
        wrapped = cast("JsonObject", wrapped).get("pushNotificationConfig", wrapped)
    if not isinstance(wrapped, dict):
        return wrapped
    found = _config_in(cast("JsonObject", wrapped))
    return {**found, "id": found["id"] or given.get("configId")}


def _config_in(given: JsonObject) -> JsonObject:
    found: JsonObject = {name: given.get(name) for name in ("id", "url", "token")}
    if isinstance(authentication := given.get("authentication"), dict):
        members = cast("JsonObject", authentication)
        schemes = members.get("schemes")
        if isinstance(schemes, list) and schemes:  # 1.0 has one: the one preferred
            found["authentication"] = {
                "scheme": schemes[0],
                "credentials": members.get("credentials"),
            }
    return found


def _message_in(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    given = cast("JsonObject", value)
    role = given.get("role")
    parts = given.get("parts", given.get("content"))
    if isinstance(parts, list):
        parts = [_part_in(part) for part in cast("Sequence[Any]", parts)]
    roles = {"user": "ROLE_USER", "agent": "ROLE_AGENT"}
    found = {name: each for name, each in given.items() if name not in ("kind", "content")}
    return {**found, "role": roles.get(str(role), role), "parts": parts}


def _part_in(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    given = cast("JsonObject", value)
    found: JsonObject = {"metadata": given.get("metadata")}
    if isinstance(file := given.get("file"), dict):
        members = cast("JsonObject", file)
        raw = members.get("bytes", members.get("fileWithBytes"))
        url = members.get("uri", members.get("fileWithUri"))
        if (raw is None) is (url is None):
            raise InvalidInput("a file has either bytes or a uri", field="message.parts")
        found |= {"raw": raw} if raw is not None else {"url": url}
        return found | {"filename": members.get("name"), "mediaType": members.get("mimeType")}
    if "data" in given:
        data = given["data"]
        if "kind" not in given and isinstance(data, dict):  # ProtoJSON: a message DataPart
            data = cast("JsonObject", data).get("data", {})
        return found | {"data": data}
    return found | {"text": given.get("text")}


# What goes out


class Dialect(NamedTuple):
    """How a binding of 0.3 spells what differs."""

    kinds: bool
    """Whether messages, tasks, parts and events say their `kind`; then they are not wrapped."""
    parts: str
    roles: Mapping[str, str]
    states: Mapping[str, str]
    file: tuple[str, str]


RPC: Final = Dialect(
    kinds=True,
    parts="parts",
    roles={"ROLE_USER": "user", "ROLE_AGENT": "agent"},
    states={
        state: state.removeprefix("TASK_STATE_").lower().replace("_", "-") for state in TaskState
    },
    file=("bytes", "uri"),
)
REST: Final = Dialect(
    kinds=False,
    parts="content",
    roles={},
    states={TaskState.CANCELED: "TASK_STATE_CANCELLED"},
    file=("fileWithBytes", "fileWithUri"),
)


def answer(result: Any, dialect: Dialect) -> Any:
    """Return an answer or an event of 1.0 as 0.3 has it."""
    if isinstance(result, AgentCard):
        return card(result)
    value: JsonObject = msgspec.to_builtins(result)
    if isinstance(result, Deleted):
        return None if dialect.kinds else value
    if isinstance(result, TaskPushNotificationConfig):
        return _config(value, dialect)
    if isinstance(result, ListPushConfigsResponse):
        configs = [_config(each, dialect) for each in value["configs"]]
        return configs if dialect.kinds else value | {"configs": configs}
    if "status" in value:  # a task by itself
        return _task(value, dialect)
    [(name, found)] = value.items()
    if name == "task":
        found = _task(found, dialect)
    elif name == "message":
        found = _message(found, dialect)
    elif name == "statusUpdate":
        found = _status_update(found, dialect)
    else:
        found = _kind("artifact-update", dialect) | found
        found["artifact"] = _artifact(found["artifact"], dialect)
    return found if dialect.kinds else {name: found}


def _config(value: JsonObject, dialect: Dialect) -> JsonObject:
    config: JsonObject = {n: value[n] for n in ("id", "url", "token") if n in value}
    if (given := value.get("authentication")) is not None:
        credentials = {"credentials": given["credentials"]} if "credentials" in given else {}
        config["authentication"] = {"schemes": [given["scheme"]], **credentials}
    if dialect.kinds:
        return {"taskId": value["taskId"], "pushNotificationConfig": config}
    name = f"tasks/{value['taskId']}/pushNotificationConfigs/{value['id']}"
    return {"name": name, "pushNotificationConfig": config}


def _kind(kind: str, dialect: Dialect) -> JsonObject:
    return {"kind": kind} if dialect.kinds else {}


def _task(value: JsonObject, dialect: Dialect) -> JsonObject:
    found = _kind("task", dialect) | value
    found["status"] = _status(value["status"], dialect)
    for name, make in (("history", _message), ("artifacts", _artifact)):
        if name in value:
            found[name] = [make(each, dialect) for each in value[name]]
    return found


def _status(value: JsonObject, dialect: Dialect) -> JsonObject:
    state = value["state"]
    found = {**value, "state": dialect.states.get(state, state)}
    if "message" in value:
        found["message"] = _message(value["message"], dialect)
    return found


def _status_update(value: JsonObject, dialect: Dialect) -> JsonObject:
    found = _kind("status-update", dialect) | value
    found["status"] = _status(value["status"], dialect)
    found["final"] = value["status"]["state"] in TERMINAL
    return found


def _message(value: JsonObject, dialect: Dialect) -> JsonObject:
    found = _kind("message", dialect) | value
    found["role"] = dialect.roles.get(value["role"], value["role"])
    del found["parts"]
    found[dialect.parts] = [_part(part, dialect) for part in value["parts"]]
    return found


def _artifact(value: JsonObject, dialect: Dialect) -> JsonObject:
    return {**value, "parts": [_part(part, dialect) for part in value["parts"]]}


def _part(value: JsonObject, dialect: Dialect) -> JsonObject:
    metadata = {"metadata": value["metadata"]} if "metadata" in value else {}
    if "text" in value:
        return {**_kind("text", dialect), "text": value["text"], **metadata}
    if "data" in value:
        data = value["data"]
        if not isinstance(data, dict):  # 0.3 knows objects only
            data = {"value": data}
        return {
            **_kind("data", dialect),
            "data": data if dialect.kinds else {"data": data},
            **metadata,
        }
    raw, uri = dialect.file
    file = {raw: value["raw"]} if "raw" in value else {uri: value["url"]}
    if "mediaType" in value:
        file["mimeType"] = value["mediaType"]
    if "filename" in value:
        file["name"] = value["filename"]
    return {**_kind("file", dialect), "file": file, **metadata}


def error(failure: Exception, body: bytes) -> bytes:
    """Return the body of an HTTP+JSON error with what the client of 0.3 looks for beside."""
    found: JsonObject = msgspec.json.decode(body)
    name = "".join(word.capitalize() for word in fault_of(failure).reason.split("_"))
    found |= {"type": f"{name.removesuffix('Error')}Error", "message": found["error"]["message"]}
    return msgspec.json.encode(found)


# Cards


def card(given: AgentCard) -> JsonObject:
    """Return a card that readers of 1.0 and of 0.3 understand: the one, and what 0.3 has beside."""
    found: JsonObject = msgspec.to_builtins(given)
    interfaces: list[JsonObject] = found["supportedInterfaces"]
    spoken = [each for each in interfaces if each["protocolBinding"] != "GRPC"]
    if schemes := found.get("securitySchemes"):
        found["securitySchemes"] = {name: _scheme(each) for name, each in schemes.items()}
    if requirements := found.get("securityRequirements"):
        found["security"] = [
            {name: scopes["list"] for name, scopes in each["schemes"].items()}
            for each in requirements
        ]
    return {
        **found,
        "supportedInterfaces": [
            *interfaces,
            *({**each, "protocolVersion": "0.3"} for each in spoken),
        ],
        "protocolVersion": VERSION,
        "url": spoken[0]["url"],
        "preferredTransport": spoken[0]["protocolBinding"],
        "additionalInterfaces": [
            {"url": each["url"], "transport": each["protocolBinding"]} for each in spoken
        ],
        "supportsAuthenticatedExtendedCard": given.capabilities.extended_agent_card is True,
    }


def _scheme(given: JsonObject) -> JsonObject:
    """Return a security scheme for readers of both: 0.3 has the members that OpenAPI gives it."""
    [(kind, members)] = given.items()
    found: JsonObject = dict(members)
    if kind == "apiKeySecurityScheme":
        found["in"] = found.pop("location")
    return {**given, "type": _SCHEMES[kind], **found}


_SCHEMES: Final[Mapping[str, str]] = {
    "apiKeySecurityScheme": "apiKey",
    "httpAuthSecurityScheme": "http",
    "oauth2SecurityScheme": "oauth2",
    "openIdConnectSecurityScheme": "openIdConnect",
    "mtlsSecurityScheme": "mutualTLS",
}
