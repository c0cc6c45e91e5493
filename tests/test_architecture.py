"""Which way imports go, and what the contract does without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = [contract["name"] for contract in CONFIG["contracts"]]
SOURCE_ROOTS = [package.removeprefix("pelton.") for package in CONFIG["root_packages"]]


def lint_imports(root: Path) -> str:
    """Return what import-linter says of the source roots in a folder."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(root / name) for name in SOURCE_ROOTS),
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.accepts("AS-67")
def test_imports_keep_every_contract() -> None:
    verdict = lint_imports(ROOT)

    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in verdict, verdict


FORBIDDEN = {
    "events/pelton/events/zz_loop.py": "import asyncio",
    "events/pelton/events/zz_right.py": "import pelton.runtime.clock",
    "projections/pelton/projections/zz_client.py": "import nats",
    "projections/pelton/projections/zz_right.py": "import pelton.runtime.clock",
    "runtime/pelton/runtime/zz_server.py": "import uvicorn",
    "adapters/pelton/adapters/zz_client.py": "import nats",
}


@pytest.mark.accepts("AS-67")
def test_every_contract_can_break(tmp_path: Path) -> None:
    for root in SOURCE_ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in FORBIDDEN.items():
        (tmp_path / file).write_text(line + "\n")

    verdict = lint_imports(tmp_path)

    assert f"Contracts: 0 kept, {len(CONTRACTS)} broken." in verdict, verdict
    for file in FORBIDDEN:
        module = file.partition("/")[2].removesuffix(".py").replace("/", ".")
        assert f"{module} -> " in verdict, f"no contract forbids what {module} imports"


IMPORT_THE_CONTRACT = """
import importlib, json, pkgutil, sys
before = set(sys.modules)
import pelton.events
names = [m.name for m in pkgutil.walk_packages(pelton.events.__path__, "pelton.events.")]
for name in names:
    if not name.endswith(("__main__", ".schema")):
        importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_the_contract_loads_no_loop_and_no_io() -> None:
    """A fresh interpreter that imports all of `pelton.events` has nothing to do I/O with.

    What it has through msgspec and the standard library is data: `uuid`, `datetime`, `hashlib`.
    msgspec's `uuid` loads the C module `_socket`, never `socket`.
    """
    found = json.loads(
        subprocess.check_output([sys.executable, "-I", "-c", IMPORT_THE_CONTRACT], text=True)
    )

    loop_and_io = {
        *("asyncio", "concurrent", "multiprocessing", "select", "selectors", "signal", "socket"),
        *("http", "random", "secrets", "sqlite3", "ssl", "subprocess", "tempfile", "threading"),
    }
    assert "pelton" in found
    assert not loop_and_io & set(found)
    foreign = {name for name in found if name not in sys.stdlib_module_names}
    assert foreign <= {"pelton", "msgspec", "typing_extensions"}
