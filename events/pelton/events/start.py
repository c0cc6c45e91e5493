"""How an executor starts an agent, stage by stage, and what went wrong there."""

from __future__ import annotations

import enum

from pelton.events.event import Event
from pelton.events.failure import FailureClass

LONGEST_DETAIL = 4000
"""Characters that are kept of what the system said when a stage failed."""


class Stage(enum.StrEnum):
    """A stage of the start of an agent, in this order."""

    PREFLIGHT = "preflight"
    """What it needs is looked for: variables, files, packages, programs."""
    ADAPTER = "adapter"
    """What runs it is started."""
    SERVING = "serving"
    """It is registered, its executor hears its commands, and goes on hearing them."""


class AgentStageReached(Event, frozen=True, kw_only=True, tag="AgentStageReached.v1"):
    """An executor is done with a stage of the start of an agent. Lives on `evt.<agent>._agent`.

    Of agents that are plain code only `serving` is told, and that only after a failure.
    """

    executor: str
    stage: Stage


class AgentStageFailed(Event, frozen=True, kw_only=True, tag="AgentStageFailed.v1"):
    """An executor has failed at a stage of the start of an agent. Lives on `evt.<agent>._agent`.

    `kind` may be told to everybody. `detail` is what the system or the dependency said, for
    operators. The same failure is told once, however often it is met.
    """

    executor: str
    stage: Stage
    kind: FailureClass
    detail: str


AnyStartEvent = AgentStageReached | AgentStageFailed
"""The events of the starts of agents."""
