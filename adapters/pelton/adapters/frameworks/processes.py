"""Processes of agents: each a group of its own, which ends with whoever started it (S11).

`Processes` starts a program `reaper` beside this one, which kills every group that is left when
this process is gone, however it went. A command begins only once its group is known there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pelton.adapters.frameworks import reaper
from pelton.runtime.model_gateway import ModelDoor

LINE: Final = 16 * 1024 * 1024
"""The longest line that a process may print, in bytes."""

_GRACE: Final = ((signal.SIGINT, 0.4), (signal.SIGTERM, 0.3), (signal.SIGKILL, 0.2))
"""How a group is ended: by which signal, and how many seconds are waited after each."""

_BEHIND: Final = 1.0
"""Seconds that a command's own processes may go on once it has ended itself."""

_HIDDEN: Final = "PELTON_"
"""What the names of variables begin with that no agent gets to see: they hold secrets of ours."""

_BEGIN: Final = ("/bin/sh", "-c", f'read -r go && export {reaper.MARK}=$$ && exec "$@"', "sh")
"""Runs a command once a line has come, and never if none does."""


def environment(more: Mapping[str, str], route: ModelDoor | None = None) -> dict[str, str]:
    """Return the environment of an agent's process: this one's without our own, and `more`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    return (own if route is None else route.environment(own)) | dict(more)


class Process:
    """A command that runs, with its output as streams."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    @property
    def group(self) -> int:
        """The id of its group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait until its first process has ended, and return its exit code; below 0 is a signal."""
        return await self._process.wait()

    async def ended(self) -> None:
        """Wait until its first process has ended, whoever still holds its output open."""
        while self._process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # some versions of asyncio tell of the output's end alone

    async def end(self) -> None:
        """End the whole group, gently at first; it is gone when this returns."""
        for number, seconds in _GRACE:
            if not self._signal(number):
                break
            with contextlib.suppress(TimeoutError):  # then by the next one
                async with asyncio.timeout(seconds):
                    await self._gone()
                    return
        await self._process.wait()

    async def _gone(self) -> None:
        await self._process.wait()
        while self._signal(0):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # nobody tells of the end of what is not our own child

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; return whether anybody is left in it."""
        try:
            os.killpg(self.group, number)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of what is ending
            return False
        return True


class Processes:
    """Starts commands, and sees that none outlives this process. An async context manager."""

    def __init__(self) -> None:
        self._reaper: asyncio.subprocess.Process | None = None
        self._running: set[Process] = set()

    async def start(self) -> None:
        """Start the reaper."""
        self._reaper = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(Path(reaper.__file__))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    async def stop(self) -> None:
        """End every command, and the reaper."""
        await asyncio.gather(*(process.end() for process in tuple(self._running)))
        if self._reaper is not None:
            assert self._reaper.stdin is not None
            self._reaper.stdin.close()
            await self._reaper.wait()
            self._reaper = None

    @contextlib.asynccontextmanager
    async def run(
        self,
        command: Sequence[str],
        *,
        given: bytes | None = b"",
        more: Mapping[str, str] | None = None,
        directory: str | None = None,
        route: ModelDoor | None = None,
    ) -> AsyncGenerator[Process]:
        """Run a command for the duration of the block; what of it is left then is ended.

        So is what a command has left behind that ends by itself: it would hold the output open, and
        whoever reads it would wait for ever.

        `given` is its standard input, which stays open if that is None; `more` goes into its
        environment; with a `route`, that is where its calls of models go.

        A program that there is not ends with 127, as in a shell.
        """
        process = Process(
            await asyncio.create_subprocess_exec(
                *(*_BEGIN, *command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment(more or {}, route),
                cwd=directory,
                limit=LINE,
                start_new_session=True,
            )
        )
        self._running.add(process)
        self._tell(f"+{process.group}")
        behind = asyncio.create_task(_left_behind(process), name="left behind")
        try:
            process.stdin.write(b"go\n" + (given or b""))
            if given is not None:
                process.stdin.close()
            yield process
        finally:
            ending = asyncio.ensure_future(self._ended(process, behind))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await asyncio.wait((ending,))  # a second of it at the most
                raise

    @contextlib.contextmanager
    def adopted(self, group: int) -> Generator[None]:
        """See that a group which somebody else has started ends with the context, at the latest."""
        self._tell(f"+{group}")
        try:
            yield
        finally:
            reaper.kill(group)
            self._tell(f"-{group}")

    async def _ended(self, process: Process, behind: asyncio.Task[None]) -> None:
        behind.cancel()
        await asyncio.wait((behind,))
        await process.end()
        reaper.kill(process.group)  # what has left it
        self._tell(f"-{process.group}")
        self._running.discard(process)

    def _tell(self, line: str) -> None:
        assert self._reaper is not None, "started before it runs anything"
        assert self._reaper.stdin is not None
        self._reaper.stdin.write(f"{line}\n".encode())


async def _left_behind(process: Process) -> None:
    """End what a command leaves running when it ends."""
    await process.ended()
    await asyncio.sleep(_BEHIND)
    await process.end()
    reaper.kill(process.group)
