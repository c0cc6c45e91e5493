"""The tables of the read models, as the dump has them; `migrations` make them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Table(NamedTuple):
    """A table that is part of the dump: its columns, of which the first `key` are its key."""

    name: str
    key: int
    columns: tuple[str, ...]


AGENTS: Final = Table("agents", 1, ("name", "profile", "registered", "updated"))

CONTEXTS: Final = Table(
    "contexts",
    1,
    (
        *("key", "agent", "id", "head", "events", "handled", "ahead"),
        *("waiting", "stopped", "created", "updated", "time", "owner"),
    ),
)

TASKS: Final = Table(
    "tasks",
    2,
    (
        *("id", "agent", "context_id", "command_id", "state", "timestamp", "status", "metadata"),
        *("sequence", "turns", "attempt", "executor", "history", "artifacts", "answer"),
        *("pending", "created", "updated", "owner", "waits", "pause", "again_at", "began"),
    ),
)

MESSAGES: Final = Table(
    "messages", 3, ("task_id", "agent", "number", "sequence", "command", "message")
)

PIECES: Final = Table("pieces", 4, ("task_id", "agent", "position", "number", "artifact"))

PENDING: Final = Table("pending", 1, ("sequence", "key", "data"))

REJECTED: Final = Table(
    "rejected",
    2,
    ("key", "command_id", "sequence", "agent", "context_id", "task_id", "code", "reason", "time"),
)

TAKEN: Final = Table("taken", 2, ("key", "command_id"))

QUESTIONS: Final = Table(
    "questions",
    3,
    (
        *("task_id", "agent", "key", "context_id", "turn", "sequence"),
        *("message", "approvers", "expires", "time"),
    ),
)

DEAD_LETTERS: Final = Table(
    "dead_letters",
    2,
    (
        *("task_id", "agent", "context_id", "turn", "command_id"),
        *("kind", "message", "exception", "attempts", "sequence", "time"),
    ),
)

REDRIVES: Final = Table("redrives", 2, ("task_id", "agent", "redriven_as", "sequence", "time"))

DELEGATIONS: Final = Table(
    "delegations",
    4,
    (
        *("task_id", "agent", "turn", "key", "context_id"),
        *("child_agent", "child_context", "child", "command_id", "sequence", "time"),
    ),
)

REPORTS: Final = Table(
    "reports", 5, ("task_id", "agent", "turn", "key", "sequence", "late", "time")
)

COUNTS: Final = Table("counts", 2, ("agent", "name", "count"))

USAGE: Final = Table(
    "usage",
    5,
    (
        *("day", "agent", "context_id", "owner", "model"),
        *("turns", "busy", "calls", "input_tokens", "output_tokens", "cached_tokens"),
        *("cost", "duration"),
    ),
)

MEMORIES: Final = Table(
    "memories",
    1,
    (
        *("number", "id", "scope", "owner", "life", "author", "namespace", "key", "consolidates"),
        *("version", "content", "media_type", "expires", "writer", "forgotten", "replaced_by"),
        *("updated", "time", "stopped", "keyid"),
    ),
)

MEMORY_VERSIONS: Final = Table(
    "memory_versions",
    2,
    (
        *("memory_id", "version", "content", "media_type", "expires", "forgotten", "reason"),
        *("reverts", "cause", "sources", "operation"),
        *("sequence", "time", "actor", "commit_id", "correlation", "keyid"),
    ),
)

MEMORY_READS: Final = Table(
    "memory_reads",
    6,
    (
        *("memory_id", "version", "task_id", "agent", "turn", "key"),
        *("context_id", "sequence", "time"),
    ),
)

AUDIT: Final = Table("audit", 1, ("sequence", "principal", "agent", "refused"))

DAMAGED: Final = Table("damaged", 1, ("sequence", "subject", "code", "reason"))

POSITION: Final = Table("position", 1, ("sequence", "hash"))

TABLES: Final = (
    *(AGENTS, CONTEXTS, TASKS, MESSAGES, PIECES, PENDING, REJECTED, TAKEN),
    *(QUESTIONS, DEAD_LETTERS, REDRIVES, DELEGATIONS, REPORTS, COUNTS, USAGE),
    *(MEMORIES, MEMORY_VERSIONS, MEMORY_READS, AUDIT, DAMAGED, POSITION),
)
"""All tables in the order of the dump."""
