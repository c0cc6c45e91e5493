"""Delegation: a task that another task waits for, and the limits of handing work on (AS-51)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import urlsplit

from pelton.events.a2a import A2A, Artifact, Count, JsonObject, Message, TaskState
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.ids import check_agent

MAX_DEPTH: Final = 16
"""How long a chain of agents may get that hand one task on."""

MAX_VISITS: Final = 2
"""How often one agent may be in such a chain."""

ORIGIN: Final = "pelton/origin"
"""The member of a message's metadata that says which agent wrote it (AS-52)."""


MAX_URL: Final = 2048
"""The longest URL of an agent elsewhere, in characters."""


class DelegationRefused(PeltonError):
    """The task may not be handed on: to itself, in a circle, too far, or to a URL not allowed."""

    code = "delegation-refused"


class Delegation(A2A, frozen=True, kw_only=True):
    """Who waits for a task: a key in a turn of another task.

    `chain` are the agents that have handed the work on, from the first to the one that waits.
    """

    agent: str
    context_id: str
    task_id: str
    turn: Count
    key: str
    chain: tuple[str, ...]


class TaskOutcome(A2A, frozen=True, kw_only=True):
    """What a delegated task came to, complete: what `GetTask` would show but for the history."""

    task_id: str
    state: TaskState
    message: Message | None = None
    artifacts: tuple[Artifact, ...] = ()


def elsewhere(agent: str) -> bool:
    """Return whether what a task is delegated to is the URL of an agent that is not on this log."""
    return "://" in agent


CALLED_BACK: Final = "webhook+"
"""How what was posted to is called that answers a bridge later: `webhook+https://host:port`."""


def called_back(agent: str) -> bool:
    """Return whether whom a task waits for answers of itself: nothing is sent or asked there."""
    return agent.startswith(CALLED_BACK)


def check_target(agent: str) -> None:
    """Check that a task can be delegated to `agent`: a name, or an HTTP URL without secrets.

    Raises:
        InvalidInput: it can not.
    """
    if not elsewhere(agent):
        check_agent(agent)
        return
    try:
        url = urlsplit(agent)
        port = url.port  # raises if it is none
    except ValueError:
        url, port = urlsplit(""), None
    plain = agent.isascii() and agent.isprintable() and " " not in agent
    if (
        not plain
        or len(agent) > MAX_URL
        or url.scheme not in {"http", "https"}
        or not url.hostname
        or port == 0
        or "@" in url.netloc
        or url.query
        or url.fragment
        or "\\" in agent
        or ".." in url.path.replace("%2e", ".").replace("%2E", ".").split("/")
    ):
        raise InvalidInput(
            "an agent elsewhere is named by a URL such as https://host/agent, without user, query"
            " or fragment",
            field="agent",
        )


def check_chain(chain: Sequence[str], agent: str) -> None:
    """Check that the last agent of a chain may hand its work on to `agent`.

    Raises:
        DelegationRefused: it may not.
        InvalidInput: nobody can be called that; see `check_target`.
    """
    check_target(agent)
    if chain and chain[-1] == agent:
        raise DelegationRefused(f"the agent {agent!r} cannot delegate to itself")
    if len(chain) >= MAX_DEPTH:
        raise DelegationRefused(f"a task is handed on at most {MAX_DEPTH} times")
    if chain.count(agent) >= MAX_VISITS:
        raise DelegationRefused(
            f"the agents {', '.join(chain)} hand this task on in a circle: {agent!r} has had it"
            f" {MAX_VISITS} times"
        )


def from_agent(message: Message, agent: str, task_id: str) -> JsonObject:
    """Return the metadata of a message that an agent writes to another one: it says so (AS-52)."""
    return {**(message.metadata or {}), ORIGIN: {"agent": agent, "taskId": task_id}}


def origin(message: Message) -> str:
    """Return the name of the agent that wrote a message, or nothing if a client did."""
    said = (message.metadata or {}).get(ORIGIN)
    return str(cast("JsonObject", said).get("agent", "")) if isinstance(said, dict) else ""
