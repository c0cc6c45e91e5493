"""`pelton chaos sweep`: kill an agent at each moment of its work, and compare what comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import FAILED, OK, CommandFailed, Output, columns

if TYPE_CHECKING:
    from pelton.adapters.cli.sweep import Ran, Struck
    from pelton.events.commands import SendMessage
    from pelton.runtime.settings import Settings


def chaos(
    what: Annotated[Literal["sweep"], typer.Argument(help="sweep: every moment, one by one.")],
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="module:name, or path/to/file.py[:name].")
    ],
    *,
    message: Annotated[
        str | None, typer.Option("--message", metavar="TEXT", help="The message to give it.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="CONTEXT", help="Give it the messages of this context."),
    ] = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Kill an agent right before and after each record, and compare with an undisturbed run."""
    import asyncio

    from pelton.adapters.cli.parts import quiet
    from pelton.adapters.cli.references import environ_of, load_agent
    from pelton.adapters.cli.sweep import Sweep

    del what  # there is but one
    if (message is None) is (context is None):
        raise CommandFailed("name --message or --context, one of them", "usage")
    quiet()
    settings = options.settings(config, data=data, nats__url=nats)
    output, name = Output(json=json), load_agent(agent, environ_of(settings)).name
    progress = Progress(output)

    async def run() -> tuple[Ran, list[Struck]]:
        if message is not None:
            messages = [_message(name, message)]
        else:
            assert context is not None
            messages = await _recorded(settings, name, context)
        return await Sweep(agent, messages, progress=progress).run()

    plain, struck = asyncio.run(run())
    progress.end()
    wrong = [each for each in struck if each.differs]
    output.result(
        {"ok": not wrong, "points": struck, "undisturbed": plain}, _lines(plain, struck, wrong)
    )
    return FAILED if wrong else OK


def _message(agent: str, text: str) -> SendMessage:
    from pelton.events.a2a import Message, Part, Role
    from pelton.events.commands import SendMessage, SendMessageData
    from pelton.runtime.clock import RealWorld, rfc3339

    world = RealWorld()
    id_ = world.new_id()
    said = Message(message_id=world.new_id(), role=Role.USER, parts=(Part(text=text),))
    return SendMessage(
        id=id_,
        source="chaos",
        subject=f"{agent}/{world.new_id()}",
        time=rfc3339(world.now()),
        tenant="local",
        actor="chaos",
        correlationid=id_,
        causationid=id_,
        data=SendMessageData(message=said),
    )


async def _recorded(settings: Settings, agent: str, context: str) -> list[SendMessage]:
    """Return what clients have sent to a context, to be sent again as it was."""
    from contextlib import suppress

    from pelton.adapters.cli.connect import open_log
    from pelton.events import subjects
    from pelton.events.commands import SendMessage
    from pelton.events.errors import DamagedRecord
    from pelton.events.upcast import decode_command

    messages: dict[str, SendMessage] = {}
    async with open_log(settings) as log:
        for record in await log.read(subjects.commands(agent, context)):
            with suppress(DamagedRecord):  # no message
                command = decode_command(record.data)
                if isinstance(command, SendMessage) and command.data.delegation is None:
                    messages[command.id] = command
    if not messages:
        raise CommandFailed(f"the agent {agent!r} has no message in {context!r}", "task-not-found")
    return list(messages.values())


def _lines(plain: Ran, struck: Sequence[Struck], wrong: Sequence[Struck]) -> list[str]:
    rows: list[Sequence[str]] = [("k", "killed", "attempts", "steps again", "result")]
    rows += [
        (
            str(each.k),
            each.where,
            str(each.attempts),
            str(each.repeated),
            "; ".join(each.differs) or ("equal" if each.killed else "equal, not reached"),
        )
        for each in struck
    ]
    width = len(str(len(struck)))
    verdict = (
        f"{len(wrong)} of {len(struck)} kills made a difference"
        if wrong
        else f"killed {sum(each.killed for each in struck)} times, at every moment: each time the"
        " same came of it"
    )
    states = ", ".join(sorted({_state(task) for task in plain.tasks}))
    return [*columns(rows), f"{'':{width}}  undisturbed: {states}", verdict]


def _state(task: Any) -> str:
    from pelton.adapters.cli.output import words

    return words(task["state"])


class Progress:
    """Shows on standard error how many kills are done."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._tenth = 0

    def __call__(self, done: int, total: int) -> None:
        """Show it: on a terminal each, elsewhere each tenth."""
        import sys

        if self._output.json:
            return
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} of {total} kills\x1b[K")
        elif (tenth := math.floor(10 * done / total)) > self._tenth:
            self._tenth = tenth
            sys.stderr.write(f"{done} of {total} kills\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        import sys

        if sys.stderr.isatty() and not self._output.json:
            sys.stderr.write("\n")
