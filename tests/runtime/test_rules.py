"""Rules: what they see of a call, what they may say, and what they would have said."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import msgspec
import pytest

from pelton.events.calls import Call, Calls, Kind, Ruling
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Terms, agent
from pelton.runtime.backtest import Backtest, backtest
from pelton.runtime.replay.session import Session, session_of
from pelton.runtime.rules import InvalidRule, Rule, RuleFailed
from pelton.runtime.simulation import SimulatedWorld, run
from pelton.runtime.turn import Turn
from tests.simulation.stage import Stage


def call(**members: object) -> Call:
    plain = Call(
        kind=Kind.STEP,
        agent="cook",
        name="oven",
        principal="anna",
        context="c1",
        task="t1",
        time=datetime(2026, 11, 27, 23, 30, tzinfo=UTC),
    )
    return msgspec.structs.replace(plain, **members)


RULES = [
    ("call.kind == 'step' && call.name == 'oven'", Ruling.DENY),
    ("call.kind == 'delegation'", Ruling.ALLOW),
    ("call.before >= 2 ? 'deny' : call.calls > 0 ? 'ask' : 'allow'", Ruling.ALLOW),
    ("call.time.getHours() > 22 ? 'ask' : 'allow'", Ruling.ASK),
    ("call.cost > 0.5 || call.tokens > 1000", Ruling.DENY),
    ("call.principal in ['anna', 'bob'] ? 'allow' : 'deny'", Ruling.ALLOW),
    ("call.text.matches('(?i)password')", Ruling.DENY),
    ("!call.idempotent", Ruling.ALLOW),
    ("call.text == 'recall.any' || call.text == \"call.any\"", Ruling.ALLOW),
]


@pytest.mark.parametrize(("text", "ruling"), RULES)
def test_a_rule_rules(text: str, ruling: Ruling) -> None:
    assert Rule(text).of(call(cost=0.75, text="the PassWord is")) is ruling


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("call.kind ==", "cannot be read"),
        ("call.mood == 'good'", "mood"),
        ("call.name == 'pay' && call.args.amount > 9", "args"),
        ("cal.kind == 'step'", "cal"),
        ("open('/etc/passwd')", "open"),
        ("true" + " " * 10_000, "10000 characters"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidRule, match=why):
        Rule(text)


def test_a_rule_that_cannot_tell_says_so() -> None:
    rule = Rule("1 / call.calls > 0")
    assert rule.of(call(calls=1)) is Ruling.DENY
    for text in ("1 / call.calls > 0", "'perhaps'", "7", "call.name + 1"):
        with pytest.raises(RuleFailed):
            Rule(text).of(call())


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cel", None)
    with pytest.raises(InvalidRule, match=r"pelton\[policy\]"):
        Rule("true")


async def pay(amount: int) -> str:
    return f"paid {amount}"


@agent(name="echo", terms=Terms(suspend_after=0.1))
async def buyer(turn: Turn) -> str:
    """Pays twice, waits, and asks another agent."""
    for amount in (5, 7):
        await turn.step("pay", pay, amount, idempotent=amount == 5)
        turn.usage("small", input_tokens=10, output_tokens=2, cost=0.25)
    await turn.sleep(60)  # nobody holds it meanwhile: a second attempt is not another call
    found = await turn.ask("sure?")
    return (await turn.delegate("clerk", f"book {found}")).text


@agent(name="clerk")
async def clerk(turn: Turn) -> str:
    """Does a step of its own."""
    return str(await turn.step("book", pay, 1))


def bought() -> Session:
    async def main(world: SimulatedWorld) -> Session:
        stage = Stage(world)
        async with stage.serving(buyer, clerk):
            task = await stage.send("buy it", actor="anna")
            await stage.asked(task)
            await stage.send("yes", task=task, actor="anna")
            await stage.ended(task)
        return await session_of(stage.log, "c1")

    return run(1, main)


def ruled(text: str, *, after: int = 0, agent: str = "", most: int = 100) -> Backtest:
    async def main(_: SimulatedWorld) -> Backtest:
        return await backtest(bought_once, Rule(text), after=after, agent=agent, most=most)

    return run(1, main)


bought_once = bought()


def test_the_calls_of_a_context_are_as_they_were_before_each() -> None:
    calls = Calls("echo", "c1")
    found = [
        each
        for record in bought_once.commits("echo", "c1")
        for each in calls.take(decode_commit(record.data))
    ]
    told = [(e.kind.value, e.name, e.text, e.turn, e.before, e.calls, e.tokens) for e in found]
    assert told == [
        ("message", "", "buy it", 0, 0, 0, 0),
        ("step", "pay", "", 1, 0, 0, 0),
        ("step", "pay", "", 1, 1, 1, 12),
        ("message", "ask#1", "yes", 1, 0, 2, 24),
        ("delegation", "clerk", "book yes", 1, 0, 2, 24),
    ]
    assert [each.idempotent for each in found] == [True, True, False, True, True]
    assert found[-1].cost == 0.5
    assert {each.principal for each in found} == {"anna"}


def test_a_backtest_tells_what_would_have_been_stopped_and_asked_about() -> None:
    rule = "call.kind != 'step' ? 'allow' : call.name == 'pay' && call.before > 0 ? 'deny' : 'ask'"
    found = ruled(rule)
    assert found.rulings == {Ruling.ALLOW: 4, Ruling.ASK: 2, Ruling.DENY: 1}
    assert (found.calls, found.failed, found.tasks) == (7, 0, 2)
    assert set(found.groups) == {
        (Ruling.ASK, "echo", "step", "pay", 1),
        (Ruling.DENY, "echo", "step", "pay", 1),
        (Ruling.ASK, "clerk", "step", "book", 1),
    }
    book = found.hits[-1].call
    assert (book.name, book.depth, book.principal) == ("book", 1, "anna")
    assert ruled(rule, agent="clerk").calls == 2
    short = ruled(rule, most=1)
    assert (len(short.hits), short.rulings) == (1, found.rulings)


def test_what_was_before_the_beginning_counts() -> None:
    [_, second] = ruled("call.name == 'pay'").hits
    later = ruled("call.before > 0", after=second.sequence - 1)
    assert [hit.sequence for hit in later.hits] == [second.sequence]


def test_a_call_of_which_a_rule_cannot_tell_is_denied_and_said_so() -> None:
    found = ruled("call.kind == 'step' && 1 / call.calls > 0")
    assert (found.rulings[Ruling.DENY], found.failed) == (3, 2)
    assert all("zero" in hit.problem for hit in found.hits if hit.problem)
