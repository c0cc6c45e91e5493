"""Values of the contract for property tests, as clients and agents may make them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from pelton.events.a2a import Message, Part, Role
from pelton.events.card import AgentProfile, AgentSkill
from pelton.events.envelope import encode

texts = st.text(max_size=20)
"""Any text that JSON can carry."""

ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=32)
"""Any id that `check_id` lets in, up to 32 characters."""

plain_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
agents = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

json_objects = st.dictionaries(texts, json_values, max_size=3)

parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(Part, text=texts),
    st.builds(Part, text=texts, media_type=st.just("text/markdown"), filename=texts),
    st.builds(Part, raw=st.sampled_from(["", "aGk=", "AAEC"])),
    st.builds(Part, url=st.just("https://example.com/a.txt")),
    st.builds(Part, data=json_values, metadata=st.none() | json_objects),
)


def contents(*, max_size: int = 3) -> st.SearchStrategy[tuple[Part, ...]]:
    """Return what a message or an artifact is made of."""
    return st.lists(parts, min_size=1, max_size=max_size).map(tuple)


messages: st.SearchStrategy[Message] = st.builds(
    Message,
    message_id=ids,
    role=st.just(Role.USER),
    parts=contents(),
    metadata=st.none() | json_objects,
    extensions=st.lists(texts, max_size=2).map(tuple),
    reference_task_ids=st.lists(ids, max_size=2).map(tuple),
)

profiles: st.SearchStrategy[AgentProfile] = st.builds(
    AgentProfile,
    name=agents,
    title=texts,
    description=texts,
    version=texts,
    skills=st.lists(
        st.builds(AgentSkill, id=ids, name=texts, description=texts, tags=st.just(("a",))),
        max_size=2,
    ).map(tuple),
)

bad_messages = st.one_of(
    st.builds(Message, message_id=st.just(""), role=st.just(Role.USER), parts=contents()),
    st.builds(Message, message_id=ids, role=st.just(Role.AGENT), parts=contents()),
    st.builds(Message, message_id=ids, role=st.just(Role.USER), parts=st.just(())),
    st.builds(
        Message,
        message_id=ids,
        role=st.just(Role.USER),
        parts=contents(),
        context_id=st.just("another"),
    ),
    st.builds(Message, message_id=ids, role=st.just(Role.USER), parts=contents(), task_id=ids),
)
"""Messages that a context refuses."""


def canonical(value: object) -> Any:
    """Return what a value is in canonical JSON, decoded: to compare, to record, to read."""
    return msgspec.json.decode(encode(value))
