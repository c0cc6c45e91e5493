"""The watch over what tests leave behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.leftovers import NAME, end, found

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here")

ROOT = Path(__file__).parents[1]

PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "print(flush=True); import time; time.sleep(300)"])
"""


def test_what_has_lost_its_parent_is_found_and_ended() -> None:
    mark = uuid4().hex
    environment = {**os.environ, NAME: f"{os.environ[NAME]}/{mark}"}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()  # the child's
        parent.wait()
        (command,) = end(mark, grace=0)
        assert "sleep(300)" in command
        assert parent.stdout.read() == b"", "nothing holds the output open any more"
    assert not found(mark)


HANGING = """
import subprocess, sys, time
import pytest

START = [sys.executable, "-c", "import time; time.sleep(300)"]

@pytest.mark.timeout(1)
def test_hangs() -> None:
    subprocess.Popen(START)
    time.sleep(300)

@pytest.mark.timeout(1)
def test_hangs_at_its_end_too() -> None:
    with subprocess.Popen(START):
        time.sleep(300)

def test_comes_after() -> None:
    pass
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_test_that_hangs_ends_at_its_deadline_and_takes_its_processes_along(
    tmp_path: Path,
) -> None:
    """Its child holds the output of the run: whoever reads that sees its end all the same."""
    place = tmp_path / "test_hanging.py"
    place.write_text(HANGING)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "1", "-p", "no:randomly", "-W", "ignore"),
            *("-p", "no:cacheprovider", "-p", "tests.leftovers", "-o", "faulthandler_timeout=2"),
            *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), str(place)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert "Timeout (>1.0s)" in done.stdout
    assert re.search("crashed while running '.*::test_hangs_at_its_end_too'", done.stdout)
    assert "2 failed, 1 passed" in done.stdout
