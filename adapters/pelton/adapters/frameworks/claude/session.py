"""An attempt of a turn by Claude Code: run after run, until nobody has to be waited for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import msgspec

from pelton.adapters.frameworks.claude.calls import Calls
from pelton.adapters.frameworks.claude.cut import Cut
from pelton.adapters.frameworks.claude.program import Program, Wanted
from pelton.adapters.frameworks.claude.run import Asks, Claude, Ended, failure
from pelton.adapters.frameworks.claude.transcript import (
    Line,
    Run,
    lines_before,
    lines_so_far,
    made_of,
    results,
)
from pelton.adapters.frameworks.contract import SessionBroken
from pelton.adapters.frameworks.conversation import LOST, ToolCall, of, told
from pelton.adapters.frameworks.speech import Speech
from pelton.runtime.model_gateway import opened
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

if TYPE_CHECKING:
    from pelton.adapters.frameworks.claude.adapter import ClaudeAdapter

_Answers = Mapping[str, tuple[bool, str]]


class Session:
    """One attempt of a turn. `warm` is the process that was kept for its conversation."""

    def __init__(
        self, adapter: ClaudeAdapter, turn: Turn, opening: Opening, warm: Program | None
    ) -> None:
        self._adapter, self._turn, self._id = adapter, turn, opening.id
        self._calls = Calls(turn, adapter.tools, adapter.idempotent)
        self._program, self._mended = warm, dict[str, str]()
        self._claude: Claude | None = None
        self._tries = 0
        self._lost = self._well = False

    async def turn(self, turn: Turn) -> None:
        """Run the program until nobody has to be waited for any more."""
        speech, options = Speech(turn), await turn.options()
        text = (await told(turn)).text
        answers: dict[str, tuple[bool, str]] = {}
        number = 0
        while True:
            await self._mend(number)
            found = await self._run(speech, number, "" if number else text, answers, options)
            await speech.end(found.text)
            if found.asks is None:
                break
            await self._decided(found.asks, answers)
            number += 1
        await speech.close()
        if self._program is not None:
            self._program.heard = frozenset(await turn.session.entries())
        self._well = True

    async def cancel(self) -> None:
        """Interrupt the program: it stops its tools itself."""
        if self._claude is not None:
            await self._claude.interrupt()

    async def close(self) -> None:
        """Keep the process, if the turn has ended well; else end it."""
        await self._calls.close()
        program, self._program = self._program, None
        if program is None:
            return
        if self._well and program.alive:
            await self._adapter.warm.put(self._turn.context_id, program)
        else:
            await program.close()

    async def _decided(self, call: Asks, answers: dict[str, tuple[bool, str]]) -> None:
        """Wait until it is known whether a call may be made, which has ended the run."""
        tool = self._adapter.tools.get(call.name)
        if tool is not None and tool.ask and call.id not in answers:
            what = f"Call {call.name} with {msgspec.json.encode(call.arguments).decode()}?"
            approval = await self._turn.approve(what, tool=call.name, args=call.arguments)
            answers[call.id] = approval.approved, approval.reason
            return
        wanted = ToolCall(call.id, call.name, call.arguments)
        await self._calls.begin(wanted, copy_context()).decided()

    async def _mend(self, number: int) -> None:
        """Find out what has become of calls that an earlier attempt of a run has left open.

        This is no part of the run: a person may have to be asked, next week perhaps.
        """
        run = Run(self._place, number, self._turn.attempt, 1)
        for call in (await self._cut(run)).open:
            self._mended[call.id] = await self._calls.mend(call)

    async def _run(
        self,
        speech: Speech,
        number: int,
        text: str,
        answers: _Answers,
        options: Mapping[str, Any],
    ) -> Ended:
        async def running(*_: object) -> Ended:
            self._tries += 1
            await speech.begin()
            try:
                return await self._once(speech, number, text, answers, options)
            except Exception as error:
                await self._calls.close()
                if isinstance(error, SessionBroken):
                    self._lost = True
                    self._turn.session.invalidate(error.reason)
                raise

        found = await self._turn.step(
            "run", running, text, answers, dict(options), idempotent=True, retry=self._adapter.retry
        )
        return msgspec.convert(found, Ended)

    async def _once(
        self,
        speech: Speech,
        number: int,
        text: str,
        answers: _Answers,
        options: Mapping[str, Any],
    ) -> Ended:
        turn = self._turn
        run = Run(self._place, number, turn.attempt, self._tries)
        lines, cut = await self._before(run), await self._cut(run)
        self._claude = claude = Claude(
            self._adapter, turn, run=run, calls=self._calls, answers=answers, speech=speech
        )
        if cut.lines:
            text = ""
            lines += [each.line for each in cut.lines]
            await claude.goes_on(Line(after=cut.lines[-1].place), cut.texts)
            open_ = [(call.id, self._mended.get(call.id, LOST)) for call in cut.open]
            closing = results(open_, cut.lines[-1].line, self._id)
            await claude.has(closing)
            lines += closing
        claude.knows(lines)
        wanted = Wanted(str(self._id), options["model"], options["prompt"])
        try:
            return await self._talked(claude, wanted, lines, text, on=bool(cut.lines))
        finally:
            self._claude = None

    async def _talked(
        self, claude: Claude, wanted: Wanted, lines: list[Line], text: str, *, on: bool
    ) -> Ended:
        """Run the process that was kept, or else another one."""
        kept, self._program = self._program, None
        if kept is not None and not (kept.alive and kept.wanted == wanted and text):
            await kept.close()
            kept = None
        token = "" if kept is None else kept.token
        async with opened(self._turn, anew=not on, token=token) as route, AsyncExitStack() as stack:
            program = kept or Program(self._adapter, wanted, "" if route is None else route.token)
            stack.push_async_callback(program.close)
            try:
                if kept is None:
                    await program.start(self._turn, claude, route, lines, on=on)
                found = await claude.run(program, text, route)
            except (self._adapter.sdk.ClaudeSDKError, ConnectionError) as error:
                raise failure(program, route, error) from error
            if found.asks is None:  # else another one goes on where this has stopped
                stack.pop_all()
                self._program = program
            return found
        raise AssertionError  # the block returns or raises

    async def _before(self, run: Run) -> list[Line]:
        """Return the transcript as it was before a run; made anew, if the one there is broken."""
        if self._lost:
            said = [of(each) for each in await self._turn.session.conversation()]
            return made_of(said, self._id, self._adapter.directory)
        return lines_before(await self._turn.session.entries(), run)

    async def _cut(self, run: Run) -> Cut:
        """Return where a run goes on that was cut off."""
        if self._lost:
            return Cut()
        so_far = lines_so_far(await self._turn.session.entries(), run)
        return Cut.of(so_far, lasting=self._calls.lasting)

    @property
    def _place(self) -> str:
        return f"{self._turn.task_id}/{self._turn.number}"
