"""`pelton erase`: makes content unreadable for good; `pelton seal-key`: the keys that allow it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns

if TYPE_CHECKING:
    from pelton.runtime.erasure import Gone
    from pelton.runtime.jetstream.log import JetStreamLog

_STAYS = (
    "what agents that read a memory have made of it: pelton memory who-used tells which",
    "what is no content: ids, times, states, names of steps and tools, metadata, texts of failures",
    "what schedules and initial prompts say, and what was exported, pushed or printed before",
    "backups of the server: what has the old key files can be read there",
)
"""What no key covers."""


def erase(
    *,
    context: Annotated[
        str, typer.Option("--context", metavar="ID", help="A conversation, with all its agents.")
    ] = "",
    principal: Annotated[
        str, typer.Option("--principal", metavar="ID", help="All that this one has begun.")
    ] = "",
    tenant: Annotated[
        bool, typer.Option("--tenant", help="All conversations of the tenant.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without, only say what would go.")
    ] = False,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Make content unreadable for good, by destroying its keys; needs the owner of the account."""
    from pelton.adapters.cli.connect import on_log
    from pelton.runtime import erasure
    from pelton.runtime.clock import RealWorld

    if sum((bool(context), bool(principal), tenant)) != 1:
        raise CommandFailed("say what: one of --context, --principal and --tenant", "usage")
    settings = options.settings(config, data=data, nats__url=nats)

    async def run(log: JetStreamLog) -> list[Gone]:
        memory = await erasure.minded(log)
        if context:
            places = await erasure.contexts_of(log, context)
        else:
            places = await erasure.all_contexts(log, principal)
            hands = sorted(memory.by_hand.items())
            places += [place for place, actors in hands if tenant or principal in actors]
        if yes:
            await erasure.erase(
                log,
                log.vault,
                places,
                world=RealWorld(),
                tenant=settings.nats.tenant,
                actor="cli",
            )
        return [await erasure.look(log, log.vault, place, memory) for place in places]

    found = on_log(settings, run)
    lines = _lines(found)
    if not yes:
        lines.append("nothing is erased yet: say --yes")
    Output(json=json).result({"erased": yes, "contexts": found, "stays": _STAYS}, lines)


def seal_key(
    file: Annotated[
        Path | None, typer.Argument(help="The file; default encryption.keys of the settings.")
    ] = None,
    *,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Make the file with the keys that content is sealed with, or add one, used from now on."""
    from pelton.adapters.push.keys import new_key
    from pelton.runtime.clock import RealWorld

    given = options.settings(config).encryption.keys if file is None else ""
    if file is None and not given:
        raise CommandFailed("name a file, or set encryption.keys", "usage")
    named = file or Path(given)
    try:
        id_ = new_key(named, world=RealWorld())
    except ValueError as error:
        raise CommandFailed(f"{str(named)!r} is no file with keys", "usage") from error
    Output(json=json).result({"keyId": id_, "file": str(named)}, [f"{id_} is in {named}"])


def _lines(found: list[Gone]) -> list[str]:
    if not found:
        return ["no conversations"]
    rows = [
        [
            *(each.context_id, each.agent, _standing(each)),
            *(_counted(each.sealed), _counted(each.foreign), _counted(each.plain)),
            "yes" if each.chained else "NO",
        ]
        for each in found
    ]
    heading = [
        "CONTEXT",
        "AGENT",
        "KEY",
        "SEALED WITH IT",
        "WITH OTHERS",
        "PLAIN",
        "CHAINED",
    ]
    lines = columns([heading, *rows])
    here = {f"{each.agent}/{each.context_id}" for each in found}
    others = sorted({place for each in found for place in each.elsewhere} - here)
    if others:
        lines.append(f"what was handed on, received or made of it is in: {', '.join(others)}")
    if memories := sorted({id_ for each in found for id_ in each.memories}):
        lines.append(f"versions of {len(memories)} memories go: {', '.join(memories)}")
    return [*lines, *(f"stays: {each}" for each in _STAYS)]


def _standing(gone: Gone) -> str:
    if not gone.had_key:
        return "never had one"
    return "destroyed" if gone.erased else "there"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "-"
