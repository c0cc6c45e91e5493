"""A small A2A client on the standard library: what any client would do, JSON-RPC and SSE."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from pelton.adapters.cli.output import CommandFailed
from pelton.events.a2a import StreamResponse
from pelton.events.card import AgentCard
from pelton.runtime.setting_types import Secret

_HEADERS: Final = {"Content-Type": "application/json", "A2A-Version": "1.0"}
_CODES: Final = {
    "AUTH_DENIED": "auth-denied",
    "POLICY_DENIED": "policy-denied",
    "TASK_NOT_FOUND": "task-not-found",
    "UNSUPPORTED_OPERATION": "unsupported-operation",
    "BUSY": "busy",
}
_INVALID_PARAMS: Final = -32602

T = TypeVar("T")


class _Detail(msgspec.Struct):
    reason: str = ""


class _Error(msgspec.Struct):
    code: int
    message: str
    data: list[_Detail] = []


class _Answer(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"{}")
    error: _Error | None = None


class _Named(msgspec.Struct):
    name: str


class _Directory(msgspec.Struct):
    agents: list[_Named]


def serves(bridge: str, agents: set[str], *, patience: float = 5.0, certificate: str = "") -> bool:
    """Return whether a bridge is ready and serves some agents, as far as it tells us.

    `certificate` is the file of the one that it has: no other is trusted then, whoever vouches.
    """
    trust = _only(certificate) if certificate else None
    with _request("GET", f"{bridge}/readyz", patience, None, {}, trust=trust) as response:
        if response.status != 200:
            return False
    with _request("GET", f"{bridge}/", patience, None, {}, trust=trust) as response:
        if response.status == 401:
            return True
        return agents <= {agent.name for agent in _decode(response.read(), _Directory).agents}


def fetch(url: str, *, patience: float = 20.0) -> bytes:
    """Return what is under a URL."""
    with _request("GET", url, patience, None, _HEADERS) as response:
        if response.status != 200:
            raise CommandFailed(f"{url!r} answers {response.status}")
        return response.read()


class Response(NamedTuple):
    """One answer, or one event of a stream: as it came, and as A2A means it."""

    raw: msgspec.Raw
    value: StreamResponse


class Agent:
    """An agent behind a bridge, found by its card.

    `patience` is how many seconds of silence are borne, `key` the API key or token to show.
    """

    def __init__(
        self, bridge: str, name: str, *, key: Secret | None = None, patience: float = 120.0
    ) -> None:
        self._patience = patience
        self._headers = dict(_HEADERS)
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key.reveal()}"
        url = f"{bridge.rstrip('/')}/{name}/.well-known/agent-card.json"
        with _request("GET", url, patience, None, self._headers) as response:
            data = response.read()
        if response.status == 404:
            raise CommandFailed(
                f"there is no agent {name!r} on this bridge: pelton agents lists them",
                "agent-not-found",
            )
        if response.status == 401:
            raise _denied()
        if response.status != 200:
            raise CommandFailed(
                f"the bridge is not ready: it answers {response.status}", "unavailable"
            )
        faces = _decode(data, AgentCard).supported_interfaces
        self.url = next(face.url for face in faces if face.protocol_binding == "JSONRPC")

    def send(self, message: Mapping[str, Any]) -> Response:
        """Return the answer to a message.

        Raises:
            CommandFailed: it gives an error, or the bridge cannot be reached.
        """
        with self._post("SendMessage", {"message": message}, "application/json") as response:
            return _response(response.read())

    def stream(self, message: Mapping[str, Any]) -> Iterator[Response]:
        """Yield what a message leads to, as it comes.

        Raises:
            CommandFailed: it gives an error, or the bridge is gone.
        """
        params = {"message": message}
        with self._post("SendStreamingMessage", params, "text/event-stream") as response:
            if "text/event-stream" not in response.getheader("Content-Type", ""):
                yield _response(response.read())
                return
            while line := response.readline():
                if line.startswith(b"data:"):
                    yield _response(line[5:])

    @contextmanager
    def _post(
        self, method: str, params: Mapping[str, Any], accept: str
    ) -> Generator[http.client.HTTPResponse, None, None]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {**self._headers, "Accept": accept}
        data = msgspec.json.encode(body)
        with _request("POST", self.url, self._patience, data, headers) as found:
            yield found


def user_message(
    text: str, *, id: str, context: str | None = None, task: str | None = None
) -> dict[str, Any]:
    """Return a message of a user, as A2A spells it."""
    message: dict[str, Any] = {"messageId": id, "role": "ROLE_USER", "parts": [{"text": text}]}
    if context:
        message["contextId"] = context
    if task:
        message["taskId"] = task
    return message


def _only(certificate: str) -> ssl.SSLContext:
    """Return what trusts one certificate, whatever it names and whoever has signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context


@contextmanager
def _request(
    method: str,
    url: str,
    patience: float,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    trust: ssl.SSLContext | None = None,
) -> Generator[http.client.HTTPResponse, None, None]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandFailed(f"{url!r} is not the URL of a bridge", "usage")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=patience)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=patience, context=trust
        )
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path or "/", body, dict(headers))
        yield connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CommandFailed(
            f"the bridge at {parts.scheme}://{parts.netloc.rpartition('@')[2]} cannot be reached"
            f" ({reason}): start pelton dev, or name another with --url",
            "unavailable",
        ) from error
    finally:
        connection.close()


def _denied() -> CommandFailed:
    return CommandFailed(
        "the bridge wants a credential: set PELTON_CLIENT_KEY, as pelton keys create makes one",
        "auth-denied",
    )


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CommandFailed("what answered is no A2A bridge: it does not speak A2A 1.0") from error


def _response(data: bytes) -> Response:
    answer = _decode(data, _Answer)
    if answer.error is not None:
        reasons = [detail.reason for detail in answer.error.data if detail.reason]
        code = _CODES.get(reasons[0], "failed") if reasons else "failed"
        if code == "auth-denied":
            raise _denied()
        if answer.error.code == _INVALID_PARAMS:
            code = "validation-denied"
        raise CommandFailed(answer.error.message, code)
    return Response(answer.result, _decode(bytes(answer.result), StreamResponse))
