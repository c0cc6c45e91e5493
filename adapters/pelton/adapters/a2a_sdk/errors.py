"""Our errors as those of the SDK, which its routes turn into answers of each binding."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from a2a.utils.errors import (
    A2A_REASON_TO_ERROR,
    JSON_RPC_ERROR_CODE_MAP,
    A2AError,
    InternalError,
    InvalidRequestError,
)

from pelton.adapters.a2a.errors import details_of, fault_of, report
from pelton.events.errors import InvalidInput

_BY_CODE: Final[Mapping[int, type[A2AError]]] = {
    code: kind for kind, code in JSON_RPC_ERROR_CODE_MAP.items()
}


def as_sdk(error: Exception, correlation: str) -> A2AError:
    """Return an error as the SDK has it: by its reason, or by the code that JSON-RPC gives it.

    What the SDK has no class for is `InvalidRequestError` if it is the client's, and a client reads
    no more of `InternalError` than over our own bridge.
    """
    fault = fault_of(error)
    kind = A2A_REASON_TO_ERROR.get(fault.reason) or _BY_CODE.get(fault.rpc)
    if kind is None:
        kind = InvalidRequestError if fault.http < 500 else InternalError
    message, _ = details_of(error, correlation)
    data: dict[str, Any] = {"correlationId": correlation}
    if isinstance(error, InvalidInput):
        data["errors"] = [{"field": error.field, "message": str(error)}]
    return kind(message, data)


@contextmanager
def translated(correlation: str) -> Generator[None]:
    """Let nothing out but errors of the SDK."""
    try:
        yield
    except A2AError:
        raise
    except Exception as error:
        report(error, correlation)
        raise as_sdk(error, correlation) from error
