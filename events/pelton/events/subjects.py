"""The subjects of the log: the one place that builds and parses them.

`cmd.<agent>.<context>` holds the commands for a context, `evt.<agent>.<context>` its commits. Other
aggregates live beside the contexts under a name that begins with an underscore, which no context's
token does: `evt.<agent>._agent` is the agent itself, `cmd.<agent>._schedules` and
`evt.<agent>._schedules` are its schedules, `evt.<agent>._key.<key>` is an idempotency key,
`evt.<agent>._push.<task>` are the push configs of a task, `evt._memory.<memory>` is a memory, and
`evt._access.<name>` an aggregate of who may do what: `evt._access.keys` the keys of the tenant,
`evt._access.erasures` what was erased, the others families of tokens. The server sends a copy of
what it has just stored to `live.<subject>`.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from pelton.events.errors import InvalidInput
from pelton.events.ids import check_agent, check_memory, context_of, token, untoken

Kind = Literal["cmd", "evt"]

LOG_SUBJECTS: Final = ("cmd.>", "evt.>")
"""What the stream of a tenant holds."""

AGENT: Final = "_agent"
"""The token of the aggregate of an agent itself, in the place of a context's."""

SCHEDULES: Final = "_schedules"
"""The token of the aggregate of an agent's schedules."""

_BESIDE: Final = {("evt", AGENT), ("cmd", SCHEDULES), ("evt", SCHEDULES)}
"""What there is beside the contexts, but for the keys and the push configs."""

KEY: Final = "_key"
"""The token before that of a key, in the place of a context's."""

PUSH: Final = "_push"
"""The token before that of a task, in the place of a context's; and of leases, of an agent's."""

ALL_PUSH: Final = f"evt.*.{PUSH}.*"
"""Where the commits of all push configs are."""

MEMORY: Final = "_memory"
"""The token in the place of an agent's of the aggregates that are memories."""

ALL_MEMORY: Final = f"evt.{MEMORY}.*"
"""Where the commits of all memories are."""

ACCESS: Final = "_access"
"""The token in the place of an agent's of the aggregates of who may do what."""

KEYS: Final = "keys"
"""The aggregate of a tenant's API keys."""

ERASURES: Final = "erasures"
"""The aggregate of a tenant's erasures."""

_PLAIN: Final = re.compile(
    r"(cmd|evt)\.([a-z0-9][a-z0-9_-]{0,62})\.([A-Za-z0-9][A-Za-z0-9_-]{0,63})", re.ASCII
)
"""Most subjects: those of contexts whose ids need no encoding."""


class Subject(NamedTuple):
    """A parsed subject of the log. `context` is the id from outside.

    For an aggregate of an agent beside the contexts it is empty, and `beside` is that one's token,
    or the two of a key or of push configs. For one of who may do what, `agent` is `ACCESS` and
    `context` its name. For a memory, `agent` is `MEMORY` and `beside` its id.
    """

    kind: Kind
    agent: str
    context: str
    beside: str = ""

    def __str__(self) -> str:
        """Return the subject as NATS spells it."""
        if self.agent == ACCESS:
            return access(self.context)
        if self.agent == MEMORY:
            return memory(self.beside)
        if self.beside:
            return f"{self.kind}.{check_agent(self.agent)}.{self.beside}"
        return _join(self.kind, self.agent, self.context)


def _join(kind: str, agent: str, context: str) -> str:
    return f"{kind}.{check_agent(agent)}.{token(context)}"


def place(agent: str) -> str:
    """Return the token of an agent, or of what leases of a tenant's push have in its place."""
    return agent if agent == PUSH else check_agent(agent)


def commands(agent: str, context: str) -> str:
    """Return the subject of the commands for a context."""
    return _join("cmd", agent, context)


def commits(agent: str, context: str) -> str:
    """Return the subject of the commits of a context."""
    return _join("evt", agent, context)


def agent_commits(agent: str) -> str:
    """Return the subject of the commits of an agent itself."""
    return str(Subject("evt", agent, "", AGENT))


def schedule_commands(agent: str) -> str:
    """Return the subject of the commands for an agent's schedules."""
    return str(Subject("cmd", agent, "", SCHEDULES))


def schedule_commits(agent: str) -> str:
    """Return the subject of the commits of an agent's schedules."""
    return str(Subject("evt", agent, "", SCHEDULES))


def claims(agent: str, key: str) -> str:
    """Return the subject of the claim of an idempotency key, as `ids.derive` makes it."""
    return str(Subject("evt", agent, "", f"{KEY}.{token(key)}"))


def pushes(agent: str, task: str) -> str:
    """Return the subject of the push configs of a task, whose id is a token as it is.

    Raises:
        InvalidInput: it is not the id of a task.
    """
    context_of(task)
    return str(Subject("evt", agent, "", f"{PUSH}.{task}"))


def pushes_of(task: str) -> str:
    """Return the pattern of the push configs of a task, of whatever agent.

    Raises:
        InvalidInput: it is not the id of a task.
    """
    context_of(task)
    return f"evt.*.{PUSH}.{task}"


def memory(id_: str) -> str:
    """Return the subject of the commits of a memory.

    Raises:
        InvalidInput: it is not the id of a memory.
    """
    return f"evt.{MEMORY}.{check_memory(id_)}"


def access(name: str) -> str:
    """Return the subject of the commits of an aggregate of who may do what."""
    return f"evt.{ACCESS}.{token(name)}"


def parse(subject: str) -> Subject:
    """Return the parts of a subject of the log; the inverse of the builders.

    Raises:
        InvalidInput: it is not a subject that they make.
    """
    plain = _PLAIN.fullmatch(subject)
    if plain:
        return Subject("cmd" if plain[1] == "cmd" else "evt", plain[2], plain[3])
    parts = subject.split(".")
    if len(parts) == 3 and parts[0] in ("cmd", "evt"):
        kind, agent, tail = parts
        if (kind, agent) == ("evt", ACCESS):
            return Subject("evt", ACCESS, untoken(tail))
        if (kind, agent) == ("evt", MEMORY):
            return Subject("evt", MEMORY, "", check_memory(tail))
        known: Kind = "cmd" if kind == "cmd" else "evt"
        if (kind, tail) in _BESIDE:
            return Subject(known, check_agent(agent), "", tail)
        return Subject(known, check_agent(agent), untoken(tail))
    if len(parts) == 4 and (parts[0], parts[2]) == ("evt", KEY):
        return Subject("evt", check_agent(parts[1]), "", f"{KEY}.{token(untoken(parts[3]))}")
    if len(parts) == 4 and (parts[0], parts[2]) == ("evt", PUSH) and context_of(parts[3]):
        return Subject("evt", check_agent(parts[1]), "", f"{PUSH}.{parts[3]}")
    raise InvalidInput(f"{subject[:120]!r} is not a subject of the log", field="subject")
