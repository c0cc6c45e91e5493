"""That a run of the tests leaves no process behind, which would hold its output open for ever.

Every process that a test starts inherits a mark in its environment, those of its children that
have lost their parent too. Where there is no /proc nothing is looked for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

NAME: Final = "TESTS_RUN"
GRACE: Final = 10.0
"""Seconds in which a process that was told to end may still be there."""


def found(mark: str) -> dict[int, str]:
    """Return the command lines of the running processes with a mark, ourselves not among them."""
    processes: dict[int, str] = {}
    for place in Path("/proc").glob("[0-9]*"):
        if int(place.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            command = (place / "cmdline").read_bytes()
            if command and mark.encode() in (place / "environ").read_bytes():
                processes[int(place.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return processes


def end(mark: str, grace: float = GRACE) -> list[str]:
    """End the processes with a mark that do not end by themselves, and return what they were."""
    until = time.monotonic() + grace
    while (left := found(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return sorted(left.values())


MARK = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Mark what this process will start; a worker's mark begins with that of the whole run."""
    config.stash[MARK] = os.environ[NAME] = f"{os.environ.get(NAME, '')}/{uuid4().hex}"


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(pytestconfig: pytest.Config) -> Iterator[None]:
    """Set up first and taken down last: what runs then is nobody's any more."""
    yield
    left = end(pytestconfig.stash[MARK])
    assert not left, f"tests have left these behind, ended now: {left}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what a worker has left that came to no end of its own."""
    end(config.stash[MARK])
