"""Environments of frameworks that cannot live beside others: made by `pelton adapters install`.

Each is a virtual environment in a folder of its own, whole once `DONE` is in it. What is in it, and
the hash of every file of it, says a lock that comes with pelton: `make lock` writes them, from the
group of the framework's name in `pyproject.toml`.
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

from pelton.adapters.frameworks import programs
from pelton.adapters.frameworks.contract import AdapterError, Health
from pelton.adapters.frameworks.processes import environment
from pelton.events.errors import InvalidInput

VARIABLE: Final = "PELTON_EXECUTOR_ENVIRONMENTS"
"""The variable of the setting `executor.environments`."""

DONE: Final = "pelton.json"
"""The file in an environment that says what was installed; it is written last."""

TIME: Final = 1800.0
"""Seconds that an installation may take."""


LOCKS: Final = Path(__file__).with_name("locks")


class Recipe(NamedTuple):
    """A framework's lock, the distribution whose version is its own, and what it takes."""

    lock: Path
    distribution: str
    size: str


RECIPES: Final[Mapping[str, Recipe]] = {
    "crewai": Recipe(LOCKS / "crewai.lock", "crewai", "850 MB"),
    "hermes": Recipe(LOCKS / "hermes.lock", "hermes-agent", "150 MB"),
}
"""The frameworks with environments of their own."""


class Installed(msgspec.Struct, frozen=True):
    """What `DONE` says."""

    version: str


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


async def look(name: str, folder: Path) -> Health:
    """Look whether an environment is there and whole, and its Python would be run."""
    found = Health(ok=False, detail=f"{name} is not installed in {str(folder)!r}")
    if installed(folder) is not None:
        found = await programs.look(program(folder, "python"))
    return found if found.ok else found._replace(fix=f"pelton adapters install {name}")


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
    for command in commands(recipe, folder, python):
        await _run(name, command)
    asking = f"from importlib.metadata import version; print(version({recipe.distribution!r}))"
    version = await _run(name, [program(folder, "python"), "-c", asking])
    found = Installed(version.strip())
    (folder / DONE).write_bytes(msgspec.json.encode(found))
    return found


def commands(recipe: Recipe, folder: Path, python: str) -> Sequence[Sequence[str]]:
    """Return the commands that make an environment: with uv if that is there, and pip if not."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    own = program(folder, "python")
    locked = ("--require-hashes", "--requirement", str(recipe.lock))
    if uv is not None:
        return (
            (uv, "venv", "--allow-existing", "--python", python, str(folder)),
            (uv, "pip", "install", "--compile-bytecode", "--python", own, *locked),
        )
    return (
        (python, "-m", "venv", str(folder)),
        (own, "-m", "pip", "install", *locked),
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
