"""The agents of the simulation: they do what the message says, and tell in a trail what came."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import msgspec

from pelton.events.a2a import TaskState
from pelton.events.commands import WhenBusy
from pelton.events.delegation import DelegationRefused
from pelton.events.retries import Retry
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.answers import AnswerExpired, DelegationFailed, Report
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.steps import idempotency_key
from pelton.runtime.turn import Turn
from tests.simulation.plans import BUSY, NAME, STEERED, Act, Plan, plan_of

TERMS = {
    NAME: Terms(suspend_after=2.0, inactivity=15.0),
    STEERED: Terms(suspend_after=0.5, inactivity=15.0, when_busy=WhenBusy.STEER),
    BUSY: Terms(suspend_after=1.0, inactivity=15.0, when_busy=WhenBusy.REJECT, deadline=240.0),
}

FOLLOW_UPS = 3
"""How often an agent answers one to which it has handed work."""


class AsTold(Exception):
    """The agent crashes, as its message says."""


class Outside:
    """The world outside: what steps have done, by their keys, and how often things were tried."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()

    def fails(self, key: str, times: int) -> bool:
        """Whether this try is one of the first so many."""
        self.tried[key] += 1
        return self.tried[key] <= times


def agents(outside: Outside) -> list[Agent]:
    """Return the agents."""
    return [_agent(name, terms, outside) for name, terms in TERMS.items()]


def _agent(name: str, terms: Terms, outside: Outside) -> Agent:
    @agent(name=name, terms=terms)
    async def told(turn: Turn) -> str | None:
        """Do as told."""
        return await Doing(turn, outside).all()

    return told


class Doing:
    """A turn that does as told."""

    def __init__(self, turn: Turn, outside: Outside) -> None:
        self._turn, self._outside = turn, outside
        self._plan = plan_of(turn.text)

    async def all(self) -> str | None:
        trail = [await self._act(act) for act in self._plan.acts]
        if self._plan.end == "ask":
            await self._turn.require_input("and now?")
        if self._plan.end == "fail":
            await self._turn.fail("as told")
        if self._plan.end == "crash":
            raise AsTold
        return msgspec.json.encode(trail).decode()

    async def _act(self, act: Act) -> Any:
        turn = self._turn
        match act.do:
            case "stream":
                await turn.stream(self._plan.piece(act.number, turn.attempt))
            case "pause":
                await asyncio.sleep(act.seconds)
            case "status":
                await turn.status(f"s{act.number}")
            case "values":
                return [turn.now().isoformat(), str(turn.uuid()), turn.random()]
            case "receive":
                message = await turn.received()
                return message and message.message_id
            case "flaky" | "hang":
                await self._fail(act)
            case "together":
                came = await turn.gather(*[self._call(each) for each in act.acts])
                return [_came(each) for each in came]
            case "delegate":
                return await self._delegate(act)
            case _:
                (found,) = await turn.gather(self._call(act))
                return _came(found)
        return None

    async def _fail(self, act: Act) -> None:
        """Fail some times, or hang."""
        key = f"{self._turn.task_id} {self._turn.number} {act.do} {act.number}"
        if self._outside.fails(key, act.fails):
            if act.do == "hang":
                await asyncio.Event().wait()
            raise AgentError("It may pass.", kind=act.kind)

    def _call(self, act: Act) -> Awaitable[Any]:
        """Begin a call that may go on beside others."""
        turn, approvers = self._turn, (act.approver,) if act.approver else ()
        within = act.seconds or None
        match act.do:
            case "step":
                retry = Retry(attempts=act.attempts, first=0.5) if act.attempts else None
                return turn.step(
                    "do", self._effect, msgspec.to_builtins(act), idempotent=act.idempotent,
                    retry=retry, deadline=60.0,
                )  # fmt: skip
            case "sleep":
                return turn.sleep(act.seconds)
            case "ask":
                return turn.ask("how many?", schema=int, approvers=approvers, within=within)
            case "approve":
                return turn.approve("may I?", approvers=approvers, within=within)
            case "delegate":
                content = msgspec.json.encode(act.plan or Plan()).decode()
                return turn.delegate(act.agent, content, context_id=act.context, within=within)
            case _:
                raise AssertionError(act)

    async def _effect(self, told: dict[str, Any]) -> int:
        act = msgspec.convert(told, Act)
        await asyncio.sleep(act.seconds / 2)
        key = idempotency_key()
        self._outside.effects[key] += 1
        if self._outside.fails(key, act.fails):
            raise AgentError("as told", kind=act.kind)
        await asyncio.sleep(act.seconds / 2)
        return act.number

    async def _delegate(self, act: Act) -> list[Any]:
        """Hand on work, and answer what is asked about it."""
        trail: list[Any] = []
        try:
            report: Report = await self._call(act)
            trail.append(_came(report))
            while report.state is TaskState.INPUT_REQUIRED and len(trail) <= FOLLOW_UPS:
                report = await self._turn.delegate(act.agent, "7", task=report.task_id)
                trail.append(_came(report))
        except (DelegationFailed, DelegationRefused) as error:
            trail.append(_came(error))
        return trail


def _came(found: Any) -> Any:
    """Return what a trail says of what came of a call."""
    match found:
        case StepError():
            return ["failed", found.failure.kind]
        case AnswerExpired():
            return "expired"
        case DelegationRefused():
            return "refused"
        case DelegationFailed():
            return _came(found.report)
        case Report():
            return ["ended", found.state, found.text]
        case Exception():
            raise found
        case _:
            return msgspec.to_builtins(found)
