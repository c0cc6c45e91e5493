"""A command that is run for each turn: the conversation goes in, its answer comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from pelton.adapters.frameworks import programs
from pelton.adapters.frameworks.cli.dialects import DIALECTS
from pelton.adapters.frameworks.contract import AgentDied, Capability, Health, assured
from pelton.adapters.frameworks.conversation import Conversation, Spoken, told
from pelton.adapters.frameworks.processes import Process, Processes
from pelton.adapters.frameworks.speech import Speech
from pelton.events.errors import InvalidInput
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError
from pelton.runtime.model_gateway import ModelRoute, opened
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

if TYPE_CHECKING:
    from pelton.adapters.mcp.gateway import TurnServer

PLACES: Final = ("{text}", "{prompt}", "{session}", "{context}", "{task}")
"""What may stand in a command's arguments. Without `{text}` or `{prompt}`, the prompt is what the
command reads on its standard input."""

_TAIL: Final = 4000  # characters of what it says on standard error that an operator gets to see
_CANNOT_RUN: Final = (126, 127)  # a shell's codes for a program that is none, or is not there

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class CliAdapter:
    """A command and its arguments; `dialect` says how its output is read (`cli.dialects`).

    `{text}` is what the turn is told, `{prompt}` that with the conversation before it; `{session}`
    is a UUID for the conversation, `{context}` and `{task}` are ids. The command runs in
    `directory` with `more` in its environment, and without any variable of pelton's but those that
    say where the `tools` of its turn are, if it is to have them (`adapters.mcp`).

    A run of it is one step. Without `idempotent`, one that was cut off by a crash is begun again
    only if a person says so.
    """

    name: str = "cli"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(
        {Capability.STREAM, Capability.REPLAY, Capability.RERUN, Capability.HISTORY}
    )
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        command: Sequence[str],
        *,
        dialect: str = "",
        idempotent: bool = False,
        directory: str | None = None,
        more: Mapping[str, str] | None = None,
        deadline: float | None = None,
        tools: TurnServer | None = None,
    ) -> None:
        if not command:
            raise InvalidInput("a command needs a program: write cli:PROGRAM ARGUMENT…")
        known = Path(command[0]).name
        dialect = dialect or (known if known in DIALECTS else "text")
        if dialect not in DIALECTS:
            raise InvalidInput(
                f"no command speaks {dialect!r}: write one of {', '.join(sorted(DIALECTS))}"
            )
        self.command, self.dialect = tuple(command), dialect
        self.idempotent, self.deadline = idempotent, deadline
        self.directory, self.more = directory, dict(more or {})
        self.processes = Processes()
        self.tools = tools

    async def start(self) -> None:
        """Look for the program, and start what sees to its end.

        Raises:
            AdapterError: there is no such program.
        """
        assured(await self.health())
        await self.processes.start()
        if self.tools is not None:
            await self.tools.start()

    async def health(self) -> Health:
        """Look for the program, and whether the system would run it."""
        return await programs.look(self.command[0], self.more.get("PATH"))

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the conversation."""
        conversation = Conversation(turn)
        await conversation.load(opening, await told(turn))
        return _Session(self, conversation, str(opening.id))

    async def stop(self) -> None:
        """End every command that runs."""
        await self.processes.stop()
        if self.tools is not None:
            await self.tools.stop()


class _Session:
    """One attempt of a turn."""

    def __init__(self, adapter: CliAdapter, conversation: Conversation, id_: str) -> None:
        self._adapter, self._conversation, self._id = adapter, conversation, id_
        self._process: Process | None = None

    async def turn(self, turn: Turn) -> None:
        adapter, lines, speech = self._adapter, self._conversation.lines, Speech(turn)
        words = {
            "{text}": lines[-1].text,
            "{prompt}": prompt(lines),
            "{session}": self._id,
            "{context}": turn.context_id,
            "{task}": turn.task_id,
        }
        arguments = [_filled(each, words) for each in adapter.command]
        told = any(place in each for each in adapter.command for place in PLACES[:2])

        async def running(command: list[str], given: str) -> str:
            await speech.begin()
            return await self._run(turn, command, given, speech)

        answer = await turn.step(
            "run",
            running,
            arguments,
            "" if told else words["{prompt}"],
            idempotent=adapter.idempotent,
            deadline=adapter.deadline,
        )
        await speech.end(answer)
        await speech.close()
        self._conversation.new.append(Spoken("assistant", answer))
        await self._conversation.keep()

    async def cancel(self) -> None:
        """End the command, gently at first."""
        if self._process is not None:
            await self._process.end()

    async def close(self) -> None:
        """Do nothing: the step has ended its command."""

    async def _run(self, turn: Turn, command: list[str], given: str, speech: Speech) -> str:
        adapter = self._adapter
        ids = {"PELTON_TASK": turn.task_id, "PELTON_CONTEXT": turn.context_id}
        async with (
            self._door(turn) as door,
            opened(turn, anew=True) as route,
            adapter.processes.run(
                command,
                given=given.encode(),
                more=adapter.more | ids | door,
                directory=adapter.directory,
                route=route,
            ) as process,
        ):
            self._process = process
            complaining = asyncio.create_task(_tail(process.stderr), name="stderr")
            try:
                text, failed = await self._read(turn, process, speech, route)
                code = await process.wait()
            finally:
                self._process = None
                await process.end()  # what holds standard error open has ended, too
                complaint = await complaining
        if code == 0 and failed is None:
            return text
        logger.warning(
            "command-failed",
            program=command[0],
            code=code,
            stderr=complaint,
            error=(failed or "")[:_TAIL],
        )
        if route is not None and route.failure is not None:
            raise route.failure
        if code < 0:
            raise AgentDied(f"The command was killed by signal {-code}.")
        if code in _CANNOT_RUN:
            raise AgentError("The command cannot be run.", kind=FailureClass.DEPENDENCY)
        raise AgentError(
            f"The command has failed with exit code {code}." if code else "The command has failed."
        )

    def _door(self, turn: Turn) -> AbstractAsyncContextManager[dict[str, str]]:
        tools = self._adapter.tools
        return nullcontext(dict[str, str]()) if tools is None else tools.admit(turn)

    async def _read(
        self, turn: Turn, process: Process, speech: Speech, route: ModelRoute | None
    ) -> tuple[str, str | None]:
        """Read to the end of the output; return the answer, and why it failed if it says so.

        The ends of lines are said with what follows: the last one is no part of the answer. What it
        says that it took is counted, unless each of its calls was.
        """
        read, whole, failed = DIALECTS[self._adapter.dialect], None, None
        said, ends = list[str](), ""
        try:
            async for line in process.stdout:
                turn.beat()
                heard = read(line)
                text = ends + heard.text
                body = text.rstrip("\n")
                ends = text[len(body) :]
                said.append(body)
                await speech.say(body)
                whole = whole if heard.whole is None else heard.whole
                failed = failed if heard.failed is None else heard.failed
                if heard.took is not None and (route is None or not route.asked):
                    turn.usage(**heard.took._asdict())
        except ValueError as error:  # so says the standard library of a line that is too long
            raise AgentError("The command has printed a line that is too long.") from error
        return "".join(said) if whole is None else whole, failed


async def _tail(stream: asyncio.StreamReader) -> str:
    """Read to the end, and return the end."""
    tail = b""
    while data := await stream.read(65536):
        tail = (tail + data)[-_TAIL:]
    return tail.decode(errors="replace")


def _filled(argument: str, words: Mapping[str, str]) -> str:
    """Return an argument with what stands in it; what is put in is not looked at again."""
    found, at = "", 0
    while at < len(argument):
        place = next((each for each in PLACES if argument.startswith(each, at)), "")
        found += words[place] if place else argument[at]
        at += len(place) or 1
    return found


def prompt(lines: Sequence[Spoken]) -> str:
    """Return a conversation as one text.

    What was said before stands as JSON, a message a line, so that no text in it can pass for
    another message, or for what is asked now.
    """
    *before, last = lines
    if not before:
        return last.text
    told = (msgspec.json.encode({"from": each.role, "text": each.text}) for each in before)
    history = b"\n".join(told).decode()
    return f"The conversation so far, one message a line:\n{history}\n\n{last.text}"
