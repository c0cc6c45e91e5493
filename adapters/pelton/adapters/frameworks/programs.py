"""The programs that agents are run by: whether one is there and the system would run it."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pelton.adapters.frameworks.contract import Health
from pelton.events.errors import InvalidInput

INSTALLED_BY: Final[Mapping[str, str]] = {
    "claude": "npm install --global @anthropic-ai/claude-code",
    "codex": "npm install --global @openai/codex",
    "gemini": "npm install --global @google/gemini-cli",
}
"""How those are installed whose adapters name them."""


def command_of(reference: str, folder: Path | None = None) -> list[str]:
    """Return the command that `kind:PROGRAM ARGUMENT…` names, split as a shell splits it.

    A program with a slash in its name is looked for in `folder`, if one is given.

    Raises:
        InvalidInput: it cannot be split.
    """
    try:
        command = shlex.split(reference.partition(":")[2])
    except ValueError as error:
        raise InvalidInput(f"{reference!r}: {error}") from error
    if folder is not None and command and "/" in command[0]:
        command[0] = str(folder / command[0])
    return command


async def look(program: str, path: str | None = None) -> Health:
    """Look for a program, on `path` or as the environment has it; what is wrong the system says."""
    return await asyncio.to_thread(_looked, program, path)


def _looked(program: str, path: str | None) -> Health:
    found = shutil.which(program, path=path)
    if found is not None:
        return _interpreted(found)
    if Path(program).is_file() and "/" not in program:
        detail = f"there is no program {program!r} on the path, but a file here"
        return Health(ok=False, detail=detail, fix=f"write ./{program}")
    if Path(program).is_file():
        reason = os.strerror(errno.EACCES)
        return Health(ok=False, detail=f"{program!r}: {reason}", fix="let it be executable")
    detail = f"there is no program {program!r}: {os.strerror(errno.ENOENT)}"
    return Health(ok=False, detail=detail, fix=INSTALLED_BY.get(program, "install it"))


def _interpreted(program: str) -> Health:
    """Look whether what the first line of a script names is there."""
    try:
        with Path(program).open("rb") as file:
            line = file.readline(256)
    except OSError:  # it may be run by who may not read it
        return Health(ok=True)
    words = line[2:].split() if line.startswith(b"#!") else []
    interpreter = words[0].decode(errors="replace") if words else ""
    if not interpreter or Path(interpreter).exists():
        return Health(ok=True)
    reason = os.strerror(errno.ENOENT)
    return Health(ok=False, detail=f"{program!r}: {interpreter}: {reason}", fix="install that")
