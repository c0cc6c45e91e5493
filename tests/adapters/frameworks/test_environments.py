"""Environments of frameworks that cannot live beside others."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.catalogue import catalogue
from pelton.adapters.frameworks.contract import AdapterError, Health
from pelton.adapters.frameworks.crewai import CrewAIAdapter
from pelton.adapters.frameworks.environments import RECIPES, Installed, Recipe
from pelton.adapters.frameworks.hermes import HermesAdapter
from pelton.events.errors import InvalidInput


@pytest.mark.accepts("S27")
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("uv", ["/usr/bin/uv", None])
def test_every_file_has_the_hash_that_the_lock_says(
    name: str, uv: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With uv as with pip, and in the version that it says is its own."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def which(_: str) -> str | None:
        return uv

    monkeypatch.setattr(shutil, "which", which)
    recipe = RECIPES[name]
    commands = environments.commands(recipe, tmp_path, "python3")
    assert commands[0][0] == (uv or "python3")
    assert commands[-1][-3:] == ("--require-hashes", "--requirement", str(recipe.lock))
    assert f"\n{recipe.distribution}==" in recipe.lock.read_text()


def test_where_they_are(tmp_path: Path) -> None:
    assert environments.root({environments.VARIABLE: str(tmp_path)}) == tmp_path
    assert environments.root({"XDG_DATA_HOME": "/data"}) == Path("/data/pelton/adapters")


@pytest.mark.accepts("AS-69")
@pytest.mark.parametrize("name", RECIPES)
async def test_one_that_is_not_there_is_missed(name: str, tmp_path: Path) -> None:
    adapter = (
        CrewAIAdapter("my:crew", environment=tmp_path)
        if name == "crewai"
        else HermesAdapter("http://127.0.0.1", "any", environment=tmp_path)
    )
    missing = f"{name} is not installed in {str(tmp_path)!r}"
    assert await adapter.health() == Health(
        ok=False, detail=missing, fix=f"pelton adapters install {name}"
    )
    with pytest.raises(AdapterError, match=f"{name} is not installed in"):
        await adapter.start()
    (tmp_path / environments.DONE).write_bytes(msgspec.json.encode(Installed("1.0")))
    health = await adapter.health()
    assert "bin/python': No such file" in health.detail, "the Python that it was made with is gone"
    assert health.fix == f"pelton adapters install {name}"


async def test_one_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing in it, so that nobody has to be asked for it; what fails says so."""
    said: list[str] = []
    folder, none = tmp_path / "none", Recipe(tmp_path / "none.lock", "pip", "0 MB")
    monkeypatch.setattr(environments, "RECIPES", {"none": none})

    def commands(*_: object) -> list[tuple[str, ...]]:
        return [(sys.executable, "-m", "venv", "--without-pip", str(folder))]

    monkeypatch.setattr(environments, "commands", commands)
    with pytest.raises(AdapterError, match="has failed with exit code 1"):
        await environments.install("none", folder, say=said.append)
    assert environments.installed(folder) is None, "it has no pip"
    (folder / environments.DONE).write_bytes(msgspec.json.encode(Installed("1.0")))
    assert environments.installed(folder) == Installed("1.0")
    assert (await environments.look("none", folder)).ok
    assert "0 MB" in said[0]


def test_what_has_no_environment_cannot_be_installed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="crewai, hermes have"):
        asyncio.run(environments.install("langgraph", tmp_path, say=print))


def test_the_catalogue_says_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path))
    found = {entry.reference.partition(":")[0]: entry for entry in catalogue()}
    assert found["langgraph"].version
    assert not found["langgraph"].needs
    assert found["crewai"].needs == "pelton adapters install crewai"
    assert not found["cli"].needs
