"""What people and other agents send may be anything: questions, chains, retries, wishes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events import hitl
from pelton.events.a2a import Message, Part, Role
from pelton.events.commands import WhenBusy
from pelton.events.delegation import MAX_DEPTH, MAX_VISITS, DelegationRefused, check_chain, origin
from pelton.events.errors import InvalidInput
from pelton.events.events import FailureClass
from pelton.events.retries import CRASHES, NEVER, RETRIES, Retry, retry_of
from pelton.events.wishes import ANSWERS, DEADLINE, WHEN_BUSY, wishes
from tests.strategies import json_objects, json_values, messages, parts, texts

some: Any = dict  # what is built of it may be anything
responses: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"type": st.sampled_from(["ask_user_response", "tool_approval_response"]) | json_values},
    optional={
        "id": json_values,
        "answers": json_values | st.lists(st.builds(some, answer=json_values)),
        "approvals": json_values
        | st.lists(st.builds(some, id=json_values, approved=json_values))
        | st.lists(st.builds(some, rejection_reason=json_values)),
    },
)


@pytest.mark.accepts("AS-57")
@given(json_values | responses, st.lists(parts, min_size=1, max_size=3))
def test_an_answer_of_any_shape_is_read_without_harm(said: object, content: list[Part]) -> None:
    message = Message(
        message_id="m",
        role=Role.USER,
        parts=tuple(content),
        metadata={hitl.URI: said},
        extensions=(hitl.URI,),
    )
    reply = hitl.reply(message)
    assert reply.id == hitl.answered(message)
    assert reply.approved in {True, False, None}
    assert isinstance(reply.text, str)
    assert isinstance(reply.reason, str)


@given(messages)
def test_any_message_is_read_without_harm(message: Message) -> None:
    hitl.reply(message)
    origin(message)


@given(texts, texts)
def test_what_is_answered_is_what_is_read(key: str, text: str) -> None:
    def said(response: dict[str, object]) -> hitl.Reply:
        part = Part(text="in words")
        return hitl.reply(
            Message(
                message_id="m",
                role=Role.USER,
                parts=(part,),
                metadata={hitl.URI: response},
                extensions=(hitl.URI,),
            )
        )

    asked = said(hitl.answer(key, text))
    assert (asked.id, asked.text) == (key, text or "in words")
    for approved in (True, False):
        decided = said(hitl.decision(key, approved=approved, reason=text))
        assert (decided.id, decided.reason) == (key, text)
        assert decided.approved is approved or not key


@pytest.mark.accepts("AS-51")
@given(st.lists(st.sampled_from("abcdef"), max_size=MAX_DEPTH + 2), st.sampled_from("abcdef"))
def test_work_goes_on_neither_to_oneself_nor_in_circles_nor_for_ever(
    chain: list[str], agent: str
) -> None:
    allowed = chain[-1:] != [agent] and chain.count(agent) < MAX_VISITS and len(chain) < MAX_DEPTH
    try:
        check_chain(chain, agent)
    except DelegationRefused:
        assert not allowed
    else:
        assert allowed


@pytest.mark.accepts("AS-15")
@given(
    st.builds(
        Retry,
        attempts=st.integers(1, 50),
        first=st.floats(0.001, 10.0),
        factor=st.floats(1.0, 10.0),
        longest=st.floats(0.001, 3600.0),
    ),
    st.integers(1, 60),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_tries_are_ever_later_and_end(retry: Retry, failures: int, chance: float) -> None:
    delay = retry.delay(failures, chance)
    if failures >= retry.attempts:
        assert delay is None
        return
    assert delay is not None
    assert 0.0 < delay <= 1.5 * retry.longest
    after = retry.delay(failures + 1, chance)
    assert after is None or after >= delay


@given(
    st.sampled_from(FailureClass), st.dictionaries(st.sampled_from(FailureClass), st.just(NEVER))
)
def test_an_agent_overrides_what_is_usual(
    kind: FailureClass, own: dict[FailureClass, Retry]
) -> None:
    assert retry_of(kind, own) == (NEVER if kind in own else RETRIES.get(kind, NEVER))
    assert CRASHES.delay(CRASHES.attempts, 0.0) is None


@given(
    st.none()
    | json_objects
    | st.fixed_dictionaries(
        {},
        optional={
            WHEN_BUSY: json_values | st.sampled_from([*WhenBusy]),
            DEADLINE: json_values | st.just("2030-01-31T12:00:00.000Z"),
            ANSWERS: json_values | st.just("ask#1"),
        },
    )
)
def test_a_wish_is_understood_or_refused(metadata: dict[str, object] | None) -> None:
    try:
        found = wishes(metadata)
    except InvalidInput:
        return
    assert found.when_busy in {None, *WhenBusy}
    assert not found.deadline or found.deadline.endswith("Z")
    assert (found.deadline or None) == (metadata or {}).get(DEADLINE)
