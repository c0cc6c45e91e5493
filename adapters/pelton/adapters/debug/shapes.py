"""What the debugger's API takes and gives: one type for each shape."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pelton.adapters.api.memory_shapes import (
    MemoryReadView,
    MemoryVersionView,
    MemoryView,
    MemoryWhyView,
)
from pelton.adapters.api.shapes import (
    Query,
)
from pelton.adapters.cli.outlook import Wait
from pelton.adapters.debug.entries import Entry
from pelton.adapters.debug.forks import Fork
from pelton.adapters.debug.steps import StepRow
from pelton.adapters.debug.trim import Trimmed
from pelton.events.a2a import A2A
from pelton.events.memory import MemoryCause, MemoryRef, MemoryScope
from pelton.projections.conversations import ConversationEntry
from pelton.runtime.replay.graph import Edge, Node, Took

Sequence = Annotated[int, Meta(ge=0, le=2**53)]
Words = Annotated[str, Meta(max_length=200)]
Task = Annotated[str, Meta(min_length=1, max_length=300)]


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The base of what is answered."""


class Listing(Query, frozen=True, kw_only=True):
    """Which conversations."""

    agent: Words = ""
    find: Words = ""
    handed_on: bool = False
    page_size: Annotated[int, Meta(ge=1, le=100)] = 50
    page_token: Annotated[str, Meta(max_length=2048)] = ""


class Whole(Query, frozen=True, kw_only=True):
    """A conversation: of the log, or of a fork."""

    fork: Words = ""


class Window(Whole, frozen=True, kw_only=True):
    """Which entries: so many from a place on, among those of a task, of some kinds, with a text.

    `near` is the sequence of an entry, in the place of `start`: the window begins some before it.
    With `outline`, the kinds of all of them come too.
    """

    start: Annotated[int, Meta(ge=0)] = 0
    count: Annotated[int, Meta(ge=0, le=500)] = 200
    near: Sequence | None = None
    outline: bool = False
    task: Words = ""
    kinds: Annotated[str, Meta(max_length=20)] = ""
    find: Words = ""


class Place(Whole, frozen=True, kw_only=True):
    """An entry, by its sequence and its place; `task` is whose state is shown, if not its own's."""

    sequence: Sequence
    place: Sequence = 0
    task: Words = ""


class Inside(Place, frozen=True, kw_only=True):
    """A place inside what is shown of an entry: `path` is a JSON list, `first` where to begin."""

    what: Annotated[str, Meta(pattern="^(record|state|before|after)$")]
    path: Annotated[str, Meta(max_length=4000)] = "[]"
    first: Annotated[int, Meta(ge=0)] = 0
    change: Annotated[int, Meta(ge=0)] = 0


class Until(Whole, frozen=True, kw_only=True):
    """As of a sequence, or of now."""

    until: Sequence | None = None


class OfTask(Until, frozen=True, kw_only=True):
    """As of a sequence, or of now, and of one task alone if it is named."""

    task: Words = ""


class AsOf(Query, frozen=True, kw_only=True):
    """As of a sequence of the log, or of now."""

    until: Sequence | None = None


class Sides(Query, frozen=True, kw_only=True):
    """Which two tasks, each of the log or of a fork."""

    left: Task
    right: Task
    left_fork: Words = ""
    right_fork: Words = ""


class StepQuery(Until, frozen=True, kw_only=True):
    """Which steps: so many from a place on, among those of a task."""

    start: Annotated[int, Meta(ge=0)] = 0
    count: Annotated[int, Meta(ge=0, le=500)] = 200
    task: Words = ""


class Piece(Query, frozen=True, kw_only=True):
    """Which part of a blob."""

    fork: Words = ""
    first: Annotated[int, Meta(ge=0)] = 0


class Answering(A2A, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer to a question of a task: in words, as JSON, or a decision with its reason."""

    task: Words
    question: Words = ""
    text: Annotated[str, Meta(max_length=100_000)] = ""
    value: Any = msgspec.UNSET
    approved: bool | None = None
    actor: Words = ""


class Redriving(A2A, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which task is done again."""

    task: Words


class Done(Shown, frozen=True, kw_only=True):
    """What came of what somebody did: `decided` is false while nobody serves the agent."""

    context: str
    task: str
    decided: bool


class Overview(Shown, frozen=True, kw_only=True):
    """What there is. The read models know it up to `position`; `end` is where the log ends."""

    tenant: str
    version: str
    agents: tuple[str, ...]
    inbox: int
    dead_letters: int
    position: int
    end: int


class ConversationPage(Shown, frozen=True, kw_only=True):
    """A page of conversations, the latest first."""

    items: tuple[ConversationEntry, ...]
    next: str
    total: int


class MemberView(Shown, frozen=True, kw_only=True):
    """A context that takes part."""

    agent: str
    context: str


class TaskRow(Shown, frozen=True, kw_only=True):
    """A task, as it stands; `text` began it, `next` is the command that would move it."""

    id: str
    agent: str
    context: str
    state: str
    text: str
    says: str
    turns: int
    running: bool
    waits: tuple[Wait, ...]
    next: str
    redriven: str
    asked_by: str


class ConversationView(Shown, frozen=True, kw_only=True):
    """A conversation as it stands.

    `generation` changes when entries came before others; `pending` are commands that nobody has
    decided; `first` and `last` are when the log took the first and the last entry. `fork` tells
    what was otherwise in a fork, and what it is of.
    """

    id: str
    generation: int
    members: tuple[MemberView, ...]
    tasks: tuple[TaskRow, ...]
    pending: tuple[Entry, ...]
    total: int
    first: int
    last: int
    damage: str = ""
    fork: Fork | None = None


class EntryWindow(Shown, frozen=True, kw_only=True):
    """Some entries of `total`, from the place `start` among those that were asked for.

    `at` is the place of the entry that was asked for by its sequence. `kinds` has a letter for each
    of the entries, in capitals where something went wrong.
    """

    generation: int
    total: int
    start: int
    at: int
    items: tuple[Entry, ...]
    kinds: str


class ChangeView(Shown, frozen=True, kw_only=True):
    """A field that differs."""

    path: str
    before: Trimmed
    after: Trimmed


class CauseView(Shown, frozen=True, kw_only=True):
    """What led to an entry: `sequence` is 0 where that is not part of the conversation."""

    id: str
    sequence: int
    place: int
    what: str
    agent: str


class MomentView(Shown, frozen=True, kw_only=True):
    """An entry, seen closely, and the state of a task with it.

    `tasks` are those that there are by then; `state` is that of `task`.
    """

    entry: Entry
    at: int
    id: str
    actor: str
    source: str
    correlation: str
    cause: CauseView
    effects: tuple[CauseView, ...]
    record: Trimmed
    changes: tuple[ChangeView, ...]
    changed: int
    tasks: tuple[str, ...]
    task: str
    state: Trimmed | None


class NodeView(Shown, frozen=True, kw_only=True):
    """A task of the graph, and what its branch took."""

    node: Node
    branch: Took


class GraphView(Shown, frozen=True, kw_only=True):
    """Who has asked whom, as of a sequence."""

    until: int
    nodes: tuple[NodeView, ...]
    edges: tuple[Edge, ...]


class StepList(Shown, frozen=True, kw_only=True):
    """Some of the `total` steps that had begun by a sequence; the `longest` took milliseconds."""

    total: int
    start: int
    longest: int
    items: tuple[StepRow, ...]


class BlobView(Shown, frozen=True, kw_only=True):
    """A part of a blob as text; `text` is None if it is none."""

    sha256: str
    size: int
    first: int
    text: str | None
    more: bool


class SideView(Shown, frozen=True, kw_only=True):
    """One of two tasks that are compared: of the log, or of a fork."""

    task: str
    fork: str
    context: str
    agent: str
    state: str
    text: str


class BesideEvent(Shown, frozen=True, kw_only=True):
    """What one side has: the sequence of its commit, and the event in short."""

    sequence: int
    words: str


class BesideRow(Shown, frozen=True, kw_only=True):
    """What both tasks have at one place, or one of them alone; `changed` counts its fields."""

    what: str
    alike: bool
    left: BesideEvent | None
    right: BesideEvent | None
    fields: tuple[ChangeView, ...]
    changed: int


class BesideView(Shown, frozen=True, kw_only=True):
    """Two tasks side by side; the row `first` is the first that differs, -1 if none does.

    `more` rows are not shown.
    """

    left: SideView
    right: SideView
    alike: int
    differ: int
    first: int
    rows: tuple[BesideRow, ...]
    more: int


class ForkList(Shown, frozen=True, kw_only=True):
    """The forks that there are, the latest first."""

    items: tuple[Fork, ...]


class Touch(Shown, frozen=True, kw_only=True):
    """A step has made a version of a memory, or was given it."""

    made: bool
    version: int
    sequence: int
    place: int
    agent: str
    task: str
    key: str


class Touched(Shown, frozen=True, kw_only=True):
    """A memory that a conversation has to do with, as it stood; without a `version` it was not.

    `cause` and `sources` are what that version came from.
    """

    id: str
    scope: MemoryScope
    owner: str
    namespace: str
    key: str
    version: int
    content: str
    forgotten: bool
    expires: str
    cause: MemoryCause | None
    sources: tuple[MemoryRef, ...]
    touches: tuple[Touch, ...]


class TouchedList(Shown, frozen=True, kw_only=True):
    """The memories of a conversation, those first that it had to do with last; `total` of them."""

    items: tuple[Touched, ...]
    total: int


class MemoryCloseView(Shown, frozen=True, kw_only=True):
    """A memory, and as of a sequence: its versions, why the last of them, and who was given it.

    `memory` is as it stands now. `why` is None if it was not there yet.
    """

    memory: MemoryView
    until: int | None
    versions: tuple[MemoryVersionView, ...]
    readers: tuple[MemoryReadView, ...]
    why: MemoryWhyView | None
