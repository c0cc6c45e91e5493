"""The gates: every step that a change must pass can fail, and then the whole does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """\
#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$STEPS"
[ "$(wc -l < "$STEPS")" != "$FAILS" ] || exit 1
if [ "$*" = setup ]; then mkdir -p "$VENV/bin"; ln -sf "$RUNS" "$VENV/bin/python"; fi
"""
"""Stands in for a program: notes that it was called, and fails if it is the one that has to."""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


def run(directory: Path, fails: int) -> tuple[int, list[str]]:
    """Run `.ci/run` with stand-ins, of which one fails; return its exit code and the steps."""
    programs, steps = directory / "bin", directory / f"steps-{fails}"
    ci = directory / ".ci" / "run"
    if not ci.exists():
        ci.parent.mkdir()
        shutil.copy(ROOT / ".ci" / "run", ci)
        programs.mkdir()
        for name in ("make", "git"):
            (programs / name).write_text(STAND_IN)
        for name in ("npm", "chromium", "python3.11", "python3.12", "python3.13"):
            (programs / name).write_text("#!/bin/sh\n")
        for each in programs.iterdir():
            each.chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.defpath}",
        "STEPS": str(steps),
        "FAILS": str(fails),
        "RUNS": sys.executable,
    }
    done = subprocess.run(["bash", str(ci)], env=environment, capture_output=True, check=False)
    return done.returncode, steps.read_text().splitlines()


@pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="no .ci here, as in the image")
@pytest.mark.accepts("AS-70")
def test_every_step_can_fail_and_then_all_does(tmp_path: Path) -> None:
    code, steps = run(tmp_path, 0)

    assert code == 0
    assert {
        *("make lint", "make imports", "make -j2 types", "make demo", "make node", "make test"),
        *("make simulate SEEDS=20000", "make test-browser"),
    } <= set(steps)
    assert any(step.startswith("make cov-core") for step in steps)
    for number, step in enumerate(steps, start=1):
        code, done = run(tmp_path, number)
        assert (code, done[-1]) == (1, step)
        assert len(done) == number  # and nothing comes after it
