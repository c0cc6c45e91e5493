"""What the API takes and gives: one type for each shape (AS-5)."""

from __future__ import annotations

from typing import Annotated, Self

from msgspec import Meta

from pelton.events.a2a import A2A, JsonObject, Message, Task, TaskState
from pelton.events.card import AgentProfile
from pelton.events.events import UNIT, FailureClass
from pelton.events.presence import AgentStatus
from pelton.events.start import Stage
from pelton.projections.ledgers import By, UsageEntry
from pelton.runtime.audit import Decision

PageSize = Annotated[int, Meta(ge=1, le=100, description="How many entries, at most.")]
PageToken = Annotated[
    str, Meta(max_length=2048, description="`nextPageToken` of the page before this one.")
]
Agent = Annotated[str, Meta(max_length=63, description="Only of this agent.")]


class Query(A2A, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of what the query of a URL may hold; anything else in it is refused."""


class Nothing(Query, frozen=True, kw_only=True):
    """No parameters."""


class Pages(Query, frozen=True, kw_only=True):
    """Which page."""

    page_size: PageSize = 50
    page_token: PageToken = ""


class TaskQuery(Pages, frozen=True, kw_only=True):
    """Which tasks."""

    agent: Agent = ""
    context_id: Annotated[str, Meta(max_length=128, description="Only of this conversation.")] = ""
    state: Annotated[TaskState | None, Meta(description="Only in this state.")] = None


class OneTask(Query, frozen=True, kw_only=True):
    """How much of a task."""

    history_length: Annotated[
        int, Meta(ge=0, le=2**31 - 1, description="How many of its latest messages.")
    ] = 0


class OfAgent(Pages, frozen=True, kw_only=True):
    """Whose."""

    agent: Agent = ""


class SessionQuery(OfAgent, frozen=True, kw_only=True):
    """Which conversations."""

    find: Annotated[
        str,
        Meta(max_length=256, description="Only where this was said, or whose id begins with it."),
    ] = ""
    handed_on: Annotated[bool, Meta(description="Those too that one agent has with another.")] = (
        False
    )


class DeadLetterQuery(OfAgent, frozen=True, kw_only=True):
    """Which dead letters."""

    redriven: Annotated[bool, Meta(description="Those too that were done again.")] = False


class AuditQuery(OfAgent, frozen=True, kw_only=True):
    """What was done."""

    principal: Annotated[str, Meta(max_length=256, description="Only what this one did.")] = ""
    refused: Annotated[bool, Meta(description="Only what was refused.")] = False


class UsageQuery(OfAgent, frozen=True, kw_only=True):
    """Which usage, and how it is added up."""

    by: Annotated[By, Meta(description="What it is added up by.")] = By.AGENT
    since: Annotated[
        str,
        Meta(pattern="^([0-9]{4}-[0-9]{2}-[0-9]{2})?$", description="From this day (UTC) on."),
    ] = ""


class LiveQuery(Query, frozen=True, kw_only=True):
    """Which records of the log, as they are stored."""

    agent: Agent = ""


class AgentTrouble(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """What went wrong last with starting an agent, or with keeping it served.

    `detail` is what the system said, and empty for all but operators.
    """

    at: str
    stage: Stage
    kind: FailureClass
    detail: str


class AgentView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """An agent, and how it stands.

    `profile` is null for one that was never started: only operators are shown it.
    """

    name: str
    profile: AgentProfile | None
    url: str
    status: AgentStatus
    since: str
    last_error: AgentTrouble | None


class TaskView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A task, as A2A shows it, and whose it is.

    `sequence` counts its events. `pending`: the message that opens it waits to be decided.
    """

    agent: str
    owner: str
    task: Task
    sequence: int
    turns: int
    pending: bool


class PushConfigView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """How far a push config of a task is; its URL and its secrets are for its creator alone.

    All up to the event `position` of the task is delivered. `standing` is `open`, `failing`, or why
    nothing more is posted: `complete`, `given-up`, `gone`, `refused`. The next notification has
    failed `attempts` times, the last time for `reason`, and is tried again at `retry`.
    """

    id: str
    receiver: str
    created_by: str
    since: str
    position: int
    standing: str
    attempts: int
    reason: str
    retry: str


class PushView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """Where a task's updates are posted to, in the order of creation: twenty at most."""

    agent: str
    configs: tuple[PushConfigView, ...]


class EventView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A record of the log: a command or a commit, null if it is neither."""

    sequence: int
    subject: str
    received: str
    record: JsonObject | None


class QuestionView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A question that a task waits with; the message says what is asked.

    A message to the task answers it; where a task has asked several, one that names the `key`.
    Without `approvers` the owner of the task answers. `expires` is RFC 3339, or empty.
    """

    agent: str
    context_id: str
    task_id: str
    key: str
    turn: int
    message: Message | None
    approvers: tuple[str, ...]
    expires: str
    sequence: int
    time: str


class SessionView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A conversation with the first 400 characters that began it, and how its latest task stands.

    `state` and `text` are empty while nothing is decided. `by` is the agent that handed the work
    on, if one did; `waiting` counts messages that wait to be decided. `updated` is the sequence of
    the last record, `time` that of the last commit, and `stopped` the sequence of a damaged commit
    behind which it stands still, 0 if there is none.
    """

    agent: str
    id: str
    by: str
    state: str
    text: str
    tasks: int
    events: int
    waiting: int
    stopped: int
    updated: int
    time: str


class DeadLetterView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A task that failed for good without its agent's wish.

    `kind` is the class of the failure, `commandId` names what nobody could do, and `redrivenAs` the
    task that does it again, if one does.
    """

    agent: str
    context_id: str
    task_id: str
    turn: int
    command_id: str
    kind: str
    message: str
    attempts: int
    redriven_as: str
    sequence: int
    time: str


class UsageView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """What was taken by what has that name: an agent, a model, a day.

    `turns` have ended, and were worked on for `busySeconds` in all. `calls` to models were
    reported, which took `callSeconds`; of their input tokens, `cachedTokens` came from a cache.
    `cost` is in the unit of currency that the operator counts in.
    """

    name: str
    turns: int
    busy_seconds: float
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float
    call_seconds: float

    @classmethod
    def of(cls, entry: UsageEntry) -> Self:
        """Return an entry of the read models in the units of people."""
        return cls(
            name=entry.name,
            turns=entry.turns,
            busy_seconds=entry.busy / 1_000,
            calls=entry.calls,
            input_tokens=entry.input_tokens,
            output_tokens=entry.output_tokens,
            cached_tokens=entry.cached_tokens,
            cost=entry.cost / UNIT,
            call_seconds=entry.duration / 1_000,
        )


class AuditView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """What a principal did, by the commit at `sequence`.

    `command` is what was asked, empty for what needs none, as keys and tokens do. `events`
    are the names of those that came of it. A refusal has the `code` and the `reason` of an error.
    """

    sequence: int
    time: str
    principal: str
    source: str
    agent: str
    context_id: str
    task_id: str
    command: str
    command_id: str
    decision: Decision
    code: str
    reason: str
    events: tuple[str, ...]


class DamageView(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A record of the log that could not be taken in, and why."""

    sequence: int
    subject: str
    code: str
    reason: str


class AgentList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of agents, by name."""

    items: tuple[AgentView, ...]
    next_page_token: str
    total_size: int


class TaskList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of tasks, the latest status first."""

    items: tuple[TaskView, ...]
    next_page_token: str
    total_size: int


class EventList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of records, in the order of the log."""

    items: tuple[EventView, ...]
    next_page_token: str


class Inbox(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of open questions, the oldest first."""

    items: tuple[QuestionView, ...]
    next_page_token: str
    total_size: int


class SessionList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of conversations, the latest record first."""

    items: tuple[SessionView, ...]
    next_page_token: str
    total_size: int


class DeadLetterList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of dead letters, the latest first."""

    items: tuple[DeadLetterView, ...]
    next_page_token: str
    total_size: int


class DamageList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of damaged records, in the order of the log."""

    items: tuple[DamageView, ...]
    next_page_token: str
    total_size: int


class AuditList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of what was done, in the order of the log."""

    items: tuple[AuditView, ...]
    next_page_token: str
    total_size: int


class UsageList(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """A page of usage, by name."""

    items: tuple[UsageView, ...]
    next_page_token: str
    total_size: int


class Problem(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """What went wrong; `code` is one of those that the documentation lists."""

    code: str
    message: str
    detail: JsonObject


class Failure(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """The answer to a request that failed (AS-28)."""

    error: Problem
