"""Trials: a task from its start, on virtual time, with everybody else played from the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events.a2a import TaskState, text_of
from pelton.events.errors import InvalidInput, TaskNotFound
from pelton.events.events import FailureClass, ValueRecorded
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, Terms, agent, load
from pelton.runtime.answers import DelegationFailed
from pelton.runtime.failures import StepError
from pelton.runtime.options import KEY
from pelton.runtime.replay.archive import open_file
from pelton.runtime.replay.bisect import Found, NothingToFind, Probe, bisect
from pelton.runtime.replay.diff import diff
from pelton.runtime.replay.fork import Policy, Tools, prefix
from pelton.runtime.replay.inputs import differing, inputs, swapped
from pelton.runtime.replay.session import Session, session_of
from pelton.runtime.replay.trial import NotAtRest, Ran, from_start, play_still
from pelton.runtime.simulation import SimulatedWorld, run
from pelton.runtime.turn import Turn
from tests.docs.generate import ROOT
from tests.simulation.stage import Stage

SOON = Terms(suspend_after=0.1)
RECORDED = Policy(values=True)


def recorded(
    agents: list[Agent], talk: Callable[[Stage], Awaitable[str]], *, seed: int = 1
) -> tuple[Session, str]:
    """Return the session of what a talk with agents leaves behind, and its task."""

    async def main(world: SimulatedWorld) -> tuple[Session, str]:
        stage = Stage(world)
        async with stage.serving(*agents):
            task = await talk(stage)
        return await session_of(stage.log, "c1"), task

    return run(seed, main)


def played(
    session: Session, task: str, player: Agent, policy: Policy = RECORDED, within: float = 3600
) -> tuple[Ran, list[str]]:
    trial, later = from_start(session, task, [player], policy)
    return play_still(trial, within=within), later.missed


def said(ran: Ran) -> str:
    message = ran.task.status.message
    return text_of(message.parts) if message else ""


def forbidden(*_: object) -> None:
    raise AssertionError("a step runs")


@pytest.mark.accepts("AS-21")
def test_the_same_code_does_the_same_and_has_no_effect() -> None:
    """The committed example, with all that its agents have handed on played from the record."""
    session = open_file(ROOT / "examples" / "bakery.pelton").session
    task = "bakery-76fe1b63fd39c9ce"
    ran, missed = played(session, task, load("examples/orchestrator.py:orchestrator"))
    found = diff(session, task, ran.session, task)
    assert (ran.task.status.state, missed) == (TaskState.COMPLETED, [])
    assert (found.alike, found.differences) == (14, ())


async def lookup(what: str) -> str:
    return f"<{what}>"


@agent(name="echo", terms=SOON)
async def busy(turn: Turn) -> str:
    """Do a bit of everything."""
    if turn.number == 1:
        found = await turn.step("look", lookup, turn.text)
        await turn.sleep(60)
        try:
            await turn.delegate("broken", found)
        except DelegationFailed as failed:
            found += f" {failed.report.text}"
        report = await turn.delegate("clerk", found)
        if report.state is TaskState.INPUT_REQUIRED:
            report = await turn.delegate("clerk", await turn.ask("which?"), task=report.task_id)
        await turn.artifact(f"{report.text} {turn.random():.6f} {turn.uuid()}", name="paper")
        await turn.require_input("more?")
    return f"{turn.text}, and {(turn.now() - turn.now()).total_seconds()}"


@agent(name="clerk", terms=SOON)
async def clerk(turn: Turn) -> str:
    """Ask back once."""
    if turn.number == 1:
        await turn.artifact("x" * 40_000, name="bulk")
        await turn.require_input("which one?")
    return f"took {turn.text}"


@agent(name="broken")
async def broken(turn: Turn) -> None:
    """Fail."""
    await turn.fail(f"cannot do {turn.text}")


async def conversation(stage: Stage) -> str:
    task = await stage.send("it")
    await stage.asked(task)
    await stage.send("the red one", task=task)
    await stage.until(lambda: stage.context().tasks[task].turn is None)
    await stage.send("no more", task=task)
    return (await stage.ended(task)).id


@pytest.mark.accepts("AS-21")
def test_people_and_agents_are_played_from_the_record() -> None:
    session, task = recorded([busy, clerk, broken], conversation)
    ran, missed = played(session, task, busy)
    found = diff(session, task, ran.session, task)
    assert [line for each in found.differences for line in each.lines()] == []
    assert (said(ran), missed, ran.task.turns) == ("no more, and 0.0", [], 2)
    changed = dataclasses.replace(busy, run=clerk.run)  # which asks for nothing of it
    other, _ = played(session, task, changed)
    assert other.task.turns == 2
    assert said(other) == "took the red one"  # what people said next is said to it, too


def test_what_the_record_does_not_have_is_refused_and_told() -> None:
    session, task = recorded([busy, clerk, broken], conversation)

    @agent(name="echo")
    async def curious(turn: Turn) -> str:
        answers: list[str] = []
        for what in ("it", "other"):
            try:
                answers.append(await turn.step("look", lookup, what))
            except StepError as error:
                answers.append(error.failure.kind)
        try:
            await turn.delegate("clerk", "something else")
        except DelegationFailed as failed:
            answers.append(failed.report.state)
        return " ".join(answers)

    ran, missed = played(session, task, curious)
    assert said(ran) == f"<it> {FailureClass.POLICY} {TaskState.FAILED}"
    assert missed == ["look#2"]
    stubbed, _ = played(session, task, curious, Policy(stubs={"look": "stub"}))
    assert said(stubbed) == f"stub stub {TaskState.FAILED}"
    refused, _ = played(session, task, curious, Policy(named={"look": Tools.REFUSED}))
    assert said(refused).startswith(f"{FailureClass.POLICY} {FailureClass.POLICY}")

    @agent(name="echo")
    async def waiting(turn: Turn) -> None:
        await turn.delegate("nobody-there", "x")

    with pytest.raises(TaskNotFound):
        from_start(session, "c1-0123456789abcdef", [waiting], RECORDED)
    slow, _ = played(session, task, dataclasses.replace(busy), within=7200)
    assert slow.task.ended
    with pytest.raises(NotAtRest):
        played(session, task, busy, within=10)  # it sleeps for a minute


@agent(name="echo", options={"model": "small"})
async def adding(turn: Turn) -> str:
    """Add up what is looked up, and say what with."""
    total, options = 0, await turn.options()
    for at in range(6):
        total += await turn.step("number", number, at)
    who = await turn.ask("who?")
    return f"{turn.text} {who} {total} {options['model']} {turn.random() < 2}"


NUMBERS: list[int] = []


async def number(at: int) -> int:
    return NUMBERS[at]


def added(numbers: list[int], text: str, who: str, seed: int) -> tuple[Session, str]:
    NUMBERS[:] = numbers

    async def talk(stage: Stage) -> str:
        task = await stage.send(text)
        await stage.asked(task)
        await stage.send(who, task=task)
        return (await stage.ended(task)).id

    return recorded([adding], talk, seed=seed)


def test_the_input_that_makes_a_check_fail_is_found() -> None:
    good = added([1, 2, 3, 4, 5, 6], "sum", "Ann", seed=1)
    bad = added([1, 2, 9, 4, 50, 6], "Sum", "Bob", seed=2)
    swaps = differing(inputs(*good), inputs(*bad))
    whats = [each.bad.what for each in swaps]
    assert whats[:4] == ["message 1", "turn 1 number#3", "turn 1 number#5", "turn 1 ask#1"]
    assert swaps[1].fields()[0].line() == "~ content: 9 → 3"

    def text(upto: int) -> str:
        session = swapped(bad[0], good[0], swaps[:upto])
        ran, missed = played(session, bad[1], adding)
        assert missed == []
        return said(ran)

    assert [text(upto) for upto in (0, 1, 2, 3, 4)] == [
        "Sum Bob 72 small True",
        "sum Bob 72 small True",
        "sum Bob 66 small True",
        "sum Bob 21 small True",
        "sum Ann 21 small True",
    ]

    def probe(at: int) -> Probe:
        return Probe(at=at, passed="21" in text(at), runs=1)

    found = bisect(len(swaps), 0, probe)
    assert whats[found.bad.at] == "turn 1 number#5"
    with pytest.raises(NothingToFind):
        bisect(1, 0, probe)
    with pytest.raises(NothingToFind):
        bisect(len(swaps), 3, probe)
    with pytest.raises(TaskNotFound):
        inputs(good[0], "c1-0123456789abcdef")


@given(st.integers(1, 200), st.integers(0, 199), st.booleans())
def test_halving_finds_where_it_turns(size: int, turn: int, falling: bool) -> None:
    turn %= size
    asked: list[int] = []

    def probe(at: int) -> Probe:
        asked.append(at)
        good = at <= turn if falling else at > turn
        return Probe(at=at, passed=3 if good else 1, runs=4)

    ends = (0, size) if falling else (size, 0)
    found: Found = bisect(*ends, probe)
    assert {found.good.at, found.bad.at} == {turn, turn + 1}
    assert found.good.share > found.bad.share
    assert len(asked) <= 3 + size.bit_length()


def test_a_fork_puts_other_options_in_the_place_of_those_recorded() -> None:
    session, task = added([1] * 6, "sum", "Ann", seed=3)
    end = session.records[-1].sequence

    def options(upto: int) -> list[object]:
        records = prefix(
            *(session, upto),
            now=session.records[-1].received,
            task_id=task,
            options={"model": "large"},
        )
        return [
            event.value
            for subject, data in records
            if subject.startswith("evt.")
            for event in decode_commit(data).data.events
            if isinstance(event, ValueRecorded) and event.key == KEY
        ]

    [place] = [
        record.sequence
        for record in session.records
        if record.subject.startswith("evt.")
        and any(
            isinstance(event, ValueRecorded) and event.key == KEY
            for event in decode_commit(record.data).data.events
        )
    ]
    assert options(end) == [{"model": "small"}]  # what has ended stays as it was
    assert options(place) == [{"model": "large"}]
    larger = dataclasses.replace(adding, options={"model": "large"})
    ran, _ = played(session, task, larger)
    assert said(ran) == "sum Ann 6 large True"  # a turn from its start has the code's own


def test_time_is_virtual_and_begins_where_the_record_did() -> None:
    session, task = recorded([busy, clerk, broken], conversation)

    @agent(name="echo")
    async def clock(turn: Turn) -> str:
        began = turn.now()
        await turn.sleep(7_200)
        return str(turn.now() - began >= timedelta(hours=2))

    ran, _ = played(session, task, clock, Policy(), within=10_000)
    assert said(ran) == "True"
    first = next(e for e in session.records if e.subject.startswith("cmd."))
    took = ran.session.records[-1].received - first.received
    assert took.total_seconds() == pytest.approx(7_200, abs=60)


def test_a_task_that_has_ended_needs_something_said() -> None:
    session, task = added([1] * 6, "sum", "Ann", seed=3)
    trial, _ = from_start(session, task, [adding], RECORDED)
    over = trial._replace(records=prefix(session, 10**6, now=trial.began))
    with pytest.raises(InvalidInput):
        play_still(over, within=10)
    assert partial(play_still, over._replace(message="again"), within=100)().task.id != task


async def ended(stage: Stage) -> str:
    return (await stage.ended(await stage.send("go"))).id


def returning(result: object) -> Agent:
    async def do() -> object:
        return result

    @agent(name="echo")
    async def work(turn: Turn) -> str:
        await turn.step("do", do)
        return "done"

    return work


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ({"taskId": "a", "deadline": 5}, {"taskId": "b", "deadline": 5}, "result.taskId"),
        ({"order": {"deadline": 5}}, {"order": {"deadline": 6}}, "result.order.deadline"),
        ({"made": 1, "sequence": 7}, {"made": 1, "sequence": 8}, "result.sequence"),
        ({"text": "a" * 40_000, "n": 1}, {"text": "a" * 40_000, "n": 2}, "result.n"),
        ({"n": 1}, {"n": 2, "text": "a" * 40_000}, "result.n"),
    ],
)
def test_what_a_step_has_returned_is_compared_whole(one: object, other: object, path: str) -> None:
    """Its members may have the names of ours, and it may lie beside the log."""
    left, right = (recorded([returning(each)], ended) for each in (one, other))
    (difference,) = diff(*left, *right).differences
    assert difference.fields[0].path == path
    assert not diff(*left, *left).differences


def test_what_was_said_at_a_fork_and_is_refused_is_no_fork() -> None:
    """An agent that takes no messages meanwhile ends its task before it comes to this one."""
    session, task = recorded([returning(1)], ended)
    trial, _ = from_start(session, task, [returning(1)], RECORDED)
    with pytest.raises(InvalidInput, match="the task has ended"):
        play_still(trial._replace(message="and then?"), within=100)


def test_a_policy_may_name_one_call_by_its_key() -> None:
    @agent(name="echo")
    async def twice(turn: Turn) -> str:
        found = [await turn.step("do", lookup, "it") for _ in range(3)]
        return " ".join(found)

    session, task = recorded([twice], ended)
    named = Policy(named={"do#1": Tools.REFUSED}, stubs={"do#1": "one", "do": "each"})
    assert said(played(session, task, twice, named)[0]) == "one each each"
    own = Policy(Tools.REFUSED, named={"do#2": Tools.RECORDED, "do": Tools.LIVE})
    assert (own.of("do#1"), own.of("do#2"), own.of("other")) == (
        *(Tools.LIVE, Tools.RECORDED, Tools.REFUSED),
    )
