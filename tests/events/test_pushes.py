"""Push configs: whatever is decided folds, and nothing is left out or taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pelton.events.commit import Commit, CommitData
from pelton.events.envelope import encode
from pelton.events.errors import DamagedRecord, IllegalTransition, InvalidInput
from pelton.events.ids import task_id
from pelton.events.push import (
    AnyPushEvent,
    PushConfigured,
    PushDelivered,
    PushEnd,
    PushEnded,
    PushFailed,
    PushRemoved,
)
from pelton.events.pushes import (
    MOST,
    Pushes,
    advance,
    create,
    fold,
    notification_id,
    opened,
    remove,
)

TASK = task_id("chat", "opens")
THEN = "2026-01-01T00:00:00.000Z"


def after(
    state: Pushes, *events: AnyPushEvent, actor: str = "anna", chain: Pushes | None = None
) -> Pushes:
    """Return the state after a commit of events, that was written for another state if so said."""
    written = chain or state
    commit = Commit(
        id=f"c{written.sequence}",
        source="push/one",
        subject=f"echo/_push/{TASK}",
        time=THEN,
        tenant="t",
        actor=actor,
        correlationid="request",
        causationid="request",
        sequence=written.sequence + 1,
        prevhash=written.hash,
        data=CommitData(events=events),
    )
    return fold(state, state.head + 1, encode(commit))


def configured(config: str = "one", **members: Any) -> PushConfigured:
    given: Any = {"sealed": "s", "key_id": "k", "origin": "https://a.example:443", "after": 0}
    given |= members
    return PushConfigured(task_id=TASK, config_id=config, **given)


def delivered(sequence: int, config: str = "one") -> PushDelivered:
    return PushDelivered(task_id=TASK, config_id=config, sequence=sequence)


def failed(config: str = "one", attempt: int = 1) -> PushFailed:
    return PushFailed(
        task_id=TASK, config_id=config, sequence=1, attempt=attempt, reason="timeout", retry=THEN
    )


def ended(end: PushEnd, config: str = "one") -> PushEnded:
    return PushEnded(task_id=TASK, config_id=config, end=end)


NOTHING = opened("echo", TASK)


def test_a_config_is_failing_until_something_is_delivered() -> None:
    state = after(NOTHING, *create(NOTHING, configured(after=2)))
    push = state.configs["one"]
    assert (push.position, push.standing, push.creator) == (2, "open", "anna")
    assert (push.cause, push.correlation) == ("c0", "request")
    state = after(state, failed(attempt=3))
    push = state.configs["one"]
    assert (push.attempt, push.reason, push.retry, push.standing) == (3, "timeout", THEN, "failing")
    push = after(state, delivered(3)).configs["one"]
    assert (push.position, push.attempt, push.reason, push.retry) == (3, 0, "", "")
    state = after(state, ended(PushEnd.GIVEN_UP))
    assert state.configs["one"].standing == "given-up"
    assert not state.open
    assert "one" not in after(state, *remove(state, "one")).configs


def test_one_that_is_created_anew_goes_on_where_it_was() -> None:
    state = after(NOTHING, configured(after=2), delivered(5), ended(PushEnd.GIVEN_UP))
    [event] = create(state, configured(after=9, sealed="new"))
    assert isinstance(event, PushConfigured)
    assert (event.after, event.sealed) == (5, "new")
    push = after(state, event, actor="bert").configs["one"]
    assert (push.position, push.made, push.end, push.creator) == (5, 2, None, "bert")


def test_one_that_comes_with_a_message_is_made_once() -> None:
    event = configured(command_id="m1")
    state = after(NOTHING, *create(NOTHING, event))
    assert create(state, event) == ()


@pytest.mark.parametrize(
    ("events", "command"),
    [
        ((), "m1"),  # nothing is delivered yet: what the first message led to is owed
        ((failed(),), "m1"),
        ((delivered(3),), "m2"),
        ((ended(PushEnd.REFUSED),), "m2"),  # the first message never was
    ],
)
def test_one_that_comes_again_with_another_message_still_owes_what_it_did(
    events: tuple[AnyPushEvent, ...], command: str
) -> None:
    state = after(NOTHING, configured(command_id="m1"), *events)
    [event] = create(state, configured(command_id="m2", after=7))
    assert isinstance(event, PushConfigured)
    assert event.command_id == command


def test_a_task_has_so_many_and_no_more() -> None:
    state = NOTHING
    for number in range(MOST):
        state = after(state, *create(state, configured(str(number))))
    with pytest.raises(InvalidInput):
        create(state, configured("more"))
    assert create(state, configured("0"))
    state = after(state, *remove(state, "0"))
    assert create(state, configured("more"))
    assert remove(state, "0") == ()


def test_what_a_sender_says_of_another_config_is_not_taken() -> None:
    state = after(NOTHING, configured(), delivered(3))
    push = state.configs["one"]
    assert advance(state, push, delivered(3)) == advance(state, push, delivered(2)) == ()
    assert advance(state, push, delivered(4), ended(PushEnd.COMPLETE)) == (
        delivered(4),
        ended(PushEnd.COMPLETE),
    )
    for other in (
        after(state, configured(after=3)),
        after(state, ended(PushEnd.COMPLETE)),
        after(state, PushRemoved(task_id=TASK, config_id="one")),
    ):
        assert advance(other, push, delivered(4)) == ()


def test_what_cannot_be_is_noticed() -> None:
    removed = PushRemoved(task_id=TASK, config_id="one")
    for event in (delivered(1), failed(), ended(PushEnd.GONE), removed):
        with pytest.raises(IllegalTransition):
            after(NOTHING, event)
    state = after(NOTHING, configured())
    with pytest.raises(DamagedRecord):
        fold(state, 9, encode({"no": "commit"}))
    with pytest.raises(DamagedRecord):
        after(replace(state, sequence=7), delivered(1), chain=state)


IDS = st.sampled_from(["one", "two", "three"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), IDS, st.integers(0, 9)),
        st.tuples(st.just("remove"), IDS, st.just(0)),
        st.tuples(st.just("deliver"), IDS, st.integers(0, 9)),
        st.tuples(st.just("fail"), IDS, st.integers(1, 9)),
        st.tuples(st.just("end"), IDS, st.sampled_from(list(PushEnd))),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_is_decided_folds_and_no_position_goes_back(
    steps: list[tuple[str, str, Any]],
) -> None:
    state, highest = NOTHING, dict[str, int]()
    for what, config, value in steps:
        push = state.configs.get(config)
        decided: tuple[AnyPushEvent, ...] = ()
        if what == "create":
            decided = tuple(create(state, configured(config, after=value)))
        elif what == "remove":
            decided = tuple(remove(state, config))
            highest.pop(config, None)
        elif push is not None:
            told: dict[str, AnyPushEvent] = {
                "deliver": delivered(value, config) if what == "deliver" else delivered(0, config),
                "fail": failed(config),
                "end": ended(value if what == "end" else PushEnd.GONE, config),
            }
            decided = tuple(advance(state, push, told[what]))
        if decided:
            state = after(state, *decided)
        for known in state.configs.values():
            assert known.position >= highest.get(known.id, 0)
            highest[known.id] = known.position


@given(st.lists(st.text(max_size=5), min_size=4, max_size=4), st.integers(1, 99))
def test_a_notification_has_one_id(names: list[str], sequence: int) -> None:
    tenant, agent, task, config = names
    id_ = notification_id(tenant, agent, task, config, sequence)
    assert id_ == notification_id(tenant, agent, task, config, sequence)
    assert id_ != notification_id(tenant, agent, task, config, sequence + 1)
    assert id_ != notification_id(tenant, agent, task, config + "x", sequence)
