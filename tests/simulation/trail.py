"""What an agent of the simulation must have seen, told from the records of its turn alone.

Values alike on every attempt, steps served and not run again, answers and reports that arrive once
and complete: a turn that completes has told in its trail what the log says it was given.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import msgspec

from pelton.events.a2a import TaskState, text_of
from pelton.events.events import StepFailed
from tests.simulation.agent import FOLLOW_UPS
from tests.simulation.ledger import Ledger
from tests.simulation.plans import Act, Plan

_WORDS = {"yes": True, "no": False}


class Trail:
    """Tells the trail of a turn; a KeyError says what the log lacks."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._made: Counter[str] = Counter()

    def of(self, plan: Plan) -> list[Any]:
        """Return what a turn that does as planned tells in the end."""
        return [self._act(act) for act in plan.acts]

    def _key(self, name: str) -> str:
        self._made[name] += 1
        return f"{name}#{self._made[name]}"

    def _act(self, act: Act) -> Any:
        match act.do:
            case "values":
                now, uuid, random = (
                    self._ledger.values[self._key(name)] for name in ("now", "uuid", "random")
                )
                return [datetime.fromisoformat(now).isoformat(), uuid, random]
            case "receive":
                command = self._ledger.values[self._key("received")]
                return command and self._ledger.received[command].message_id
            case "together":
                keys = [self._key(_NAMES[each.do]) for each in act.acts]
                return [self._came(*pair) for pair in zip(act.acts, keys, strict=True)]
            case "delegate":
                return self._delegated(act)
            case "step" | "sleep" | "ask" | "approve":
                return self._came(act, self._key(_NAMES[act.do]))
            case _:
                return None

    def _came(self, act: Act, key: str) -> Any:
        ledger = self._ledger
        match act.do:
            case "step":
                done = ledger.steps[key]
                if isinstance(done, StepFailed):
                    return ["failed", done.failure.kind]
                return done.result
            case "sleep":
                return None
            case "ask":
                return self._asked(key)
            case "approve":
                return self._approved(key)
            case _:
                return self._report(act.agent, key)

    def _asked(self, first: str) -> Any:
        key = first
        while True:
            answer = self._ledger.answers[key]
            if answer is None:
                return "expired"
            if (text := text_of(answer[0].parts)).isdigit():
                return int(text)
            key = self._key(first)

    def _approved(self, first: str) -> Any:
        key = first
        while True:
            answer = self._ledger.answers[key]
            if answer is None:
                return {"approved": False, "reason": "nobody decided in time", "by": ""}
            word, _, reason = text_of(answer[0].parts).partition(" ")
            if word in _WORDS:
                return {"approved": _WORDS[word], "reason": reason, "by": answer[1]}
            key = self._key(first)

    def _delegated(self, act: Act) -> list[Any]:
        trail = [self._report(act.agent, self._key("delegate"))]
        while trail[-1][1] == TaskState.INPUT_REQUIRED and len(trail) <= FOLLOW_UPS:
            trail.append(self._report(act.agent, self._key("delegate")))
        return trail

    def _report(self, agent: str, key: str) -> Any:
        chain = (*self._ledger.chain, self._ledger.agent)
        if chain[-1] == agent or chain.count(agent) >= 2:
            return "refused"
        outcome = self._ledger.reports[key]
        assert outcome is not None  # small ones are not in blobs
        parts = [part for artifact in outcome.artifacts for part in artifact.parts]
        if outcome.message is not None:
            parts += outcome.message.parts
        return ["ended", outcome.state, text_of(tuple(parts))]


_NAMES = {
    "step": "do",
    "sleep": "sleep",
    "ask": "ask",
    "approve": "approve",
    "delegate": "delegate",
}


def told(text: str) -> Any:
    """Return a trail as an agent has told it."""
    return msgspec.json.decode(text)
