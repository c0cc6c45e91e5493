"""Workers as agents by reference: `worker:PROGRAM ARGUMENT…`."""

from __future__ import annotations

from pathlib import Path

from pelton.adapters.frameworks.programs import command_of
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.worker.adapter import WorkerAdapter
from pelton.runtime.agents import Agent, slug


def load(reference: str, *, folder: Path | None = None, **_options: object) -> Agent:
    """Return the agent that `worker:PROGRAM ARGUMENT…` names, called as its last word's file is.

    It is split as a shell splits it, and no shell runs it. It runs in `folder`, if one is given,
    and a program with a slash in its name is looked for there.

    Raises:
        InvalidInput: this is no such reference.
    """
    command = command_of(reference, folder)
    adapter = WorkerAdapter(command, directory=str(folder) if folder else None)
    return as_agent(adapter, name=slug(Path(command[-1]).stem))
