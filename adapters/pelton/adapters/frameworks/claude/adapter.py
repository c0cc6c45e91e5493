"""Claude Code, run by run: its transcript in the log, its model behind the gateway.

A turn is a run of the program, and after each call that somebody is asked about, another one. A run
is a step; within it so is each call of the model, and of a tool. A run that was cut off is done
again: what is recorded within it is served, and so the program comes to where it was. If its own
tools have had effects by then, it goes on from its transcript instead.
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

from pelton.adapters.frameworks import programs
from pelton.adapters.frameworks.claude import launcher
from pelton.adapters.frameworks.claude.program import Program
from pelton.adapters.frameworks.claude.session import Session
from pelton.adapters.frameworks.claude.transcript import REBUILT, made_of
from pelton.adapters.frameworks.contract import Capability, Health, assured
from pelton.adapters.frameworks.conversation import of
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.processes import Processes, environment
from pelton.adapters.frameworks.warm import IDLE, KEPT, Warm
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


class ClaudeAdapter:
    """Claude Code with a prompt, and tools in Python beside those of its own that `allowed` names.

    Of these, `idempotent` may be called again after a crash, beside those that only read; about
    others a person is asked. It works in `directory`, without settings of a user or a project.
    `retry` says how often a run is tried again that has failed, `program` where another one is than
    that which comes with the SDK. The last `keep` processes are kept for the next turn of their
    conversation, `idle` seconds each.
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
        idempotent: Sequence[str] = (),
        keep: int = KEPT,
        idle: float = IDLE,
    ) -> None:
        self.idempotent, self.warm = tuple(idempotent), Warm[Program](keep, idle)
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
        assured(await self.health())
        self.sdk = import_module("claude_agent_sdk")
        await self.processes.start()

    async def health(self) -> Health:
        """Look for the SDK and the program."""
        if find_spec("claude_agent_sdk") is None:
            detail, fix = "claude-agent-sdk is not installed", "pip install 'pelton[claude]'"
            return Health(ok=False, detail=detail, fix=fix)
        return await programs.look(self.program or self._program or "claude")

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

    async def open(self, turn: Turn, opening: Opening) -> Session:
        """Open the session; one that has to be rebuilt gets a transcript of what was said.

        A process that was kept is gone on with if it knows all that the log has, and nothing else.
        """
        program = self.warm.take(turn.context_id)
        if program is not None and (
            opening.start is SessionStart.REBUILD
            or program.heard != frozenset(await turn.session.entries())
        ):
            await program.close()
            program = None
        if opening.start is SessionStart.REBUILD:
            said = [of(each) for each in await turn.session.conversation()]
            made = made_of(said, opening.id, self.directory)
            for number, line in enumerate(made):
                await turn.session.put(REBUILT.key(number), msgspec.to_builtins(line))
        return Session(self, turn, opening, program)

    async def stop(self) -> None:
        """End every program that runs."""
        await self.warm.stop()
        await self.processes.stop()

    @contextmanager
    def environment(
        self, turn: Turn, route: ModelRoute | None
    ) -> Generator[tuple[str, dict[str, str], Path]]:
        """Give how the program is run: the path of it, variables, and where its group is told."""
        ids = {"PELTON_CONTEXT": turn.context_id}
        with tempfile.TemporaryDirectory(prefix="pelton-claude-") as private:
            more = {**self.more, **ids, **_OWN, "CLAUDE_CONFIG_DIR": private}
            own = environment(more, route)
            group = Path(private, "group")
            own["PELTON_TOLD"] = str(group)
            own["PELTON_HIDE"] = ",".join(os.environ.keys() - own.keys())
            path = Path(private, "claude")
            words = (sys.executable, "-I", "-S", str(Path(launcher.__file__)), self.program)
            path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            path.chmod(0o700)
            yield str(path), own, group
