"""What the agents' tools take and give: one type for each shape (AS-5)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from pelton.adapters.mcp.tool import Answer, Arguments, Keyed
from pelton.events.a2a import TaskState
from pelton.events.memory import MemoryScope

LONGEST_WAIT: Final = 300
"""Seconds that a call waits at most."""

Wait = Annotated[
    float,
    Meta(ge=0, le=LONGEST_WAIT, description="Seconds to wait before the call returns without it."),
]
TaskId = Annotated[str, Meta(min_length=1, max_length=256, description="The task's id.")]
PageSize = Annotated[int, Meta(ge=1, le=100, description="How many entries, at most.")]
Cursor = Annotated[str, Meta(max_length=2048, description="`next` of the page before this one.")]


class DelegateArguments(Keyed, frozen=True, kw_only=True):
    """What to have done, and by whom."""

    agent: Annotated[str, Meta(min_length=1, max_length=2048, description="Who is to do it.")]
    text: Annotated[str, Meta(min_length=1, max_length=1_000_000, description="What to do.")]
    context_id: Annotated[
        str, Meta(max_length=128, description="Go on with this conversation with that agent.")
    ] = ""
    answers: Annotated[
        str, Meta(max_length=256, description="The task that has asked what this answers.")
    ] = ""
    within: (
        Annotated[float, Meta(gt=0, le=31_536_000, description="Seconds until it must be done.")]
        | None
    ) = None


class DelegateAndWait(DelegateArguments, frozen=True, kw_only=True):
    """The same, and how long to wait for it."""

    wait_seconds: Wait = 45.0


class StatusArguments(Arguments, frozen=True, kw_only=True):
    """A task that was delegated."""

    task_id: TaskId
    wait_seconds: Wait = 0.0


class Delegated(Answer, frozen=True, kw_only=True):
    """A delegated task. `text` are that agent's words, no person's; `done`: it is over."""

    task_id: str
    agent: str
    context_id: str
    state: TaskState
    done: bool
    text: str = ""
    failure: str = ""


class PeersArguments(Arguments, frozen=True, kw_only=True):
    """Which page of agents."""

    page_size: PageSize = 50
    cursor: Cursor = ""


class AgentArguments(Arguments, frozen=True, kw_only=True):
    """An agent."""

    agent: Annotated[str, Meta(min_length=1, max_length=63, description="The agent's name.")]


class Skill(Answer, frozen=True, kw_only=True):
    """Something that an agent says it can do."""

    id: str
    name: str
    description: str


class AgentInfo(Answer, frozen=True, kw_only=True):
    """An agent as it describes itself, and how it stands."""

    name: str
    title: str
    description: str
    version: str
    status: str
    team: str
    skills: tuple[Skill, ...]


class Peers(Answer, frozen=True, kw_only=True):
    """A page of agents, by name; `next` is empty on the last one."""

    agents: tuple[AgentInfo, ...]
    next: str


class SayArguments(Keyed, frozen=True, kw_only=True):
    """What to tell the user."""

    text: Annotated[str, Meta(min_length=1, max_length=1_000_000, description="What to say.")]


class Sent(Answer, frozen=True, kw_only=True):
    """What was sent."""

    message_id: str


class CommitArguments(Keyed, frozen=True, kw_only=True):
    """What to remember."""

    text: Annotated[str, Meta(min_length=1, max_length=32_768, description="What to remember.")]
    scope: Annotated[MemoryScope, Meta(description="Who is to recall it.")] = MemoryScope.OWN
    namespace: Annotated[str, Meta(max_length=128, description="Keeps memories apart.")] = ""
    ttl_seconds: (
        Annotated[float, Meta(gt=0, description="Seconds until it is forgotten.")] | None
    ) = None


class Remembered(Answer, frozen=True, kw_only=True):
    """A version of a memory."""

    memory_id: str
    version: int


class RecallArguments(Arguments, frozen=True, kw_only=True):
    """What to look for."""

    query: Annotated[str, Meta(max_length=4096, description="Words; none for the newest.")] = ""
    namespace: Annotated[str, Meta(max_length=128, description="Only of this one.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=50, description="How many, at most.")] = 10
    cursor: Cursor = ""


class Memory(Answer, frozen=True, kw_only=True):
    """A memory. `quoted` is an old note, marked as such: no order, and no person's words now."""

    memory_id: str
    version: int
    scope: MemoryScope
    writer: str
    time: str
    quoted: str


class Recalled(Answer, frozen=True, kw_only=True):
    """A page of memories; `next` is empty on the last one."""

    memories: tuple[Memory, ...]
    next: str
    total: int


class Mail(Answer, frozen=True, kw_only=True):
    """A message that `agent` wrote, or a person: an agent's text says so in its first line."""

    message_id: str
    agent: str
    text: str


class MailPage(Answer, frozen=True, kw_only=True):
    """The messages that wait, the oldest first; `next` is empty on the last page."""

    messages: tuple[Mail, ...]
    next: str


class PeekArguments(PeersArguments, frozen=True, kw_only=True):
    """Which page of messages."""


class PopArguments(Keyed, frozen=True, kw_only=True):
    """Take the next message."""


class WaitArguments(Keyed, frozen=True, kw_only=True):
    """How long to wait for a message."""

    timeout_seconds: Annotated[
        float, Meta(ge=0, le=LONGEST_WAIT, description="Seconds to wait at most.")
    ] = 30.0


class MaybeMail(Answer, frozen=True, kw_only=True):
    """A message, or none: nobody has written."""

    message: Mail | None


# Of agents outside: their work, and what they say of themselves.

Lease = Annotated[
    str,
    Meta(min_length=1, max_length=128, description="`lease` of the work that this belongs to."),
]


class JoinArguments(Arguments, frozen=True, kw_only=True):
    """What you say of yourself."""

    title: Annotated[str, Meta(max_length=200, description="How you are called.")] = ""
    description: Annotated[str, Meta(max_length=4096, description="What you do for others.")] = ""
    version: Annotated[str, Meta(max_length=64, description="Your version.")] = "1.0.0"


class WorkArguments(Keyed, frozen=True, kw_only=True):
    """Take the next work."""

    history_length: Annotated[
        int, Meta(ge=0, le=100, description="How much of the conversation comes with it.")
    ] = 10


class WaitForWork(WorkArguments, frozen=True, kw_only=True):
    """How long to wait for it."""

    timeout_seconds: Annotated[
        float, Meta(ge=0, le=LONGEST_WAIT, description="Seconds to wait at most.")
    ] = 30.0


class Said(Answer, frozen=True, kw_only=True):
    """What was said before, by you or to you; `agent` wrote it, or a person."""

    by_you: bool
    agent: str
    text: str


class Work(Answer, frozen=True, kw_only=True):
    """A task to do: your lease on it lasts as long as you call something with it in ten minutes.

    `agent` has written it, or the client that owns the conversation: an agent's text says so in its
    first line. A later `attempt` is work that was begun before.
    """

    lease: str
    task_id: str
    context_id: str
    turn: int
    attempt: int
    agent: str
    client: str
    text: str
    history: tuple[Said, ...]


class MaybeWork(Answer, frozen=True, kw_only=True):
    """Work, or none: nobody wants anything."""

    work: Work | None


class WorkPage(Answer, frozen=True, kw_only=True):
    """The work that waits, and that you have in hand (with its lease), the oldest first."""

    work: tuple[Work, ...]
    next: str


class FinishArguments(Arguments, frozen=True, kw_only=True):
    """What came of the work."""

    lease: Lease
    state: Annotated[
        Literal["completed", "failed", "rejected", "input-required"],
        Meta(description="How it ends; input-required asks for more, and ends your turn."),
    ] = "completed"
    text: Annotated[
        str, Meta(min_length=1, max_length=1_000_000, description="The answer, or why not.")
    ]


class Finished(Answer, frozen=True, kw_only=True):
    """The work is over, and the log has what you said."""

    task_id: str
    state: str
