"""Poison is contained: others go on at nine tenths of their pace or more (G11)."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from pelton.events import subjects
from pelton.events.a2a import TaskState
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.runtime.agents import Terms, agent
from pelton.runtime.failures import AgentError
from pelton.runtime.simulation import SimulatedWorld, run
from pelton.runtime.turn import Turn
from tests.simulation.stage import Stage

GOOD: Final = 280
POISON: Final = ("raise", "fail for now", "hang", "empty", "bytes", "no JSON", "newer version")
"""What goes wrong, once in forty messages: in agents, and in records that nobody can read."""

TERMS: Final = Terms(inactivity=10.0, retries={FailureClass.PROVIDER: Retry(attempts=3, first=0.5)})


@agent(name="echo", terms=TERMS)
async def echo(turn: Turn) -> str:
    """Work for half a second, unless it is poison."""
    match turn.text:
        case "raise":
            raise RuntimeError("as told")
        case "fail for now":
            raise AgentError("as told", kind=FailureClass.PROVIDER)
        case "hang":
            await asyncio.Event().wait()
        case "empty":
            return ""
        case _:
            await asyncio.sleep(0.5)
    return "done"


async def poison(stage: Stage, kind: str, number: int) -> str:
    """Send something that cannot be done; return the task that must fail of it, if it has one."""
    context = f"poison-{number}"
    data = {
        "bytes": b"\xff\xfe\x00" * 100_000,
        "no JSON": b'{"data"',
        "newer version": b'{"type":"SendMessage.v9"}',
    }.get(kind)
    if data is None:
        task = await stage.send(kind, context)
        return "" if kind == "empty" else task
    await stage.log.append(subjects.commands("echo", context), data, id=context)
    return ""


def pace(*, poisoned: bool) -> float:
    """Return how many good messages are done in a virtual second."""

    async def main(world: SimulatedWorld) -> float:
        stage = Stage(world)
        began = world.monotonic()
        async with stage.serving(echo):
            good, bad = list[str](), list[str]()
            for number in range(GOOD):
                if poisoned and number % 40 == 0:
                    bad.append(await poison(stage, POISON[number // 40], number))
                good.append(await stage.send("hello", f"good-{number}"))
            for number, task in enumerate(good):
                done = await stage.ended(task, f"good-{number}")
                assert done.status.state is TaskState.COMPLETED
            seconds = world.monotonic() - began
            for number, task in zip(range(0, GOOD, 40), bad, strict=poisoned):
                if task:
                    failed = await stage.ended(task, f"poison-{number}")
                    assert failed.status.state is TaskState.FAILED
                    assert failed.status.message is not None
        return GOOD / seconds

    return run(7, main, limit=3_600.0)


@pytest.mark.accepts("G11", "AS-16")
def test_poison_leaves_others_nine_tenths_of_their_pace() -> None:
    alone, beside = pace(poisoned=False), pace(poisoned=True)
    assert beside >= 0.9 * alone, f"{beside:.1f} of {alone:.1f} a second"
