"""How a model's provider has failed, as the clients of providers say it.

Each client has exceptions of its own, which are alike: they hold an HTTP status, or say by their
name that nothing came. So no client need be there to be understood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError

_CLIENTS: Final = frozenset(
    {"aiohttp", "anthropic", "google", "httpcore", "httpcore2", "httpx", "httpx2", "openai"}
)
"""The packages whose exceptions are those of clients."""

_STATUS: Final[Mapping[str, str]] = {"aiohttp": "status", "google": "code"}
"""What clients call the status of an answer that do not call it `status_code`."""

_UNREACHABLE: Final = frozenset({"ClientConnectorError", "ConnectError"})

_KINDS: Final[Mapping[int, FailureClass]] = {
    401: FailureClass.AUTHORISATION,
    403: FailureClass.AUTHORISATION,
    408: FailureClass.TIMEOUT,
    409: FailureClass.PROVIDER,
    429: FailureClass.PROVIDER,
}


def failure_kind(status: int) -> FailureClass:
    """Return what an HTTP status of a model's endpoint means."""
    usual = FailureClass.VALIDATION if status < 500 else FailureClass.PROVIDER
    return _KINDS.get(status, usual)


def provider_error(error: BaseException) -> AgentError | None:
    """Return how a provider has failed, if an exception says so, or one that was its cause."""
    chain = tuple(_chain(error))
    for each in chain:
        status = _status(each)
        if status is not None and status >= 400:
            return AgentError(
                f"The model's endpoint has answered {status}.", kind=failure_kind(status)
            )
    clients = [each for each in chain if _is_clients(each)]
    if any("Timeout" in type(each).__name__ for each in clients):
        return AgentError("The model took too long.", kind=FailureClass.TIMEOUT)
    if any(type(each).__name__ in _UNREACHABLE for each in clients):
        return AgentError("The model's endpoint cannot be reached.", kind=FailureClass.DEPENDENCY)
    if clients:
        return AgentError(
            "The model's endpoint has broken off, or what it said is no answer.",
            kind=FailureClass.PROVIDER,
        )
    return None


def _status(error: BaseException) -> int | None:
    """Return the status of the answer that an exception is about, if it is about one."""
    named = _STATUS.get(_package(error), "status_code")
    found = getattr(error, named, getattr(getattr(error, "response", None), named, None))
    return found if isinstance(found, int) else None


def _is_clients(error: BaseException) -> bool:
    return _package(error) in _CLIENTS


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _chain(error: BaseException) -> Iterable[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
