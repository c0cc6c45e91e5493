"""A turn as its agent sees it: what came in, what it may do, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NoReturn, TypeVar, cast, overload

from pelton.events.a2a import Artifact, Message, Role, TaskState, text_of
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import Failure, FailureClass
from pelton.events.ids import derive
from pelton.events.ruling import Point
from pelton.runtime.answers import Approval, Report
from pelton.runtime.bulk import Blobs, inline, offload
from pelton.runtime.content import Content, parts_of
from pelton.runtime.effects import Effects
from pelton.runtime.guard import Guard
from pelton.runtime.handing_on import HandingOn
from pelton.runtime.memory import TurnMemory
from pelton.runtime.model_gateway import ModelGateway, Models
from pelton.runtime.options import Choice
from pelton.runtime.questions import Questions
from pelton.runtime.recorder import Recorder
from pelton.runtime.sessions import TurnSession
from pelton.runtime.skills import Skill
from pelton.runtime.spending import check_loop, usage
from pelton.runtime.steps import Doubt, Steps
from pelton.runtime.toolbox import Peers, Receive, Toolbox, Tools

R = TypeVar("R")


class TurnEnd(Exception):
    """Ends the turn from within the agent; raised by `Turn.fail` and its like. Do not catch it."""

    def __init__(
        self, state: TaskState, message: Message | None, failure: Failure | None = None
    ) -> None:
        super().__init__(state)
        self.state, self.message, self.failure = state, message, failure


class Turn(Effects):
    """One message in the hands of an agent.

    Everything an agent says goes through here and into the log. An agent that returns has completed
    its task; a string that it returns is its reply. An exception that it lets out fails the task.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        tools: Callable[[Callable[[str], Awaitable[Doubt]]], Tools],
        receive: Receive,
        waiting: Callable[[], Sequence[Message]],
        peers: Peers,
        remember: Callable[[Steps], TurnMemory],
        blobs: Blobs,
        gateway: ModelGateway | None = None,
        agent: str,
        actor: str,
        traceparent: str,
        context_id: str,
        number: int,
        attempt: int,
        message: Message,
        history: tuple[Message, ...],
        metadata: dict[str, Any],
        deadline: str,
        chain: tuple[str, ...],
        options: Mapping[str, Any],
        guard: Guard,
    ) -> None:
        self._options, self._guard = options, guard
        guard.approve = self._approved
        self._recorder = recorder
        self._blobs, self._gateway = blobs, gateway
        self._make_tools, self._receive, self._waiting = tools, receive, waiting
        self._peers, self._remember = peers, remember
        self._deadline, self._chain = deadline, (*chain, agent)
        self._replies: list[tuple[Message, bool]] = []
        self.agent: Final = agent
        """The agent's name."""
        self.actor: Final = actor
        """The id of the principal on whose behalf it works."""
        self.traceparent: Final = traceparent
        """The trace that it is part of (W3C Trace Context), to be handed on; empty if none.

        For others to read. What an agent does must not depend on it.
        """
        self.context_id: Final = context_id
        """The context: one conversation, with all its tasks."""
        self.task_id: Final = recorder.task_id
        """The task that the message opened or goes on with."""
        self.number: Final = number
        """Which turn of the task this is, from 1."""
        self.attempt: Final = attempt
        """Which attempt of the turn, from 1; above 1 after a crash, a wait or a failure.

        For logs. What an agent does must not depend on it: every attempt does the same again.
        """
        self.message = message
        """The message."""
        self.history = history
        """The conversation of the context before the message, oldest first."""
        self.metadata: Final = metadata
        """What the client has sent beside the message."""

    @cached_property
    def _tools(self) -> Tools:
        return self._make_tools(self._doubt)

    @property
    def _steps(self) -> Steps:
        return self._tools.steps

    @cached_property
    def _choice(self) -> Choice:
        return Choice(self._options, self._blobs, record=self._steps.value)

    @cached_property
    def _questions(self) -> Questions:
        return Questions(self._tools.waits, key=self._steps.key, said=self._said)

    @cached_property
    def session(self) -> TurnSession:
        """What a framework keeps of the conversation of its own: for adapters."""
        return TurnSession(
            self._recorder, self._blobs, context_id=self.context_id, history=lambda: self.history
        )

    @cached_property
    def models(self) -> Models | None:
        """Where calls of models go, if its executor has a gateway: for adapters."""
        found = self._gateway
        return None if found is None else Models(found, self, self._recorder, self._blobs)

    @cached_property
    def _handing_on(self) -> HandingOn:
        return HandingOn(
            self._recorder,
            *self._tools,
            know=self._peers.knows,
            agent=self.agent,
            number=self.number,
            deadline=self._deadline,
            chain=self._chain,
            allow=self._guard.delegation,
        )

    @cached_property
    def memory(self) -> TurnMemory:
        """What the agent remembers beyond this conversation; each use of it is a step."""
        return self._remember(self._steps)

    @cached_property
    def toolbox(self) -> Toolbox:
        """What tools that the agent calls may do: for adapters."""
        return Toolbox(
            *(self._steps, self._recorder, self._blobs, self._handing_on),
            *(self._remember, self._receive, self._waiting, self._peers),
        )

    @property
    def text(self) -> str:
        """The text of the message."""
        return text_of(self.message.parts)

    async def options(self) -> dict[str, Any]:
        """Return the options of the agent for this turn, such as its model and its prompt.

        They are what `@agent(options=…)` says, or a fork has put in their place, recorded when they
        are first asked for: alike on every attempt, however the code has changed since.
        """
        return await self._choice.made()

    def usage(
        self,
        model: str = "",
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cached_tokens: int = 0,
        cost: float = 0.0,
        seconds: float = 0.0,
    ) -> None:
        """Report what a call to a model took: tokens, money, time (`pelton usage` adds them up).

        Of `input_tokens`, the `cached_tokens` came from a cache. Reported by the agent, it counts
        once however many attempts the turn takes; within a step, each time that the step runs.

        Raises:
            InvalidInput: a number is negative, or this is called from a thread.
        """
        check_loop()
        self._steps.spent(
            lambda key: usage(
                self.task_id,
                key,
                model,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cached_tokens=cached_tokens,
                cost=cost,
                seconds=seconds,
            )
        )

    async def status(self, content: Content, *, auth: bool = False) -> None:
        """Report progress: clients that stream see it, and it becomes part of the conversation.

        With `auth` it says how to sign in elsewhere (§7.6): the task is auth-required, and who
        waits is answered, while the agent waits for that itself and goes on.
        """
        place = self._steps.key("status")
        state = TaskState.AUTH_REQUIRED if auth else None
        self._recorder.progress(await self._said(content, place), state=state)

    async def stream(
        self,
        text: str,
        *,
        name: str = "answer",
        artifact_id: str = "",
        last: bool = False,
        anew: bool = False,
    ) -> None:
        """Let the text of an artifact go on, for clients to see as it grows.

        `last` says that it is complete; with `anew` it begins once more, as when a step is tried
        again. What was streamed before and is streamed again, then or on a later attempt of the
        turn, is not sent twice; where it differs, the new text replaces the old.
        """
        artifact_id = artifact_id or derive(self.task_id, str(self.number), "artifact", name)
        await self._recorder.text(artifact_id, name, text, last=last, anew=anew)

    def beat(self) -> None:
        """Say that it gets on, without words: to be alive is no progress (AS-46)."""
        self._recorder.beat()

    async def artifact(
        self,
        content: Content,
        *,
        name: str = "",
        description: str = "",
        artifact_id: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Write a whole artifact; one with the same id (or else the same name) is replaced."""
        place = name or self._steps.key("artifact")
        artifact = Artifact(
            artifact_id=artifact_id or derive(self.task_id, str(self.number), "artifact", place),
            name=name,
            description=description,
            parts=parts_of(content),
            metadata=metadata,
        )
        await self._recorder.artifact(artifact)

    async def reply(self, content: Content, *, task: bool = True) -> None:
        """Give the answer; the task completes with it when the agent returns.

        Without `task`, the answer is a bare message and clients never see a task (A2A §3.1.1); that
        is for short answers that leave nothing behind, and excludes artifacts and progress.
        """
        if self._replies:
            raise InvalidInput("a turn replies once: use stream, status or artifact before it")
        self._replies.append((await self._said(content, "reply"), task))

    async def fail(self, reason: Content, *, kind: FailureClass = FailureClass.AGENT) -> NoReturn:
        """End the turn and fail the task; clients read `reason`."""
        message = await self._said(reason, "reply")
        failure = Failure(kind=kind, message=text_of(parts_of(reason)))
        raise TurnEnd(TaskState.FAILED, message, failure)

    async def reject(self, reason: Content) -> NoReturn:
        """End the turn: the agent will not do the task; clients read `reason`."""
        raise TurnEnd(TaskState.REJECTED, await self._said(reason, "reply"))

    async def require_input(self, question: Content) -> NoReturn:
        """End the turn with a question; the client's next message to the task is the next turn."""
        raise TurnEnd(TaskState.INPUT_REQUIRED, await self._said(question, "reply"))

    async def require_auth(self, demand: Content) -> NoReturn:
        """End the turn until the client has authenticated elsewhere, as `demand` says (§7.6)."""
        raise TurnEnd(TaskState.AUTH_REQUIRED, await self._said(demand, "reply"))

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait; the time goes on while no process runs (at most a year)."""
        return self._tools.waits.sleep(self._steps.key("sleep"), seconds)

    async def received(self) -> Message | None:
        """Return the next message that has come for this turn while it runs, or None (`steer`).

        A message that no turn takes has a turn of its own afterwards.
        """
        message = await self._receive(self._steps.key("received"))
        return None if message is None else await inline(self._blobs, message)

    @overload
    async def ask(
        self,
        question: str,
        *,
        schema: type[R],
        choices: Sequence[str] = (),
        approvers: Sequence[str] = (),
        within: float | None = None,
        auth: bool = False,
    ) -> R: ...
    @overload
    async def ask(
        self,
        question: str,
        *,
        schema: None = None,
        choices: Sequence[str] = (),
        approvers: Sequence[str] = (),
        within: float | None = None,
        auth: bool = False,
    ) -> str: ...
    def ask(
        self,
        question: str,
        *,
        schema: type[R] | None = None,
        choices: Sequence[str] = (),
        approvers: Sequence[str] = (),
        within: float | None = None,
        auth: bool = False,
    ) -> Coroutine[Any, Any, R | str]:
        """Ask a person and return the answer; no process need be alive until it comes.

        The task becomes input-required (auth-required with `auth`), and any executor goes on when
        the answer is there. With `schema`, a type that msgspec knows, the answer is one of these;
        what does not fit is asked again. The owner of the task may answer, or `approvers` alone, by
        the ids of their principals. `within` is in seconds.

        Raises:
            AnswerExpired: nobody answered in time.
        """
        shape: Any = str if schema is None else schema
        return self._questions.ask(
            self._steps.key("ask"),
            question,
            shape,
            choices=choices,
            approvers=approvers,
            within=within,
            auth=auth,
        )

    def approve(
        self,
        what: str,
        *,
        tool: str = "",
        args: Mapping[str, Any] | None = None,
        approvers: Sequence[str] = (),
        within: float | None = None,
    ) -> Coroutine[Any, Any, Approval]:
        """Ask a person whether something may be done, such as a call of `tool` with `args`.

        Who may decide is as in `ask`. A question that expires is a denial.
        """
        key, tool = self._steps.key("approve"), tool or "approve"
        return self._questions.approve(
            key, what, tool, args or {}, approvers=approvers, within=within
        )

    def delegate(
        self,
        agent: str,
        content: Content,
        *,
        context_id: str = "",
        task: str = "",
        within: float | None = None,
    ) -> Coroutine[Any, Any, Report]:
        """Hand a message to another agent, and return what came of it, complete.

        `agent` is the name of an agent on this log, or the URL of an A2A agent elsewhere, which the
        setting `executor.remotes` must allow.

        The other agent's task follows from this one and the call, so that a later attempt finds the
        same; its report comes here once, whether or not a process was alive meanwhile. Without
        `context_id` it is a conversation of its own; `task` goes on with a task that has asked
        something. The deadline of this turn, or `within` seconds if that is earlier, goes with it.

        Raises:
            DelegationFailed: the other task failed, was refused, or was canceled; or an agent
                elsewhere cannot be asked.
            DelegationRefused: to itself, in a circle, further than the limit (AS-51), or to a URL
                that is not allowed.
            UnknownAgent: no such agent was ever served here.
        """
        key = self._steps.key("delegate")
        return self._handing_on.delegate(
            key, agent, parts_of(content), context_id=context_id, task=task, within=within
        )

    async def gather(self, *calls: Awaitable[R]) -> list[R | Exception]:
        """Await several calls at the same time, and return what came of each, in their order.

        One that fails leaves its exception in its place and changes nothing else (AS-59).
        """
        found = await asyncio.gather(*calls, return_exceptions=True)
        for each in found:
            if isinstance(each, TurnEnd):
                raise each
            if isinstance(each, BaseException) and not isinstance(each, Exception):
                raise each
        return [cast("R | Exception", each) for each in found]

    async def _doubt(self, run: str) -> Doubt:
        return await self._questions.doubt(run)

    async def _said(self, content: Content, place: str) -> Message:
        return await offload(
            self._blobs,
            Message(
                message_id=derive(self.task_id, str(self.number), place),
                role=Role.AGENT,
                context_id=self.context_id,
                task_id=self.task_id,
                parts=await self._guard.publish(place, parts_of(content)),
            ),
        )

    async def _approved(
        self,
        key: str,
        text: str,
        tool: str,
        args: Mapping[str, Any],
        approvers: Sequence[str],
    ) -> Approval:
        """Ask a person for the guard."""
        return await self._questions.approve(
            key, text, tool, args, approvers=approvers, within=None
        )

    async def built(self, prompt: str) -> str:
        """Return a prompt as hooks leave it (`prompt.built`): for adapters, once in each attempt.

        Raises:
            CallDenied: a hook is against it.
        """
        return str(await self._guard.about(Point.PROMPT_BUILT, "prompt", prompt))

    @property
    def skills(self) -> tuple[Skill, ...]:
        """The skills that it may go by: what they are called, and when they help."""
        return tuple(self._guard.outfit.skills.values())

    async def skill(self, name: str) -> str:
        """Return what a skill says: a step, so that every attempt reads the same.

        Raises:
            StepError: there is no such skill.
        """

        def read(name: str) -> str:
            if name not in self._guard.outfit.skills:
                raise InvalidInput(f"there is no skill {name[:80]!r}", field="name")
            return self._guard.outfit.skills[name].text

        return await self.step("skill", read, name, idempotent=True)

    async def begin(self) -> None:
        """Fetch what of the conversation lies in blobs. For executors, as all that follows."""
        self.message = await inline(self._blobs, self.message)
        if any(part.blob for message in self.history for part in message.parts):
            self.history = tuple([await inline(self._blobs, message) for message in self.history])

    async def finish(self, result: object) -> tuple[Message | None, bool]:
        """Return the reply of an agent that has returned `result`, and whether it is a task's."""
        if isinstance(result, str) and not self._replies:
            await self.reply(result)
        return self._replies[0] if self._replies else (None, True)

    def unasked(self) -> PeltonError | None:
        """Return what is wrong if the agent has not done again what an earlier attempt did."""
        return self._steps.unasked() if self.attempt > 1 else None
