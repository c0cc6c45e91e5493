"""The fixtures of pelton for pytest: `pytest_plugins = ["pelton.testing.fixtures"]`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pelton.runtime.agents import Agent
from pelton.runtime.replay.graph import graph
from pelton.runtime.replay.session import Session
from pelton.testing import Verdict, rerun, session


class Recorded:
    """A session file beside a test. `session` is what it holds."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def tasks(self) -> list[str]:
        """The ids of its tasks."""
        return [node.task for node in graph(self.session).nodes if node.turns]

    def rerun(self, agent: Agent | str, task: str = "") -> Verdict:
        """Run an agent's code against a task: that of the id, or else the first one."""
        return rerun(self.session, task or self.tasks[0], agent)


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Callable[[str], Recorded]:
    """Return what opens a session file by its path from where the test is."""
    return lambda name: Recorded(session(request.path.parent / name))
