"""The forks that the page has made: `pelton fork` in a process of its own, and the files it wrote.

The code of agents runs there and never in the bridge, which serves others. One fork is made at a
time, and it has a deadline. A fork is a session file in the data directory, with a note beside it
of what was asked; to forget one, delete its files.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from pelton.adapters.debug.command import MODULE
from pelton.events.a2a import A2A
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.ids import check_memory, context_of
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.replay.archive import open_file
from pelton.runtime.replay.session import Session
from pelton.runtime.settings import Settings, as_environment

FOLDER: Final = "forks"
"""Where they lie in the data directory."""
WITHIN: Final = 60.0
"""Seconds that a fork has to come to rest in; it has `_SLACK` beyond, to begin and to end."""

_SLACK: Final = 60.0
_ENDS: Final = 5.0
_SAID: Final = 2_000
_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_KEPT: Final = 100

Text = Annotated[str, Meta(max_length=100_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class ForkNotFound(PeltonError):
    """The debugger has no fork of that id: it lists those that it has."""

    code = "fork-not-found"


class ForkBusy(PeltonError):
    """Another fork is being made: ask again when it is done."""

    code = "fork-busy"


class ForkFailed(PeltonError):
    """A fork could not be made; the text is what `pelton fork` has said."""

    code = "fork-failed"


class Forking(A2A, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fork that is asked for: of which task, where, and what is otherwise there.

    `of` is the fork that the task is of, empty for the log. `sequence` and `event` are as `pelton
    step` shows them; without a sequence it begins before the task's first turn. `results` are those
    of steps before the fork, by their keys; the memories in `drop` the agent is given no more.
    Steps after it follow `tools`, but those named in `live` run, and those in `stubs` have that
    result.
    """

    of: Annotated[str, Meta(pattern="^[0-9A-Za-z-]{0,64}$")] = ""
    task: Annotated[str, Meta(min_length=1, max_length=300)]
    sequence: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    event: Annotated[int, Meta(ge=1, lt=10**6)] | None = None
    message: Text | None = None
    results: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    model: Annotated[str, Meta(max_length=200)] | None = None
    prompt: Text | None = None
    tools: Annotated[str, Meta(pattern="^(recorded|live|refused)$")] = "recorded"
    live: tuple[Name, ...] = ()
    stubs: dict[Name, Any] = msgspec.field(default_factory=dict[str, Any])
    drop: tuple[Name, ...] = ()

    def arguments(self, out: Path) -> list[str]:
        """Return what `pelton fork` is told.

        Raises:
            InvalidInput: it cannot be told.
        """
        context_of(self.task)
        place = self.task if self.sequence is None else f"{self.task}@{self.sequence}"
        if self.sequence is not None and self.event is not None:
            place += f"/{self.event}"
        found = ["fork", "--json", f"--out={out}", f"--within={WITHIN:g}", f"--tools={self.tools}"]
        if self.message is not None:
            found.append(f"--message={self.message}")
        if self.model is not None:
            found.append(f"--model={self.model}")
        if self.prompt is not None:
            found.append(f"--option=prompt={_json(self.prompt)}")
        if self.of:
            found.append(f"--file={out.with_name(f'{self.of}.pelton')}")
        found += _named("tool-result", self.results, "results")
        found += _named("stub", self.stubs, "stubs")
        found += [f"--drop-memory={check_memory(each)}" for each in self.drop]
        return [*found, *(f"--live={each}" for each in self.live), "--", place]


class Fork(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A fork that was made: what was asked for, when (RFC 3339), and what came of it.

    `task` is the one that was gone on with: another one than that of the original where a message
    has opened it. `of` is the fork that the original is of, if it is of one. `state` is how it came
    to rest.
    """

    id: str
    context: str
    original: str
    sequence: int | None
    event: int | None
    changed: tuple[str, ...]
    task: str
    state: str
    time: str
    of: str = ""


class Forks:
    """Makes forks of what the log of the `settings` holds, and keeps them."""

    def __init__(self, settings: Settings, *, world: World) -> None:
        own = replace(settings, bridge=replace(settings.bridge, debug_token=None))
        inherited = {name: e for name, e in os.environ.items() if not name.startswith("PELTON_")}
        self._environment: Mapping[str, str] = {**inherited, **as_environment(own)}
        self._folder = settings.directory.resolve() / FOLDER
        self._world = world
        self._making = asyncio.Lock()

    async def make(self, asked: Forking) -> Fork:
        """Make a fork.

        Raises:
            InvalidInput: there is no such task, or it cannot be asked for like that.
            ForkNotFound: there is no such fork to go on with.
            ForkBusy: another one is being made.
            ForkFailed: it could not be made, or not in time.
        """
        if self._making.locked():
            raise ForkBusy("another fork is being made: wait until it is done")
        if asked.of:
            self._file(asked.of)
        async with self._making:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            id_ = self._world.new_id()
            out = self._folder / f"{id_}.pelton"
            task = await self._run(asked.arguments(out))
            fork = Fork(
                id=id_,
                context=context_of(asked.task),
                original=asked.task,
                sequence=asked.sequence,
                event=asked.event,
                changed=_changed(asked),
                task=task["id"],
                state=task["status"]["state"],
                time=rfc3339(self._world.now()),
                of=asked.of,
            )
            note = out.with_suffix(".json")
            note.touch(mode=0o600)
            note.write_bytes(msgspec.json.encode(fork))
            return fork

    async def _run(self, arguments: list[str]) -> dict[str, Any]:
        """Run the command in a process that does not outlive the wait; return the task."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        talking = asyncio.create_task(
            process.communicate(msgspec.json.encode(arguments)), name="fork"
        )
        try:
            async with asyncio.timeout(WITHIN + _SLACK):
                out, err = await asyncio.shield(talking)
        except TimeoutError:
            await _end(process, talking)
            raise ForkFailed(f"the fork was not done within {WITHIN + _SLACK:g} s") from None
        except asyncio.CancelledError:
            await _end(process, talking)
            raise
        if process.returncode != 0:
            raise ForkFailed(_said(err) or f"pelton fork ended with {process.returncode}")
        found: dict[str, Any] = _last(out).get("task", {})
        return found

    def note(self, id_: str) -> Fork | None:
        """Return what was asked of a fork, if that is known still; it reads a file.

        Raises:
            ForkNotFound: there is none of that id.
        """
        note = self._file(id_).with_suffix(".json")
        return msgspec.json.decode(note.read_bytes(), type=Fork) if note.exists() else None

    def all(self) -> list[Fork]:
        """Return the forks that there are, the latest first; it reads files."""
        notes = [
            each for each in self._folder.glob("*.json") if each.with_suffix(".pelton").exists()
        ]
        found = [msgspec.json.decode(each.read_bytes(), type=Fork) for each in notes]
        return sorted(found, key=lambda each: each.time, reverse=True)[:_KEPT]

    async def session(self, id_: str) -> Session:
        """Return what a fork holds, verified.

        Raises:
            ForkNotFound: there is none of that id.
            SessionDamaged: its file is not as it was written.
        """
        return (await asyncio.to_thread(open_file, self._file(id_))).session

    def _file(self, id_: str) -> Path:
        file = self._folder / f"{id_}.pelton"
        if not _ID.fullmatch(id_) or not file.exists():
            raise ForkNotFound(f"there is no fork {id_[:40]!r}")
        return file


async def _end(process: asyncio.subprocess.Process, talking: asyncio.Task[Any]) -> None:
    """End a process, in order if it can be, and whoever listens to it."""
    for ask in (signal.SIGINT, signal.SIGKILL):
        if process.returncode is None:
            process.send_signal(ask)
            await asyncio.wait((talking,), timeout=_ENDS)
    await asyncio.wait((talking,))


def _changed(asked: Forking) -> tuple[str, ...]:
    """Return in words what is otherwise in a fork."""
    found = [f"result of {key}" for key in asked.results]
    found += [f"message {asked.message[:80]!r}"] if asked.message is not None else []
    found += [f"{key} without running" for key in asked.stubs]
    found += [f"{name} run" for name in asked.live]
    found += [f"other steps {asked.tools}"] if asked.tools != "recorded" else []
    found += [f"memory {each[:8]} dropped" for each in asked.drop]
    found += [f"model {asked.model}"] if asked.model is not None else []
    return (*found, *(["prompt"] if asked.prompt is not None else []))


def _last(out: bytes) -> dict[str, Any]:
    """Return the last line that is a JSON object: an agent's code may print, too."""
    for line in reversed(out.splitlines()):
        try:
            return msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return {}


def _said(err: bytes) -> str:
    """Return why the command failed: what it said to machines, or else its last words."""
    error = _last(err).get("error", {})
    return str(error.get("message", "")) or err.decode(errors="replace").strip()[-_SAID:]


def _named(option: str, values: Mapping[str, Any], field: str) -> list[str]:
    """Return options that say something of steps by their keys or names.

    Raises:
        InvalidInput: one cannot be said.
    """
    if any("=" in name for name in values):
        raise InvalidInput("a step that is named here has no equals sign", field=field)
    return [f"--{option}={name}={_json(value)}" for name, value in values.items()]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
