"""What a system under misfortune has recorded runs again from its record, whatever it went through.

Executors were killed and stopped, connections broke: every turn reads as if nothing had happened.
"""

from __future__ import annotations

from collections import Counter

import pytest
from structlog.testing import capture_logs

from pelton.events.context import Context, fold
from pelton.runtime.agents import Agent, agent
from pelton.runtime.replay.rerun import rerun
from pelton.runtime.replay.script import Script, scripts
from pelton.runtime.replay.session import Session
from pelton.runtime.turn import Turn
from tests.simulation.agent import Doing, Outside
from tests.simulation.scenario import play

CHUNKS, SEEDS = 2, 24


class Stub(Outside):
    """A world outside in which nothing may be done, and nothing fails of itself."""

    def fails(self, key: str, times: int) -> bool:  # noqa: ARG002
        return False


def stubbed(name: str, attempts: dict[int, int]) -> Agent:
    """Return the agent of the simulation; some of what it says depends on the attempt."""

    @agent(name=name)
    async def told(turn: Turn) -> str | None:
        vars(turn)["attempt"] = attempts[turn.number]
        return await Doing(turn, Stub()).all()

    return told


def failed_by_chance(script: Script) -> bool:
    """Whether a turn came to its end by a failure that is recorded nowhere else."""
    return "It may pass." in str(script.entries[-1].event) if script.entries else False


def contexts(session: Session) -> list[Context]:
    found: list[Context] = []
    for name, id_ in session.contexts:
        state = Context(agent=name, id=id_)
        for record in session.commits(name, id_):
            state = fold(state, record.sequence, record.data)
        found.append(state)
    return found


@pytest.mark.accepts("AS-21", "AS-23")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_turn_runs_again(chunk: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(chunk, SEEDS, CHUNKS):
        counts += ran_again(seed)
    assert counts["agent"] > 40
    assert counts["cut"]
    assert counts["attempts"] > 5


def ran_again(seed: int) -> Counter[str]:
    """Run all turns of a scenario again; count them, and what they went through."""
    counts: Counter[str] = Counter()
    session = Session(play(seed).records, {})
    with capture_logs():
        for context in contexts(session):
            commits = session.commits(context.agent, context.id)
            for task in context.tasks:
                found = scripts(context.agent, context.id, commits, task)
                if not found or any(map(failed_by_chance, found)):
                    continue
                attempts = {each.number: each.attempts for each in found}
                verdict = rerun(session, task, stubbed(context.agent, attempts))
                assert verdict.equal, f"seed {seed}: {verdict}"
                for turned in verdict.turns:
                    counts[turned.ending] += 1
                    counts["attempts"] += turned.attempts > 1
    return counts
