"""Commands as agents by reference: `cli:PROGRAM ARGUMENT…`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pelton.adapters.frameworks.cli.adapter import CliAdapter
from pelton.adapters.frameworks.programs import command_of
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug

if TYPE_CHECKING:
    from pelton.adapters.mcp.gateway import TurnServer


def load(reference: str, *, folder: Path | None = None, **_options: object) -> Agent:
    """Return the agent that `cli[+DIALECT][+again][+mcp]:PROGRAM ARGUMENT…` names.

    It is split as a shell splits it, and no shell runs it. With `+again` a run that was cut off by
    a crash is begun again; with `+mcp` it has the tools of its turn. The agent's name is the
    program's. It runs in `folder`, if one is given, and a program with a slash in its name is
    looked for there.

    Raises:
        InvalidInput: this is no such reference.
    """
    head = reference.partition(":")[0]
    words = head.split("+")[1:]
    dialects = [word for word in words if word not in ("again", "mcp")]
    if len(dialects) > 1:
        raise InvalidInput(f"{reference!r}: a command speaks one dialect")
    tools: TurnServer | None = None
    if "mcp" in words:
        try:
            from pelton.adapters.mcp.gateway import TurnServer  # noqa: PLC0415  an extra
        except ModuleNotFoundError as error:
            raise InvalidInput(f"{reference!r} needs more: pip install 'pelton[mcp]'") from error

        tools = TurnServer()
    command = command_of(reference, folder)
    adapter = CliAdapter(
        command,
        dialect="".join(dialects),
        idempotent="again" in words,
        directory=str(folder) if folder is not None else None,
        tools=tools,
    )
    program = Path(command[0]).stem
    return as_agent(adapter, name=slug(program), description=f"The command {program}.")
