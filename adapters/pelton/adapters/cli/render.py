"""`pelton render`: a conversation as the files that orchestrators keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.conversation import Context
from pelton.adapters.cli.output import CommandFailed, Output

if TYPE_CHECKING:
    from pelton.runtime.replay.session import Reader


def render(
    context: Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the files.")],
    *,
    at: Annotated[
        int | None, typer.Option("--at", metavar="SEQ", min=1, help="As of this sequence.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="In the place of files of these names, too.")
    ] = False,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Write context.md, tasks.json, decisions.log and issues.md of a conversation."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import conversation
    from pelton.runtime.replay import render as renderings
    from pelton.runtime.replay.lineage import with_lineage
    from pelton.runtime.replay.session import Session, check_context, session_of

    context_id = check_context(context)

    async def read(reader: Reader) -> Session:
        session = await session_of(reader, context_id, blobs=False)
        return await with_lineage(reader, session, sources=False)

    settings = options.settings(config, data=data, nats__url=nats)
    session = on_reader(settings, file, read, about=conversation(context))
    if at is not None:
        session = Session([each for each in session.records if each.sequence <= at], {})
    texts = renderings.render(session, context_id)
    paths = {directory / name: text for name, text in texts.items()}
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise CommandFailed(f"{', '.join(there)} would be written over: say so with --force")
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in paths.items():
        path.touch(mode=0o600)  # what people have said is in it
        path.write_text(text, encoding="utf-8")
    names = [str(path) for path in paths]
    Output(json=json).result(
        {"context": context_id, "files": names}, [f"wrote {name}" for name in names]
    )
