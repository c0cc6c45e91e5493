"""What `pelton.testing` gives to tests of agents."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pelton.events.errors import InvalidInput, TaskNotFound
from pelton.runtime.agents import agent
from pelton.runtime.turn import Turn
from pelton.testing import fixtures, rerun
from pelton.testing.fixtures import Recorded

recorded = fixtures.recorded
BAKERY = "../../examples/bakery.pelton"
BOSS = "examples/orchestrator.py:orchestrator"


@pytest.mark.accepts("AS-23")
def test_what_is_recorded_runs_again(recorded: Callable[[str], Recorded]) -> None:
    bakery = recorded(BAKERY)
    verdict = bakery.rerun(BOSS)
    verdict.check()
    assert verdict.lines()[0].startswith("equal: ")
    assert len(bakery.tasks) == 4
    bakery.rerun("examples/orchestrator.py:critic", bakery.tasks[-1]).check()


@pytest.mark.accepts("AS-23")
def test_check_says_what_differs(recorded: Callable[[str], Recorded]) -> None:
    @agent
    async def idle(turn: Turn) -> str:
        return turn.text

    bakery = recorded(BAKERY)
    with pytest.raises(AssertionError, match=r"recorded  StepStarted .*plan#1"):
        bakery.rerun(idle).check()
    with pytest.raises(TaskNotFound):
        rerun(bakery.session, "bakery-0123456789abcdef", idle)
    with pytest.raises(InvalidInput):
        rerun(bakery.session, bakery.tasks[0], "no_such_module:agent")


@pytest.mark.accepts("AS-21")
def test_an_agent_that_kills_its_process_is_kept_from_it(
    recorded: Callable[[str], Recorded],
) -> None:
    bakery = recorded(BAKERY)
    figures = next(node for node in bakery.tasks if node.startswith("ec65"))
    divergence = bakery.rerun("examples/orchestrator.py:figures", figures).divergence
    assert divergence is not None
    assert divergence.found is not None
    assert "os.kill" in divergence.found.event["failure"]["message"]
