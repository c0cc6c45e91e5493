"""The operations of A2A on the log, without HTTP (§3.1): a reader that publishes commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.errors import (
    AuthDenied,
    ExtendedAgentCardNotConfigured,
    PushNotificationNotSupported,
)
from pelton.adapters.a2a.extensions import (
    RESUME,
    marked,
    sequence_at,
)
from pelton.adapters.a2a.idempotency import Keyed, Keys
from pelton.adapters.a2a.lists import TaskLists
from pelton.adapters.a2a.reader import Reader, foreseen
from pelton.adapters.a2a.requests import (
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
    SubscribeToTaskRequest,
    check_message,
    check_origin,
    check_secrets,
)
from pelton.adapters.a2a.waits import Update, Updates, Waiting, bare
from pelton.events import subjects
from pelton.events.a2a import Message, Task
from pelton.events.card import AgentCard
from pelton.events.commands import (
    CancelTask,
    CancelTaskData,
    SendMessage,
    SendMessageData,
)
from pelton.events.context import Context, TaskFold
from pelton.events.decide import about
from pelton.events.envelope import encode
from pelton.events.errors import (
    InvalidInput,
    PeltonError,
    TaskNotCancelable,
    TaskNotFound,
    UnsupportedOperation,
)
from pelton.events.ids import context_of
from pelton.events.principal import Scope
from pelton.events.reach import foreign_context
from pelton.events.wishes import turn_meant, wishes
from pelton.runtime.bulk import ContextBlobs, inline_task, offload, readable
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.follow import Followers
from pelton.runtime.log import Log
from pelton.runtime.redaction import cleaned

if TYPE_CHECKING:
    from pelton.adapters.push.configs import PushConfigs

IMMEDIATELY: Final = 0.1
"""Seconds that a send with `returnImmediately` waits, so that a bare message can be the answer."""


class Engine:
    """Answers requests about the contexts of one log."""

    def __init__(
        self,
        log: Log,
        *,
        contexts: Contexts,
        followers: Followers,
        lists: TaskLists,
        world: World,
        tenant: str,
        answer_within: float,
        cancel_within: float,
    ) -> None:
        self._log = log
        self._contexts = contexts
        self.reader = Reader(log, contexts, followers)
        self._lists = lists
        self._world = world
        self._tenant = tenant
        self._answer_within = answer_within
        self._cancel_within = cancel_within
        self._source = f"bridge/{world.new_id()}"
        self._keys = Keys(log, world=world, source=self._source, tenant=tenant)
        self.push: PushConfigs | None = None
        """The operations on push configs, if push notifications are sent."""

    async def send(self, call: Call, request: SendMessageRequest) -> SendMessageResponse:
        """Send a message, and answer when its task rests, or as asked at once (§3.1.1)."""
        state, command, keyed = await self._accept(call, request)
        task_id = about(state, command)
        now = request.configuration.return_immediately
        within = IMMEDIATELY if now else self._answer_within
        waiting = Waiting(command.id, task_id, settle=not now)
        if keyed:
            state = await self._as_before(state, waiting, within)
        else:
            with self.reader.watching(state, waiting) as follower:
                await self._append(command)
                await waiting.within(within)
                state = follower.context
        if command.id not in state.commands:
            state = foreseen(state, command)
        task = await self.reader.placed(state, state.tasks[state.commands[command.id]])
        if task.answer is not None:
            answer = await readable(self._log, task.answer)
            return SendMessageResponse(message=bare(answer))
        history = request.configuration.history_length
        return SendMessageResponse(task=await self._view(call, task, history))

    async def stream(
        self, call: Call, request: SendMessageRequest
    ) -> AsyncGenerator[Update | None]:
        """Send a message and yield what comes of it (§3.1.2); None says that the stream lives."""
        state, command, keyed = await self._accept(call, request)
        task_id = about(state, command)
        if keyed:
            task = state.tasks.get(task_id)
            place = call.parameters.position or "0"
            after = sequence_at(place, task_id, task.sequence if task else 1)
            updates = Updates(state.id, task_id, command=command.id, after=after, rests=True)
            async for update in self.reader.from_log(call.active, state, updates, command):
                yield update
            return
        updates = Updates(state.id, task_id, command=command.id, rests=True)
        with self.reader.watching(state, updates) as follower:
            await self._append(command)
            async for update in self.reader.live(call.active, updates, follower, command):
                yield update

    async def subscribe(
        self, call: Call, request: SubscribeToTaskRequest
    ) -> AsyncGenerator[Update | None]:
        """Yield a task and then its updates until it has ended (§3.1.6).

        With a position, only what came after it; after 0, all from the beginning.
        """
        call.needs(Scope.READ)
        state, task = await self._existing(call, request.id)
        place = call.parameters.position
        after = sequence_at(place, task.id, task.sequence) if place else task.sequence
        if task.ended and after >= task.sequence:
            raise UnsupportedOperation("the task has ended: get it instead")
        if not place:
            updates = Updates(state.id, task.id)
            with self.reader.watching(state, updates) as follower:
                seen = max(state, follower.context, key=lambda context: context.head)
                updates.introduce(seen.tasks.get(task.id, task), seen.head)
                if seen.tasks.get(task.id, task).ended:
                    updates.give_up()
                async for update in self.reader.live(call.active, updates, follower, None):
                    yield update
            return
        yield None
        updates = Updates(state.id, task.id, command="" if after else task.command_id, after=after)
        async for update in self.reader.from_log(call.active, state, updates):
            yield update

    async def get(self, call: Call, request: GetTaskRequest) -> Task:
        """Return a task as it stands (§3.1.3)."""
        call.needs(Scope.READ)
        _, task = await self._existing(call, request.id, foreseen=True)
        return await self._view(call, task, request.history_length)

    async def extended_card(self, call: Call, _: GetExtendedAgentCardRequest) -> AgentCard:
        """Return the card with all that the agent can do (§3.1.11).

        Raises:
            AuthDenied: whoever asks has no credential, where there are any (§13.3).
            ExtendedAgentCardNotConfigured: the agent has said that it has one, and not what is in
                it.
        """
        call.needs(Scope.READ)
        if not (call.principal.known or call.principal.may(Scope.ADMINISTER)):
            raise AuthDenied
        more = call.agent.extended_skills
        if not more or call.card is None:
            raise ExtendedAgentCardNotConfigured("the agent's extended card is empty")
        return replace(call.card, skills=(*call.card.skills, *more))

    async def list(self, call: Call, request: ListTasksRequest) -> ListTasksResponse:
        """Return a page of tasks, the latest first (§3.1.4)."""
        call.needs(Scope.READ)
        page = await self._lists.page(call.agent.name, request, owner=call.principal.owner)
        tasks = [await inline_task(self._log, task) for task in page.tasks]
        return replace(page, tasks=tuple(tasks))

    async def cancel(self, call: Call, request: CancelTaskRequest) -> Task:
        """Ask for a task's end, and return the task once that is decided (§3.1.5).

        If nobody decides within the deadline, the answer is the task as it is, and the request
        stands.
        """
        call.needs(Scope.WRITE)
        turn = turn_meant(request.metadata)
        state, task = await self._existing(call, request.id, own=True)
        if task.ended:
            raise TaskNotCancelable("the task has already ended")
        command = CancelTask(
            **self._envelope(call, state),
            data=CancelTaskData(task_id=task.id, turn=turn, metadata=request.metadata),
        )
        waiting = Waiting(command.id, task.id, settle=False)
        with self.reader.watching(state, waiting) as follower:
            await self._append(command)
            await waiting.within(self._cancel_within)
            task = follower.context.tasks.get(task.id, task)
        return await self._view(call, task)

    async def _accept(
        self, call: Call, request: SendMessageRequest
    ) -> tuple[Context, SendMessage, bool]:
        """Return the command that a request is, its context as far as it is known.

        And whether it has a key: then it is appended, by now or since long, perhaps by another
        bridge, and may be decided; what came of it is in the log.
        """
        call.needs(Scope.WRITE)
        message, agent = request.message, call.agent.name
        check_message(message, call.agent.takes)
        check_secrets(message, self._log.redactor)
        check_origin(message, call.principal.id)
        keyed = Keyed.of(
            request,
            call.parameters.key,
            tenant=self._tenant,
            actor=call.principal.id,
            agent=agent,
        )
        if keyed is None:
            state = await self._open(call, message, self._world.new_id())
            command = await self._command(call, request, state)
            await self._come_with(call, request, state, command)
            return state, command, False
        return await self._accept_once(call._replace(id=keyed.id), keyed)

    async def _accept_once(self, call: Call, keyed: Keyed) -> tuple[Context, SendMessage, bool]:
        message, agent = keyed.request.message, call.agent.name
        known = await self._keys.known(agent, keyed)
        try:
            state = await self._open(call, message, keyed.context)
        except PeltonError:
            if not known:
                raise
            state = None  # perhaps for what came of this very request: see whether it was accepted
        if known:
            context = _place(message) or keyed.context
            foreseen = await self._contexts.foreseen(agent, context)
            if keyed.id in foreseen.commands:
                state = await self._contexts.load(agent, context)
                return state, await self._command(call, keyed.request, state), True
        if state is None:
            state = await self._open(call, message, keyed.context)
        command = await self._command(call, keyed.request, state)
        if not known:
            await self._keys.claim(agent, keyed, actor=call.principal.id)
        await self._come_with(call, keyed.request, state, command)
        await self._append(command)
        return state, command, True

    async def _come_with(
        self, call: Call, request: SendMessageRequest, state: Context, command: SendMessage
    ) -> None:
        """Create the push config that comes with a message, so that it is there when that is."""
        config = request.configuration.task_push_notification_config
        if config is None:
            return
        if self.push is None:
            raise PushNotificationNotSupported("the agent sends no push notifications")
        await self.push.come_with(call, config, state, command)

    async def _open(self, call: Call, message: Message, new: str) -> Context:
        """Return the context that a message goes to: a new one if it names none."""
        agent = call.agent.name
        if message.task_id:
            return await self._open_task(call, message)
        if message.context_id:
            state = await self._contexts.load(agent, message.context_id)
            if not call.reaches(state):
                raise foreign_context()
            return state
        return Context(agent=agent, id=new)

    async def _command(
        self, call: Call, request: SendMessageRequest, state: Context
    ) -> SendMessage:
        wished = wishes(request.metadata)
        blobs = ContextBlobs(self._log, state.agent, state.id)
        message = await offload(blobs, request.message)
        return SendMessage(
            **self._envelope(call, state),
            opens=not (message.task_id or message.context_id),
            data=SendMessageData(
                message=message,
                accepted_output_modes=request.configuration.accepted_output_modes,
                metadata=request.metadata,
                answers=wished.answers,
                when_busy=wished.when_busy,
                deadline=wished.deadline,
            ),
        )

    def _envelope(self, call: Call, state: Context) -> dict[str, Any]:
        """Return what a command says beside what it asks, and how far whoever asks may go."""
        who = call.principal
        return {
            "id": call.id,
            "source": self._source,
            "subject": subjects.commands(state.agent, state.id),
            "time": rfc3339(self._world.now()),
            "tenant": self._tenant,
            "actor": who.id,
            "correlationid": call.id,
            "causationid": call.id,
            "traceparent": call.traceparent,
            "reach": "tenant" if who.owner is None else msgspec.UNSET,
            "decides": who.may(Scope.DECIDE),
        }

    async def _open_task(self, call: Call, message: Message) -> Context:
        """Return the context of the task that a message goes on with (§3.4.3)."""
        state, task = await self._existing(call, message.task_id)
        if message.context_id and message.context_id != state.id:
            raise InvalidInput("the task is of another context", field="message.contextId")
        if task.ended:
            raise UnsupportedOperation("the task has ended: send the message without its taskId")
        return state

    async def own(self, call: Call, task_id: str) -> tuple[Context, TaskFold]:
        """Return a task of whoever asks, or any for who reaches all, and its context.

        Raises:
            TaskNotFound: it is none (S4).
        """
        return await self._existing(call, task_id, own=True)

    async def _existing(
        self, call: Call, task_id: str, *, foreseen: bool = False, own: bool = False
    ) -> tuple[Context, TaskFold]:
        """Return a task, submitted if it is not decided yet, and its context as committed.

        One that is not for whoever asks is none (S4); with `own`, nor is one that only asks it.
        """
        agent, context_id = call.agent.name, _context_of(task_id)
        for decisive in (False, True):  # a replica may not have it yet: the leader has
            state = seen = await self._contexts.load(agent, context_id, decisive=decisive)
            task = None if foreseen else state.tasks.get(task_id)
            if task is None:
                seen = await self._contexts.foreseen(agent, context_id, decisive=decisive)
                task = seen.tasks.get(task_id)
            if task is not None:
                break
        reached = call.reaches(seen, "" if own else task_id)
        if task is None or task.answer is not None or not reached:
            raise TaskNotFound("there is no such task")
        return state, task

    async def _append(self, command: SendMessage | CancelTask) -> None:
        expect = 0 if command.opens else None
        data = encode(cleaned(self._log.redactor, command, command.subject))
        sequence = await self._log.append(command.subject, data, id=command.id, expect=expect)
        self._lists.heard(sequence)

    async def _view(self, call: Call, task: TaskFold, history: int | None = None) -> Task:
        view = await inline_task(self._log, task.view(history=history))
        return marked(view, task.sequence) if RESUME in call.active else view

    async def _as_before(self, state: Context, waiting: Waiting, within: float) -> Context:
        """Wait for what was accepted before; returns the context as it is then."""
        async with aclosing(self.reader.catch_up(state, waiting)) as steps:
            async for follower in steps:
                if follower is not None:
                    await waiting.within(within)
                elif waiting.over:
                    await waiting.within(0.0)
                    break
        return await self._contexts.load(state.agent, state.id)


def _place(message: Message) -> str:
    """Return the id of the context that a message names, by its task or by itself, if it does."""
    return _context_of(message.task_id) if message.task_id else message.context_id


def _context_of(task: str) -> str:
    try:
        return context_of(task)
    except InvalidInput:
        raise TaskNotFound("there is no such task") from None
