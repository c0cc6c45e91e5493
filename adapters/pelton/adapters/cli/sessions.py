"""`pelton export`, `pelton verify`, `pelton import`: a conversation in a file, to carry about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.conversation import Context
from pelton.adapters.cli.output import DIFFERENT, OK, CommandFailed, Output, columns, words

if TYPE_CHECKING:
    from pelton.adapters.cli.library import Imported
    from pelton.runtime.replay.archive import Opened
    from pelton.runtime.replay.session import Reader, Session


def export(
    context: Context,
    *,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Default: CONTEXT.pelton.")
    ] = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Write a conversation to a file, with all agents that took part, to open anywhere."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.events.ids import token
    from pelton.runtime.replay import archive
    from pelton.runtime.replay.session import check_context, session_of

    context_id = check_context(context)
    path = out or Path(f"{token(context_id)}.pelton")

    async def read(reader: Reader) -> Session:
        return await session_of(reader, context_id)

    session = on_reader(options.settings(config, data=data, nats__url=nats), None, read)
    digest = save(path, context_id, session)
    opened = archive.open_file(path)
    Output(json=json).result(
        {"file": str(path), **archive.summary(opened)},
        [f"wrote {path}: {_words(opened)}", f"digest {digest}"],
    )


def save(path: Path, context_id: str, session: Session) -> str:
    """Write a session to a file that is not there yet, and return its digest.

    Raises:
        CommandFailed: there is a file of that name.
    """
    from pelton.runtime.clock import RealWorld, rfc3339
    from pelton.runtime.replay.archive import Header, pack

    if path.exists():
        raise CommandFailed(f"{str(path)!r} is there already: name another file with --out")
    header = Header(context=context_id, exported=rfc3339(RealWorld().now()))
    data, digest = pack(header, session)
    path.touch(mode=0o600)  # what people have said is in it
    path.write_bytes(data)
    return digest


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A session file.")],
    *,
    digest: Annotated[
        str, typer.Option("--digest", metavar="SHA256", help="What export has printed.")
    ] = "",
    json: options.Json = False,
) -> int:
    """Look whether anything in a session file was altered, taken out, added or moved."""
    from pelton.runtime.replay import archive

    opened, wrong = archive.verify(file.read_bytes(), noted=digest)
    found = None if opened is None else archive.summary(opened)
    lines = [f"NOT AS IT WAS: {each}" for each in wrong]
    if opened is not None and not wrong:
        lines = [f"as it was written: {_words(opened)}", f"digest {opened.digest}"]
    Output(json=json).result({"valid": not wrong, "wrong": wrong, **(found or {})}, lines)
    return DIFFERENT if wrong else OK


def bring(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A session file; without, those imported are listed."),
    ] = None,
    *,
    digest: Annotated[
        str, typer.Option("--digest", metavar="SHA256", help="What export has printed.")
    ] = "",
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Keep a session file, read only, so that commands find its tasks by their ids, offline too."""
    from pelton.adapters.cli.library import Library

    library = Library(options.settings(config, data=data).directory)
    if file is None:
        found = list(library.sessions())
        lines = [line for each in found for line in _told(each)] or ["no sessions are imported"]
        Output(json=json).result({"sessions": [_value(each) for each in found]}, lines)
        return
    imported = library.add(file.read_bytes(), noted=digest)
    Output(json=json).result(_value(imported), [*_told(imported), "look at one:  pelton show TASK"])


def _value(imported: Imported) -> dict[str, Any]:
    from pelton.runtime.replay import archive
    from pelton.runtime.replay.graph import graph

    nodes = graph(imported.opened.session).nodes
    tasks = [
        {"task": e.task, "agent": e.agent, "context": e.context, "state": e.state, "text": e.text}
        for e in nodes
    ]
    return {"file": str(imported.file), **archive.summary(imported.opened), "tasks": tasks}


def _told(imported: Imported) -> list[str]:
    from pelton.runtime.replay.graph import graph

    opened = imported.opened
    rows = [
        [f"  {e.task}", e.agent, words(e.state) if e.state else "elsewhere", repr(e.text[:60])]
        for e in graph(opened.session).nodes
    ]
    return [f"{opened.header.context}: {_words(opened)}", *columns(rows)]


def _words(opened: Opened) -> str:
    session = opened.session
    agents = dict.fromkeys(agent for agent, _ in session.contexts)
    return (
        f"{len(session.records)} records and {len(session.blobs)} blobs of {', '.join(agents)}"
        f" in {len(session.contexts)} contexts"
    )
