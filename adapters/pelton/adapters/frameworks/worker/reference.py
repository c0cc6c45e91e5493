"""Workers as agents by reference: `worker:PROGRAM ARGUMENT…`."""

from __future__ import annotations

import shlex
from pathlib import Path

from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.worker.adapter import WorkerAdapter
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug


def load(reference: str, **_options: object) -> Agent:
    """Return the agent that `worker:PROGRAM ARGUMENT…` names, called as its last word's file is.

    It is split as a shell splits it, and no shell runs it.

    Raises:
        InvalidInput: this is no such reference.
    """
    try:
        command = shlex.split(reference.partition(":")[2])
    except ValueError as error:
        raise InvalidInput(f"{reference!r}: {error}") from error
    adapter = WorkerAdapter(command)
    return as_agent(adapter, name=slug(Path(command[-1]).stem))
