"""`pelton memory`: what agents remember, to look at and to put right by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns

if TYPE_CHECKING:
    from pathlib import Path

    from pelton.events.memories import Memory, Version
    from pelton.events.memory import MemoryScope
    from pelton.events.remembering import MemoryCommand
    from pelton.projections.memories import MemoryEntry
    from pelton.runtime.memories import Memories
    from pelton.runtime.settings import Settings

app = typer.Typer(
    help="What agents remember: look it up, see where it came from, put it right.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

T = TypeVar("T")

Id = Annotated[str, typer.Argument(metavar="ID", help="The memory's id.")]
Text = Annotated[str, typer.Argument(metavar="TEXT", help="What is to be remembered.")]
OfAgent = Annotated[str, typer.Option("--agent", metavar="AGENT", help="One of this agent's own.")]
OfTeam = Annotated[str, typer.Option("--team", metavar="TEAM", help="One of this team's.")]
Everybody = Annotated[bool, typer.Option("--global", help="One for all agents.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", metavar="NAME", help="In this namespace.")
]
Ttl = Annotated[
    float | None,
    typer.Option("--ttl", metavar="SECONDS", min=0.001, help="How long it is recalled."),
]
Expect = Annotated[
    int | None,
    typer.Option("--expect", metavar="VERSION", min=0, help="Only if it has this version."),
]


def on_memories(
    call: Callable[[Memories], Awaitable[T]],
    config: Path | None,
    data: str | None,
    nats: str | None,
) -> T:
    """Call something with the memories of the log, and return what it returned."""
    from pelton.adapters.cli.connect import on_log
    from pelton.adapters.cli.supplies import embedding
    from pelton.runtime.aggregates import agents_of
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.memories import Memories

    settings = options.settings(config, data=data, nats__url=nats)

    async def run(log: Any) -> T:
        world = RealWorld()
        memories = Memories(
            log,
            world=world,
            agents=agents_of(log, world),
            tenant=settings.nats.tenant,
            embed=embedding(settings),
        )
        try:
            return await call(memories)
        finally:
            await memories.aclose()

    return on_log(settings, run)


def entry_of(memory: Memory, version: Version) -> dict[str, Any]:
    """Return a version of a memory as JSON shows it."""
    import msgspec

    place = {
        "id": memory.id,
        "scope": memory.scope,
        "owner": memory.owner,
        "author": memory.author,
        "writer": version.cause.agent,
        "namespace": memory.namespace,
        "key": memory.key,
    }
    return {
        **place,
        "version": version.number,
        "content": version.content,
        "mediaType": version.media_type,
        "expires": version.expires,
        "forgotten": version.forgotten,
        "reason": version.reason,
        "reverts": version.reverts,
        "cause": msgspec.to_builtins(version.cause),
        "sources": msgspec.to_builtins(version.sources),
        "time": version.time,
        "actor": version.actor,
        "sequence": version.sequence,
    }


def _found(entry: MemoryEntry) -> dict[str, Any]:
    """Return a memory that was recalled as JSON shows it."""
    import msgspec

    from pelton.adapters.api.memory_shapes import MemoryView
    from pelton.adapters.api.route import shown

    return dict(msgspec.to_builtins(shown(MemoryView, entry)))


def whose(scope: str, owner: str) -> str:
    """Return how people are told to whom a memory belongs."""
    return f"{scope}:{owner}" if owner else scope


def changed(memory: Memory, *, json: bool) -> None:
    """Print a memory that was just changed."""
    version = memory.current
    assert version is not None  # it was just changed
    said = "is forgotten" if version.forgotten else f"has version {version.number}"
    Output(json=json).result(entry_of(memory, version), [f"{memory.id} {said}"])


async def _place(
    memories: Memories, agent: str, team: str, *, everybody: bool
) -> tuple[MemoryScope, str, int]:
    """Return the scope, the owner and its life that options name.

    Raises:
        CommandFailed: they name none, or several.
        UnknownAgent: there is no such agent.
    """
    from pelton.events.errors import UnknownAgent
    from pelton.events.ids import check_agent
    from pelton.events.memory import MemoryScope

    if sum((bool(agent), bool(team), everybody)) != 1:
        raise CommandFailed("say whose it is: --agent, --team or --global", "usage")
    if everybody:
        return MemoryScope.GLOBAL, "", 0
    if team:
        return MemoryScope.TEAM, check_agent(team), 0
    member = await memories.member(check_agent(agent))
    if not member.life:
        raise UnknownAgent(f"there is no agent {agent!r}: pelton agents lists them")
    return MemoryScope.OWN, agent, member.life


@app.command("commit")
def commit(
    text: Text,
    *,
    agent: OfAgent = "",
    team: OfTeam = "",
    everybody: Everybody = False,
    namespace: Namespace = None,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Under this name, in its namespace.")
    ] = "",
    ttl: Ttl = None,
    expect: Expect = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Remember something for an agent, a team or all."""
    from pelton.events.remembering import CommitMemory

    async def run(memories: Memories) -> Memory:
        scope, owner, life = await _place(memories, agent, team, everybody=everybody)
        command = CommitMemory(
            operation=memories.new_operation(),
            cause=by_hand(),
            content=text,
            expires=memories.until(ttl),
            scope=scope,
            owner=owner,
            life=life,
            namespace=namespace or "",
            key=key,
            expect=expect,
        )
        return await memories.by_person(command.memory_id, command)

    changed(on_memories(run, config, data, nats), json=json)


def by_hand() -> Any:
    """Return the cause of what a person does to a memory."""
    from pelton.events.memory import CauseKind, MemoryCause

    return MemoryCause(kind=CauseKind.PERSON)


@app.command("recall")
def recall(
    query: Annotated[
        str, typer.Argument(metavar="[QUERY]", help="Words to look for; without, the newest.")
    ] = "",
    *,
    as_: Annotated[
        str, typer.Option("--as", metavar="AGENT", help="Only what this agent could recall now.")
    ] = "",
    agent: OfAgent = "",
    team: OfTeam = "",
    everybody: Everybody = False,
    namespace: Namespace = None,
    newest: Annotated[
        bool, typer.Option("--newest", help="The newest first, not those that fit best.")
    ] = False,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Those too that are forgotten, expired or replaced.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="How many.")] = 10,
    after: options.After = "",
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Find what is remembered, by words or by age."""
    from pelton.events.ids import check_agent
    from pelton.events.memory import MemoryScope
    from pelton.projections.memories import MemoryQuery, Order

    async def run(memories: Memories) -> Any:
        scopes, owner = tuple(MemoryScope), None
        if agent or team or everybody:
            scope, owner, _ = await _place(memories, agent, team, everybody=everybody)
            scopes = (scope,)
        wanted = MemoryQuery(
            now=memories.now,
            text=query,
            member=await memories.member(check_agent(as_)) if as_ else None,
            scopes=scopes,
            owner=owner,
            namespace=namespace,
            order=Order.NEWEST if newest else Order.BEST,
            hidden=hidden,
            limit=limit,
            cursor=after,
        )
        return await memories.recall(wanted), await memories.unsearched(wanted)

    page, unsearched = on_memories(run, config, data, nats)
    found = [_found(entry) for entry in page.items]
    rows = [
        [
            *(each["id"], str(each["version"]), whose(each["scope"], each["owner"])),
            *(each["namespace"] or "-", each["time"], short(each["content"])),
        ]
        for each in found
    ]
    head = ["MEMORY", "VERSION", "WHOSE", "NAMESPACE", "TIME", "WHAT IT SAYS"]
    lines = columns([head, *rows]) if rows else ["nothing of that is remembered"]
    output = Output(json=json)
    value = {"memories": found, "next": page.next, "total": page.total, "unsearched": unsearched}
    output.result(value, lines)
    if unsearched:
        output.note(
            f"{unsearched} memories are sealed, and were not searched: name the file of keys in"
            " encryption.keys"
        )
    if page.next:
        output.note(f"{page.total} in all; the next page: --after {page.next}")


def short(content: str) -> str:
    """Return a text on one line of a table."""
    line = " ".join(content.split())
    return line if len(line) <= 72 else line[:71] + "…"


@app.command("get")
def get(
    memory: Id,
    *,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="What it said in this version.")
    ] = None,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Show what a memory says."""
    from pelton.events.memories import MemoryNotFound

    found = _shown(memory, file, options.settings(config, data=data, nats__url=nats))
    shown = found.version(version or len(found.versions))
    if shown is None:
        raise MemoryNotFound(f"the memory has {len(found.versions)} versions")
    lines = (
        [shown.content] if not shown.forgotten else [f"forgotten: {shown.reason or 'no reason'}"]
    )
    Output(json=json).result(entry_of(found, shown), lines)


@app.command("history")
def history(
    memory: Id,
    *,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List what a memory has said, version by version, and what led to each."""
    found = _shown(memory, file, options.settings(config, data=data, nats__url=nats))
    versions = [entry_of(found, version) for version in found.versions]
    rows = [
        [
            *(str(each["version"]), each["time"], each["cause"]["kind"], each["actor"]),
            "(forgotten)" if each["forgotten"] else short(each["content"]),
        ]
        for each in versions
    ]
    lines = columns([["VERSION", "TIME", "CAUSE", "FOR", "WHAT IT SAYS"], *rows])
    Output(json=json).result({"id": found.id, "versions": versions}, lines)


def _shown(memory: str, file: Path | None, settings: Settings) -> Memory:
    """Return a memory of the log, or of a session file."""
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import remembered
    from pelton.runtime.provenance import shown_memory

    return on_reader(
        settings, file, lambda reader: shown_memory(reader, memory), about=remembered(memory)
    )


@app.command("revise")
def revise(
    memory: Id,
    text: Text,
    *,
    ttl: Ttl = None,
    expect: Expect = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Let a memory say something else from now on."""
    from pelton.events.remembering import ReviseMemory

    def command(memories: Memories) -> MemoryCommand:
        return ReviseMemory(
            operation=memories.new_operation(),
            cause=by_hand(),
            content=text,
            expires=memories.until(ttl),
            expect=expect,
        )

    changed(_change(memory, command, config, data, nats), json=json)


@app.command("revert")
def revert(
    memory: Id,
    version: Annotated[int, typer.Argument(min=1, help="The version whose words it takes.")],
    *,
    expect: Expect = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Let a memory say again what it said in a version, even if it is forgotten or replaced."""
    from pelton.events.remembering import ReviseMemory

    def command(memories: Memories) -> MemoryCommand:
        return ReviseMemory(
            operation=memories.new_operation(), cause=by_hand(), reverts=version, expect=expect
        )

    changed(_change(memory, command, config, data, nats), json=json)


@app.command("forget")
def forget(
    memory: Id,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")] = "",
    expect: Expect = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Recall a memory no longer; what it said stays in the log."""
    from pelton.events.remembering import ForgetMemory

    def command(memories: Memories) -> MemoryCommand:
        return ForgetMemory(
            operation=memories.new_operation(), cause=by_hand(), reason=reason, expect=expect
        )

    changed(_change(memory, command, config, data, nats), json=json)


def _change(
    memory: str,
    command: Callable[[Memories], MemoryCommand],
    config: Path | None,
    data: str | None,
    nats: str | None,
) -> Memory:
    async def run(memories: Memories) -> Memory:
        await memories.existing(memory)
        return await memories.by_person(memory, command(memories))

    return on_memories(run, config, data, nats)
