"""A turn of an agent that asks its model and calls its tools by itself, in a process of its own.

What it does is told by events, and recorded in steps as it goes: a `Passage` is what it says until
it calls a tool, asks a person, or ends; a call of a tool is a step from when it is known to begin
until its result is. A process that has died is followed by another one, which is shown all that is
recorded and goes on from there (`adapters.md`: session adapters rebuild, they do not replay).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from pelton.adapters.frameworks.contract import AgentDied, not_done
from pelton.adapters.frameworks.conversation import LOST, Spoken, ToolCall
from pelton.adapters.frameworks.speech import Speech
from pelton.events.envelope import digest
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError
from pelton.runtime.guard import CallDenied
from pelton.runtime.model_gateway import ModelRoute
from pelton.runtime.steps import fixed
from pelton.runtime.turn import Turn

_ASKS: Final = "The agent asks before it does this."


class Said(NamedTuple):
    """The agent goes on to say something."""

    text: str


class Called(NamedTuple):
    """A call of a tool has begun. `reads` says that it has no effect."""

    call: ToolCall
    reads: bool = False


class Returned(NamedTuple):
    """A call of a tool has come to something."""

    call: ToolCall
    result: str


class Asked(NamedTuple):
    """A person is asked whether a call may be made."""

    call: ToolCall


class Took(msgspec.Struct, frozen=True, omit_defaults=True):
    """What calls of a model took."""

    model: str = ""
    read: int = 0
    wrote: int = 0
    cached: int = 0


class Ended(NamedTuple):
    """The agent has ended."""

    took: Took | None = None


Event = Said | Called | Returned | Asked | Ended


class Performer(Protocol):
    """An agent's process in the middle of a turn."""

    async def event(self) -> Event:
        """Wait for what it does next.

        Raises:
            SessionBroken: it can do no more.
            AgentError: it has failed.
        """
        ...

    async def decide(self, call: ToolCall, *, approved: bool) -> None:
        """Answer what it has asked last of a call."""
        ...

    async def cancel(self) -> None:
        """Tell it to stop, and wait until it has."""
        ...


class Passage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent has said, and what it does then: nothing of these is that it has ended."""

    text: str = ""
    call: ToolCall | None = None
    reads: bool = False
    ask: ToolCall | None = None
    took: Took | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has become of a call: a result, or something else first.

    `open`: a question came before it. `lost`: its process was gone before it began. `died`: its
    process has died with it. `elsewhere`: what was approved goes by another name.
    """

    result: str = ""
    open: bool = False
    lost: bool = False
    died: bool = False
    elsewhere: bool = False


class Performance:
    """One attempt of a turn. `begin` starts a process with what the turn has come to so far.

    What the agent asks about is decided by hooks and policies, and then by a person; with `policy`,
    by a person only if these say so. Of what it does not ask about they know when it is under way:
    what they deny then ends the turn, and a person that they ask is asked too late.

    A call that a crash has cut off is made again if it only reads, or with `again`; else a person
    is asked. `retry` says how the model is asked again when it fails, `route` is the way to it, if
    that is not the agent's own affair.
    """

    def __init__(
        self,
        turn: Turn,
        begin: Callable[[Sequence[Spoken]], Awaitable[Performer]],
        *,
        again: bool = False,
        policy: bool = False,
        retry: Retry | None = None,
        route: ModelRoute | None = None,
    ) -> None:
        self._turn, self._begin, self._route = turn, begin, route
        self._again, self._policy, self._retry = again, policy, retry
        self._speech = Speech(turn)
        self._performer: Performer | None = None
        self._later: deque[Event] = deque()
        self._results: dict[str, str] = {}
        self._open: deque[Passage] = deque()
        self._known: set[str] = set()
        self._came: Counter[str] = Counter()
        self._tries: dict[str, int] = {}
        self.done: list[Spoken] = []
        """What the agent has said and done."""

    async def run(self) -> None:
        """Let the agent run the turn."""
        while True:
            passage = await self._passage()
            if passage.call is not None:
                self._open.append(passage)
            elif passage.ask is not None:
                self._asked(passage.ask)
            else:
                break
            await self._work()
        await self._speech.close()

    async def cancel(self) -> None:
        """Tell the process to stop, if there is one."""
        if self._performer is not None:
            await self._performer.cancel()

    # What the agent says

    async def _passage(self) -> Passage:
        async def passing() -> Passage:
            await self._speech.begin()
            return await self._listened()

        found = await self._turn.step(
            "model", passing, idempotent=True, retry=self._retry, kind=StepKind.MODEL
        )
        passage = msgspec.convert(found, Passage)
        await self._speech.end(passage.text)
        if (took := passage.took) is not None:
            self._turn.usage(
                took.model,
                input_tokens=took.read,
                output_tokens=took.wrote,
                cached_tokens=took.cached,
            )
        if passage.text:
            self.done.append(Spoken("assistant", passage.text))
        if passage.call is not None:
            self._known.add(passage.call.id)
        return passage

    async def _listened(self) -> Passage:
        performer, text = await self._alive(), ""
        while True:
            match await self._event(performer):
                case Said(more):
                    text += more
                    await self._speech.say(more)
                case Called(call, reads) if call.id not in self._known:
                    return Passage(text, call, reads)
                case Returned(call, result):
                    self._results[call.id] = result
                    if call.id not in self._known:
                        return Passage(text, call)
                case Asked(call):
                    return Passage(text, ask=call)
                case Ended(took):
                    counted = self._route is not None and self._route.asked  # call by call
                    return Passage(text, took=None if counted else took)
                case _:
                    self._turn.beat()

    async def _alive(self) -> Performer:
        """Return the process, or begin one with all that was done."""
        if self._performer is None:
            self._later.clear()
            self._performer = await self._begin(self.done)
        return self._performer

    async def _event(self, performer: Performer) -> Event:
        if self._later:
            return self._later.popleft()
        try:
            return await performer.event()
        except Exception as error:
            self._performer = None  # what comes is for another one
            if self._route is not None and self._route.failure and type(error) is AgentError:
                raise self._route.failure from error
            raise

    # What it does

    async def _work(self) -> None:
        """Record what becomes of open calls, until there is none or a person is asked."""
        while self._open:
            passage = self._open[0]
            call = passage.call
            assert call is not None
            number = self._tries[call.id] = self._tries.get(call.id, 0) + 1

            async def working(
                _: Mapping[str, Any], passage: Passage = passage, call: ToolCall = call
            ) -> Outcome:
                if passage.ask is not None and self._performer is not None:
                    await self._performer.decide(call, approved=True)
                return await self._became(passage)

            what = spelled(call)
            try:
                found = await self._turn.step(
                    f"tool {call.name}",
                    fixed(working),
                    call.arguments,
                    key=call.id if number == 1 else f"{call.id}/{number}",
                    idempotent=self._again or passage.reads,
                    kind=StepKind.TOOL,
                    ask=_ASKS if passage.ask is not None and not self._policy else "",
                    matter=f"{digest(what.encode())[:16]}#{self._came[what] + 1}",
                )
            except CallDenied as denied:
                await self._refuse(passage, denied)
                continue
            outcome = told(found)
            if outcome.open:
                return
            self._open.popleft()
            if outcome.elsewhere:
                continue
            if outcome.died and not (self._again or passage.reads):
                await self._doubt(call)
            if not (outcome.lost or outcome.died):
                self._came[what] += 1
            self._add(call, outcome.result if not (outcome.lost or outcome.died) else LOST)

    async def _refuse(self, passage: Passage, denied: CallDenied) -> None:
        """Let the agent know that a call is denied; one that it has not asked about is under way.

        Raises:
            CallDenied: it may have been done.
        """
        call = self._open.popleft().call
        assert call is not None
        performer, asks = self._performer, passage.ask
        while performer is not None and asks is None:
            match await self._event(performer):
                case Asked(asks):
                    self._known.add(asks.id)
                case Called(other) if other.id == call.id:
                    continue  # it tells so again before it asks
                case _:
                    await performer.cancel()
                    raise denied
        if performer is not None and asks is not None:
            await performer.decide(asks, approved=False)
        self._add(call, not_done(denied))

    def _add(self, call: ToolCall, result: str) -> None:
        self.done += [Spoken("assistant", "", (call,)), Spoken("tool", result, call=call.id)]

    async def _doubt(self, call: ToolCall) -> None:
        """Ask a person whether to go on after a call that may have had its effect."""
        choice = await self._turn.ask(
            f"The agent's process has died in its call {spelled(call)}, and nobody knows whether"
            " that was done. Shall the agent go on, knowing this, or give up?",
            choices=("go-on", "give-up"),
        )
        if choice == "give-up":
            raise AgentError(
                f"The call {call.name!r} was cut off, and nobody knows whether it was done.",
                kind=FailureClass.OUTCOME_UNKNOWN,
            )

    async def _became(self, passage: Passage) -> Outcome:
        call, performer = passage.call, self._performer
        assert call is not None
        approved = passage.ask is not None
        if performer is None:
            return Outcome(lost=True)
        while call.id not in self._results:
            # What is said meanwhile is heard later: this reads on past it.
            try:
                event = await performer.event()
            except AgentDied:
                self._performer = None
                return Outcome(died=True)
            match event:
                case Called(other) if other.id == call.id:
                    approved = False
                case Returned(other, result) if other.id == call.id:
                    self._results[call.id] = result
                case _ if approved:
                    self._later.append(event)
                    return Outcome(elsewhere=True)
                case Returned(other, result) if other.id in self._known:
                    self._results[other.id] = result
                case Asked():
                    self._later.append(event)
                    return Outcome(open=True)
                case Ended():
                    self._later.append(event)
                    return Outcome()
                case _:
                    self._later.append(event)
                    self._turn.beat()
        return Outcome(self._results[call.id])

    def _asked(self, call: ToolCall) -> None:
        """Open a call that the agent asks about: it is decided when its step begins."""
        self._known.add(call.id)
        others = (each for each in self._open if each.call is None or each.call.id != call.id)
        self._open = deque((Passage(call=call, ask=call), *others))


def spelled(call: ToolCall) -> str:
    """Return a call as a text."""
    return f"{call.name} with {msgspec.json.encode(call.arguments).decode()}"


def told(found: Any) -> Outcome:
    """Return what a step has returned; what a person said was its result may be anything."""
    try:
        return msgspec.convert(found, Outcome)
    except msgspec.ValidationError:
        return Outcome(found if isinstance(found, str) else msgspec.json.encode(found).decode())


class Events:
    """What a process has told and nobody has heard yet; `fail` ends it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | Exception] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """Let an event follow."""
        self._queue.put_nowait(event)

    def fail(self, error: Exception) -> None:
        """Let nothing follow but an error."""
        self._queue.put_nowait(error)

    async def next(self) -> Event:
        """Wait for the next event."""
        found = await self._queue.get()
        if isinstance(found, Exception):
            raise found
        return found
