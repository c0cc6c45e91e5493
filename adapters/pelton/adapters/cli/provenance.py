"""Where memories came from and where they went: `pelton memory why`, `who-used`, `as-of`, `taint`.

All of it is read from the log as it is now, or from a session file: one that is named, or one that
was imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.library import cut, remembered
from pelton.adapters.cli.memory import Id, entry_of, short, whose
from pelton.adapters.cli.output import Output, columns, many

if TYPE_CHECKING:
    from pelton.events.memories import Memory
    from pelton.events.memory import MemoryCause
    from pelton.runtime.provenance import Evidence
    from pelton.runtime.replay.session import Reader


def why(
    memory: Id,
    *,
    version: Annotated[
        int, typer.Option("--version", metavar="N", min=0, help="This version; default: the last.")
    ] = 0,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Tell what a memory came from: its message or step, its sources, what its turn was given."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.runtime import provenance

    async def run(reader: Reader) -> provenance.Origins:
        return await provenance.origins(reader, memory, version)

    settings = options.settings(config, data=data, nats__url=nats)
    found = on_reader(settings, file, run, about=remembered(memory))
    lines = [
        f"{memory} version {found.version.number}, by {found.version.actor}: {_said(found)}",
        *_told(found.evidence),
    ]
    if found.sources:
        rows = [
            [f"  {source.id}", str(each.number), _cause(each.cause), short(each.content)]
            for source, each in found.sources
        ]
        lines += ["made of", *columns(rows)]
    if found.missing:
        names = ", ".join(f"{each.memory_id}@{each.version}" for each in found.missing)
        lines.append(f"made of what is not here: {names}")
    if found.given:
        lines.append("the turn that wrote it had been given by then")
        lines += columns([[f"  {e.memory_id}", str(e.version), e.key] for e in found.given])
    value = {
        "version": entry_of(found.memory, found.version),
        "evidence": _evidence(found.evidence),
        "sources": [entry_of(source, each) for source, each in found.sources],
        "missing": found.missing,
        "given": found.given,
    }
    Output(json=json).result(value, lines)


def _said(found: Any) -> str:
    return "forgotten" if found.version.forgotten else short(found.version.content)


def _cause(cause: MemoryCause) -> str:
    if not cause.task_id:
        return "a person"
    step = f", step {cause.key}" if cause.key else ""
    return f"a {cause.kind}: agent {cause.agent}, task {cause.task_id}, turn {cause.turn}{step}"


def _told(evidence: Evidence) -> list[str]:
    from pelton.events.a2a import text_of

    lines = [f"because of {_cause(evidence.cause)}"]
    if evidence.message is not None:
        lines.append(f"  message {short(text_of(evidence.message.parts))!r}")
    elif evidence.unread:
        lines.append(f"  {evidence.unread}")
    elif evidence.cause.message_id:
        lines.append("  the conversation that this was in is not here")
    if evidence.result is not None:
        lines.append(f"  result {short(str(evidence.result))!r}")
    return lines


def _evidence(evidence: Evidence) -> dict[str, Any]:
    import msgspec

    return {
        "cause": msgspec.to_builtins(evidence.cause),
        "message": msgspec.to_builtins(evidence.message),
        "result": evidence.result,
        "unread": evidence.unread,
    }


def who_used(
    memory: Id,
    *,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the turns that were given a memory, and which version of it."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.runtime import provenance

    async def run(reader: Reader) -> list[provenance.Use]:
        return await provenance.uses(reader, memory)

    settings = options.settings(config, data=data, nats__url=nats)
    found = on_reader(settings, file, run, about=remembered(memory))
    rows = [
        [
            *(str(e.version), e.time, e.agent, e.task_id, str(e.turn), e.key),
            str(e.sequence),
        ]
        for e in found
    ]
    head = ["VERSION", "TIME", "AGENT", "TASK", "TURN", "STEP", "SEQUENCE"]
    lines = columns([head, *rows]) if rows else ["no turn was given it"]
    Output(json=json).result({"id": memory, "uses": found}, lines)


def as_of(
    sequence: Annotated[int, typer.Argument(metavar="SEQ", min=1, help="A sequence of the log.")],
    *,
    as_: Annotated[
        str, typer.Option("--as", metavar="AGENT", help="Only what this agent could recall then.")
    ] = "",
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the memories that could be recalled as of a sequence, the newest first."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.runtime import provenance

    async def run(reader: Reader) -> list[Memory]:
        return await provenance.recallable(reader, sequence, agent=as_)

    settings = options.settings(config, data=data, nats__url=nats)
    found = on_reader(settings, file, run, about=cut(sequence))
    shown = [(memory, version) for memory in found if (version := memory.current) is not None]
    rows = [
        [
            *(memory.id, str(version.number), whose(memory.scope, memory.owner)),
            *(memory.namespace or "-", version.time, short(version.content)),
        ]
        for memory, version in shown
    ]
    head = ["MEMORY", "VERSION", "WHOSE", "NAMESPACE", "TIME", "WHAT IT SAYS"]
    lines = columns([head, *rows]) if rows else ["nothing was remembered then"]
    value = {"sequence": sequence, "memories": [entry_of(*each) for each in shown]}
    Output(json=json).result(value, lines)


def taint(
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT",
            help="What was bad: a sequence of the log, or a version of a memory, ID@VERSION.",
        ),
    ],
    *,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List all that came of something bad: memories, and tasks that were given it, and on."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.events.taint import Taint
    from pelton.runtime import provenance

    async def run(reader: Reader) -> Taint:
        return await provenance.taint(reader, await provenance.place_of(reader, event))

    about = cut(int(event)) if event.isdecimal() else remembered(event.partition("@")[0])
    settings = options.settings(config, data=data, nats__url=nats)
    found = on_reader(settings, file, run, about=about)
    tasks = [
        [
            *(str(each.sequence), each.how, str(each.because), each.agent, each.task_id),
            each.outcome or "not ended since",
        ]
        for each in found.tasks
    ]
    memories = [
        [
            *(str(each.sequence), each.how, str(each.because), f"{each.memory_id}@{each.version}"),
            "its last version" if each.last else "superseded",
        ]
        for each in found.memories
    ]
    those = f"{many(len(tasks), 'task')} and {many(len(memories), 'version')} of memories"
    lines = [f"{those} come of {event}"]
    if tasks:
        lines += columns([["SEQUENCE", "BY", "BECAUSE OF", "AGENT", "TASK", "OUTCOME"], *tasks])
    if memories:
        lines += columns([["SEQUENCE", "BY", "BECAUSE OF", "MEMORY", "WHICH IS"], *memories])
    if any(each.last for each in found.memories):
        lines.append("what is a last version still is said: pelton memory revert or forget it")
    if found.unread:
        lines.append(f"not known of records that cannot be read: {found.unread}")
    value = {
        "source": found.source,
        "tasks": found.tasks,
        "memories": found.memories,
        "unread": found.unread,
    }
    Output(json=json).result(value, lines)
