"""What moves: the log, executors, turns. For agents in Python, this is all there is to import.

```python
from pelton.runtime import Turn, agent

@agent
async def hello(turn: Turn) -> str:
    return f"Hello, {turn.text}!"
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pelton.events.commands import WhenBusy as WhenBusy
    from pelton.events.events import FailureClass as FailureClass
    from pelton.events.retries import Retry as Retry
    from pelton.events.schedule import Missed as Missed
    from pelton.events.schedule import Schedule as Schedule
    from pelton.events.step import StepKind as StepKind
    from pelton.runtime.agents import Agent as Agent
    from pelton.runtime.agents import Idle as Idle
    from pelton.runtime.agents import Terms as Terms
    from pelton.runtime.agents import agent as agent
    from pelton.runtime.answers import AnswerExpired as AnswerExpired
    from pelton.runtime.answers import Approval as Approval
    from pelton.runtime.answers import DelegationFailed as DelegationFailed
    from pelton.runtime.answers import Report as Report
    from pelton.runtime.failures import AgentError as AgentError
    from pelton.runtime.failures import NondeterminismError as NondeterminismError
    from pelton.runtime.failures import StepError as StepError
    from pelton.runtime.steps import idempotency_key as idempotency_key
    from pelton.runtime.turn import Turn as Turn

_HOMES: Final = {
    "Agent": "runtime.agents",
    "AgentError": "runtime.failures",
    "AnswerExpired": "runtime.answers",
    "Approval": "runtime.answers",
    "DelegationFailed": "runtime.answers",
    "FailureClass": "events.events",
    "Idle": "runtime.agents",
    "Missed": "events.schedule",
    "NondeterminismError": "runtime.failures",
    "Report": "runtime.answers",
    "Retry": "events.retries",
    "Schedule": "events.schedule",
    "StepError": "runtime.failures",
    "StepKind": "events.step",
    "Terms": "runtime.agents",
    "Turn": "runtime.turn",
    "WhenBusy": "events.commands",
    "agent": "runtime.agents",
    "idempotency_key": "runtime.steps",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: `pelton --help` needs the package and none of these."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"pelton.{_HOMES[name]}"), name)
    return value
