"""The one place where errors of the domain become A2A, JSON-RPC and HTTP errors (§3.3.2, §5.4).

A code of `PeltonError` leads to a `Fault`; what has no fault is internal, and a client reads no
more of it than that. Three shapes: JSON-RPC (§9.5), HTTP+JSON (§11.6), and a plain one for what is
no part of A2A.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import msgspec
import structlog

from pelton.adapters.a2a.asked import ASKED
from pelton.events.a2a import JsonObject
from pelton.events.errors import InvalidInput, NotAuthorised, PeltonError
from pelton.events.principal import Scope
from pelton.events.wishes import ReservedName

DOMAIN: Final = "a2a-protocol.org"
_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"


class ParseError(PeltonError):
    """The body is not JSON, or nested too deep."""

    code = "parse"


class InvalidRequest(PeltonError):
    """The body is JSON and no request."""

    code = "invalid-request"


class MethodNotFound(PeltonError):
    """There is no such JSON-RPC method."""

    code = "method-not-found"


class VersionNotSupported(PeltonError):
    """The request asks for a version of A2A that is not spoken here (§3.6.2)."""

    code = "version-not-supported"


class PushNotificationNotSupported(PeltonError):
    """The agent sends no push notifications (§3.3.4)."""

    code = "push-notification-not-supported"


class ExtendedAgentCardNotConfigured(PeltonError):
    """The agent's card says that there is an extended one, and there is none (§3.1.11)."""

    code = "extended-agent-card-not-configured"


class ExtensionSupportRequired(PeltonError):
    """The agent requires an extension that the request does not ask for (§3.3.4)."""

    code = "extension-support-required"


class PositionNotFound(PeltonError):
    """The stream cannot be resumed there: it is no position of this task, or is not there any more.

    Resume from the beginning, position 0: what is shown anew has the same positions as before.
    """

    code = "position-not-found"


class KeyConflict(PeltonError):
    """The idempotency key stands for another request: send that one again, or take a new key."""

    code = "key-conflict"


class HttpError(PeltonError):
    """A request that HTTP itself refuses; `headers` are those that its status calls for."""

    headers: tuple[tuple[bytes, bytes], ...] = ()


class PathNotFound(HttpError):
    """Nothing is served under this path."""

    code = "path-not-found"


class MethodNotAllowed(HttpError):
    """The path does not take this HTTP method."""

    code = "method-not-allowed"

    def __init__(self, *allowed: str) -> None:
        super().__init__("this path takes " + ", ".join(allowed))
        self.headers = ((b"allow", ", ".join(allowed).encode()),)


class BodyTooLarge(HttpError):
    """The body is larger than the bridge takes."""

    code = "body-too-large"


class MediaTypeNotSupported(HttpError):
    """The body is not JSON by its Content-Type, or is compressed."""

    code = "media-type-not-supported"


class Misdirected(HttpError):
    """The request names a host that this bridge is not (DNS rebinding, S20)."""

    code = "misdirected"


class PolicyDenied(HttpError):
    """The request comes from a page of another origin (S20)."""

    code = "policy-denied"


class AuthDenied(HttpError):
    """The request has no credential, or none that is good here: which is not said (AS-38)."""

    code = "auth-denied"

    def __init__(self, problem: str = "") -> None:
        super().__init__("this needs a credential that is good here")
        more = f', error="{problem}"' if problem else ""
        self.headers = ((b"www-authenticate", f'Bearer realm="pelton"{more}'.encode()),)


class ScopeMissing(NotAuthorised, HttpError):
    """The credential is good, and does not allow this: ask an operator for one that does."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"this needs the scope {scope.value}")
        challenge = f'Bearer realm="pelton", error="insufficient_scope", scope="{scope.value}"'
        self.headers = ((b"www-authenticate", challenge.encode()),)


class RateLimited(HttpError):
    """The principal, or its tenant, has asked too much: wait as long as `Retry-After` says."""

    code = "rate-limited"

    def __init__(self, limit: float, wait: float) -> None:
        super().__init__("too many requests: wait as long as Retry-After says")
        seconds = str(max(1, math.ceil(wait))).encode()
        self.headers = (
            (b"retry-after", seconds),
            (b"ratelimit-limit", str(math.floor(limit)).encode()),
            (b"ratelimit-remaining", b"0"),
            (b"ratelimit-reset", seconds),
        )


class PostNotFound(HttpError):
    """A callback names no post of the turn that is open: its `webhook-id` is the post's key."""

    code = "post-not-found"


class CallbackEarly(HttpError):
    """The answer 202 to the post is not in the log yet: call back again in a moment."""

    code = "callback-early"
    headers = ((b"retry-after", b"2"),)


class CallbackLate(HttpError):
    """The post is answered already, or its turn is over: nothing has changed, do not call again."""

    code = "callback-late"


class NotReady(HttpError):
    """The bridge cannot serve yet, or any more."""

    code: ClassVar[str] = "unavailable"

    def __init__(self, message: str, detail: JsonObject) -> None:
        super().__init__(message)
        self.detail = detail


class Fault(NamedTuple):
    """How an error looks outside: JSON-RPC code, HTTP status, google.rpc code, ErrorInfo reason.

    `carried` is the HTTP status of a JSON-RPC answer that carries it: 200, save where HTTP itself
    or whatever stands between must know.
    """

    rpc: int
    http: int
    status: str
    reason: str
    carried: int = 200


_PRECONDITION: Final = "FAILED_PRECONDITION"
_INVALID: Final = "INVALID_ARGUMENT"
_OWN: Final = -32000
"""What A2A has no code for (JSON-RPC leaves it to servers): the reason says what it is."""
_AWAY: Final = Fault(-32603, 503, "UNAVAILABLE", "UNAVAILABLE", 503)
INTERNAL: Final = Fault(-32603, 500, "INTERNAL", "INTERNAL_ERROR")

FAULTS: Final[Mapping[str, Fault]] = {
    "task-not-found": Fault(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    "memory-not-found": Fault(-32601, 404, "NOT_FOUND", "MEMORY_NOT_FOUND", 404),
    "record-not-found": Fault(-32601, 404, "NOT_FOUND", "RECORD_NOT_FOUND", 404),
    "fork-not-found": Fault(-32601, 404, "NOT_FOUND", "FORK_NOT_FOUND", 404),
    "fork-busy": Fault(_OWN, 409, "ABORTED", "FORK_BUSY"),
    "fork-failed": Fault(_OWN, 400, _PRECONDITION, "FORK_FAILED"),
    "task-not-cancelable": Fault(-32002, 400, _PRECONDITION, "TASK_NOT_CANCELABLE"),
    "push-notification-not-supported": Fault(
        -32003, 400, _PRECONDITION, "PUSH_NOTIFICATION_NOT_SUPPORTED"
    ),
    "unsupported-operation": Fault(-32004, 400, _PRECONDITION, "UNSUPPORTED_OPERATION"),
    "delegation-refused": Fault(-32004, 400, _PRECONDITION, "DELEGATION_REFUSED"),
    "content-erased": Fault(_OWN, 410, _PRECONDITION, "CONTENT_ERASED"),
    "content-sealed": Fault(-32603, 503, "UNAVAILABLE", "CONTENT_SEALED", 503),
    "attempt-over": Fault(_OWN, 409, "ABORTED", "ATTEMPT_OVER"),
    "busy": Fault(_OWN, 409, "ABORTED", "BUSY"),
    "content-type-not-supported": Fault(-32005, 400, _INVALID, "CONTENT_TYPE_NOT_SUPPORTED"),
    "extended-agent-card-not-configured": Fault(
        -32007, 400, _PRECONDITION, "EXTENDED_AGENT_CARD_NOT_CONFIGURED"
    ),
    "extension-support-required": Fault(-32008, 400, _PRECONDITION, "EXTENSION_SUPPORT_REQUIRED"),
    "version-not-supported": Fault(-32009, 400, _PRECONDITION, "VERSION_NOT_SUPPORTED"),
    "parse": Fault(-32700, 400, _INVALID, "JSON_PARSE_ERROR"),
    "invalid-request": Fault(-32600, 400, _INVALID, "INVALID_REQUEST"),
    "method-not-found": Fault(-32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
    "validation-denied": Fault(-32602, 400, _INVALID, "INVALID_PARAMS"),
    "position-not-found": Fault(-32602, 400, "OUT_OF_RANGE", "POSITION_NOT_FOUND"),
    "post-not-found": Fault(-32601, 404, "NOT_FOUND", "POST_NOT_FOUND", 404),
    "callback-early": Fault(-32603, 503, "UNAVAILABLE", "CALLBACK_EARLY", 503),
    "callback-late": Fault(_OWN, 409, "ABORTED", "CALLBACK_LATE"),
    "key-conflict": Fault(-32602, 409, "ALREADY_EXISTS", "IDEMPOTENCY_KEY_CONFLICT"),
    "agent-not-found": Fault(-32603, 404, "NOT_FOUND", "AGENT_NOT_FOUND", 404),
    "path-not-found": Fault(-32601, 404, "NOT_FOUND", "PATH_NOT_FOUND", 404),
    "method-not-allowed": Fault(-32600, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED", 405),
    "body-too-large": Fault(-32600, 413, _INVALID, "BODY_TOO_LARGE", 413),
    "too-large": Fault(-32602, 413, _INVALID, "MESSAGE_TOO_LARGE", 413),
    "media-type-not-supported": Fault(-32005, 415, _INVALID, "CONTENT_TYPE_NOT_SUPPORTED", 415),
    "misdirected": Fault(-32600, 421, _PRECONDITION, "MISDIRECTED_REQUEST", 421),
    "auth-denied": Fault(-32600, 401, "UNAUTHENTICATED", "AUTH_DENIED", 401),
    "rate-limited": Fault(-32603, 429, "RESOURCE_EXHAUSTED", "RATE_LIMITED", 429),
    "policy-denied": Fault(-32600, 403, "PERMISSION_DENIED", "POLICY_DENIED", 403),
    "slow-reader": Fault(-32603, 503, "RESOURCE_EXHAUSTED", "SLOW_READER", 503),
    "unavailable": _AWAY,
    "misconfigured": _AWAY,
    "recall-unavailable": _AWAY,
    "log-full": _AWAY,
    "log-regressed": _AWAY,
    "conflict": _AWAY,
    "projections-unavailable": _AWAY,
    "key-missing": _AWAY,
}
"""From the code of an error to how it looks outside."""

_MESSAGES: Final[Mapping[str, str]] = {
    "UNAVAILABLE": "The service cannot reach its log at the moment; try again",
    "INTERNAL_ERROR": "Internal error",
    "MESSAGE_TOO_LARGE": "The message is too large: send large content as a url",
}
"""What a client reads of errors that are not its own: nothing of how it is built."""

RETRY_AFTER: Final = (b"retry-after", b"2")


def fault_of(error: BaseException) -> Fault:
    """Return how an error looks outside."""
    return FAULTS.get(error.code, INTERNAL) if isinstance(error, PeltonError) else INTERNAL


def code_of(error: BaseException) -> str:
    """Return the code under which an error is known outside."""
    known = isinstance(error, PeltonError) and error.code in FAULTS
    return error.code if known and isinstance(error, PeltonError) else "internal"


def headers_of(error: BaseException) -> tuple[tuple[bytes, bytes], ...]:
    """Return the HTTP headers that an error calls for."""
    if isinstance(error, HttpError):
        return error.headers
    return (RETRY_AFTER,) if fault_of(error).http == 503 else ()


def _message(error: BaseException, fault: Fault) -> str:
    return _MESSAGES.get(fault.reason) or str(error)


def _details(error: BaseException, fault: Fault, correlation: str) -> list[JsonObject]:
    info: JsonObject = {
        "@type": _ERROR_INFO,
        "reason": fault.reason,
        "domain": DOMAIN,
        "metadata": {"correlationId": correlation} if correlation else {},
    }
    if isinstance(error, InvalidInput):
        violation = {"field": error.field, "description": str(error)}
        return [info, {"@type": _BAD_REQUEST, "fieldViolations": [violation]}]
    return [info]


def details_of(error: BaseException, correlation: str) -> tuple[str, list[JsonObject]]:
    """Return what an error says to clients, and its details as `google.protobuf.Any` in JSON."""
    fault = fault_of(error)
    return _message(error, fault), _details(error, fault, correlation)


def as_rpc(error: BaseException, correlation: str) -> JsonObject:
    """Return the `error` member of a JSON-RPC answer (§9.5)."""
    fault = fault_of(error)
    details = _details(error, fault, correlation)
    return {"code": fault.rpc, "message": _message(error, fault), "data": details}


def as_rest(error: BaseException, correlation: str) -> bytes:
    """Return the body of an HTTP+JSON answer (§11.6): google.rpc.Status."""
    fault = fault_of(error)
    body = {
        "code": fault.http,
        "status": fault.status,
        "message": _message(error, fault),
        "details": _details(error, fault, correlation),
    }
    return msgspec.json.encode({"error": body})


def as_plain(error: BaseException) -> bytes:
    """Return the body of an answer outside A2A (AS-28)."""
    code = code_of(error)
    detail: JsonObject = error.detail if isinstance(error, NotReady) else {}
    if isinstance(error, InvalidInput) and error.field:
        detail = {"field": error.field}
    message = str(error) if isinstance(error, HttpError) else _message(error, fault_of(error))
    return msgspec.json.encode({"error": {"code": code, "message": message, "detail": detail}})


logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.a2a")


def note(error: BaseException) -> None:
    """Say of the request that is being answered that this error is the answer."""
    fault = fault_of(error)
    ASKED.get().refuse(code_of(error), ours=fault is INTERNAL or fault.http >= 500)


def report(error: BaseException, correlation: str) -> None:
    """Log an error that is ours, with the id under which its request is known (AS-7).

    So is the attempt to write what only we may write (AS-4).
    """
    note(error)
    fault = fault_of(error)
    if fault is INTERNAL:
        logger.error("request-failed", correlationid=correlation, exc_info=error)
    elif fault.http == 503:
        code = error.code if isinstance(error, PeltonError) else ""
        logger.warning("request-refused", correlationid=correlation, code=code)
    elif isinstance(error, ReservedName):
        logger.warning("reserved-name", correlationid=correlation, field=error.field)
