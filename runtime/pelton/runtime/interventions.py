"""What people do about tasks from beside the bridge: answer their questions, redrive what failed.

Like the bridge it only reads and publishes commands; whoever serves the agent decides them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events import hitl, subjects
from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.commands import SendMessage, SendMessageData, WhenBusy
from pelton.events.context import Context, TaskFold
from pelton.events.decide import refusal
from pelton.events.envelope import encode
from pelton.events.errors import DamagedRecord, InvalidInput, TaskNotFound, UnsupportedOperation
from pelton.events.events import TurnStarted
from pelton.events.ids import context_of, derive, task_id, token
from pelton.events.states import INTERRUPTED
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.bulk import ContextBlobs, offload
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Log
from pelton.runtime.redaction import cleaned

DECIDED_WITHIN: Final = 10.0
"""Seconds that an intervention waits to be decided."""


class Answer(NamedTuple):
    """What a person says to a question: words, data, or a decision with its reason."""

    text: str = ""
    data: Any = msgspec.UNSET
    approved: bool | None = None

    def message(self, id_: str, task: str, key: str) -> Message:
        """Return the message that says it."""
        if self.approved is None:
            part = Part(text=self.text) if self.data is msgspec.UNSET else Part(data=self.data)
            return Message(message_id=id_, role=Role.USER, parts=(part,), task_id=task)
        words = "yes" if self.approved else f"no {self.text}".rstrip()
        made = hitl.decision(key, approved=self.approved, reason=self.text)
        return Message(
            message_id=id_,
            role=Role.USER,
            parts=(Part(text=words),),
            task_id=task,
            metadata={hitl.URI: made},
            extensions=(hitl.URI,),
        )


class Intervention(NamedTuple):
    """What came of one: the task it was about, the one it leads to, and whether it is decided.

    One that is not decided is accepted nevertheless, and stands: nobody serves the agent now.
    """

    agent: str
    context_id: str
    task_id: str
    command_id: str
    key: str = ""
    decided: bool = True


class Interventions:
    """Asks tasks of one log for something, on behalf of people.

    What it asks may wait `within` seconds to be decided. With `every`, whoever acts may do so with
    all tasks of the tenant, and decide what others are asked.
    """

    def __init__(
        self,
        log: Log,
        *,
        world: World,
        tenant: str,
        within: float = DECIDED_WITHIN,
        every: bool = False,
    ) -> None:
        self._log, self._world, self._tenant, self._within = log, world, tenant, within
        self._every = every
        self._contexts = Contexts(log)
        self._source = f"operator/{world.new_id()}"

    async def find(self, task: str) -> tuple[Context, TaskFold]:
        """Return a task as committed, and its context.

        Raises:
            TaskNotFound: there is none, or it is not begun yet.
        """
        try:
            context = context_of(task)
        except InvalidInput:
            raise TaskNotFound(f"{task[:80]!r} is not the id of a task") from None
        for last in await self._log.latest(f"cmd.*.{token(context)}"):
            state = await self._contexts.load(subjects.parse(last.subject).agent, context)
            if task in state.tasks:
                return state, state.tasks[task]
        raise TaskNotFound(f"there is no task {task!r}")

    async def answer(
        self, task: str, answer: Answer, *, key: str, actor: str, id_: str = ""
    ) -> Intervention:
        """Answer a question of a task; `key` may be left out if it has asked but one.

        With an `id_`, to do so again is to have done it once.

        Raises:
            TaskNotFound: there is no such task.
            UnsupportedOperation: it asks nothing.
            InvalidInput: it asks several things, or not this.
            NotAuthorised: somebody else has to answer.
        """
        state, found = await self.find(task)
        if id_ in state.commands:
            return Intervention(state.agent, state.id, task, id_, key)
        key = _question(found, key)
        id_ = id_ or self._world.new_id()
        message = answer.message(id_, task, key or task)
        blobs = ContextBlobs(self._log, state.agent, state.id)
        data = SendMessageData(message=await offload(blobs, message), answers=key)
        command = self._command(state, id_, data, actor)
        decided = await self._ask(state, command)
        return Intervention(state.agent, state.id, task, id_, key, decided)

    async def redrive(self, task: str) -> Intervention:
        """Do a task again that has failed: as another one, whose id is in the answer.

        It says the same on behalf of the same principal, and if another task waits for the one that
        failed, or has waited, it is told of this one. Doing so twice is doing it once.

        Raises:
            TaskNotFound: there is no such task.
            UnsupportedOperation: it has not failed, or is done again already.
        """
        state, found = await self.find(task)
        if found.redriven:
            raise UnsupportedOperation(f"the task is done again already, as {found.redriven}")
        if found.status.state is not TaskState.FAILED:
            raise UnsupportedOperation("only a task that has failed is redriven")
        cause = await self._cause(state, found)
        id_ = derive("redrive", task)
        message = replace(cause.data.message, message_id=id_, task_id="", context_id="")
        data = SendMessageData(
            message=message,
            accepted_output_modes=cause.data.accepted_output_modes,
            metadata=cause.data.metadata,
            when_busy=WhenBusy.ENQUEUE,
            delegation=found.delegation,
            redrives=task,
        )
        command = self._command(state, id_, data, state.owner)
        command = replace(
            command,
            correlationid=cause.correlationid,
            causationid=cause.id,
            traceparent=cause.traceparent,
        )
        decided = await self._ask(state, command)
        again = task_id(state.id, id_)
        return Intervention(state.agent, state.id, again, id_, decided=decided)

    async def _cause(self, state: Context, task: TaskFold) -> SendMessage:
        """Return the command that began the last turn of a task."""
        cause = task.command_id
        for record in await self._log.read(subjects.commits(state.agent, state.id)):
            commit = decode_commit(record.data)
            for event in commit.data.events:
                if isinstance(event, TurnStarted) and event.task_id == task.id:
                    cause = commit.causationid if event.attempt == 1 else cause
        for record in await self._log.read(subjects.commands(state.agent, state.id)):
            try:
                command = decode_command(record.data)
            except DamagedRecord:  # not the one that was decided
                continue
            if command.id == cause and isinstance(command, SendMessage):
                return command
        raise TaskNotFound("the log does not hold the message of that task any more")

    def _command(self, state: Context, id_: str, data: SendMessageData, actor: str) -> SendMessage:
        return SendMessage(
            id=id_,
            source=self._source,
            subject=subjects.commands(state.agent, state.id),
            time=rfc3339(self._world.now()),
            tenant=self._tenant,
            actor=actor,
            correlationid=id_,
            causationid=id_,
            reach="tenant" if self._every else msgspec.UNSET,
            decides=self._every,
            data=data,
        )

    async def _ask(self, state: Context, command: SendMessage) -> bool:
        """Publish a command, and return whether it was decided in time.

        Raises:
            PeltonError: it was refused.
        """
        news = asyncio.Event()
        subject = subjects.commits(state.agent, state.id)
        async with self._log.listen(subject, lambda _: news.set()):
            data = encode(cleaned(self._log.redactor, command, command.subject))
            await self._log.append(command.subject, data, id=command.id)
            try:
                async with asyncio.timeout(self._within):
                    while command.id not in state.commands:
                        news.clear()
                        state = await self._contexts.load(state.agent, state.id)
                        if command.id not in state.commands:
                            await news.wait()
            except TimeoutError:
                return False
        if rejected := state.rejected.get(command.id):
            raise refusal(rejected)
        return True


def _question(task: TaskFold, key: str) -> str:
    """Return the key of the question that is meant; empty if the turn ended with it."""
    open_: list[str] = list(task.turn.asked) if task.turn is not None else []
    if not open_:
        if task.turn is None and task.status.state in INTERRUPTED and not key:
            return ""
        raise UnsupportedOperation("the task asks nothing now: pelton show tells how it stands")
    if key and key not in open_:
        raise InvalidInput(f"the task asks: {', '.join(open_)}", field="question")
    if not key and len(open_) > 1:
        raise InvalidInput(
            f"the task asks several things: say which of {', '.join(open_)}", field="question"
        )
    return key or open_[0]
