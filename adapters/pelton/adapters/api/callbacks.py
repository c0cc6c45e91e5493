"""Answers that agents elsewhere post later, to the turn that waits for them (AS-71).

A callback is let in by its signature alone, in the shape of Standard Webhooks. Its `webhook-id` is
the key of the post that it answers, and so part of what is signed: it fits one post, and is taken
once. What it says is a command in the log before it is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

import msgspec

from pelton.adapters.a2a.asked import ASKED
from pelton.adapters.a2a.errors import (
    AuthDenied,
    CallbackEarly,
    CallbackLate,
    NotReady,
    ParseError,
    PathNotFound,
    PostNotFound,
    as_plain,
    fault_of,
    headers_of,
    report,
)
from pelton.adapters.a2a.guard import check_media_type, read_body
from pelton.adapters.a2a.requests import violation
from pelton.adapters.a2a.sse import Receive, Reply
from pelton.adapters.a2a.tenants import Route
from pelton.adapters.frameworks.callback import Callback
from pelton.adapters.push.signature import NotAuthentic, verify
from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.commands import ReportTask
from pelton.events.commit import Origin
from pelton.events.context import Context
from pelton.events.delegation import Delegation, TaskOutcome, called_back
from pelton.events.errors import DamagedRecord, InvalidInput, TaskNotFound
from pelton.events.ids import check_agent, context_of, derive
from pelton.events.turns import Step, Turn
from pelton.events.upcast import decode_command
from pelton.runtime.clock import World
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Log
from pelton.runtime.outbox import Outbox
from pelton.runtime.remote import Remotes

_WITHIN: Final = 10.0
"""Seconds to store an answer."""


class Callbacks:
    """Answers callbacks, for each tenant that there is one who takes them for."""

    def __init__(self, takers: Mapping[str, Taker]) -> None:
        self._takers = takers

    async def answer(
        self,
        route: Route,
        scope: MutableMapping[str, Any],
        headers: Mapping[bytes, bytes],
        receive: Receive,
    ) -> Reply | None:
        """Return what whoever calls back is answered; None if it has gone."""
        asked = ASKED.get()
        asked.be("api", "callback")
        tenant = route.tenant
        taker = self._takers.get(tenant.name) if tenant is not None else None
        try:
            if tenant is None or taker is None or len(route.path) != 4:
                raise PathNotFound("nothing is served under this path")
            asked.tenant = tenant.name
            tenant.limits.take_address((scope.get("client") or ("",))[0])
            body = await read_body(receive, headers)
            if body is None:
                return None
            check_media_type(headers)
            await taker.take(route.path[2], route.path[3], headers, body)
        except Exception as error:  # noqa: BLE001  this is the boundary: every error is an answer
            report(error, asked.id)
            return Reply(fault_of(error).http, as_plain(error), headers=headers_of(error))
        return Reply(204, b"")


class Taker:
    """Takes callbacks for one tenant, which are signed with one of the `secrets`."""

    def __init__(self, log: Log, secrets: Sequence[bytes], *, tenant: str, world: World) -> None:
        self._log, self._secrets, self._tenant, self._world = log, tuple(secrets), tenant, world
        self._contexts = Contexts(log)
        self._outbox = Outbox(log, world=world, remotes=Remotes(None, world=world))

    async def take(
        self, agent: str, task_id: str, headers: Mapping[bytes, bytes], body: bytes
    ) -> None:
        """Take the answer to a post of a task's turn; return once it is stored.

        Raises:
            AuthDenied: nobody who has a secret has signed this within five minutes.
            InvalidInput, ParseError: it is no answer.
            TaskNotFound, PostNotFound, CallbackEarly, CallbackLate: nobody waits for it.
            NotReady: the log cannot be reached; it may have been stored or not.
        """
        post = self._verified(headers, body)
        try:
            said = msgspec.json.decode(body, type=Callback)
        except msgspec.ValidationError as error:
            raise violation(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ParseError("the body is no JSON") from None
        try:
            async with asyncio.timeout(_WITHIN):
                await self._report(agent, task_id, post, said)
        except TimeoutError as error:
            raise NotReady("the log cannot be reached: call back again", {}) from error

    def _verified(self, headers: Mapping[bytes, bytes], body: bytes) -> str:
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        now = self._world.now().timestamp()
        for secret in self._secrets:
            try:
                return verify(secret, given, body, seconds=now)
            except NotAuthentic:
                continue
        raise AuthDenied

    async def _report(self, agent: str, task_id: str, post: str, said: Callback) -> None:
        try:
            state = await self._contexts.load(
                check_agent(agent), context_of(task_id), decisive=True
            )
        except InvalidInput:
            raise TaskNotFound("there is no such task") from None
        task = state.tasks.get(task_id)
        if task is None:
            raise TaskNotFound("there is no such task")
        if task.turn is None:
            raise CallbackLate("no turn of the task is open")
        waits = Delegation(
            agent=agent,
            context_id=state.id,
            task_id=task_id,
            turn=task.turn.number,
            key=_waiting(task.turn, post),
            chain=(),
        )
        if await self._stored(state, waits):
            raise CallbackLate("the post is answered already")
        message = Message(
            message_id=derive(task_id, post, "callback"),
            role=Role.AGENT,
            context_id=state.id,
            task_id=task_id,
            parts=(Part(data=msgspec.to_builtins(said)),),
        )
        cause = task.turn.cause
        origin = Origin("bridge", self._tenant, state.owner, cause.correlationid, cause.id)
        outcome = TaskOutcome(task_id="", state=TaskState.COMPLETED, message=message)
        await self._outbox.report(waits, outcome, origin)

    async def _stored(self, state: Context, waits: Delegation) -> bool:
        """Return whether an answer is in the log that is not decided yet."""
        where = (waits.task_id, waits.turn, waits.key)
        subject = subjects.commands(waits.agent, waits.context_id)
        for record in await self._log.read(subject, after=state.handled, decisive=True):
            try:
                command = decode_command(record.data)
            except DamagedRecord:
                continue  # it is refused when its turn comes
            if isinstance(command, ReportTask):
                other = command.data.delegation
                if (other.task_id, other.turn, other.key) == where:
                    return True
        return False


def _waiting(turn: Turn, post: str) -> str:
    """Return the key under which a turn waits for the answer to a post.

    Raises:
        PostNotFound, CallbackEarly, CallbackLate: it does not.
    """
    for key, known in turn.delegations.items():
        if called_back(known.agent) and known.command_id == post:
            if known.done:
                raise CallbackLate("the post is answered already")
            return key
    step = next((each for each in turn.steps.values() if each.idempotency_key == post), None)
    if step is None or not post:
        raise PostNotFound("the turn has no such post")
    if not step.done or _later(step):
        raise CallbackEarly("the answer 202 is not in the log yet: call back again")
    raise CallbackLate("the post was answered otherwise")


def _later(step: Step) -> bool:
    """Return whether a post has been answered 202, as far as it can be read here."""
    if step.failure is not None:
        return False
    match step.result:
        case {"later": _}:
            return True
        case _:
            return step.blob is not None  # it is large, or sealed
