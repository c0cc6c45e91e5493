"""The story that `pelton demo` tells, and the checks that decide whether it was true.

Nothing here reaches into the parts: they are processes, the client is an A2A client, the worker is
killed by the system, and what happened is read from the log.
"""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, NamedTuple

from pelton.adapters.cli import timeline
from pelton.adapters.cli.client import Agent, Response, user_message
from pelton.adapters.cli.output import FAILED, OK, CommandFailed, Output
from pelton.adapters.cli.parts import open_log, quiet
from pelton.adapters.cli.stack import Stack
from pelton.events.a2a import text_of
from pelton.events.commit import RecordedEvent, recorded
from pelton.events.events import StepStarted, TaskStatusUpdated, TurnEnded, TurnStarted
from pelton.events.states import TERMINAL
from pelton.events.subjects import commits
from pelton.events.upcast import decode_commit
from pelton.projections.dump import Digest, digest
from pelton.projections.read import open_read_models
from pelton.runtime.clock import RealWorld
from pelton.runtime.log import Log, Record
from pelton.runtime.process_settings import LogSettings
from pelton.runtime.rebuild import rebuild
from pelton.runtime.settings import Address, BridgeSettings, Settings

AGENT: Final = Path(__file__).resolve().parents[4] / "examples" / "demo.py"
STEPS: Final = ("fetch the sources", "read them", "weigh them", "write the answer", "check it")
KILLED_IN: Final = STEPS[2]
"""The step in the middle of which the worker is killed."""
WITHIN: Final = 30.0
"""Seconds for each thing that is waited for."""
_MIDDLE: Final = 0.3
"""Seconds into a step, which takes twice that."""


class Story(NamedTuple):
    """What is left to look at when everything has happened."""

    events: Sequence[tuple[Record, RecordedEvent]]
    responses: Sequence[Response]
    effects: Sequence[str]
    before: Digest
    after: Digest


class Takeover:
    """Tells the story once, in a directory of its own."""

    def __init__(self, directory: Path, output: Output) -> None:
        self._directory, self._output = directory, output
        self._world = RealWorld()
        self._began = self._world.monotonic()
        self._effects = directory / "effects.txt"
        self._settings = Settings(
            data=str(directory),
            bridge=BridgeSettings(http=Address("127.0.0.1", 0)),
            log=LogSettings(level="error"),
        )

    async def run(self) -> int:
        """Tell it; return 0 if all checks hold, else 1."""
        if not AGENT.exists():
            raise CommandFailed("the demo's agent is in the repository: run make demo there")
        os.environ["DEMO_EFFECTS"] = str(self._effects)  # for the executors, which inherit it
        quiet()
        stack = Stack(
            self._settings, agents=[str(AGENT)], executors=2, say=self._overheard, restart=False
        )
        async with stack, asyncio.timeout(2 * WITHIN):
            await stack.start()
            self._say(
                f"Started nats-server, bridge, projector and two executors: ready at {stack.http}.",
                "Every message it accepts is on disk before it says so (profile durable).",
            )
            async with open_log(stack.settings, name="demo") as log:
                story = await self._tell(stack, log)
        return self._verdict(story)

    async def _tell(self, stack: Stack, log: Log) -> Story:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(asyncio.to_thread(self._ask, stack.http))
            await self._kill(stack, log)
            responses = await asking
        first = responses[0].value.task
        if first is None:
            raise CommandFailed("the stream did not begin with a task")
        self._say(
            "The same HTTP request has got its complete answer.",
            "The client did nothing: no retry, no second request, and saw no piece twice.",
        )
        records = await log.read(commits("demo", first.context_id))
        events = list(timeline.of_task(records, first.id))
        self._say("The task's timeline, from the log:", "every state is a fold of it.")
        for line in timeline.lines(events):
            self._line(f"   {line}")
        before, after = await self._rebuild(stack, log)
        effects = self._effects.read_text().splitlines()
        return Story(events, responses, effects, before, after)

    def _ask(self, bridge: str) -> list[Response]:
        """Send the message, as any A2A client would, and print its answer as it comes."""
        agent = Agent(bridge, "demo", patience=WITHIN)
        self._say(
            f"Sent a message to {agent.url} (SendStreamingMessage), and read the stream:",
            "Plain HTTP and SSE, as any A2A client does it; it need not know what is behind.",
        )
        responses: list[Response] = []
        for response in agent.stream(user_message("Please do your work.", id=self._world.new_id())):
            responses.append(response)
            if text := _piece(response):
                self._line(f"   client reads: {text.rstrip()}")
        return responses

    async def _kill(self, stack: Stack, log: Log) -> None:
        """Kill the worker in the middle of a step, and wait until the other has taken over."""
        worker = ""
        async with aclosing(log.scan(pattern="evt.demo.>", live=True)) as batches:
            async for batch in batches:
                for record in batch:
                    for each in recorded(decode_commit(record.data)):
                        event = each.event
                        if isinstance(event, TurnStarted) and event.attempt > 1:
                            self._say(
                                f"{_name(stack, event.executor)} has taken over, with attempt"
                                f" {event.attempt}.",
                                "Steps with a result are served from the log and not run again;"
                                " whoever had the turn before is fenced out.",
                            )
                            return
                        if isinstance(event, TurnStarted):
                            worker = event.executor
                        elif isinstance(event, StepStarted) and event.name == KILLED_IN:
                            await asyncio.sleep(_MIDDLE)
                            self._strike(stack, worker)

    def _strike(self, stack: Stack, executor: str) -> None:
        child = next(each for each in stack.children if each.facts.get("executor") == executor)
        assert child.pid is not None  # it works
        os.kill(child.pid, signal.SIGKILL)
        self._say(
            f"Killed {child.name} (process {child.pid}) with SIGKILL in the step {KILLED_IN!r}.",
            "The log says who works on it; a killed process can neither clean up nor hand over.",
        )

    async def _rebuild(self, stack: Stack, log: Log) -> tuple[Digest, Digest]:
        """Delete the read models and rebuild them; return their digests before and after."""
        file = stack.settings.projections_path
        last = (await log.extent()).last
        async with open_read_models(file) as models, asyncio.timeout(WITHIN):
            while (await models.position()).sequence < last:  # noqa: ASYNC110  another process's
                await asyncio.sleep(0.05)
        await stack.stop(within=WITHIN)
        before = await digest(file)
        for each in file.parent.glob(f"{file.name}*"):
            each.unlink()
        done = await rebuild(log, file, world=self._world)
        after = await digest(file)
        self._say(
            f"Deleted the read models and rebuilt them from {done.done} records.",
            f"They are only a view: the digests are {before.sha256[:12]}… before and"
            f" {after.sha256[:12]}… after.",
        )
        return before, after

    def _verdict(self, story: Story) -> int:
        seconds = self._world.monotonic() - self._began
        checks = check(story)
        self._line("")
        for words, holds in checks.items():
            self._line(f"{'ok   ' if holds else 'WRONG'}  {words}")
        all_hold = all(checks.values())
        self._output.result(
            {
                "ok": all_hold,
                "seconds": round(seconds, 3),
                "checks": checks,
                "timeline": [timeline.value(*event) for event in story.events],
            },
            [
                "",
                f"{'All of this held' if all_hold else 'NOT all of this held'}, in {seconds:.1f} s",
            ],
        )
        return OK if all_hold else FAILED

    def _say(self, happened: str, matters: str) -> None:
        elapsed = self._world.monotonic() - self._began
        words = f"{elapsed:5.1f} s  {happened} {matters}"
        self._line(textwrap.fill(words, 100, subsequent_indent=" " * 9, break_long_words=False))

    def _line(self, line: str) -> None:
        if not self._output.json:
            self._output.result(None, [line])

    def _overheard(self, name: str, line: str) -> None:
        if "ended" not in line:  # we end them, and say so
            self._output.note(f"   {name}: {line}")


def check(story: Story) -> dict[str, bool]:
    """Return what was promised, each with whether it held."""
    events = [each.event for _, each in story.events]
    starts = [event for event in events if isinstance(event, TurnStarted)]
    ends = [
        event
        for event in events
        if isinstance(event, TaskStatusUpdated) and event.status.state in TERMINAL
    ]
    shown = [response.value.status_update for response in story.responses]
    told = [update for update in shown if update and update.status.state in TERMINAL]
    pieces = "".join(map(_piece, story.responses))
    wanted = [f"{number}. {name}: done" for number, name in enumerate(STEPS, 1)]
    return {
        "each step was done once: the file outside has one line for each": list(story.effects)
        == [f"{number} {name}" for number, name in enumerate(STEPS, 1)],
        "each piece of the stream reached the client once, and in order": pieces.splitlines()
        == [*wanted, "That was all."],
        "the task ended once, in the log and for the client": len(ends) == len(told) == 1
        and sum(isinstance(event, TurnEnded) for event in events) == 1,
        "two executors worked on it, one after the other": len(starts) == 2
        and starts[0].executor != starts[1].executor,
        "the rebuilt read models are equal to those deleted": story.before == story.after,
    }


def _piece(response: Response) -> str:
    update = response.value.artifact_update
    return text_of(update.artifact.parts) if update else ""


def _name(stack: Stack, executor: str) -> str:
    return next(
        (each.name for each in stack.children if each.facts.get("executor") == executor), executor
    )
