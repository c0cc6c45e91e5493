"""Who asked whom in a conversation: its tasks, what they handed on, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pelton.events.a2a import TaskState, text_of
from pelton.events.context import Context, TaskFold, fold_commit
from pelton.events.envelope import digest
from pelton.events.events import (
    UNIT,
    DelegationAccepted,
    DelegationReported,
    StepCompleted,
    StepFailed,
    TaskDelegated,
    TaskEvent,
    TurnStarted,
    UsageReported,
)
from pelton.events.upcast import decode_commit
from pelton.runtime.replay.session import Session


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A task and what it took: `seconds` from its first event to its last, `steps` that ended.

    One of an agent elsewhere, or of which the log has nothing, has no state and took nothing here.
    `tokens` and `cost`, in the unit of currency that the operator counts in, are what its turns
    have reported of calls to models. `waits` are the keys of what it waits for now.
    """

    task: str
    agent: str
    context: str
    state: str = ""
    text: str = ""
    turns: int = 0
    attempts: int = 0
    steps: int = 0
    tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    waits: tuple[str, ...] = ()


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """One task has handed work to another, under a key in a turn of it.

    `state` is `open` while it waits for the other, `reported`, `late` if that came when nobody
    waited any more, or `dropped` if nothing came of it. `sequence` is where it is recorded.
    """

    task: str
    turn: int
    key: str
    child: str
    state: str
    sequence: int


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """What a branch of a conversation took; `cost` is as in `Node`."""

    tasks: int
    turns: int
    attempts: int
    steps: int
    tokens: int
    cost: float


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of a conversation by their first events, and what leads from one to another."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def roots(self) -> list[Node]:
        """The tasks that nobody here has handed on."""
        children = {edge.child for edge in self.edges}
        return [node for node in self.nodes if node.task not in children]

    def under(self, task: str) -> list[Edge]:
        """Return what a task has handed on, in order."""
        return [edge for edge in self.edges if edge.task == task]

    def branch(self, task: str) -> Took:
        """Return what a task and all that it has handed on took."""
        wanted, seen = [task], dict[str, None]()
        while wanted:
            each = wanted.pop()
            if each not in seen:
                seen[each] = None
                wanted += [edge.child for edge in self.under(each)]
        nodes = [node for node in self.nodes if node.task in seen]
        return Took(
            tasks=len(nodes),
            turns=sum(node.turns for node in nodes),
            attempts=sum(node.attempts for node in nodes),
            steps=sum(node.steps for node in nodes),
            tokens=sum(node.tokens for node in nodes),
            cost=round(sum(node.cost for node in nodes), 9),
        )


class _Counts(msgspec.Struct):
    """What is counted of a task on the way through its events."""

    agent: str
    first: int
    last: int = 0
    attempts: int = 0
    steps: int = 0
    tokens: int = 0
    cost: int = 0


def graph(session: Session) -> Graph:
    """Return the graph of a session.

    Raises:
        DamagedRecord: the commits of a context do not chain (law 13).
    """
    counts: dict[str, _Counts] = {}
    folds: dict[str, TaskFold] = {}
    edges: dict[tuple[str, int, str], Edge] = {}
    strangers: dict[str, Node] = {}
    for agent, context_id in session.contexts:
        state = Context(agent=agent, id=context_id)
        for record in session.commits(agent, context_id):
            commit = decode_commit(record.data)
            state = fold_commit(state, record.sequence, commit, digest(record.data))
            for event in commit.data.events:
                if not isinstance(event, TaskEvent):
                    continue
                known = counts.setdefault(event.task_id, _Counts(agent, record.received_ns))
                _count(known, event, record.received_ns)
                turns = state.tasks[event.task_id].turns
                _edge(edges, event, turns, record.sequence, strangers)
        for task in state.tasks.values():
            folds[task.id] = task
            for key, edge in edges.items():
                if key[0] == task.id and edge.state == "open" and not _waits(task, edge):
                    edges[key] = msgspec.structs.replace(edge, state="dropped")
    by_age = sorted(counts.items(), key=lambda each: each[1].first)
    known_nodes = [_node(folds[id_], each) for id_, each in by_age]
    others = [node for id_, node in strangers.items() if id_ not in folds]
    return Graph(nodes=(*known_nodes, *others), edges=tuple(edges.values()))


def _count(known: _Counts, event: TaskEvent, received: int) -> None:
    known.last = received
    known.attempts += isinstance(event, TurnStarted)
    known.steps += isinstance(event, StepCompleted | StepFailed)
    if isinstance(event, UsageReported):
        known.tokens += event.input_tokens + event.output_tokens
        known.cost += event.cost


def _edge(
    edges: dict[tuple[str, int, str], Edge],
    event: TaskEvent,
    turn: int,
    sequence: int,
    strangers: dict[str, Node],
) -> None:
    """Take in what an event says of a delegation."""
    if isinstance(event, TaskDelegated):
        child = event.child or f"{event.agent} {event.command_id}"
        edges[event.task_id, turn, event.key] = Edge(
            task=event.task_id,
            turn=turn,
            key=event.key,
            child=child,
            state="open",
            sequence=sequence,
        )
        strangers[child] = Node(task=child, agent=event.agent, context=event.context_id)
    elif isinstance(event, DelegationAccepted):
        edge = edges[event.task_id, turn, event.key]
        node = strangers.pop(edge.child)
        strangers[event.child] = msgspec.structs.replace(node, task=event.child)
        edges[event.task_id, turn, event.key] = msgspec.structs.replace(edge, child=event.child)
    elif isinstance(event, DelegationReported):
        key = event.task_id, event.turn, event.key
        state = "late" if event.late else "reported"
        if key in edges:
            edges[key] = msgspec.structs.replace(edges[key], state=state)


def _waits(task: TaskFold, edge: Edge) -> bool:
    turn = task.turn
    return turn is not None and turn.number == edge.turn and edge.key in turn.delegated


def _node(task: TaskFold, counted: _Counts) -> Node:
    return Node(
        task=task.id,
        agent=counted.agent,
        context=task.context_id,
        state=task.status.state,
        text=text_of(task.history[0].parts) if task.history else "",
        turns=task.turns,
        attempts=counted.attempts,
        steps=counted.steps,
        tokens=counted.tokens,
        cost=counted.cost / UNIT,
        seconds=round((counted.last - counted.first) / 1e9, 3),
        waits=tuple(_open(task)),
    )


def _open(task: TaskFold) -> Iterable[str]:
    turn = task.turn
    if turn is None:
        return [] if task.status.state is not TaskState.INPUT_REQUIRED else ["the next message"]
    waiting = [*turn.asked, *turn.delegated]
    return waiting + [key for key, timer in turn.timers.items() if not timer.done]


def dot(found: Graph) -> list[str]:
    """Return a graph in the language of Graphviz."""
    lines = ["digraph conversation {", "  node [shape=box];"]
    lines += [
        f"  {_quoted(node.task)} [label={_quoted(chr(10).join(_label(found, node)))}];"
        for node in found.nodes
    ]
    lines += [
        f"  {_quoted(e.task)} -> {_quoted(e.child)} [label={_quoted(f'{e.key} {e.state}')}];"
        for e in found.edges
    ]
    return [*lines, "}"]


def mermaid(found: Graph) -> list[str]:
    """Return a graph in the language of Mermaid."""
    names = {node.task: f"t{number}" for number, node in enumerate(found.nodes)}
    lines = ["flowchart TD"]
    lines += [
        f'  {names[node.task]}["{"<br/>".join(map(_entity, _label(found, node)))}"]'
        for node in found.nodes
    ]
    lines += [
        f'  {names[e.task]} -->|"{_entity(f"{e.key} {e.state}")}"| {names[e.child]}'
        for e in found.edges
    ]
    return lines


def _label(found: Graph, node: Node) -> list[str]:
    state = node.state.removeprefix("TASK_STATE_").lower().replace("_", "-")
    lines = [f"{node.agent}: {state or 'elsewhere'}", taken(found.branch(node.task), node.seconds)]
    return [line for line in lines if line]


def taken(took: Took, seconds: float) -> str:
    """Return in words what a branch took, and how long its first task: nothing if that is all."""
    if not took.turns:
        return ""
    counts = {"turns": took.turns, "attempts": took.attempts, "steps": took.steps}
    if took.attempts == took.turns:
        del counts["attempts"]  # nothing was tried again, nor taken over
    parts = [f"{count} {name if count != 1 else name[:-1]}" for name, count in counts.items()]
    if took.tasks > 1:
        parts.insert(0, f"{took.tasks} tasks")
    parts.append(f"{seconds:.3f} s")
    if took.tokens:
        parts.append(f"{took.tokens} tokens")
    if took.cost:
        parts.append(f"cost {took.cost:g}")
    return ", ".join(parts)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _entity(text: str) -> str:
    """Return a text as Mermaid takes it between quotes."""
    return "".join(c if c.isalnum() or c in " -_.:/" else f"#{ord(c)};" for c in text)
