"""Environments of frameworks that cannot live beside others: made by `pelton adapters install`.

Each is a virtual environment in a folder of its own, whole once `DONE` is in it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from pelton.adapters.frameworks.contract import AdapterError
from pelton.adapters.frameworks.processes import environment
from pelton.events.errors import InvalidInput

VARIABLE: Final = "PELTON_EXECUTOR_ENVIRONMENTS"
"""The variable of the setting `executor.environments`."""

DONE: Final = "pelton.json"
"""The file in an environment that says what was installed; it is written last."""

TIME: Final = 1800.0
"""Seconds that an installation may take."""


class Recipe(NamedTuple):
    """What is installed for a framework, and the distribution whose version is its own.

    Every requirement has a lower bound: without one, a version of years ago may be picked.
    """

    requirements: tuple[str, ...]
    distribution: str
    size: str


RECIPES: Final[Mapping[str, Recipe]] = {
    "crewai": Recipe(("crewai>=1.15,<2",), "crewai", "850 MB"),
    "hermes": Recipe(
        ("hermes-agent>=0.19,<1", "agent-client-protocol==0.9.0", "aiohttp>=3.13"),
        "hermes-agent",
        "150 MB",
    ),
}
"""The frameworks with environments of their own."""


class Installed(msgspec.Struct, frozen=True):
    """What `DONE` says."""

    version: str
    requirements: tuple[str, ...]


def root(environ: Mapping[str, str]) -> Path:
    """Return where environments are, as the setting `executor.environments` says."""
    if named := environ.get(VARIABLE):
        return Path(named).expanduser()
    data = environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "pelton" / "adapters"


def program(folder: Path, name: str) -> str:
    """Return the path of a program of an environment."""
    return str(folder / "bin" / name)


def installed(folder: Path) -> Installed | None:
    """Return what is installed in a folder, if an installation there is whole."""
    try:
        return msgspec.json.decode((folder / DONE).read_bytes(), type=Installed)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def check(name: str, folder: Path) -> None:
    """Look whether an environment is there.

    Raises:
        AdapterError: it is not, or not whole.
    """
    if installed(folder) is None:
        raise AdapterError(
            f"{name} is not installed in {str(folder)!r}: run pelton adapters install {name}"
        )


async def install(
    name: str, folder: Path, *, python: str = sys.executable, say: Callable[[str], None]
) -> Installed:
    """Make the environment of a framework, with uv if that is there and with pip if not.

    An environment that is there is brought up to date. What the installer writes goes to standard
    error.

    Raises:
        InvalidInput: there is no such framework.
        AdapterError: it cannot be installed.
    """
    if name not in RECIPES:
        raise InvalidInput(
            f"{name!r} has no environment of its own: {', '.join(sorted(RECIPES))} have"
        )
    recipe = RECIPES[name]
    (folder / DONE).unlink(missing_ok=True)
    say(f"Installing {name} into {folder} (about {recipe.size}) …")
    for command in _commands(recipe, folder, python):
        await _run(name, command)
    asking = f"from importlib.metadata import version; print(version({recipe.distribution!r}))"
    version = await _run(name, [program(folder, "python"), "-c", asking])
    found = Installed(version.strip(), recipe.requirements)
    (folder / DONE).write_bytes(msgspec.json.encode(found))
    return found


def _commands(recipe: Recipe, folder: Path, python: str) -> Sequence[Sequence[str]]:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    own = program(folder, "python")
    if uv is not None:
        return (
            (uv, "venv", "--allow-existing", "--python", python, str(folder)),
            (uv, "pip", "install", "--upgrade", "--python", own, *recipe.requirements),
        )
    return (
        (python, "-m", "venv", str(folder)),
        (own, "-m", "pip", "install", "--upgrade", *recipe.requirements),
    )


async def _run(name: str, command: Sequence[str]) -> str:
    """Run an installer's command, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=environment({}),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TIME):
            out, _ = await process.communicate()
    except TimeoutError as error:
        raise AdapterError(f"{name}: it was not installed within {TIME:g} s") from error
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
            await process.wait()
    if process.returncode:
        raise AdapterError(
            f"{name}: {Path(command[0]).name} has failed with exit code {process.returncode};"
            " what it wrote says why"
        )
    return out.decode(errors="replace")
