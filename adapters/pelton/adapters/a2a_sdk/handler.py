"""The SDK's `RequestHandler` on pelton: its routes stay, and what they serve becomes durable.

The SDK's own `DefaultRequestHandler` keeps what runs in its process. This one does what pelton's
bridge does, with the same engine; the routes above it, JSON-RPC, HTTP+JSON and gRPC, are the SDK's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec
from a2a.auth.user import User
from a2a.server.agent_execution import AgentExecutor
from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import a2a_pb2 as pb
from a2a.utils.proto_utils import validate_proto_required_fields
from google.protobuf.message import Message

from pelton.adapters.a2a.app import TRACEPARENT
from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.card import VERSION
from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.errors import ExtendedAgentCardNotConfigured, NotReady
from pelton.adapters.a2a.extensions import Parameters
from pelton.adapters.a2a.operations import Stream, Unary, operation
from pelton.adapters.a2a.requests import convert_members
from pelton.adapters.a2a_sdk.errors import translated
from pelton.adapters.a2a_sdk.executors import USER, as_agent, slug
from pelton.adapters.a2a_sdk.messages import made, plain
from pelton.adapters.a2a_sdk.node import open_node
from pelton.adapters.identity.authenticator import anyone
from pelton.events.principal import Principal, Role, holder
from pelton.runtime.clock import RealWorld, World
from pelton.runtime.settings import Settings

CardModifier = Callable[[pb.AgentCard, ServerCallContext], Awaitable[pb.AgentCard]]

M = TypeVar("M", bound=Message)


class DurableRequestHandler(RequestHandler):
    """Takes the place of the SDK's `DefaultRequestHandler`.

    Open it with the application, `Starlette(routes=…, lifespan=handler.lifespan)`, or by `async
    with handler`. `settings` say where its log is: without `nats.url`, in their data directory,
    which one process at a time may have. A task belongs to the user who opened it, and looks to all
    others as if it were not there; those whom nobody has authenticated are one user.
    """

    def __init__(
        self,
        agent_executor: AgentExecutor,
        agent_card: pb.AgentCard,
        *,
        extended_agent_card: pb.AgentCard | None = None,
        extended_card_modifier: CardModifier | None = None,
        settings: Settings | None = None,
        world: World | None = None,
    ) -> None:
        self._agent = as_agent(
            agent_executor,
            name=slug(agent_card.name),
            card=agent_card,
            extended=extended_agent_card,
        )
        # The card is served by the SDK as it stands: what it leaves out, it does not declare.
        self._profile = msgspec.structs.replace(
            self._agent.profile, streaming=agent_card.capabilities.streaming
        )
        self._push = agent_card.capabilities.push_notifications
        self._extended, self._modify = extended_agent_card, extended_card_modifier
        self._settings, self._world = settings or Settings(), world or RealWorld()
        self._engine: Engine | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open its log, and begin to run the agent.

        Raises:
            ServerInUse: another process has the data directory.
            LogError: the log cannot be reached, or cannot serve.
        """
        node = open_node(self._agent, self._settings, push=self._push, world=self._world)
        self._engine = await self._stack.enter_async_context(node)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End its streams, and leave what runs to the next process."""
        self._engine = None
        await self._stack.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncGenerator[None]:
        """Be open as long as an application runs; Starlette and FastAPI take it as it is."""
        async with self:
            yield

    async def on_message_send(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> pb.Task | pb.Message:
        """Send a message, and answer when its task rests, or as asked at once."""
        answer = await self._answer("SendMessage", params, context, pb.SendMessageResponse)
        return answer.task if answer.HasField("task") else answer.message

    async def on_message_send_stream(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        """Send a message, and yield what comes of it."""
        async with aclosing(self._events("SendStreamingMessage", params, context)) as events:
            async for event in events:
                yield event

    async def on_subscribe_to_task(
        self, params: pb.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        """Yield a task and its updates; after a `Last-Event-ID`, what came since."""
        async with aclosing(self._events("SubscribeToTask", params, context)) as events:
            async for event in events:
                yield event

    async def on_get_task(self, params: pb.GetTaskRequest, context: ServerCallContext) -> pb.Task:
        """Return a task as it stands."""
        return await self._answer("GetTask", params, context, pb.Task)

    async def on_list_tasks(
        self, params: pb.ListTasksRequest, context: ServerCallContext
    ) -> pb.ListTasksResponse:
        """Return a page of the user's tasks."""
        return await self._answer("ListTasks", params, context, pb.ListTasksResponse)

    async def on_cancel_task(
        self, params: pb.CancelTaskRequest, context: ServerCallContext
    ) -> pb.Task:
        """Ask for a task's end, and return the task once that is decided."""
        return await self._answer("CancelTask", params, context, pb.Task)

    async def on_create_task_push_notification_config(
        self, params: pb.TaskPushNotificationConfig, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        """Say where a task's updates are sent."""
        name = "CreateTaskPushNotificationConfig"
        return await self._answer(name, params, context, pb.TaskPushNotificationConfig)

    async def on_get_task_push_notification_config(
        self, params: pb.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        """Return where a task's updates are sent."""
        name = "GetTaskPushNotificationConfig"
        return await self._answer(name, params, context, pb.TaskPushNotificationConfig)

    async def on_list_task_push_notification_configs(
        self, params: pb.ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> pb.ListTaskPushNotificationConfigsResponse:
        """Return all places that a task's updates are sent to."""
        name = "ListTaskPushNotificationConfigs"
        return await self._answer(name, params, context, pb.ListTaskPushNotificationConfigsResponse)

    async def on_delete_task_push_notification_config(
        self, params: pb.DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Send a task's updates to a place no longer."""
        call = self._call(context)
        with translated(call.id):
            await self._run("DeleteTaskPushNotificationConfig", params, call)

    async def on_get_extended_agent_card(
        self,
        params: pb.GetExtendedAgentCardRequest,  # noqa: ARG002  it says nothing
        context: ServerCallContext,
    ) -> pb.AgentCard:
        """Return the extended card, if the card declares one."""
        call = self._call(context)
        with translated(call.id):
            operation(call, "GetExtendedAgentCard")
            if self._extended is None:
                raise ExtendedAgentCardNotConfigured("the agent's extended card is not there")
        if self._modify is None:
            return self._extended
        return await self._modify(self._extended, context)

    async def _answer(
        self, name: str, params: Message, context: ServerCallContext, kind: type[M]
    ) -> M:
        call = self._call(context)
        with translated(call.id):
            return made(kind, await self._run(name, params, call))

    async def _run(self, name: str, params: Message, call: Call) -> Any:
        found = cast("Unary", operation(call, name))
        return await found.run(self._opened(), call, _request(params, found.request))

    async def _events(
        self, name: str, params: Message, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        call = self._call(context)
        with translated(call.id):
            found = cast("Stream", operation(call, name))
            request = _request(params, found.request)
            async with aclosing(found.run(self._opened(), call, request)) as updates:
                async for update in updates:
                    if update is not None:  # else it only says that the stream lives
                        response = made(pb.StreamResponse, update.response)
                        yield getattr(response, response.WhichOneof("payload") or "")

    def _opened(self) -> Engine:
        if self._engine is None:
            raise NotReady("the handler is not open: give its lifespan to the application", {})
        return self._engine

    def _call(self, context: ServerCallContext) -> Call:
        headers = _headers(context)
        trace = headers.get("traceparent", "")
        return Call(
            self._profile,
            self._principal(context.user),
            self._world.new_id(),
            trace if TRACEPARENT.fullmatch(trace.encode()) else msgspec.UNSET,
            Parameters(
                _version(headers),
                frozenset(context.requested_extensions),
                headers.get("last-event-id", "").strip(),
                headers.get("idempotency-key"),
            ),
            push=self._push and self._engine is not None and self._engine.push is not None,
        )

    def _principal(self, user: User) -> Principal:
        tenant = self._settings.nats.tenant
        if not user.is_authenticated:
            return anyone(tenant, Role.CLIENT)
        return holder(USER + user.user_name, tenant, (Role.CLIENT,), ())


def _request(params: Message, kind: type[Any]) -> Any:
    """Return a request as the engine takes it; what is missing is told as the SDK tells it."""
    validate_proto_required_fields(params)
    return convert_members(plain(params), kind)


def _headers(context: ServerCallContext) -> Mapping[str, str]:
    """Return the headers of a request, or its metadata, as the SDK's routes keep them."""
    if (rpc := context.state.get("grpc_context")) is not None:
        metadata = rpc.invocation_metadata() or ()
        return {key.lower(): value for key, value in metadata if isinstance(value, str)}
    headers = cast("Mapping[str, str]", context.state.get("headers", {}))
    return {key.lower(): value for key, value in headers.items()}


def _version(headers: Mapping[str, str]) -> str:
    """Return the version that a request is of, once the SDK's routes have let it in.

    They translate what is of 0.3, or names no version, where they are told to take it.
    """
    named = headers.get("a2a-version", "").strip()
    return VERSION if not named or named.startswith("0.") else named
