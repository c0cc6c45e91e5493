"""The crash sweep: an agent is killed at each moment of its work, and nothing may come of it.

Each run has a server of its own, whose directory is deleted afterwards, and gets the same messages
with the same ids, so that what comes of them can be compared with an undisturbed run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from pelton.adapters.cli.output import CommandFailed
from pelton.events import subjects
from pelton.events.commands import SendMessage
from pelton.events.commit import recorded
from pelton.events.context import TaskFold
from pelton.events.envelope import encode
from pelton.events.events import StepCompleted, StepFailed, StepStarted, TurnStarted
from pelton.events.ids import task_id
from pelton.events.states import SETTLED
from pelton.events.upcast import decode_commit
from pelton.runtime.contexts import Contexts
from pelton.runtime.failpoints import PLACES, Point
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.server import EmbeddedServer

WITHIN: Final = 120.0
"""Seconds for each message to come to rest in."""

_STARTS: Final = 60.0  # seconds for an executor to start or to stop in


class Ran(msgspec.Struct, frozen=True):
    """What came of a run: the tasks as clients see them, and what the log has of the work.

    `steps` counts the results of each step, `begun` how often each was begun, `passed` the moments
    that an undisturbed executor has passed; `killed` tells that one was.
    """

    tasks: Sequence[Any]
    steps: Mapping[str, int]
    begun: Mapping[str, int]
    attempts: int
    passed: Mapping[str, int]
    killed: bool


class Struck(msgspec.Struct, frozen=True, kw_only=True):
    """What came of killing it at a point; nothing in `differs` is as it should be.

    Without `killed` it ended before it came to that point: how many records a turn makes depends on
    how fast it is. `repeated` counts the steps that ran again because their results were not yet
    recorded.
    """

    k: int
    where: str
    attempts: int
    repeated: int
    killed: bool
    differs: Sequence[str]


class Sweep:
    """Runs an agent with messages, and kills it. `progress` hears of each run that ends."""

    def __init__(
        self, agent: str, messages: Sequence[SendMessage], *, progress: Callable[[int, int], None]
    ) -> None:
        self._agent, self._messages, self._progress = agent, messages, progress

    async def run(self) -> tuple[Ran, list[Struck]]:
        """Run it undisturbed, and then once for each moment it has passed.

        Raises:
            CommandFailed: undisturbed it does not come to rest, or does otherwise each time.
        """
        plain, again = await self._play(None), await self._play(None)
        if found := differences(plain, again):
            raise CommandFailed(
                "undisturbed, the agent does otherwise each time, so there is nothing to compare"
                f" with: {'; '.join(found)}"
            )
        points = [
            Point(place, nth + 1) for place in PLACES for nth in range(plain.passed.get(place, 0))
        ]
        slots = asyncio.Semaphore(os.cpu_count() or 1)
        struck: list[Struck] = []

        async def strike(k: int, point: Point) -> None:
            async with slots:
                ran = await self._play(point)
            begun = Counter(ran.begun) - Counter(plain.begun)
            struck.append(
                Struck(
                    k=k,
                    where=str(point),
                    attempts=ran.attempts,
                    repeated=begun.total(),
                    killed=ran.killed,
                    differs=differences(plain, ran),
                )
            )
            self._progress(len(struck), len(points))

        async with asyncio.TaskGroup() as group:
            for k, point in enumerate(points, 1):
                group.create_task(strike(k, point))
        return plain, sorted(struck, key=lambda each: each.k)

    async def _play(self, point: Point | None) -> Ran:
        """Run it once, killed at a point or not."""
        with tempfile.TemporaryDirectory(prefix="pelton-sweep-") as directory:
            async with (
                EmbeddedServer(Path(directory), profile=RELAXED) as server,
                JetStreamLog.open(server.url, profile=RELAXED) as log,
                self._executor(server.url, point) as end,
            ):
                tasks = await self._send(log)
                ran = await self._look(log, tasks)
            return replace(ran, passed=end.get("passed", {}), killed=end["killed"])

    @asynccontextmanager
    async def _executor(self, url: str, point: Point | None) -> AsyncGenerator[dict[str, Any]]:
        """Run an executor, and another one if that is killed; gives its last words, at its end."""
        end: dict[str, Any] = {}
        at = ["--at", str(point)] if point else []
        first = await _start(url, self._agent, at)
        keeping = asyncio.create_task(self._keep(first, url))
        try:
            yield end
        finally:
            end.update(await _stop(keeping, first), killed=first.returncode == -signal.SIGKILL)

    async def _keep(
        self, first: asyncio.subprocess.Process, url: str
    ) -> asyncio.subprocess.Process:
        """Start another executor once the first is dead; return it, or wait for ever."""
        code = await first.wait()
        if code != -signal.SIGKILL:
            raise CommandFailed(f"the executor of {self._agent} ended by itself, with {code}")
        return await _start(url, self._agent, [])

    async def _send(self, log: JetStreamLog) -> list[TaskFold]:
        """Send the messages, each when the one before has come to rest."""
        tasks: dict[str, TaskFold] = {}
        contexts = Contexts(log)
        for command in self._messages:
            agent, _, context = command.subject.partition("/")
            await log.append(subjects.commands(agent, context), encode(command), id=command.id)
            task = command.data.message.task_id or task_id(context, command.id)
            tasks[task] = await self._rest(log, contexts, command, task)
        return list(tasks.values())

    async def _rest(
        self, log: JetStreamLog, contexts: Contexts, command: SendMessage, task: str
    ) -> TaskFold:
        agent, _, context = command.subject.partition("/")
        changed = asyncio.Event()
        try:
            async with (
                asyncio.timeout(WITHIN),
                log.listen(subjects.commits(agent, context), lambda _: changed.set()),
            ):
                while True:
                    changed.clear()
                    state = await contexts.load(agent, context)
                    if refused := state.rejected.get(command.id):
                        raise CommandFailed(f"the message was refused: {refused.reason}")
                    found = state.tasks.get(task)
                    if found and command.id in state.commands and found.status.state in SETTLED:
                        return found
                    await changed.wait()
        except TimeoutError:
            raise CommandFailed(f"task {task} did not come to rest within {WITHIN:g} s") from None

    async def _look(self, log: JetStreamLog, tasks: Sequence[TaskFold]) -> Ran:
        """Return what the log has of all that happened."""
        steps, begun, attempts = Counter[str](), Counter[str](), 0
        async for batch in log.scan(pattern="evt.>"):
            for record in batch:
                for each in recorded(decode_commit(record.data)):
                    match each.event:
                        case StepStarted(key=key):
                            begun[key] += 1
                        case StepCompleted(key=key):
                            steps[key] += 1
                        case StepFailed(key=key, again_at=""):
                            steps[key] += 1
                        case TurnStarted():
                            attempts += 1
                        case _:
                            pass
        shown = [_shown(task) for task in tasks]
        return Ran(shown, steps, begun, attempts, passed={}, killed=False)


def differences(plain: Ran, other: Ran) -> list[str]:
    """Return in words what differs in two runs, but for times and how often it was tried."""
    found: list[str] = []
    for one, two in zip(plain.tasks, other.tasks, strict=True):
        found += [
            f"{member}: {_short(two[member])} instead of {_short(one[member])}"
            for member in one
            if one[member] != two[member]
        ]
    for key in sorted({*plain.steps, *other.steps}):
        if plain.steps.get(key, 0) != other.steps.get(key, 0):
            one, two = plain.steps.get(key, 0), other.steps.get(key, 0)
            found.append(f"step {key}: {two} results instead of {one}")
    return found


def _shown(task: TaskFold) -> Any:
    """Return a task as far as it has to be equal: all that clients see, but for times."""
    said = task.answer or task.status.message
    return msgspec.to_builtins(
        {
            "state": task.status.state,
            "message": said and said.parts,
            "artifacts": [(each.name, each.parts) for each in task.artifacts.values()],
            "history": [(each.role, each.parts) for each in task.history],
        }
    )


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"


async def _start(url: str, agent: str, at: Sequence[str]) -> asyncio.subprocess.Process:
    """Start an executor; it is ready when this returns."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pelton.adapters.cli.doomed", agent, *at),
        *("--parent", str(os.getpid())),
        env={**os.environ, "PELTON_NATS_URL": url},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(_STARTS):
        if not await process.stdout.readline():
            raise CommandFailed(f"the executor of {agent} did not start: {await process.wait()}")
    return process


async def _stop(
    keeping: asyncio.Task[asyncio.subprocess.Process], first: asyncio.subprocess.Process
) -> dict[str, Any]:
    """Stop the executor that is left; return its last words."""
    process = first
    if first.returncode is not None:
        process = await keeping
    keeping.cancel()
    await asyncio.wait((keeping,))
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STARTS):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    lines = out.splitlines()
    return msgspec.json.decode(lines[-1]) if lines else {}
