"""The supervisor of `pelton dev`: parts as child processes, started, watched and stopped in order.

A part that ends is started again, later each time it ends soon (AS-72). No child outlives us: asked
first, killed when the budget is spent, and if we are killed the kernel kills them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Final, Self

import msgspec

from pelton.events.errors import PeltonError
from pelton.runtime.clock import World

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_STEADY: Final = 10.0
"""Seconds after which a part counts as well: the pauses begin anew."""

Say = Callable[[str, str], None]
"""Takes the name of a part and a line: what it printed, or what became of it."""


class PartFailed(PeltonError):
    """A part ended before it was ready for the first time; the text is its own last words."""

    code: ClassVar[str] = "failed"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # that of the error which ended the part


class Child:
    """A part, and the process that is it now."""

    def __init__(self, name: str, part: str) -> None:
        self.name, self.part = name, part
        self.process: asyncio.subprocess.Process | None = None
        self.ready: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.facts: Mapping[str, Any] = {}
        """What it said of itself when it was ready last."""
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if running and self.process else None


class Supervisor:
    """Runs parts as child processes, for as long as its context lasts.

    `environment` are the settings for the children, and `own` more for those of some part alone;
    `more` are further words of their command lines; `say` takes what they print; `changed` is
    called when one has started or ended. Without `restart`, a part that ends stays down.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        own: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        more: Sequence[str] = (),
        say: Say,
        world: World,
        restart: bool = True,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._environment, self._own, self._more = environment, own, tuple(more)
        self._say, self._world, self._changed = say, world, changed
        self._restart = restart
        self._group = asyncio.TaskGroup()
        self._stopping = asyncio.Event()
        self._failed = False
        self.children: list[Child] = []

    async def __aenter__(self) -> Self:
        """Begin, with no parts yet."""
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill what `stop` has not ended."""
        self._stopping.set()
        self.kill()
        await self._group.__aexit__(kind, error, trace)

    async def start(self, parts: Iterable[tuple[str, str]]) -> None:
        """Start parts, given as name and part, and wait until all are ready.

        Raises:
            PartFailed: one of them ended instead.
        """
        started = [Child(name, part) for name, part in parts]
        self.children += started
        for child in started:
            self._group.create_task(self._keep(child), name=f"keep {child.name}")
        await asyncio.gather(*(child.ready for child in started))

    async def stop(self, *, within: float) -> bool:
        """Ask all parts to end; say whether they did so within `within` seconds."""
        self._stopping.set()
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                for child in self.children:
                    if child.process is not None:
                        await child.process.wait()
                return True
        return False

    def signal(self, number: signal.Signals, part: str = "") -> None:
        """Send a signal to all parts that run, or to those of a kind."""
        for child in self.children:
            wanted = not part or child.part == part
            if wanted and child.pid is not None and child.process is not None:
                child.process.send_signal(number)

    def kill(self) -> None:
        """End all parts at once."""
        self.signal(signal.SIGKILL)

    async def _keep(self, child: Child) -> None:
        """Run a part, again and again, until we stop."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = self._world.monotonic()
            ended, words = await self._run(child)
            self._changed()
            if not child.ready.done():
                code, _, said = words.rpartition("\n")[2].partition(": ")
                child.ready.set_exception(PartFailed(said or f"{child.name} {ended}", code))
                child.ready.exception()  # somebody else's failure may be the one that is told
                self._failed = True
                return
            if self._failed:  # it was ended for that, which is all that there is to tell
                return
            if self._stopping.is_set() or not self._restart:
                self._say(child.name, ended)
                return
            if self._world.monotonic() - began > _STEADY:
                pause = _FIRST_PAUSE
            self._say(child.name, f"{ended}; starts again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _run(self, child: Child) -> tuple[str, str]:
        """Run a part once; return how it ended and the last line it printed."""
        read, write = os.pipe()
        try:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pelton.adapters.cli.parts",
                child.part,
                f"--parent={os.getpid()}",
                f"--ready={write}",
                *self._more,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={
                    **_without_settings(os.environ),
                    **self._environment,
                    **self._own.get(child.part, {}),
                },
                pass_fds=(write,),
                start_new_session=True,  # Ctrl-C is for us; we end them in order
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        child.starts += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(self._await_ready(child, read))
            echo = group.create_task(self._echo(child, child.process))
            code = await child.process.wait()
        return _how(code), echo.result()

    async def _await_ready(self, child: Child, pipe: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
        )
        try:
            said = await reader.read()
        finally:
            transport.close()
        if not said:
            return
        child.facts = msgspec.json.decode(said)
        if child.ready.done():
            self._say(child.name, "is ready again")
        else:
            child.ready.set_result(child.facts)
        self._changed()

    async def _echo(self, child: Child, process: asyncio.subprocess.Process) -> str:
        last = ""
        assert process.stdout is not None  # it is a pipe
        async for line in _lines(process.stdout):
            last = line or last
            self._say(child.name, line)
        return last


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield lines, the overlong in pieces, until the end."""
    rest = b""
    while data := await stream.read(65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip()
        if len(rest) > 65536:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace").rstrip()


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if not name.startswith("PELTON_")}


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else "ended"
