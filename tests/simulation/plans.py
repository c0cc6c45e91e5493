"""Plans: what a turn of the simulation does, as its message says it."""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from pelton.events.events import FailureClass

NAME: Final = "echo"
STEERED: Final = "left"
BUSY: Final = "right"
NAMES: Final = (NAME, STEERED, BUSY)
"""The agents, which all do as they are told: one enqueues, one is steered, one refuses."""

APPROVER: Final = "boss"
"""Who decides where the owner of a task may not."""

PASSING: Final = (FailureClass.PROVIDER, FailureClass.DEPENDENCY, FailureClass.SESSION_LOST)
LASTING: Final = (FailureClass.VALIDATION, FailureClass.POLICY, FailureClass.AGENT)

SHARED: Final = ("s0", "s1")
"""Contexts to which agents hand work and clients send, none of which hands on any itself.

Two contexts that hand work to each other, each behind the other's turn, wait for ever, as any two
callers do that hold what the other wants.
"""


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a turn does; which members count depends on `do`.

    `number` tells it from others, `seconds` is how long it takes or may take, `fails` how often it
    fails first, with `kind`.
    """

    do: str
    number: int = 0
    seconds: float = 0.0
    idempotent: bool = True
    attempts: int = 0
    fails: int = 0
    kind: FailureClass = FailureClass.PROVIDER
    approver: str = ""
    agent: str = ""
    context: str = ""
    plan: Plan | None = None
    acts: tuple[Act, ...] = ()


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a turn does, and how it ends. `varies`: each attempt streams another text."""

    acts: tuple[Act, ...] = ()
    end: str = "reply"
    varies: bool = False

    def piece(self, number: int, attempt: int) -> str:
        """Return a piece of the stream."""
        return f"{number}@{attempt} " if self.varies else f"{number} "

    def text(self, attempt: int) -> str:
        """Return all that is streamed."""
        pieces = (act.number for act in self.acts if act.do == "stream")
        return "".join(self.piece(number, attempt) for number in pieces)


def plan_of(text: str) -> Plan:
    """Return the plan that a message is; any other text asks for nothing."""
    try:
        return msgspec.json.decode(text, type=Plan)
    except msgspec.DecodeError:
        return Plan()


def any_plan(chance: Random, *, depth: int = 2) -> Plan:
    """Return a plan: some are over at once, others hand on work, at most `depth` deep."""
    if chance.random() < 0.25:
        return Plan()
    count = chance.choice((1, 2, 2, 3, 4))
    return Plan(
        acts=tuple(_any_act(chance, number, depth) for number in range(count)),
        end=chance.choice(("reply",) * 8 + ("ask", "fail", "crash")),
        varies=chance.random() < 0.3,
    )


def _any_act(chance: Random, number: int, depth: int) -> Act:
    weights = _WEIGHTS if depth else {**_WEIGHTS, "delegate": 0}
    (do,) = chance.choices(tuple(weights), tuple(weights.values()))
    if do == "together":
        kinds = (_step, _step, _sleep, _ask) + ((_delegate,) * 4 if depth else ())
        made = range(chance.choice((2, 2, 3)))
        acts = (chance.choice(kinds)(chance, 10 * number + n, depth) for n in made)
        return Act(do, acts=tuple(acts))
    return _ACTS.get(do, _other(do))(chance, number, depth)


def _step(chance: Random, number: int, _: int) -> Act:
    fails = chance.random() < 0.25
    return Act(
        "step",
        number=number,
        seconds=chance.choice((0.0, 0.01, 0.3, 2.0)),
        idempotent=chance.random() < 0.7,
        attempts=chance.choice((0, 0, 2, 4)),
        fails=chance.randrange(1, 4) if fails else 0,
        kind=chance.choice(PASSING + LASTING),
    )


def _sleep(chance: Random, number: int, _: int) -> Act:
    return Act("sleep", number=number, seconds=chance.choice((0.01, 1.0, 5.0, 20.0)))


def _ask(chance: Random, number: int, _: int) -> Act:
    approver = APPROVER if chance.random() < 0.3 else ""
    return Act("ask", number=number, seconds=chance.choice((0.0, 3.0, 30.0)), approver=approver)


def _approve(chance: Random, number: int, depth: int) -> Act:
    return msgspec.structs.replace(_ask(chance, number, depth), do="approve")


def _delegate(chance: Random, number: int, depth: int) -> Act:
    shared = chance.random() < 0.3
    return Act(
        "delegate",
        number=number,
        agent=chance.choice(NAMES),
        context=chance.choice(SHARED) if shared else "",
        seconds=chance.choice((0.0, 0.0, 0.0, 15.0)),
        plan=any_plan(chance, depth=0 if shared else depth - 1),
    )


def _flaky(chance: Random, number: int, _: int) -> Act:
    return Act("flaky", number=number, fails=chance.randrange(1, 4), kind=chance.choice(PASSING))


def _hang(_chance: Random, number: int, _: int) -> Act:
    return Act("hang", number=number, fails=1)


class _other:  # noqa: N801  it makes acts as the functions above do
    def __init__(self, do: str) -> None:
        self._do = do

    def __call__(self, chance: Random, number: int, _: int) -> Act:
        return Act(self._do, number=number, seconds=chance.choice((0.0, 0.01, 0.3, 2.0)))


_WEIGHTS: Final = {
    "step": 22,
    "stream": 10,
    "pause": 8,
    "status": 5,
    "values": 8,
    "receive": 5,
    "sleep": 8,
    "ask": 7,
    "approve": 4,
    "delegate": 12,
    "together": 8,
    "flaky": 4,
    "hang": 1,
}
"""How likely each act is."""

_ACTS: Final = {
    "step": _step,
    "sleep": _sleep,
    "ask": _ask,
    "approve": _approve,
    "delegate": _delegate,
    "flaky": _flaky,
    "hang": _hang,
}
