"""Hooks: code that is asked at points of a turn, and may stop or change what is there.

A hook is a function, or a program that is told JSON and tells JSON. It has a time limit, and a mode
for when it fails: `deny`, or `allow`. What it has answered is in the log, and is not asked again.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog

from pelton.events.errors import InvalidInput
from pelton.events.policy import matches
from pelton.events.ruling import ASKABLE, CHANGEABLE, Point, Ruling
from pelton.runtime.agents import named
from pelton.runtime.equipment_settings import HookSettings
from pelton.runtime.functions import called
from pelton.runtime.plugin import function

ENTRY_POINTS: Final = "pelton.hooks"
"""The group of entry points under which packages offer hooks by name."""

LARGEST: Final = 1024 * 1024
"""Bytes that a program may answer."""

_TAIL: Final = 2000
"""Bytes that an operator gets to see of what a program says on standard error."""

_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""Variables that a program is given of ours: none of them holds a secret."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook is told. `content` is what it is about: arguments, a result, a prompt, a text."""

    point: Point
    agent: str
    principal: str
    context: str
    task: str
    turn: int
    attempt: int
    key: str
    """What it is about: the key of a step, or where a text is said."""
    name: str = ""
    """The name of the step; of one that calls a tool, the tool's."""
    time: str = ""
    """When, as the log has it (RFC 3339)."""
    content: Any = None
    options: dict[str, Any] = {}
    """What the settings say to the hook."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hook answers. With `change`, that stands in the place of the content."""

    ruling: Ruling = Ruling.ALLOW
    reason: str = ""
    approvers: tuple[str, ...] = ()
    change: Any = msgspec.UNSET


class HookFailed(Exception):
    """A hook has failed: it raised, was too late, or answered what is no answer."""


Run = Callable[[Occasion], Awaitable[object]]


@dataclass(frozen=True)
class Hook:
    """A hook that can be asked. `order` and `place` say when, among others."""

    name: str
    run: Run
    settings: HookSettings
    place: int = 0
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    may: frozenset[str] = frozenset({"change", "ask"})

    @property
    def rank(self) -> tuple[int, int]:
        """When it is asked."""
        return self.settings.order, self.place

    def hears(self, point: Point, name: str) -> bool:
        """Whether it is asked about something of that name, at a point."""
        return point in self.settings.points and matches(name, self.settings.names)

    async def ask(self, occasion: Occasion) -> tuple[Reply, bool]:
        """Return what it says, and whether that is its mode speaking, since it has failed."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                said = await self.run(msgspec.structs.replace(occasion, options=dict(self.options)))
            reply = _reply(said, occasion.point)
            if reply.change is not msgspec.UNSET and "change" not in self.may:
                raise HookFailed("it may not change anything")
            if reply.ruling is Ruling.ASK and "ask" not in self.may:
                raise HookFailed("it may not have people asked")
            return reply, False
        except Exception as error:  # noqa: BLE001  whatever it fails with, its mode decides
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            logger.warning("hook-failed", hook=self.name, point=occasion.point, reason=why)
            denies = self.settings.on_failure == "deny"
            late = isinstance(error, TimeoutError)
            reason = f"The hook {self.name!r} {'is too late' if late else 'has failed'}."
            return Reply(ruling=Ruling.DENY if denies else Ruling.ALLOW, reason=reason), True


def _reply(said: object, point: Point) -> Reply:
    """Return an answer as it counts at a point.

    Raises:
        HookFailed: it is none.
    """
    if said is None:
        return Reply()
    try:
        reply = said if isinstance(said, Reply) else msgspec.convert(said, Reply)
        if reply.change is not msgspec.UNSET:
            change = msgspec.json.decode(msgspec.json.encode(reply.change))
            reply = msgspec.structs.replace(reply, change=change)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise HookFailed(f"it answers what is no answer: {error}") from error
    if reply.ruling is Ruling.ASK and point not in ASKABLE:
        raise HookFailed(f"nobody can be asked at {point}")
    if reply.change is not msgspec.UNSET and point not in CHANGEABLE:
        raise HookFailed(f"nothing can be changed at {point}")
    return reply


def hook(
    name: str,
    settings: HookSettings,
    *,
    place: int = 0,
    folder: Path | None = None,
    options: Mapping[str, Any] | None = None,
    may: tuple[str, ...] = ("change", "ask"),
) -> Hook:
    """Return the hook that settings describe; what they name lies in `folder`, if one is given.

    `may` says whether it may change what it sees, and have people asked.

    Raises:
        InvalidInput: they describe none.
    """
    if bool(settings.run) == bool(settings.command):
        raise InvalidInput(f"the hook {name!r} has either `run` or `command`", field=name)
    if not settings.points:
        raise InvalidInput(f"the hook {name!r} is asked nowhere: give it `points`", field=name)
    if settings.run:
        run: Run = partial(called, _found(name, settings.run, folder))
    else:
        run = _program(settings.command, folder)
    told = {**settings.options, **(options or {})}
    return Hook(name, run, settings, place, told, frozenset(may))


def _found(name: str, reference: str, folder: Path | None) -> Callable[[Occasion], Any]:
    if folder is not None:
        return cast("Callable[[Occasion], Any]", function(folder, reference))
    if ":" in reference:
        found = named(reference)
    else:
        offered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        if reference not in offered:
            raise InvalidInput(f"the hook {name!r}: nothing installed offers {reference!r}")
        found = offered[reference].load()
    if not callable(found):
        raise InvalidInput(f"the hook {name!r}: {reference!r} is no function")
    return cast("Callable[[Occasion], Any]", found)


def _program(command: tuple[str, ...], folder: Path | None) -> Run:
    async def run(occasion: Occasion) -> object:
        first, *rest = command
        if folder is not None and (folder / first).is_file():
            first = str(folder / first)
        process = await asyncio.create_subprocess_exec(
            first,
            *rest,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env={key: os.environ[key] for key in _PASSED if key in os.environ},
            start_new_session=True,
        )
        told = asyncio.create_task(_tell(process, msgspec.json.encode(occasion)))
        complaining = asyncio.create_task(_complaint(process))
        try:
            assert process.stdout is not None  # it is a pipe
            said = bytearray()
            while piece := await process.stdout.read(65_536):
                said += piece
                if len(said) > LARGEST:
                    raise HookFailed(f"it answers more than {LARGEST} bytes")
            await told
            if code := await process.wait():
                raise HookFailed(f"it ended with exit code {code}: {await complaining}")
        finally:
            await _end(process)
            complaining.cancel()
            await asyncio.wait((complaining,))
        return msgspec.json.decode(said) if said.strip() else None

    return run


async def _tell(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None  # it is a pipe
    with suppress(ConnectionError):  # it need not listen
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _complaint(process: asyncio.subprocess.Process) -> str:
    """Return the end of what a program says on standard error."""
    assert process.stderr is not None  # it is a pipe
    tail = b""
    while piece := await process.stderr.read(65_536):
        tail = (tail + piece)[-_TAIL:]
    return tail.decode(errors="replace").strip() or "it has not said why"


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program and all that it has started: they are a group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
