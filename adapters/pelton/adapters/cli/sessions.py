"""`pelton export`, `pelton verify`, `pelton import`: a conversation in a file, to carry about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.conversation import Context
from pelton.adapters.cli.output import DIFFERENT, OK, CommandFailed, Output, columns, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pelton.adapters.cli.library import Imported
    from pelton.runtime.replay.archive import Opened
    from pelton.runtime.replay.session import Reader, Session


def export(
    context: Context,
    *,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Default: CONTEXT.pelton.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="KEYS",
            help="Let whoever has this file, made by pelton seal-key, read what is sealed in it.",
        ),
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
    from pelton.runtime.replay.lineage import with_lineage
    from pelton.runtime.replay.session import check_context, session_of

    context_id = check_context(context)
    path = out or Path(f"{token(context_id)}.pelton")

    async def read(reader: Reader) -> tuple[Session, Mapping[str, bytes]]:
        session = await with_lineage(reader, await session_of(reader, context_id))
        return session, await _keys(session, keys) if keys is not None else {}

    settings = options.settings(config, data=data, nats__url=nats)
    session, wrapped = on_reader(settings, None, read)
    digest = save(path, context_id, session, wrapped)
    opened = archive.open_file(path)
    lines = [f"wrote {path}: {_words(opened)}", f"digest {digest}"]
    if keys is not None:
        lines.insert(1, f"with {len(wrapped)} keys, which {keys} opens: erasing cannot reach it")
    Output(json=json).result({"file": str(path), **archive.summary(opened)}, lines)


async def _keys(session: Session, file: Path) -> Mapping[str, bytes]:
    """Return the keys of what is sealed in a session, as the holder of a file can read them.

    Raises:
        ContentSealed: they are not here.
        SettingsError: the file cannot be read, or others may read it.
    """
    from pelton.adapters.sealing import TenantCipher
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.replay.session import sealed_with
    from pelton.runtime.vault import ContentSealed

    if not sealed_with(session):
        return {}
    if session.vault is None:
        raise ContentSealed("the keys are not here: name their file in encryption.keys")
    return await session.vault.wrapped_with(TenantCipher(file, world=RealWorld()))


def save(
    path: Path, context_id: str, session: Session, keys: Mapping[str, bytes] | None = None
) -> str:
    """Write a session to a file that is not there yet, with wrapped keys; return its digest.

    Raises:
        CommandFailed: there is a file of that name.
    """
    from pelton.runtime.clock import RealWorld, rfc3339
    from pelton.runtime.replay.archive import Header, pack

    if path.exists():
        raise CommandFailed(f"{str(path)!r} is there already: name another file with --out")
    header = Header(context=context_id, exported=rfc3339(RealWorld().now()))
    data, digest = pack(header, session, keys)
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
