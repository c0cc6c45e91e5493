"""A2A agents elsewhere, through the official client (a2a-sdk): the extra `a2a-client`.

Nothing is asked that the settings do not allow, wherever an agent card or a redirect may point (no
redirect is followed). What comes back is converted to our own types here, and errors to classes; no
text of a driver or of a server becomes part of a failure.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import msgspec
from a2a.client import Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.client.card_resolver import A2ACardResolver
from a2a.client.errors import A2AClientTimeoutError, AgentCardResolutionError
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import (
    A2AError,
    ContentTypeNotSupportedError,
    ExtensionSupportRequiredError,
    InvalidParamsError,
    InvalidRequestError,
    MethodNotFoundError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
    VersionNotSupportedError,
)
from google.protobuf import json_format
from msgspec.structs import replace

from pelton.events.a2a import Message, Task, TaskState
from pelton.events.delegation import ORIGIN, check_target, elsewhere
from pelton.events.errors import InvalidInput
from pelton.events.events import Failure, FailureClass
from pelton.events.ids import check_id
from pelton.events.states import SETTLED
from pelton.events.wishes import DEADLINE, RESERVED
from pelton.runtime.remote import RemoteFailed
from pelton.runtime.settings import SettingsError

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
"""The header with the message's id, by which a server may know that it was sent before."""

_WITHIN: Final = 30.0  # seconds for an answer, and between two events of a stream
_BINDINGS: Final = ["JSONRPC", "HTTP+JSON"]
_PAGE: Final = 100
_HISTORY: Final = 1000
_PORTS: Final = {"http": 80, "https": 443}

T = TypeVar("T")


@asynccontextmanager
async def open_remotes(allowed: Sequence[str]) -> AsyncGenerator[OfficialClient]:
    """Give a client of the agents below the URLs in `allowed`, while the context lasts.

    Raises:
        SettingsError: one of these is no URL.
    """
    for url in allowed:
        try:
            check_target(url)
        except InvalidInput as error:
            raise SettingsError(f"executor.remotes: {url[:80]!r}: {error}") from error
        if not elsewhere(url):
            raise SettingsError(f"executor.remotes: {url[:80]!r} is no URL: https://host/agent")
    client = OfficialClient(allowed)
    try:
        yield client
    finally:
        await client.aclose()


class OfficialClient:
    """The official client behind the protocol `Remote`; one for a process."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = tuple(_place(url) for url in allowed)
        self._http = httpx.AsyncClient(
            timeout=_WITHIN,
            follow_redirects=False,
            trust_env=False,
            event_hooks={"request": [self._check]},
        )
        self._clients: dict[str, tuple[Client, Client]] = {}

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def allows(self, url: str) -> bool:
        """Whether the settings allow to ask the agent at a URL: it is one of theirs or below."""
        try:
            check_target(url)
        except InvalidInput:
            return False
        origin, path = _place(url)
        return any(
            origin == allowed and (path + "/").startswith(below.rstrip("/") + "/")
            for allowed, below in self._allowed
        )

    async def _check(self, request: httpx.Request) -> None:
        url = str(request.url.copy_with(query=None, fragment=None))
        if not self.allows(url):
            message = "The agent names an address that may not be asked: see executor.remotes."
            raise RemoteFailed(Failure(kind=FailureClass.POLICY, message=message), passes=False)

    async def send(self, url: str, message: Message, *, deadline: str) -> Task | Message:
        """Send a message, its id as the key of idempotency; return as soon as it is taken."""
        request = pb.SendMessageRequest(
            message=json_format.ParseDict(msgspec.to_builtins(_outward(message)), pb.Message()),
            configuration=pb.SendMessageConfiguration(return_immediately=True),
        )
        if deadline:
            request.metadata.update({DEADLINE: deadline})
        context = ClientCallContext(service_parameters={IDEMPOTENCY_KEY: message.message_id})
        sender, _ = await self._client(url)
        [answer] = await self._asked(url, _all(sender.send_message(request, context=context)))
        if answer.HasField("message"):
            return _ours(answer.message, Message)
        return _checked(_ours(answer.task, Task))

    async def find(self, url: str, message: Message) -> Task | None:
        """Return the task that a message was sent for, or None if the agent knows of none."""
        sender, _ = await self._client(url)
        try:
            if message.task_id:
                asked = pb.GetTaskRequest(id=message.task_id)
                task = _ours(await self._asked(url, sender.get_task(asked)), Task)
                return _checked(task) if _about(task, message) else None
            token = ""
            while True:
                page = await self._asked(
                    url,
                    sender.list_tasks(
                        pb.ListTasksRequest(
                            context_id=message.context_id,
                            history_length=_HISTORY,
                            page_size=_PAGE,
                            page_token=token,
                        )
                    ),
                )
                for each in page.tasks:
                    task = _ours(each, Task)
                    if _about(task, message):
                        return _checked(task)
                token = page.next_page_token
                if not token:
                    return None
        except RemoteFailed as error:
            if isinstance(error.__cause__, (*_CANNOT_TELL, TaskNotFoundError)):
                return None
            raise

    async def get(self, url: str, task_id: str) -> Task:
        """Return a task as it stands, with the latest message of its history."""
        sender, _ = await self._client(url)
        asked = pb.GetTaskRequest(id=task_id, history_length=1)
        return _ours(await self._asked(url, sender.get_task(asked)), Task)

    async def changed(self, url: str, task_id: str) -> None:
        """Return when a stream says that a task rests, or ends; at once if there is none."""
        _, streamer = await self._client(url)
        try:
            await self._asked(url, self._heard(streamer, task_id))
        except RemoteFailed as error:
            if not isinstance(error.__cause__, _CANNOT_TELL):
                raise

    @staticmethod
    async def _heard(client: Client, task_id: str) -> None:
        events = client.subscribe(pb.SubscribeToTaskRequest(id=task_id))
        async with aclosing(cast("AsyncGenerator[pb.StreamResponse]", events)) as stream:
            async for event in stream:
                status = event.status_update.status if event.HasField("status_update") else None
                if status and TaskState(pb.TaskState.Name(status.state)) in SETTLED:
                    return

    async def cancel(self, url: str, task_id: str) -> None:
        """Ask for a task's end; that it has ended already, or is gone, is no error."""
        sender, _ = await self._client(url)
        try:
            await self._asked(url, sender.cancel_task(pb.CancelTaskRequest(id=task_id)))
        except RemoteFailed as error:
            if not isinstance(error.__cause__, (TaskNotCancelableError, TaskNotFoundError)):
                raise

    async def _client(self, url: str) -> tuple[Client, Client]:
        """Return the clients that send to an agent and listen to it, by its card."""
        if not self.allows(url):
            message = "No agent at that URL may be asked: see the setting executor.remotes."
            raise RemoteFailed(Failure(kind=FailureClass.POLICY, message=message), passes=False)
        known = self._clients.get(url)
        if known is None:
            resolver = A2ACardResolver(self._http, url)
            card = await self._asked(url, resolver.get_agent_card())
            known = (self._speaking(card, streaming=False), self._speaking(card, streaming=True))
            self._clients[url] = known
        return known

    def _speaking(self, card: pb.AgentCard, *, streaming: bool) -> Client:
        config = ClientConfig(
            httpx_client=self._http,
            streaming=streaming,
            supported_protocol_bindings=_BINDINGS,
        )
        try:
            return ClientFactory(config).create(card)
        except ValueError as error:
            message = "The agent speaks A2A over no binding that is known here."
            failure = Failure(kind=FailureClass.VALIDATION, message=message)
            raise RemoteFailed(failure, passes=False) from error

    async def _asked(self, url: str, call: Awaitable[T]) -> T:
        """Return what a call returns, its errors as ours. After one, the card is read again."""
        try:
            return await call
        except _ERRORS as error:
            self._clients.pop(url, None)
            raise _failed(error) from error


_ERRORS: Final = (
    A2AError,
    NotImplementedError,
    TimeoutError,
    ValueError,
    httpx.HTTPError,
    httpx.InvalidURL,
    json_format.Error,
)
"""What the client raises."""

_CANNOT_TELL: Final = (MethodNotFoundError, UnsupportedOperationError, NotImplementedError)
"""What an agent says that has no such operation."""

_REFUSED: Final = (
    ContentTypeNotSupportedError,
    ExtensionSupportRequiredError,
    InvalidParamsError,
    InvalidRequestError,
    VersionNotSupportedError,
    *_CANNOT_TELL,
)


def _failed(error: Exception) -> RemoteFailed:
    """Return an error of the client as ours: of which class, and whether it may pass."""
    status = next((found for found in map(_status, _causes(error)) if found), 0)
    if status in {401, 403}:
        kind, text, passes = FailureClass.AUTHORISATION, "may not be asked by this one", False
    elif isinstance(error, _REFUSED) or status in {400, 405, 406, 413, 415, 422}:
        kind, text, passes = FailureClass.VALIDATION, "does not take the request", False
    elif isinstance(error, TaskNotFoundError):
        kind, text, passes = FailureClass.DEPENDENCY, "does not know the task", False
    elif isinstance(error, (A2AClientTimeoutError, TimeoutError, httpx.TimeoutException)):
        kind, text, passes = FailureClass.TIMEOUT, "did not answer in time", True
    elif status in {404, 410}:
        kind, text, passes = FailureClass.DEPENDENCY, "is not there", False
    else:
        kind, text, passes = FailureClass.DEPENDENCY, "cannot be reached, or is in trouble", True
    return RemoteFailed(Failure(kind=kind, message=f"The agent elsewhere {text}."), passes=passes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int:
    """Return the HTTP status that an error is about, or 0."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code
    return (error.status_code or 0) if isinstance(error, AgentCardResolutionError) else 0


async def _all(events: Any) -> list[pb.StreamResponse]:
    return [event async for event in events]


def _ours(message: Any, shape: type[T]) -> T:
    """Return a message of the protocol as our type has it."""
    try:
        return msgspec.convert(json_format.MessageToDict(message), shape)
    except msgspec.ValidationError as error:
        raise _nonsense() from error


def _checked(task: Task) -> Task:
    try:
        check_id(task.id, "task.id")
    except InvalidInput as error:
        raise _nonsense() from error
    return task


def _nonsense() -> RemoteFailed:
    message = "The agent elsewhere answers what is not A2A."
    return RemoteFailed(Failure(kind=FailureClass.PROVIDER, message=message), passes=False)


def _outward(message: Message) -> Message:
    """Return a message as others read it: names of pelton's own mean nothing outside our log.

    Who wrote it (AS-52) stands under `origin` there.
    """
    said = message.metadata or {}
    own = {name: value for name, value in said.items() if not name.startswith(RESERVED)}
    return replace(message, metadata={**own, "origin": said.get(ORIGIN)})


def _about(task: Task, message: Message) -> bool:
    return any(each.message_id == message.message_id for each in task.history)


def _place(url: str) -> tuple[tuple[str, str, int], str]:
    """Return the origin of a URL, and its path."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return (parts.scheme, (parts.hostname or "").lower(), port), parts.path
