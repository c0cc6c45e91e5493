"""What clients send, beyond the types of `pelton.events.a2a` (§3.2), and how it is checked.

Types say what can be said of one member; `check_message` says the rest. Every error names the
member that it is about.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple, TypeVar, cast

import msgspec
from msgspec import Meta

from pelton.adapters.a2a.errors import ParseError, VersionNotSupported
from pelton.events.a2a import A2A, JsonObject, Message, Part, Role, Task, TaskState
from pelton.events.delegation import ORIGIN, origin
from pelton.events.envelope import deeper
from pelton.events.errors import ContentTypeNotSupported, InvalidInput
from pelton.events.ids import check_id, derive
from pelton.events.redact import Redactor
from pelton.events.wishes import ReservedName, check_names

MAX_PARTS: Final = 1000
"""The most parts that a message may have (S14)."""
MAX_DEPTH: Final = 64
"""How deep JSON from outside may be nested (S16)."""

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
PageSize = Annotated[int, Meta(ge=1, le=100)]
Instant = Annotated[datetime, Meta(tz=True)]


class HttpRequest(NamedTuple):
    """A request over HTTP that is let in; `path` is what follows its agent's URL, undecoded."""

    method: str
    path: Sequence[str]
    query: bytes
    body: bytes


class AuthenticationInfo(A2A, frozen=True, kw_only=True):
    """How whoever posts shows the receiver who it is (§4.3.2)."""

    scheme: str
    credentials: str = ""


class TaskPushNotificationConfig(A2A, frozen=True, kw_only=True):
    """Where a task's updates are posted to (§4.3.1); also the request to create it (§3.1.7)."""

    url: str
    task_id: str = ""
    id: str = ""
    token: str = ""
    authentication: AuthenticationInfo | None = None
    tenant: str = ""


def default_id(task: str) -> str:
    """Return the id that a task's push config has that was given none, if it is the first such."""
    return derive("push-config", task)


class SendMessageConfiguration(A2A, frozen=True, kw_only=True):
    """How a send is to be answered (§3.2.2)."""

    accepted_output_modes: tuple[str, ...] = ()
    task_push_notification_config: TaskPushNotificationConfig | None = None
    history_length: Count | None = None
    return_immediately: bool = False


class SendMessageRequest(A2A, frozen=True, kw_only=True):
    """Send, and send with a stream (§3.2.1)."""

    message: Message
    tenant: str = ""
    configuration: SendMessageConfiguration = SendMessageConfiguration()
    metadata: JsonObject | None = None


class GetTaskRequest(A2A, frozen=True, kw_only=True):
    """Get a task (§3.1.3)."""

    id: str
    tenant: str = ""
    history_length: Count | None = None


class ListTasksRequest(A2A, frozen=True, kw_only=True):
    """List tasks (§3.1.4)."""

    tenant: str = ""
    context_id: str = ""
    status: TaskState | None = None
    page_size: PageSize = 50
    page_token: str = ""
    history_length: Count | None = None
    status_timestamp_after: Instant | None = None
    include_artifacts: bool = False


class ListTasksResponse(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of tasks; all members are always there (§3.1.4)."""

    tasks: tuple[Task, ...]
    next_page_token: str
    page_size: int
    total_size: int


class CancelTaskRequest(A2A, frozen=True, kw_only=True):
    """Cancel a task (§3.1.5)."""

    id: str
    tenant: str = ""
    metadata: JsonObject | None = None


class CancelTaskBody(A2A, frozen=True, kw_only=True):
    """What the body of a cancellation says where the path names the task (§11.3.2)."""

    metadata: JsonObject | None = None


class SubscribeToTaskRequest(A2A, frozen=True, kw_only=True):
    """Subscribe to a task (§3.1.6)."""

    id: str
    tenant: str = ""


class GetPushConfigRequest(A2A, frozen=True, kw_only=True):
    """Get a push config (§3.1.8)."""

    task_id: str
    id: str
    tenant: str = ""


class ListPushConfigsRequest(A2A, frozen=True, kw_only=True):
    """List the push configs of a task (§3.1.9); a page of 0 is as large as the server likes."""

    task_id: str
    tenant: str = ""
    page_size: Annotated[int, Meta(ge=0, le=100)] = 0
    page_token: str = ""


class ListPushConfigsResponse(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of push configs."""

    configs: tuple[TaskPushNotificationConfig, ...]
    next_page_token: str


class DeletePushConfigRequest(A2A, frozen=True, kw_only=True):
    """Delete a push config (§3.1.10)."""

    task_id: str
    id: str
    tenant: str = ""


class Deleted(A2A, frozen=True, kw_only=True):
    """The answer to a deletion: nothing."""


class GetExtendedAgentCardRequest(A2A, frozen=True, kw_only=True):
    """Get the extended card (§3.1.11)."""

    tenant: str = ""


class SendMessageResponse(A2A, frozen=True, kw_only=True):
    """The answer to a send (§3.1.1): exactly one member is set."""

    task: Task | None = None
    message: Message | None = None


Request = TypeVar("Request")

_VERSION: Final = re.compile(r"1\.0(\.[0-9]+)?", re.ASCII)
_SNAKE: Final = re.compile(r"_([a-z])")
_SNAKES: Final = re.compile(rb'_[a-z]{1,20}"\s*:')
"""The end of a name with underscores: one pass over any text, and quick where there is none."""
_FREE: Final = ("metadata", "data")
"""Members whose own members are the client's."""
_AT: Final = re.compile(r"^(?P<text>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<field>[^`]+)`")


def check_version(version: str) -> None:
    """Check that a request is one of A2A 1.0; patch numbers do not matter, and none means 0.3.

    Raises:
        VersionNotSupported: it is of another version (§3.6.2).
    """
    if version != "1.0" and not _VERSION.fullmatch(version):
        raise VersionNotSupported(
            f"A2A version {version[:20] or '0.3'!r} is not supported; this interface speaks: 1.0"
        )


def check_depth(body: bytes) -> None:
    """Refuse JSON that is nested deeper than `MAX_DEPTH`, before anything parses it (S16).

    Raises:
        ParseError: it is, or its brackets do not close.
    """
    if deeper(body, MAX_DEPTH):
        raise ParseError(f"Invalid JSON payload: malformed, or nested deeper than {MAX_DEPTH}")


def decode(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Request]) -> Request:
    """Return the request in JSON, which is known to be well-formed or not.

    As ProtoJSON has it, a member that is null is one that is not set, and a name may be that of the
    .proto, with underscores.

    Raises:
        ParseError: it is not JSON.
        InvalidInput: it is JSON, and not this request.
    """
    try:
        if _SNAKES.search(data) is None:
            return decoder.decode(data)
    except msgspec.ValidationError:
        pass  # see what it is without the members that are null
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParseError("Invalid JSON payload") from None
    try:
        value = camel(_set_members(msgspec.json.decode(data)))
        return msgspec.convert(value, decoder.type)
    except msgspec.ValidationError as error:
        problem = error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParseError("Invalid JSON payload") from None
    raise violation(problem) from None


def camel(value: Any) -> Any:
    """Return JSON whose members are in camelCase, save in values of the client's own."""
    if isinstance(value, dict):
        return {
            _SNAKE.sub(lambda match: match[1].upper(), name): each if name in _FREE else camel(each)
            for name, each in cast("JsonObject", value).items()
        }
    if isinstance(value, list):
        return [camel(each) for each in cast("list[object]", value)]
    return value


def _set_members(value: object, *, free: bool = False) -> object:
    """Return a value without the members that are null, save in values of the client's own."""
    if free:
        return value
    if isinstance(value, dict):
        return {
            name: _set_members(member, free=name in _FREE)
            for name, member in cast("dict[str, object]", value).items()
            if member is not None or name == "data"
        }
    if isinstance(value, list):
        return [_set_members(item) for item in cast("list[object]", value)]
    return value


def convert_members(value: Any, shape: type[Request]) -> Request:
    """Return the request that a JSON value is; members that are null are not set.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return msgspec.convert(_set_members(value), shape)
    except msgspec.ValidationError as error:
        raise violation(error) from None


def convert(members: Mapping[str, str], shape: type[Request]) -> Request:
    """Return the request that the parameters of a URL spell (§11.5).

    Raises:
        InvalidInput: they spell none.
    """
    try:
        return msgspec.convert(camel(members), shape, strict=False)
    except msgspec.ValidationError as error:
        raise violation(error) from None


def violation(error: msgspec.ValidationError) -> InvalidInput:
    """Return an error of msgspec as one that names the member."""
    match = _AT.match(str(error))
    assert match is not None  # it matches any text
    text, field = match["text"], match["path"] or ""
    if missing := _MISSING.search(text):
        field = f"{field}.{missing['field']}" if field else missing["field"]
        text = "this member is required"
    return InvalidInput(f"{field or 'params'}: {text}", field=field)


def check_message(message: Message, input_modes: tuple[str, ...]) -> None:
    """Check what the types do not say of a message to an agent.

    Raises:
        InvalidInput: a member is missing or is not what it must be.
        ContentTypeNotSupported: a part is of a media type that the agent does not take.
    """
    check_id(message.message_id, "message.messageId")
    check_names(message.metadata, "message.metadata", known=(ORIGIN,))
    if message.context_id:
        check_id(message.context_id, "message.contextId")
    if message.role is not Role.USER:
        raise InvalidInput("a message to an agent has the role ROLE_USER", field="message.role")
    if not 0 < len(message.parts) <= MAX_PARTS:
        raise InvalidInput(f"a message has 1 to {MAX_PARTS} parts", field="message.parts")
    for place, part in enumerate(message.parts):
        _check_part(part, f"message.parts[{place}]")
        if part.media_type and not _taken(part.media_type, input_modes):
            raise ContentTypeNotSupported(
                f"the agent does not take {part.media_type[:80]!r}; it takes: "
                + ", ".join(input_modes)
            )


def check_secrets(message: Message, redactor: Redactor) -> None:
    """Check that no id that a client has chosen is a secret: ids are never redacted.

    Raises:
        InvalidInput: one looks like a secret.
    """
    for name, value in (("messageId", message.message_id), ("contextId", message.context_id)):
        if redactor.text(value) is not value:
            raise InvalidInput(
                f"message.{name} looks like a secret: choose another id", field=f"message.{name}"
            )


def check_origin(message: Message, actor: str) -> None:
    """Check that a message does not say that another agent wrote it than whoever sends it (AS-4).

    Raises:
        ReservedName: it does.
    """
    if ORIGIN in (message.metadata or {}) and origin(message) != actor:
        raise ReservedName(
            f"{ORIGIN} names the agent that sends the message, by the name that it is let in with",
            field=f"message.metadata.{ORIGIN}",
        )


def _check_part(part: Part, field: str) -> None:
    unset = msgspec.UNSET
    content = (part.text, part.raw, part.url, part.data)
    if sum(each is not unset for each in content) != 1:
        raise InvalidInput("a part has exactly one of text, raw, url and data", field=field)
    if isinstance(part.raw, str):
        try:
            binascii.a2b_base64(part.raw, strict_mode=True)
        except ValueError:
            raise InvalidInput("raw holds bytes in base64", field=f"{field}.raw") from None
    check_names(part.metadata, f"{field}.metadata")
    if part.blob is not None:
        raise InvalidInput("a part has no member of this name", field=f"{field}.blob")


def _taken(media_type: str, modes: tuple[str, ...]) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    for mode in modes:
        if mode in (kind, "*/*") or (mode.endswith("/*") and kind.startswith(mode[:-1])):
            return True
    return False
