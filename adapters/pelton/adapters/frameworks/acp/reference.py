"""Agents of the Agent Client Protocol by reference: `acp:PROGRAM ARGUMENT…`."""

from __future__ import annotations

from pathlib import Path

from pelton.adapters.frameworks.acp.adapter import AcpAdapter
from pelton.adapters.frameworks.acting import given, words_of
from pelton.adapters.frameworks.programs import command_of
from pelton.adapters.frameworks.serving import as_agent
from pelton.runtime.agents import Agent, slug


def load(reference: str, *, folder: Path | None = None, **_options: object) -> Agent:
    """Return the agent that `acp[+WORD…]:PROGRAM ARGUMENT…` names, called as the program is.

    It is split as a shell splits it, and no shell runs it. With `+again`, what a crash has cut off
    may be done again; with `+home` it has the user's home, where they are logged in; with `+policy`
    what it asks about is for policies to decide. It works in `folder`, if one is given.

    Raises:
        InvalidInput: this is no such reference.
    """
    head = reference.partition(":")[0]
    words = words_of(head, reference)
    command = command_of(reference, folder)
    adapter = AcpAdapter(command, directory=str(folder) if folder else None, **given(words))
    program = Path(command[0]).stem
    return as_agent(adapter, name=slug(program), description=f"The coding agent {program}.")
