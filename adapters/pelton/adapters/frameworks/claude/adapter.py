"""Claude Code, run by run: its transcript in the log, its model behind the gateway.

A turn is a run of the program, and after each call that a person is asked about, another one. A run
is a step; within it so is each call of the model, and of a tool. A run that was cut off is done
again: what is recorded within it is served, and so the program comes to where it was.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from pelton.adapters.frameworks.claude import launcher
from pelton.adapters.frameworks.claude.run import Claude, Ended
from pelton.adapters.frameworks.claude.transcript import (
    REBUILT,
    Line,
    Run,
    Store,
    lines_before,
    made_of,
)
from pelton.adapters.frameworks.contract import (
    AdapterError,
    Capability,
    Health,
    SessionBroken,
)
from pelton.adapters.frameworks.conversation import of, told
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.processes import Processes, environment
from pelton.adapters.frameworks.speech import Speech
from pelton.events.retries import Retry
from pelton.events.session import SessionStart
from pelton.runtime.model_gateway import ModelRoute
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

_OWN: Final[Mapping[str, str]] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",  # the runtime tries again
    "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",  # else it asks again without them, each time
    "DISABLE_AUTOUPDATER": "1",
}

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class ClaudeAdapter:
    """Claude Code with a prompt, and tools in Python beside those of its own that `allowed` names.

    It works in `directory`, without settings of a user or a project. What its own tools do is not
    recorded: only allow what may be done twice. `retry` says how often a run is tried again that
    has failed, `program` where another one is than that which comes with the SDK.
    """

    name: str = "claude"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(Capability) - {Capability.OPTIONS}

    def __init__(
        self,
        *,
        model: str = "",
        system: str = "",
        tools: Sequence[Tool] = (),
        allowed: Sequence[str] = (),
        directory: str | None = None,
        retry: Retry | None = None,
        program: str = "",
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.model, self.system, self.allowed = model, system, tuple(allowed)
        self.tools = {tool.name: tool for tool in tools}
        self.directory = directory or str(Path.cwd())
        self.retry, self.more = retry, dict(more or {})
        self.processes = Processes()
        self._program = program
        self.sdk: Any = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The model, and the `prompt` (which is `system`)."""
        return {"model": self.model, "prompt": self.system}

    async def start(self) -> None:
        """Load the SDK, and start what sees to the end of what it starts.

        Raises:
            AdapterError: it is not installed, or has no program.
        """
        health = await self.health()
        if not health.ok:
            raise AdapterError(health.detail)
        self.sdk = import_module("claude_agent_sdk")
        await self.processes.start()

    async def health(self) -> Health:
        """Look for the SDK and the program."""
        if find_spec("claude_agent_sdk") is None:
            return Health(ok=False, detail="it needs more: pip install 'pelton[claude]'")
        if not self.program:
            return Health(ok=False, detail="there is no program claude: install it, or name it")
        return Health(ok=True)

    @property
    def program(self) -> str:
        """Where the program is, or nothing if it is nowhere."""
        if self._program:
            return shutil.which(self._program) or ""
        found = find_spec("claude_agent_sdk")
        places = found.submodule_search_locations if found is not None else None
        own = Path(next(iter(places or ("",)))) / "_bundled" / "claude"
        return str(own) if own.is_file() else shutil.which("claude") or ""

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Open the session; one that has to be rebuilt gets a transcript of what was said."""
        if opening.start is SessionStart.REBUILD:
            said = [of(each) for each in await turn.session.conversation()]
            made = made_of(said, opening.id, self.directory)
            for number, line in enumerate(made):
                await turn.session.put(REBUILT.key(number), msgspec.to_builtins(line))
        return _Session(self, turn, opening)

    async def stop(self) -> None:
        """End every program that runs."""
        await self.processes.stop()

    @contextmanager
    def environment(
        self, turn: Turn, route: ModelRoute | None
    ) -> Generator[tuple[str, dict[str, str], Path]]:
        """Give how the program is run: the path of it, variables, and where its group is told."""
        ids = {"PELTON_TASK": turn.task_id, "PELTON_CONTEXT": turn.context_id}
        with tempfile.TemporaryDirectory(prefix="pelton-claude-") as private:
            more = {**self.more, **ids, **_OWN, "CLAUDE_CONFIG_DIR": private}
            own = environment(more, route)
            group = Path(private, "group")
            own["PELTON_GROUP"] = str(group)
            own["PELTON_HIDE"] = ",".join(os.environ.keys() - own.keys())
            path = Path(private, "claude")
            words = (sys.executable, "-I", "-S", str(Path(launcher.__file__)), self.program)
            path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            path.chmod(0o700)
            yield str(path), own, group


class _Session:
    """One attempt of a turn."""

    def __init__(self, adapter: ClaudeAdapter, turn: Turn, opening: Opening) -> None:
        self._adapter, self._turn, self._id = adapter, turn, opening.id
        self._claude: Claude | None = None
        self._tries = 0
        self._lost = False

    async def turn(self, turn: Turn) -> None:
        """Run the program until nobody has to be asked any more."""
        speech, options = Speech(turn), await turn.options()
        text = (await told(turn)).text
        answers: dict[str, tuple[bool, str]] = {}
        number = 0
        while True:
            found = await self._run(speech, number, "" if answers else text, answers, options)
            await speech.end(found.text)
            if found.asks is None:
                await speech.close()
                return
            call = found.asks
            what = f"Call {call.name} with {msgspec.json.encode(call.arguments).decode()}?"
            approval = await turn.approve(what, tool=call.name, args=call.arguments)
            answers[call.id] = approval.approved, approval.reason
            number += 1

    async def cancel(self) -> None:
        """Interrupt the program: it stops its tools itself."""
        if self._claude is not None:
            await self._claude.interrupt()

    async def close(self) -> None:
        """Do nothing: a run has ended its program, and deleted its directory."""

    async def _run(
        self,
        speech: Speech,
        number: int,
        told: str,
        answers: Mapping[str, tuple[bool, str]],
        options: Mapping[str, Any],
    ) -> Ended:
        async def running(*_: object) -> Ended:
            self._tries += 1
            await speech.begin()
            try:
                return await self._once(speech, number, told, answers, options)
            except SessionBroken as broken:
                self._lost = True
                self._turn.session.invalidate(broken.reason)
                raise

        found = await self._turn.step(
            "run", running, told, answers, dict(options), idempotent=True, retry=self._adapter.retry
        )
        return msgspec.convert(found, Ended)

    async def _once(
        self,
        speech: Speech,
        number: int,
        told: str,
        answers: Mapping[str, tuple[bool, str]],
        options: Mapping[str, Any],
    ) -> Ended:
        turn = self._turn
        run = Run(f"{turn.task_id}/{turn.number}", number, turn.attempt, self._tries)
        store = Store(turn.session, run, await self._before(run))
        self._claude = claude = Claude(
            self._adapter, turn, store=store, session=str(self._id), answers=answers, speech=speech
        )
        try:
            return await claude.run(told, model=options["model"], system=options["prompt"])
        finally:
            self._claude = None

    async def _before(self, run: Run) -> list[Line]:
        """Return the transcript as it was before a run; made anew, if the one there is broken."""
        if self._lost:
            said = [of(each) for each in await self._turn.session.conversation()]
            return made_of(said, self._id, self._adapter.directory)
        return lines_before(await self._turn.session.entries(), run)
