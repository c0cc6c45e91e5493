"""What the agents' tools show: agents, messages and memories, as callers are to see them."""

from __future__ import annotations

from collections.abc import Sequence

from pelton.adapters.frameworks.conversation import marked, shown
from pelton.adapters.mcp import shapes
from pelton.events.a2a import Message
from pelton.events.agent import AgentState
from pelton.events.card import AgentProfile
from pelton.events.delegation import origin
from pelton.events.errors import InvalidInput, UnknownAgent
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.runtime.remembered import Recall


def agent(known: Sequence[AgentState], name: str) -> shapes.AgentInfo:
    """Return an agent.

    Raises:
        UnknownAgent: there is none of that name.
    """
    for state in known:
        if state.agent == name and state.profile is not None:
            return _info(state)
    raise UnknownAgent("there is no such agent: list_peers lists them")


def peers(known: Sequence[AgentState], asked: shapes.PeersArguments) -> shapes.Peers:
    """Return a page of agents, by name."""
    [after] = read_cursor(asked.cursor, ("peers",), 1) if asked.cursor else ("",)
    left = [each for each in known if each.profile is not None and each.agent > after]
    page = left[: asked.page_size]
    more = len(left) > len(page)
    following = write_cursor((page[-1].agent,), ("peers",)) if more else ""
    return shapes.Peers(agents=tuple(_info(each) for each in page), next=following)


def info(profile: AgentProfile, status: str, team: str) -> shapes.AgentInfo:
    """Return an agent as it describes itself, and how it stands."""
    return shapes.AgentInfo(
        name=profile.name,
        title=profile.title,
        description=profile.description,
        version=profile.version,
        status=status,
        team=team,
        skills=tuple(
            shapes.Skill(id=each.id, name=each.name, description=each.description)
            for each in profile.skills
        ),
    )


def _info(state: AgentState) -> shapes.AgentInfo:
    assert state.profile is not None  # as the callers have seen
    return info(state.profile, state.status, state.team)


def mail(message: Message) -> shapes.Mail:
    """Return a message; what an agent wrote says so (AS-52)."""
    author = origin(message)
    return shapes.Mail(
        message_id=message.message_id,
        agent=author,
        text=marked(shown(message.parts), author),
    )


def maybe(message: Message | None) -> shapes.MaybeMail:
    """Return a message, or that there is none."""
    return shapes.MaybeMail(message=None if message is None else mail(message))


def mail_page(messages: Sequence[Message], asked: shapes.PeekArguments) -> shapes.MailPage:
    """Return a page of messages that wait."""
    begin = place(asked.cursor)
    page = messages[begin : begin + asked.page_size]
    more = len(messages) > begin + len(page)
    following = write_cursor((str(begin + len(page)),), ("mail",)) if more else ""
    return shapes.MailPage(messages=tuple(mail(each) for each in page), next=following)


def place(cursor: str) -> int:
    """Return where a page of messages begins."""
    [at] = read_cursor(cursor, ("mail",), 1) if cursor else ("0",)
    if not at.isdecimal():
        raise InvalidInput("the cursor is not one of this list", field="cursor")
    return int(at)


def recalled(found: Recall) -> shapes.Recalled:
    """Return what was recalled."""
    memories = tuple(
        shapes.Memory(
            memory_id=each.id,
            version=each.version,
            scope=each.scope,
            writer=each.writer,
            time=each.time,
            quoted=each.quoted(),
        )
        for each in found.items
    )
    return shapes.Recalled(memories=memories, next=found.next, total=found.total)
