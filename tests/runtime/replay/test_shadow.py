"""Shadow regression: what a new version of an agent does to recorded tasks, and what is noise."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from functools import partial

import pytest

from pelton.adapters.cli.shadow import told
from pelton.adapters.cli.shadow_page import page
from pelton.events.a2a import TaskState
from pelton.events.context import TaskFold
from pelton.events.errors import InvalidInput, TaskNotFound
from pelton.events.events import FailureClass
from pelton.runtime.agents import Agent, agent
from pelton.runtime.failures import AgentError
from pelton.runtime.replay.fork import Policy
from pelton.runtime.replay.session import Session, session_of
from pelton.runtime.replay.shadow import Judged, Played, Report, Shadowed, Skipped, shadow
from pelton.runtime.replay.trial import from_start, play_still
from pelton.runtime.simulation import SimulatedWorld, run
from pelton.runtime.turn import Turn
from tests.simulation.stage import Stage

ASKED: list[str] = []


def asking(text: Callable[[str], str], *, prompt: str = "", extra: str = "") -> Agent:
    """Return a version of an agent that asks a model, of which each call takes two seconds."""

    @agent(name="echo")
    async def version(turn: Turn) -> str:
        async def model(prompt: str) -> str:
            ASKED.append(prompt)
            await asyncio.sleep(2)  # of virtual time: how long the call takes
            turn.usage("small", input_tokens=10, output_tokens=5, cost=0.25)
            return f"<{prompt}>"

        found = await turn.step("model", model, prompt or turn.text)
        if extra:
            found += await turn.step("model", model, extra)
        turn.usage("glue", output_tokens=1)
        return text(found)

    return version


OLD = asking(lambda found: f"it is {found}")


def recorded(code: Agent = OLD, *, cancel: bool = False) -> tuple[Session, str]:
    async def main(world: SimulatedWorld) -> tuple[Session, str]:
        stage = Stage(world)
        async with stage.serving(code):
            task = await stage.send("<b>tea</b>")
            if cancel:
                await stage.until(lambda: bool(stage.context().tasks))
                await stage.cancel(task)
            await stage.ended(task)
        return await session_of(stage.log, "c1"), task

    return run(1, main)


def shadowed(
    new: Agent,
    *,
    again: Agent | None = None,
    check: Callable[[TaskFold], bool | None] | None = None,
    within: float = 600,
) -> Shadowed:
    session, task = recorded()
    before = len(ASKED)

    def play(code: Agent) -> Played:
        policy = Policy(values=True, costs=True)
        trial, later = from_start(session, task, [code], policy)
        return Played(play_still(trial, within=within), later.missed)

    found = shadow(
        session, task, partial(play, new), partial(play, again) if again else None, check
    )
    assert len(ASKED) == before  # nothing was called
    return found


@pytest.mark.accepts("AS-21")
def test_the_same_code_is_identical_and_takes_as_much() -> None:
    found = shadowed(OLD, again=OLD)
    assert (found.judged, found.differences, found.noise) == (Judged.IDENTICAL, (), 0)
    assert found.again is not None
    for lane in (found.recorded, found.again, found.new):
        assert (lane.state, lane.tokens, lane.cost) == (TaskState.COMPLETED, 16, 0.25)
        assert (lane.turns, lane.steps, lane.missed) == (1, 1, ())
        assert lane.worked == pytest.approx(2, abs=0.5)


def test_another_text_is_a_change_and_the_first_difference_is_told() -> None:
    found = shadowed(asking(lambda text: f"IT IS {text}"))
    assert found.judged is Judged.CHANGED
    first = found.differences[0]
    assert any("IT IS" in line for line in first.lines())
    assert found.alike > 0


def test_what_differs_without_the_new_version_is_noise() -> None:
    other = asking(lambda text: f"now it is {text}")
    found = shadowed(asking(lambda text: f"today {text}"), again=other)
    assert (found.judged, found.differences) == (Judged.IDENTICAL, ())
    assert found.noise == 1


def failing(_: str) -> str:
    raise AgentError("It does not work.", kind=FailureClass.VALIDATION)


def test_what_ends_worse_is_worse_unless_the_record_lacked_a_call() -> None:
    found = shadowed(asking(failing))
    assert (found.judged, found.new.state) == (Judged.WORSE, TaskState.FAILED)
    assert found.new.said == "It does not work."
    assert shadowed(asking(failing), again=asking(failing)).judged is not Judged.WORSE
    unclear = shadowed(asking(str, prompt="what nobody has asked"))
    assert (unclear.judged, unclear.new.missed) == (Judged.UNCLEAR, ("model#1",))


def test_what_never_ends_is_worse() -> None:
    async def forever(turn: Turn) -> None:
        await turn.sleep(1_000)

    found = shadowed(dataclasses.replace(OLD, run=forever))
    assert (found.judged, found.new.state) == (Judged.WORSE, "")
    assert "did not come to rest" in found.new.said


def test_a_check_says_what_is_good() -> None:
    def short(task: TaskFold) -> bool:
        message = task.status.message
        return message is not None and len(message.parts[0].text or "") < 30

    longer = asking(lambda text: f"it is, if I may say so, {text}")
    assert shadowed(longer, check=short).judged is Judged.WORSE
    assert shadowed(OLD, check=short).judged is Judged.IDENTICAL
    assert shadowed(longer, check=lambda _: None).judged is Judged.CHANGED
    assert shadowed(longer, again=longer, check=short).judged is Judged.IDENTICAL


def test_what_has_no_end_cannot_be_compared() -> None:
    session, task = recorded(cancel=True)

    def never() -> Played:
        raise AssertionError

    with pytest.raises(InvalidInput, match="cancelled"):
        shadow(session, task, never)
    with pytest.raises(TaskNotFound):
        shadow(session, "c1-0123456789abcdef", never)
    begun = Session([e for e in session.records if e.sequence <= 4], session.blobs)
    with pytest.raises(InvalidInput, match="goes on"):
        shadow(begun, task, never)


@pytest.mark.accepts("S20")
def test_the_page_is_one_file_in_which_text_is_text() -> None:
    hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"
    tasks = (shadowed(asking(lambda _: hostile)), shadowed(OLD, again=OLD))
    report = Report(
        agent=f'x"{hostile}', tasks=tasks, skipped=(Skipped(task=hostile, why=hostile),)
    )
    html = page(report)
    assert "<script" not in html
    assert "<img" not in html
    assert "default-src 'none'" in html
    assert "&lt;script&gt;alert(1)" in html
    assert html.count("<details") == html.count("</details>") == 2
    assert "http" not in html.replace("http-equiv", "")  # it asks nobody for anything
    lines = list(told(report))
    assert lines[0].endswith("1 identical, 1 changed, 0 worse, 0 unclear, 1 skipped")
    assert any(line.startswith("recorded") and "0.5000" in line for line in lines)
