"""Rulings under misfortune: an executor dies between what a hook decides and what follows of it.

The hook answers otherwise each time that it is asked: whoever asks it again about what is recorded,
has an effect that nobody has let happen, or forgets a denial, is found out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any, Final, NamedTuple

import pytest

from pelton.events.a2a import TaskState
from pelton.events.events import FailureClass, StepCompleted, TurnEnded, TurnStarted
from pelton.events.retries import Retry
from pelton.events.ruling import CallRuled, Point, Ruling
from pelton.events.step import StepKind
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.equipment_settings import HookSettings
from pelton.runtime.executor import Executor
from pelton.runtime.failures import StepError
from pelton.runtime.hooks import Hook, Occasion, Reply
from pelton.runtime.outfit import STANDARD
from pelton.runtime.simulation import Process, SimulatedLog, SimulatedWorld, run
from pelton.runtime.turn import Turn
from tests.simulation.stage import Stage

EVERY: Final = 3
"""Of so many moments the executor dies at one."""

ELSEWHERE: Final = {Point.STEP_BEFORE, Point.DELEGATION_BEFORE}
"""Points that its agent does not come to."""


class Asked(NamedTuple):
    """The hook was asked; `known` are the rulings that were in the log by then."""

    at: Occasion
    known: frozenset[tuple[Point, str]]


class Scene:
    """An agent that comes to every point, the hook that is asked there, and what both have done."""

    def __init__(self, stage: Stage, denied: Point | None) -> None:
        self.stage, self.denied = stage, denied
        self.asked: list[Asked] = []
        self.effects = Counter[str]()
        self.unruled: list[str] = []
        """The effects that were had before a ruling on them was in the log."""

    def rulings(self) -> list[CallRuled]:
        return [each for each in self.stage.events() if isinstance(each, CallRuled)]

    async def look(self, occasion: Occasion) -> Reply | None:
        """Answer: the denial only the first time that anybody asks."""
        known = frozenset((each.point, each.key) for each in self.rulings())
        first = not any(each.at.point is occasion.point for each in self.asked)
        self.asked.append(Asked(occasion, known))
        await asyncio.sleep(0)  # it may die while it thinks
        if occasion.point is self.denied and first:
            return Reply(ruling=Ruling.DENY, reason="Not the first time.")
        if occasion.point is Point.PROMPT_BUILT:
            return Reply(change=f"{occasion.content} ({len(self.asked)})")
        return None

    def effect(self, name: str, point: Point) -> str:
        """Have an effect, which somebody has to have let happen."""
        self.effects[name] += 1
        if not any(e.point is point and e.ruling is Ruling.ALLOW for e in self.rulings()):
            self.unruled.append(name)
        return name

    def agent(self) -> Agent:
        """Return the agent."""

        @agent(name="echo", terms=Terms(retries={FailureClass.POLICY: Retry(attempts=1)}))
        async def ruled(turn: Turn) -> str:
            prompt = await turn.built("Be a clerk.")
            said: list[str] = [prompt]

            async def think(_: str) -> str:
                return self.effect("think", Point.MODEL_BEFORE)

            async def pay(_: dict[str, Any]) -> str:
                return self.effect("pay", Point.TOOL_BEFORE)

            for doing in (
                lambda: turn.memory.commit("The door is blue."),
                lambda: turn.step("model", think, prompt, kind=StepKind.MODEL, idempotent=True),
                lambda: turn.step(
                    "tool pay", pay, {"amount": 3}, kind=StepKind.TOOL, idempotent=True
                ),
            ):
                try:
                    said.append(str(await doing()))
                except StepError as error:  # it is denied, or what it gives is withheld
                    said.append(str(error))
            await turn.artifact("\n".join(said))
            return prompt

        hook = Hook("all", self.look, HookSettings(run="here:it", points=tuple(Point)))
        outfit = replace(STANDARD, hooks=(hook,))
        return replace(ruled, outfit=lambda: outfit)

    def check(self) -> None:
        """Look at all that was asked and done, beside what the log has."""
        assert not self.unruled, "an effect has a ruling before it"
        events = self.stage.events()
        for asked in self.asked:
            place = asked.at.point, asked.at.key
            assert place not in asked.known, f"{place} is on record, and was asked about again"
        attempts = sum(isinstance(each, TurnStarted) for each in events)
        denials = {each.point for each in self.rulings() if each.ruling is Ruling.DENY}
        for name, points in {
            "think": {Point.MODEL_BEFORE},
            "pay": {Point.TOOL_BEFORE},
        }.items():
            assert self.effects[name] <= attempts
            if points & denials:
                assert not self.effects[name], "what is denied is not done"
        done = [each.key for each in events if isinstance(each, StepCompleted)]
        assert len(done) == len(set(done))


def play(moment: int, denied: Point | None, counts: Counter[str]) -> bool:
    """Let the executor die at a moment, and another go on; return whether it came to die."""
    killed = False

    async def main(world: SimulatedWorld) -> None:
        nonlocal killed
        stage = Stage(world)
        scene = Scene(stage, denied)

        def executor(name: str) -> Process:
            async def serve() -> None:
                log = SimulatedLog(stage.server, name=name)
                process.killed.append(log.link.close)
                await Executor(log, [scene.agent()], world=world.part(name)).run()

            process = Process(name)
            process.start(serve())
            return process

        first = executor("first")
        await stage.until(lambda: first.alive and "echo" in str(stage.server.log))
        task = await stage.send("go")
        first.doom(moment)

        def over() -> bool:
            state = stage.context()
            return bool(state.rejected) or any(isinstance(e, TurnEnded) for e in stage.events())

        ended = asyncio.ensure_future(stage.until(over))
        await asyncio.wait((ended, first.ended), return_when="FIRST_COMPLETED")
        killed = not first.alive
        second = executor("second")
        await ended
        scene.check()
        denials = {each.point for each in scene.rulings() if each.ruling is Ruling.DENY}
        state = stage.context()
        if state.rejected:
            assert denied is Point.COMMAND_RECEIVED
            assert task not in state.tasks
            counts["denied"] += 1
        else:
            found = state.tasks[task].status.state
            wanted = {
                Point.TURN_BEFORE: TaskState.REJECTED,
                Point.TURN_AFTER: TaskState.FAILED,
                Point.PROMPT_BUILT: TaskState.FAILED,
            }
            for point in denials:
                assert found is wanted.get(point, TaskState.COMPLETED), (point, found)
            counts["denied"] += bool(denials)
        places = {(each.at.point, each.at.key) for each in scene.asked}
        counts["asked again"] += len(scene.asked) > len(places)
        for process in (first, second):
            process.kill()

    run(moment, main, limit=600.0)
    counts["killed"] += killed
    return killed


@pytest.mark.accepts("AS-58", "AS-11", "G5")
@pytest.mark.parametrize("denied", [None, *sorted({*Point} - ELSEWHERE)])
def test_wherever_an_executor_dies_what_was_decided_holds(denied: Point | None) -> None:
    counts, moment = Counter[str](), 0
    while play(moment, denied, counts):
        moment += EVERY
    assert counts["killed"] >= 3, counts
    assert denied is None or counts["denied"], counts
