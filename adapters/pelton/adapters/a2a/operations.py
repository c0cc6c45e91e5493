"""The operations of A2A (§5.3) by the names that JSON-RPC and gRPC give them: one table for all.

Each binding finds a request's operation here, checks what comes before its parameters, and decodes
these; the engine does the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

from pelton.adapters.a2a import legacy as legacy_
from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.errors import MethodNotFound, PushNotificationNotSupported
from pelton.adapters.a2a.extensions import check_required
from pelton.adapters.a2a.requests import (
    CancelTaskRequest,
    DeletePushConfigRequest,
    GetExtendedAgentCardRequest,
    GetPushConfigRequest,
    GetTaskRequest,
    ListPushConfigsRequest,
    ListTasksRequest,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    check_version,
)
from pelton.adapters.a2a.waits import Update
from pelton.events.errors import UnsupportedOperation


class Unary(NamedTuple):
    """An operation with one answer: the type of its request, and the engine's method for it."""

    request: type[Any]
    method: str

    def run(self, engine: Engine, call: Call, params: Any) -> Coroutine[Any, Any, Any]:
        """Do it."""
        done: Coroutine[Any, Any, Any] = attrgetter(self.method)(engine)(call, params)
        return done


class Stream(NamedTuple):
    """An operation whose answer is a stream."""

    request: type[Any]
    method: str

    def run(self, engine: Engine, call: Call, params: Any) -> AsyncGenerator[Update | None]:
        """Begin it."""
        updates: AsyncGenerator[Update | None] = getattr(engine, self.method)(call, params)
        return updates


OPERATIONS: Final[Mapping[str, Unary | Stream]] = {
    "SendMessage": Unary(SendMessageRequest, "send"),
    "SendStreamingMessage": Stream(SendMessageRequest, "stream"),
    "GetTask": Unary(GetTaskRequest, "get"),
    "ListTasks": Unary(ListTasksRequest, "list"),
    "CancelTask": Unary(CancelTaskRequest, "cancel"),
    "SubscribeToTask": Stream(SubscribeToTaskRequest, "subscribe"),
    "CreateTaskPushNotificationConfig": Unary(TaskPushNotificationConfig, "push.create"),
    "GetTaskPushNotificationConfig": Unary(GetPushConfigRequest, "push.get"),
    "ListTaskPushNotificationConfigs": Unary(ListPushConfigsRequest, "push.list"),
    "DeleteTaskPushNotificationConfig": Unary(DeletePushConfigRequest, "push.delete"),
    "GetExtendedAgentCard": Unary(GetExtendedAgentCardRequest, "extended_card"),
}


def operation(call: Call, name: str, *, legacy: bool = False) -> Unary | Stream:
    """Return an operation, once a request may ask for it, whatever its parameters are (§3.3.4).

    With `legacy` the request is one of A2A 0.3.

    Raises:
        VersionNotSupported: the request is of another version of A2A.
        ExtensionSupportRequired: it does not ask for what its agent requires.
        MethodNotFound: there is no such operation.
        UnsupportedOperation, PushNotificationNotSupported: the agent's card does not declare it.
    """
    (legacy_.check_version if legacy else check_version)(call.parameters.version)
    check_required(call.agent, call.parameters.extensions)
    found = OPERATIONS.get(name)
    if found is None:
        raise MethodNotFound(f"Method not found: {name[:80]!r}")
    if isinstance(found, Stream) and not call.agent.streaming:
        raise UnsupportedOperation("the agent does not stream")
    if found.method.startswith("push.") and not call.push:
        raise PushNotificationNotSupported("the agent sends no push notifications")
    if name == "GetExtendedAgentCard" and call.agent.extended_skills is None:
        raise UnsupportedOperation("the agent has no extended card")
    return found
