"""What names an agent in settings and on command lines, whatever kind of agent it is."""

from __future__ import annotations

from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, load


def load_agent(reference: str) -> Agent:
    """Return the agent that a reference names: see `agents.load`, `a2a_sdk.executors` for `sdk:`.

    Raises:
        InvalidInput: it leads to none, or what it needs is not installed.
    """
    if not reference.startswith("sdk:"):
        return load(reference)
    try:
        from pelton.adapters.a2a_sdk import executors
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{reference!r} needs more: pip install 'pelton[sdk]'") from error
    return executors.load(reference)
