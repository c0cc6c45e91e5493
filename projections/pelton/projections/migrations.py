"""How a file of the read models gets from one version of its tables to the next (AS-64).

A migration is never changed once it is released; a change of the tables is another one. Migrations
are applied once each and written down in the file. One that cannot carry over what is there sets
the position back to the beginning, and the projector reads the log anew.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Migration(NamedTuple):
    """A step from the version before to `version`, and back."""

    version: int
    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]


_INDEXES_1: Final = {
    "tasks_newest": "tasks (timestamp, id, agent, answer) WHERE answer IS NULL",
    "tasks_by_agent": "tasks (agent, timestamp, id, answer) WHERE answer IS NULL",
    "tasks_by_owner": "tasks (owner, agent, timestamp, id, answer) WHERE answer IS NULL",
    "tasks_by_context": "tasks (context_id, timestamp, id, agent, answer) WHERE answer IS NULL",
    "tasks_by_state": "tasks (state, agent, timestamp, id, answer) WHERE answer IS NULL",
    "contexts_by_agent": "contexts (agent, updated)",
    "contexts_newest": "contexts (updated)",
    "pending_by_context": "pending (key, sequence)",
    "rejected_by_task": "rejected (task_id, agent)",
    "rejected_by_agent": "rejected (agent, sequence)",
}
_INDEXES_2: Final = {
    "questions_oldest": "questions (sequence)",
    "questions_by_agent": "questions (agent, sequence)",
    "dead_letters_newest": "dead_letters (sequence)",
    "dead_letters_by_agent": "dead_letters (agent, sequence)",
}
_INDEXES_3: Final = {"tasks_running": "tasks (agent) WHERE attempt IS NOT NULL"}
_INDEXES_4: Final = {
    "memories_by_place": "memories (scope, owner, updated)",
    "memory_reads_by_turn": "memory_reads (task_id, agent)",
}
_INDEXES_6: Final = {
    "audit_by_principal": "audit (principal)",
    "audit_by_agent": "audit (agent)",
    "audit_refused": "audit (sequence) WHERE refused",
}

_KEPT_1: Final = (
    *("agents", "contexts", "tasks", "messages", "pieces", "pending", "rejected", "damaged"),
)
_KEPT_2: Final = (
    *_KEPT_1,
    *("questions", "dead_letters", "redrives", "delegations", "reports", "counts"),
)
_KEPT_3: Final = (*_KEPT_2, "taken")
_KEPT_5: Final = (
    *(*_KEPT_3, "usage"),
    *("memories", "memory_versions", "memory_reads", "memory_text"),
)
"""What is read anew from the log after migrations 2 to 4 and 6, which cannot tell what they add."""
_SEALED_5: Final = ("memories", "memory_versions")

MIGRATIONS: Final = (
    Migration(
        1,
        "tasks, contexts and agents",
        (
            """CREATE TABLE position (
                sequence INTEGER NOT NULL PRIMARY KEY,
                hash TEXT NOT NULL
            )""",
            "INSERT INTO position VALUES (0, '')",
            """CREATE TABLE agents (
                name TEXT NOT NULL PRIMARY KEY,
                profile TEXT NOT NULL,
                registered INTEGER NOT NULL,
                updated INTEGER NOT NULL
            ) WITHOUT ROWID""",
            """CREATE TABLE contexts (
                key TEXT NOT NULL PRIMARY KEY,
                agent TEXT NOT NULL,
                id TEXT NOT NULL,
                head INTEGER NOT NULL,
                events INTEGER NOT NULL,
                handled INTEGER NOT NULL,
                ahead TEXT NOT NULL,
                waiting INTEGER NOT NULL,
                stopped INTEGER NOT NULL,
                created INTEGER NOT NULL,
                updated INTEGER NOT NULL,
                time TEXT NOT NULL,
                owner TEXT NOT NULL
            ) WITHOUT ROWID""",
            """CREATE TABLE tasks (
                id TEXT NOT NULL,
                agent TEXT NOT NULL,
                context_id TEXT NOT NULL,
                command_id TEXT NOT NULL,
                state TEXT NOT NULL,
                timestamp TEXT NOT NULL,
                status TEXT NOT NULL,
                metadata TEXT,
                sequence INTEGER NOT NULL,
                turns INTEGER NOT NULL,
                attempt INTEGER,
                executor TEXT,
                history INTEGER NOT NULL,
                artifacts TEXT NOT NULL,
                answer TEXT,
                pending INTEGER NOT NULL,
                created INTEGER NOT NULL,
                updated INTEGER NOT NULL,
                owner TEXT NOT NULL,
                PRIMARY KEY (id, agent)
            ) WITHOUT ROWID""",
            """CREATE TABLE messages (
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                number INTEGER NOT NULL,
                sequence INTEGER NOT NULL,
                command TEXT NOT NULL,
                message TEXT NOT NULL,
                PRIMARY KEY (task_id, agent, number)
            ) WITHOUT ROWID""",
            """CREATE TABLE pieces (
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                position INTEGER NOT NULL,
                number INTEGER NOT NULL,
                artifact TEXT NOT NULL,
                PRIMARY KEY (task_id, agent, position, number)
            ) WITHOUT ROWID""",
            """CREATE TABLE pending (
                sequence INTEGER NOT NULL PRIMARY KEY,
                key TEXT NOT NULL,
                data BLOB NOT NULL
            )""",
            """CREATE TABLE rejected (
                key TEXT NOT NULL,
                command_id TEXT NOT NULL,
                sequence INTEGER NOT NULL,
                agent TEXT NOT NULL,
                context_id TEXT NOT NULL,
                task_id TEXT NOT NULL,
                code TEXT NOT NULL,
                reason TEXT NOT NULL,
                time TEXT NOT NULL,
                PRIMARY KEY (key, command_id)
            ) WITHOUT ROWID""",
            """CREATE TABLE damaged (
                sequence INTEGER NOT NULL PRIMARY KEY,
                subject TEXT NOT NULL,
                code TEXT NOT NULL,
                reason TEXT NOT NULL
            )""",
            *(f"CREATE INDEX {name} ON {what}" for name, what in _INDEXES_1.items()),
        ),
        (
            "DROP TABLE damaged",
            "DROP TABLE rejected",
            "DROP TABLE pending",
            "DROP TABLE pieces",
            "DROP TABLE messages",
            "DROP TABLE tasks",
            "DROP TABLE contexts",
            "DROP TABLE agents",
            "DROP TABLE position",
        ),
    ),
    Migration(
        2,
        "questions, dead letters, delegations and counts",
        (
            "ALTER TABLE tasks ADD COLUMN waits TEXT NOT NULL DEFAULT '{}'",
            "ALTER TABLE tasks ADD COLUMN pause TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE tasks ADD COLUMN again_at TEXT NOT NULL DEFAULT ''",
            """CREATE TABLE questions (
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                key TEXT NOT NULL,
                context_id TEXT NOT NULL,
                turn INTEGER NOT NULL,
                sequence INTEGER NOT NULL,
                message TEXT NOT NULL,
                approvers TEXT NOT NULL,
                expires TEXT NOT NULL,
                time TEXT NOT NULL,
                PRIMARY KEY (task_id, agent, key)
            ) WITHOUT ROWID""",
            """CREATE TABLE dead_letters (
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                context_id TEXT NOT NULL,
                turn INTEGER NOT NULL,
                command_id TEXT NOT NULL,
                kind TEXT NOT NULL,
                message TEXT NOT NULL,
                exception TEXT NOT NULL,
                attempts INTEGER NOT NULL,
                sequence INTEGER NOT NULL,
                time TEXT NOT NULL,
                PRIMARY KEY (task_id, agent)
            ) WITHOUT ROWID""",
            """CREATE TABLE redrives (
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                redriven_as TEXT NOT NULL,
                sequence INTEGER NOT NULL,
                time TEXT NOT NULL,
                PRIMARY KEY (task_id, agent)
            ) WITHOUT ROWID""",
            """CREATE TABLE delegations (
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                turn INTEGER NOT NULL,
                key TEXT NOT NULL,
                context_id TEXT NOT NULL,
                child_agent TEXT NOT NULL,
                child_context TEXT NOT NULL,
                child TEXT NOT NULL,
                command_id TEXT NOT NULL,
                sequence INTEGER NOT NULL,
                time TEXT NOT NULL,
                PRIMARY KEY (task_id, agent, turn, key)
            ) WITHOUT ROWID""",
            """CREATE TABLE reports (
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                turn INTEGER NOT NULL,
                key TEXT NOT NULL,
                sequence INTEGER NOT NULL,
                late INTEGER NOT NULL,
                time TEXT NOT NULL,
                PRIMARY KEY (task_id, agent, turn, key, sequence)
            ) WITHOUT ROWID""",
            """CREATE TABLE counts (
                agent TEXT NOT NULL,
                name TEXT NOT NULL,
                count INTEGER NOT NULL,
                PRIMARY KEY (agent, name)
            ) WITHOUT ROWID""",
            *(f"CREATE INDEX {name} ON {what}" for name, what in _INDEXES_2.items()),
            *(f"DELETE FROM {name}" for name in _KEPT_1),  # noqa: S608 - constants
            "UPDATE position SET sequence = 0, hash = ''",
        ),
        (
            "DROP TABLE counts",
            "DROP TABLE reports",
            "DROP TABLE delegations",
            "DROP TABLE redrives",
            "DROP TABLE dead_letters",
            "DROP TABLE questions",
            "ALTER TABLE tasks DROP COLUMN again_at",
            "ALTER TABLE tasks DROP COLUMN pause",
            "ALTER TABLE tasks DROP COLUMN waits",
        ),
    ),
    Migration(
        3,
        "messages that a running turn has taken, and what runs",
        (
            """CREATE TABLE taken (
                key TEXT NOT NULL,
                command_id TEXT NOT NULL,
                PRIMARY KEY (key, command_id)
            ) WITHOUT ROWID""",
            *(f"CREATE INDEX {name} ON {what}" for name, what in _INDEXES_3.items()),
            *(f"DELETE FROM {name}" for name in _KEPT_2),  # noqa: S608 - constants
            "UPDATE position SET sequence = 0, hash = ''",
        ),
        ("DROP INDEX tasks_running", "DROP TABLE taken"),
    ),
    Migration(
        4,
        "what turns took, and what agents remember",
        (
            "ALTER TABLE tasks ADD COLUMN began TEXT NOT NULL DEFAULT ''",
            """CREATE TABLE usage (
                day TEXT NOT NULL,
                agent TEXT NOT NULL,
                context_id TEXT NOT NULL,
                owner TEXT NOT NULL,
                model TEXT NOT NULL,
                turns INTEGER NOT NULL,
                busy INTEGER NOT NULL,
                calls INTEGER NOT NULL,
                input_tokens INTEGER NOT NULL,
                output_tokens INTEGER NOT NULL,
                cached_tokens INTEGER NOT NULL,
                cost INTEGER NOT NULL,
                duration INTEGER NOT NULL,
                PRIMARY KEY (day, agent, context_id, owner, model)
            ) WITHOUT ROWID""",
            """CREATE TABLE memories (
                number INTEGER NOT NULL PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                scope TEXT NOT NULL,
                owner TEXT NOT NULL,
                life INTEGER NOT NULL,
                author TEXT NOT NULL,
                namespace TEXT NOT NULL,
                key TEXT NOT NULL,
                consolidates INTEGER NOT NULL,
                version INTEGER NOT NULL,
                content TEXT NOT NULL,
                media_type TEXT NOT NULL,
                expires TEXT NOT NULL,
                writer TEXT NOT NULL,
                forgotten INTEGER NOT NULL,
                replaced_by TEXT NOT NULL,
                updated INTEGER NOT NULL,
                time TEXT NOT NULL,
                stopped INTEGER NOT NULL
            )""",
            """CREATE TABLE memory_versions (
                memory_id TEXT NOT NULL,
                version INTEGER NOT NULL,
                content TEXT NOT NULL,
                media_type TEXT NOT NULL,
                expires TEXT NOT NULL,
                forgotten INTEGER NOT NULL,
                reason TEXT NOT NULL,
                reverts INTEGER NOT NULL,
                cause TEXT NOT NULL,
                sources TEXT NOT NULL,
                operation TEXT NOT NULL,
                sequence INTEGER NOT NULL,
                time TEXT NOT NULL,
                actor TEXT NOT NULL,
                commit_id TEXT NOT NULL,
                correlation TEXT NOT NULL,
                PRIMARY KEY (memory_id, version)
            ) WITHOUT ROWID""",
            """CREATE TABLE memory_reads (
                memory_id TEXT NOT NULL,
                version INTEGER NOT NULL,
                task_id TEXT NOT NULL,
                agent TEXT NOT NULL,
                turn INTEGER NOT NULL,
                key TEXT NOT NULL,
                context_id TEXT NOT NULL,
                sequence INTEGER NOT NULL,
                time TEXT NOT NULL,
                PRIMARY KEY (memory_id, version, task_id, agent, turn, key)
            ) WITHOUT ROWID""",
            """CREATE VIRTUAL TABLE memory_text USING fts5 (
                content, tokenize = 'unicode61 remove_diacritics 2'
            )""",
            *(f"CREATE INDEX {name} ON {what}" for name, what in _INDEXES_4.items()),
            *(f"DELETE FROM {name}" for name in _KEPT_3),  # noqa: S608 - constants
            "UPDATE position SET sequence = 0, hash = ''",
        ),
        (
            "DROP TABLE memory_text",
            "DROP TABLE memory_reads",
            "DROP TABLE memory_versions",
            "DROP TABLE memories",
            "DROP TABLE usage",
            "ALTER TABLE tasks DROP COLUMN began",
        ),
    ),
    Migration(
        5,
        "memories that are sealed",
        tuple(
            f"ALTER TABLE {name} ADD COLUMN keyid TEXT NOT NULL DEFAULT ''" for name in _SEALED_5
        ),
        tuple(f"ALTER TABLE {name} DROP COLUMN keyid" for name in _SEALED_5),
    ),
    Migration(
        6,
        "who did what",
        (
            """CREATE TABLE audit (
                sequence INTEGER NOT NULL PRIMARY KEY,
                principal TEXT NOT NULL,
                agent TEXT NOT NULL,
                refused INTEGER NOT NULL
            )""",
            *(f"CREATE INDEX {name} ON {what}" for name, what in _INDEXES_6.items()),
            *(f"DELETE FROM {name}" for name in _KEPT_5),  # noqa: S608 - constants
            "UPDATE position SET sequence = 0, hash = ''",
        ),
        ("DROP TABLE audit",),
    ),
)
"""All migrations, oldest first."""
