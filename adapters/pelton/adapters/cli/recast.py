"""`pelton memory consolidate`, `rebuild-with`: several memories into one, all of them made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.memory import Namespace, Ttl, by_hand, changed, on_memories, short
from pelton.adapters.cli.output import DIFFERENT, OK, Output

if TYPE_CHECKING:
    from pelton.events.memories import Memory
    from pelton.runtime.extraction import Rebuilt, Rewrite
    from pelton.runtime.memories import Memories


def consolidate(
    sources: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The memories, as they are now.")
    ],
    *,
    text: Annotated[
        str, typer.Option("--text", metavar="TEXT", help="What is to be remembered instead.")
    ],
    namespace: Namespace = None,
    ttl: Ttl = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Let one memory take the place of others, which are recalled no longer."""
    from pelton.events.memory import MemoryRef
    from pelton.events.remembering import CommitMemory

    async def run(memories: Memories) -> Memory:
        found = [await memories.existing(id_) for id_ in dict.fromkeys(sources)]
        first = found[0]
        command = CommitMemory(
            operation=memories.new_operation(),
            cause=by_hand(),
            content=text,
            expires=memories.until(ttl),
            scope=first.scope,
            owner=first.owner,
            life=first.life,
            namespace=first.namespace if namespace is None else namespace,
            sources=tuple(
                MemoryRef(memory_id=each.id, version=len(each.versions)) for each in found
            ),
            consolidates=True,
        )
        return await memories.by_person(command.memory_id, command)

    changed(on_memories(run, config, data, nats), json=json)


def rebuild_with(
    function: Annotated[
        str,
        typer.Argument(
            metavar="FUNCTION",
            help="module:function or file.py:function, from a Source to a text or None.",
        ),
    ],
    *,
    agent: Annotated[
        str, typer.Option("--agent", metavar="AGENT", help="Only what this agent has written.")
    ] = "",
    apply: Annotated[
        bool, typer.Option("--apply", help="Commit it, as further versions of the same cause.")
    ] = False,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Make memories anew from what led to them, by another function, and tell what differs."""
    from pelton.events.ids import check_agent
    from pelton.runtime import extraction
    from pelton.runtime.agents import function_of

    extract = function_of(function)

    async def run(memories: Memories) -> tuple[Rebuilt, list[Rewrite]]:
        found = await extraction.rebuilt(
            memories.log, extract, now=memories.now, agent=agent and check_agent(agent)
        )
        open_ = list(found.rewrites)
        if apply:
            open_ = await extraction.apply(memories, found.rewrites, function)
        return found, open_

    found, open_ = on_memories(run, config, data, nats)
    lines: list[str] = []
    for each in found.rewrites:
        after = "(forgotten)" if each.after is None else short(each.after)
        lines += [each.memory_id, f"  - {short(each.before)}", f"  + {after}"]
    lines.append(
        f"{len(found.rewrites)} differ, {found.same} do not, {found.left} are no function's to say"
    )
    if apply:
        lines.append(f"applied, but for {len(open_)} that have moved on" if open_ else "applied")
    value: dict[str, Any] = {
        "rewrites": found.rewrites,
        "same": found.same,
        "left": found.left,
        "applied": len(found.rewrites) - len(open_) if apply else 0,
        "moved": open_ if apply else [],
    }
    Output(json=json).result(value, lines)
    return DIFFERENT if open_ else OK
