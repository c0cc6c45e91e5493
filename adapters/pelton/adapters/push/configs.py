"""The operations on push configs (§3.1.7 to §3.1.10), on the log."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.requests import (
    AuthenticationInfo,
    Deleted,
    DeletePushConfigRequest,
    GetPushConfigRequest,
    ListPushConfigsRequest,
    ListPushConfigsResponse,
    TaskPushNotificationConfig,
    default_id,
)
from pelton.adapters.push.keys import PushKeys, Sealed
from pelton.events.commands import SendMessage
from pelton.events.commit import Origin
from pelton.events.context import Context, TaskFold
from pelton.events.decide import about
from pelton.events.errors import InvalidInput, TaskNotFound
from pelton.events.ids import check_id, derive
from pelton.events.principal import Scope
from pelton.events.push import AnyPushEvent, PushConfigured
from pelton.events.pushes import Push, Pushes, create, remove
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.runtime.clock import World
from pelton.runtime.push import PushLog

if TYPE_CHECKING:
    from pelton.adapters.push.webhooks import Webhooks

MAX_SECRET: Final = 8192
"""The longest token and the longest credentials, in characters."""
PAGE: Final = 100
_SCHEME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)
_VALUE: Final = re.compile(rf"[!-~]([ -~]{{0,{MAX_SECRET - 2}}}[!-~])?", re.ASCII)

Find = Callable[[Call, str], Awaitable[tuple[Context, TaskFold]]]
"""Returns a task that whoever asks reaches, and its context; raises TaskNotFound if it is none."""


class PushTools(NamedTuple):
    """What push notifications of a tenant are made with."""

    log: PushLog
    keys: PushKeys
    webhooks: Webhooks


class Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a config is sealed in the log."""

    url: str
    token: str = ""
    scheme: str = ""
    credentials: str = ""


class Wanted(NamedTuple):
    """A config that is asked for and may be, its id empty if it is given none."""

    id: str
    config: Config
    origin: str


_config: Final = msgspec.json.Decoder(Config)


def reveal(keys: PushKeys, tenant: str, state: Pushes, push: Push) -> Config:
    """Return what of a config is sealed.

    Raises:
        KeyMissing: its key is not here.
    """
    sealed = Sealed(push.key_id, push.sealed)
    about = _about(tenant, state.agent, state.task_id, push.id, push.origin)
    return _config.decode(keys.open(sealed, about))


def seal(
    keys: PushKeys, tenant: str, state: Pushes, config: Config, *, id_: str, origin: str
) -> Sealed:
    """Return a config of a task as it is kept in the log."""
    about = _about(tenant, state.agent, state.task_id, id_, origin)
    return keys.seal(msgspec.json.encode(config), about)


def _about(tenant: str, agent: str, task: str, config_id: str, origin: str) -> str:
    """Return what a sealed config is bound to: it is none of another task, id or receiver."""
    return derive(tenant, agent, task, config_id, origin)


class PushConfigs:
    """Creates, shows and deletes push configs, for who reaches their task."""

    def __init__(
        self, tools: PushTools, find: Find, *, world: World, source: str, tenant: str
    ) -> None:
        self._tools, self._find = tools, find
        self._world, self._source, self._tenant = world, source, tenant

    async def create(
        self, call: Call, request: TaskPushNotificationConfig
    ) -> TaskPushNotificationConfig:
        """Create a config, or make one another that has its id (§3.1.7)."""
        call.needs(Scope.WRITE)
        wanted = await self._wanted(request)
        _, task = await self._find(call, _required(request.task_id, "taskId"))
        spare, usual = self._world.new_id(), default_id(task.id)

        def decide(state: Pushes) -> Sequence[AnyPushEvent]:
            id_ = wanted.id or (spare if usual in state.configs else usual)
            event = self._configured(call, state, wanted, id_=id_, after=task.sequence)
            return create(state, event)

        state = await self._change(call, task.id, decide)
        chosen = request.id or (spare if spare in state.configs else usual)
        return self._view(call, state, _existing(state, chosen))

    async def come_with(
        self, call: Call, request: TaskPushNotificationConfig, state: Context, command: SendMessage
    ) -> None:
        """Create the config that comes with a message, before the message itself is accepted.

        However often that is asked for, the same is created.

        Raises:
            InvalidInput: it may not be.
        """
        wanted = await self._wanted(request)
        task_id = about(state, command)
        task = state.tasks.get(task_id)
        after = task.sequence if task else 0

        def decide(known: Pushes) -> Sequence[AnyPushEvent]:
            id_ = wanted.id or default_id(task_id)
            event = self._configured(call, known, wanted, id_=id_, after=after)
            return create(known, replace(event, command_id=command.id))

        await self._change(call._replace(id=command.id), task_id, decide)

    async def get(self, call: Call, request: GetPushConfigRequest) -> TaskPushNotificationConfig:
        """Return a config (§3.1.8)."""
        call.needs(Scope.READ)
        state = await self._of(call, request.task_id)
        return self._view(call, state, _existing(state, _required(request.id, "id")))

    async def list(self, call: Call, request: ListPushConfigsRequest) -> ListPushConfigsResponse:
        """Return a page of a task's configs, by their ids (§3.1.9)."""
        call.needs(Scope.READ)
        state = await self._of(call, request.task_id)
        asked = ("push", state.agent, state.task_id)
        [after] = read_cursor(request.page_token, asked, 1) if request.page_token else ("",)
        left = sorted(each for each in state.configs if each > after)
        shown = left[: request.page_size or PAGE]
        return ListPushConfigsResponse(
            configs=tuple(self._view(call, state, state.configs[each]) for each in shown),
            next_page_token=write_cursor((shown[-1],), asked) if len(left) > len(shown) else "",
        )

    async def delete(self, call: Call, request: DeletePushConfigRequest) -> Deleted:
        """Delete a config; one that there is not is deleted too (§3.1.10)."""
        call.needs(Scope.WRITE)
        id_ = _required(request.id, "id")
        state = await self._of(call, request.task_id)
        if id_ in state.configs:
            await self._change(call, state.task_id, lambda now: remove(now, id_))
        return Deleted()

    async def standing(self, agent: str, task: str) -> Pushes:
        """Return all configs of a task, and how far each is, for who may know of the task."""
        return await self._tools.log.load(agent, task)

    async def _of(self, call: Call, task_id: str) -> Pushes:
        _, task = await self._find(call, _required(task_id, "taskId"))
        return await self._tools.log.load(call.agent.name, task.id)

    async def _change(
        self, call: Call, task: str, decide: Callable[[Pushes], Sequence[AnyPushEvent]]
    ) -> Pushes:
        origin = Origin(
            self._source, self._tenant, call.principal.id, call.id, call.id, call.traceparent
        )
        return await self._tools.log.change(call.agent.name, task, decide, origin=origin)

    async def _wanted(self, request: TaskPushNotificationConfig) -> Wanted:
        """Return what a request asks for.

        Raises:
            InvalidInput: a member cannot be, or the URL may not be posted to.
        """
        if request.id:
            check_id(request.id, "id")
        if request.token and not _VALUE.fullmatch(request.token):
            raise InvalidInput("a token is printable ASCII", field="token")
        given = request.authentication or AuthenticationInfo(scheme="")
        if request.authentication is not None and not _SCHEME.fullmatch(given.scheme):
            raise InvalidInput("this is no authentication scheme", field="authentication.scheme")
        if given.credentials and not _VALUE.fullmatch(given.credentials):
            raise InvalidInput(
                "credentials are printable ASCII", field="authentication.credentials"
            )
        target = await self._tools.webhooks.check(request.url)
        config = Config(
            url=request.url,
            token=request.token,
            scheme=given.scheme,
            credentials=given.credentials,
        )
        return Wanted(request.id, config, target.origin)

    def _configured(
        self, call: Call, state: Pushes, wanted: Wanted, *, id_: str, after: int
    ) -> PushConfigured:
        config, origin = wanted.config, wanted.origin
        sealed = seal(self._tools.keys, self._tenant, state, config, id_=id_, origin=origin)
        return PushConfigured(
            task_id=state.task_id,
            config_id=id_,
            sealed=sealed.text,
            key_id=sealed.key_id,
            origin=origin,
            after=after,
            protocol="1.0" if call.parameters.version.startswith("1.") else "0.3",
        )

    def _view(self, call: Call, state: Pushes, push: Push) -> TaskPushNotificationConfig:
        """Return a config as whoever asks may see it: what is secret, its creator alone."""
        found = TaskPushNotificationConfig(task_id=state.task_id, id=push.id, url=push.origin)
        if call.principal.id != push.creator:
            return found
        config = reveal(self._tools.keys, self._tenant, state, push)
        authentication = None
        if config.scheme:
            authentication = AuthenticationInfo(
                scheme=config.scheme, credentials=config.credentials
            )
        return replace(found, url=config.url, token=config.token, authentication=authentication)


def _required(value: str, field: str) -> str:
    if not value:
        raise InvalidInput(f"{field}: this member is required", field=field)
    return value


def _existing(state: Pushes, config_id: str) -> Push:
    push = state.configs.get(config_id)
    if push is None:
        raise TaskNotFound("the task has no such push config")
    return push
