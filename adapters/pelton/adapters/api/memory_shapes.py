"""What the API takes and gives of memories, and of what came of them: a type a shape."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from pelton.adapters.api.shapes import PageToken, Query
from pelton.events.a2a import A2A, Message
from pelton.events.memory import MemoryCause, MemoryRef, MemoryScope
from pelton.events.taint import How
from pelton.projections.memories import Order


class MemoryListQuery(Query, frozen=True, kw_only=True):
    """Which memories."""

    page_size: Annotated[int, Meta(ge=1, le=50, description="How many entries, at most.")] = 50
    page_token: PageToken = ""
    query: Annotated[
        str, Meta(max_length=4096, description="Only those with any of these words.")
    ] = ""
    order: Annotated[Order, Meta(description="The best first, by the words, or the newest.")] = (
        Order.BEST
    )
    agent: Annotated[
        str, Meta(max_length=63, description="Only what this agent could recall now.")
    ] = ""
    scope: Annotated[MemoryScope | None, Meta(description="Only of this scope.")] = None
    owner: Annotated[str, Meta(max_length=63, description="Only of this agent or team.")] = ""
    namespace: Annotated[str, Meta(max_length=128, description="Only of this namespace.")] = ""
    hidden: Annotated[
        bool, Meta(description="Those too that are forgotten, expired or replaced.")
    ] = False


class MemoryView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A memory by its last version, which the commit at `updated` has made.

    `owner` is the agent or the team that it belongs to, in the agent's `life`; `author` the agent
    that wrote its first version and `writer` its last, empty if a person did. `replacedBy` is the
    memory that stands for it, if one does. `score` says how well it fits the words that were asked.
    """

    id: str
    scope: MemoryScope
    owner: str
    life: int
    author: str
    namespace: str
    key: str
    consolidates: bool
    version: int
    content: str
    media_type: str
    expires: str
    writer: str
    forgotten: bool
    replaced_by: str
    created: int
    updated: int
    time: str
    score: float


class MemoryVersionView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A version of a memory, and what led to it, as the commit at `sequence` says.

    `correlation` is the command that began the request in which it was made.
    """

    memory_id: str
    version: int
    content: str
    media_type: str
    expires: str
    forgotten: bool
    reason: str
    reverts: int
    cause: MemoryCause
    sources: tuple[MemoryRef, ...]
    sequence: int
    time: str
    actor: str
    commit_id: str
    correlation: str


class MemoryReadView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A turn was given a version of a memory, by its step `key`."""

    memory_id: str
    version: int
    agent: str
    context_id: str
    task_id: str
    turn: int
    key: str
    sequence: int
    time: str


class MemoryWhyView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """What the last version of a memory came from.

    `message` is the one that the turn which made it was about. `sources` are the versions that it
    was made of, and so on; `given` is what that turn had been given of memory by then.
    """

    version: MemoryVersionView
    message: Message | None
    sources: tuple[MemoryVersionView, ...]
    given: tuple[MemoryReadView, ...]


class MemoryList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of memories.

    In `unsearched` others, which are sealed, words were not looked for: their keys are not here.
    """

    items: tuple[MemoryView, ...]
    next_page_token: str
    total_size: int
    unsearched: int = 0


class MemoryVersionList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of the versions of a memory, the latest first."""

    items: tuple[MemoryVersionView, ...]
    next_page_token: str
    total_size: int


class MemoryReadList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of the turns that were given a memory, the latest first."""

    items: tuple[MemoryReadView, ...]
    next_page_token: str
    total_size: int


class TaintView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A task, or a version of a memory, that can have known of something bad.

    It did so first with the commit at `sequence`, because of the record at `because`. Of a task,
    `ended` is the sequence at which its last turn since then has ended, 0 if none has, with an
    `outcome`; of a version, `last` says that no other came after it.
    """

    sequence: int
    how: How
    because: int
    agent: str = ""
    context_id: str = ""
    task_id: str = ""
    ended: int = 0
    outcome: str = ""
    memory_id: str = ""
    version: int = 0
    last: bool = False


class TaintList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of what came of the record at `source`, in the order of the log.

    `unread` are the sequences of records since then that cannot be read, 100 at most.
    """

    source: int
    items: tuple[TaintView, ...]
    next_page_token: str
    total_size: int
    unread: tuple[int, ...]
