"""`pelton timeline`, `pelton graph`: a conversation whole, with everybody who took part in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, words

if TYPE_CHECKING:
    from pelton.runtime.replay.graph import Edge, Graph
    from pelton.runtime.replay.session import Reader, Session

Context = Annotated[
    str, typer.Argument(metavar="CONTEXT", help="The context's id, or that of a task in it.")
]
Format = Literal["text", "dot", "mermaid"]


def timeline(
    context: Context,
    *,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Print all that happened in a conversation, in one order, with all agents that took part."""
    from pelton.adapters.cli.timeline import record_line, record_value
    from pelton.runtime.replay.session import check_context

    found = _session(context, file, nats, data, config)
    records = [each for each in found.records if ".".join(each.subject.split(".")[2:]) != "_agent"]
    value = {"context": check_context(context), "records": [record_value(e) for e in records]}
    Output(json=json).result(value, [line for each in records for line in record_line(each)])


def graph(
    context: Context,
    *,
    shape: Annotated[
        Format, typer.Option("--format", metavar="FORMAT", help="text, dot or mermaid.")
    ] = "text",
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Draw who asked whom in a conversation, who waits for whom, and what each branch took."""
    from pelton.runtime.replay import graph as graphs

    found = graphs.graph(_session(context, file, nats, data, config))
    draw = {"text": _tree, "dot": graphs.dot, "mermaid": graphs.mermaid}[shape]
    value = {
        "nodes": found.nodes,
        "edges": found.edges,
        "branches": {node.task: found.branch(node.task) for node in found.nodes},
    }
    Output(json=json).result(value, draw(found))


def _session(
    context: str,
    file: options.File,
    nats: options.Nats,
    data: options.Data,
    config: options.Config,
) -> Session:
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import conversation
    from pelton.runtime.replay.session import check_context, session_of

    async def read(reader: Reader) -> Session:
        return await session_of(reader, check_context(context), blobs=False)

    settings = options.settings(config, data=data, nats__url=nats)
    return on_reader(settings, file, read, about=conversation(context))


def _tree(found: Graph) -> list[str]:
    """Return a graph as an indented tree; a task that was asked again is told once."""
    lines: list[str] = []
    told: set[str] = set()
    for root in found.roots:
        lines += _branch(found, root.task, None, "", told)
    return lines


def _branch(
    found: Graph, task: str, edge: Edge | None, indent: str, told: set[str]
) -> Iterator[str]:
    from pelton.runtime.replay.graph import taken

    node = next(each for each in found.nodes if each.task == task)
    came = f"{edge.key} {edge.state} → " if edge is not None else ""
    if task in told:
        yield f"{indent}{came}{node.agent} {task} (as above)"
        return
    told.add(task)
    state = words(node.state) if node.state else "elsewhere"
    took = taken(found.branch(task), node.seconds)
    yield f"{indent}{came}{node.agent} {task} {state}" + (f"  ({took})" if took else "")
    if node.text:
        yield f"{indent}    {node.text[:72]!r}"
    if node.waits:
        yield f"{indent}    waits for {', '.join(node.waits)}"
    for each in found.under(task):
        yield from _branch(found, each.child, each, indent + "  ", told)
