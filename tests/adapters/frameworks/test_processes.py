"""Processes of agents: what ends with them, and which are kept between turns."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pelton.adapters.frameworks.processes import Processes
from pelton.adapters.frameworks.warm import Warm


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
async def test_what_has_left_its_group_ends_with_it() -> None:
    """As the commands of coding agents do, each of which has a session of its own."""
    processes = Processes()
    await processes.start()
    script = (
        "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid)"
    )
    async with processes.run(["python3", "-c", script]) as process:
        left = int(await process.stdout.readline())
        assert Path(f"/proc/{left}").exists()
    async with asyncio.timeout(10):
        while runs(left):
            await asyncio.sleep(0.01)
    await processes.stop()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("session", [False, True])
async def test_what_it_leaves_running_does_not_hold_its_output_open(*, session: bool) -> None:
    """As servers do that a coding agent has started: its turn would wait for ever."""
    processes = Processes()
    await processes.start()
    popen = f"subprocess.Popen(['sleep', '60'], start_new_session={session})"
    async with asyncio.timeout(20):
        async with processes.run(["python3", "-c", f"import subprocess; {popen}"]) as process:
            assert await process.stdout.read() == b""
            assert await process.wait() == 0
        await processes.stop()


def runs(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Kept:
    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def close(self) -> None:
        self.closed.set()


async def test_so_many_are_kept_and_for_so_long() -> None:
    warm, first, second, third = Warm[Kept](2, 60), Kept(), Kept(), Kept()
    for name, each in (("1", first), ("2", second), ("3", third)):
        await warm.put(name, each)
    assert first.closed.is_set()
    assert warm.take("1") is None
    assert warm.take("2") is second
    assert warm.take("2") is None
    await warm.stop()
    assert third.closed.is_set()
    assert not second.closed.is_set(), "it is with whoever has taken it"
    warm.idle = 0.01
    await warm.put("2", second)
    async with asyncio.timeout(10):
        await second.closed.wait()
    assert warm.take("2") is None


async def test_none_is_kept_if_none_is_to_be() -> None:
    warm, one = Warm[Kept](0), Kept()
    await warm.put("1", one)
    assert one.closed.is_set()


async def test_one_that_another_takes_the_place_of_ends() -> None:
    warm, first, second = Warm[Kept](2, 60), Kept(), Kept()
    await warm.put("1", first)
    await warm.put("1", second)
    assert first.closed.is_set()
    assert warm.take("1") is second
