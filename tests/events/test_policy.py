"""Bounds over calls: more of them never allow more, in whatever order they stand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events.calls import Call, Kind
from pelton.events.policy import Bounds, judge, matches, unreached
from pelton.events.ruling import Ruling, strictest

NOW = datetime(2026, 1, 1, tzinfo=UTC)

tools = st.sampled_from(["read", "write", "pay"])
patterns = st.lists(st.sampled_from(["*", "r*", "pay", "wr?te"]), max_size=3).map(tuple)
most = st.none() | st.integers(1, 5)
bounds = st.builds(
    Bounds,
    tools=patterns,
    steps=most,
    delegations=most,
    tokens=most,
    cost=st.none() | st.floats(0.1, 5),
    seconds=st.none() | st.floats(0.1, 5),
    untrusted=st.lists(st.sampled_from(["remote:*", "tool:*", "client"]), max_size=2).map(tuple),
    writes=st.sampled_from(Ruling),
    egress=st.lists(st.sampled_from(["*", "x", "y"]), max_size=2).map(tuple),
)
calls = st.builds(
    Call,
    kind=st.sampled_from(Kind),
    agent=st.just("a"),
    principal=st.just("p"),
    context=st.just("c"),
    task=st.just("t"),
    name=st.sampled_from(["step", "https://x", "https://y/z"]),
    time=st.just(NOW),
    tool=tools | st.just(""),
    heard=st.lists(st.sampled_from(["client", "remote:https://x", "tool:read"])).map(tuple),
    idempotent=st.booleans(),
    steps=st.integers(0, 6),
    delegations=st.integers(0, 6),
    tokens=st.integers(0, 6),
    cost=st.floats(0, 6),
    seconds=st.floats(0, 6),
)


def call(**members: Any) -> Call:
    """Return a call of a tool."""
    given: dict[str, Any] = {"kind": Kind.STEP, "agent": "a", "principal": "p", "context": "c"}
    given |= {"task": "t", "time": NOW, "tool": "pay", **members}
    return Call(**given)


def said(each: Call, *all_: Bounds) -> Ruling:
    """Return the strictest that some bounds say."""
    return strictest(tuple(one.ruling for bounds_ in all_ for one in judge(each, bounds_)))


RANK = {Ruling.ALLOW: 0, Ruling.ASK: 1, Ruling.DENY: 2}


@given(calls, bounds, bounds)
def test_more_bounds_never_allow_more_in_whatever_order(each: Call, a: Bounds, b: Bounds) -> None:
    assert said(each, a, b) is said(each, b, a)
    assert RANK[said(each, a, b)] >= max(RANK[said(each, a)], RANK[said(each, b)])


@given(calls, bounds, patterns)
def test_to_take_tools_away_never_allows_more(
    each: Call, a: Bounds, fewer: tuple[str, ...]
) -> None:
    kept = tuple(pattern for pattern in a.tools if pattern in fewer)
    assert RANK[said(each, a._replace(tools=kept))] >= RANK[said(each, a)]


@given(calls, bounds)
def test_a_tool_that_is_not_named_is_never_called(each: Call, a: Bounds) -> None:
    if each.kind is not Kind.MESSAGE and each.tool and not matches(each.tool, a.tools):
        assert said(each, a) is Ruling.DENY


@pytest.mark.accepts("AS-71")
@pytest.mark.parametrize(
    ("each", "ruled"),
    [
        (call(idempotent=False, heard=("client", "remote:https://x")), Ruling.ASK),
        (call(idempotent=True, heard=("client", "remote:https://x")), Ruling.ALLOW),
        (call(idempotent=False, heard=("client",)), Ruling.ALLOW),
        (call(idempotent=False, tool="", heard=("remote:https://x",)), Ruling.ALLOW),
    ],
)
def test_who_has_been_told_what_nobody_vouches_for_writes_with_approval(
    each: Call, ruled: Ruling
) -> None:
    assert said(each, Bounds(untrusted=("remote:*",), writes=Ruling.ASK)) is ruled


@pytest.mark.parametrize(
    ("bound", "member"),
    [("steps", "steps"), ("tokens", "tokens"), ("cost", "cost"), ("seconds", "seconds")],
)
def test_a_limit_is_how_much_there_may_be(bound: str, member: str) -> None:
    limit = Bounds()._replace(**cast("Any", {bound: 3}))
    assert said(call(**{member: 2}), limit) is Ruling.ALLOW
    assert said(call(**{member: 3}), limit) is Ruling.DENY


@pytest.mark.parametrize(
    ("url", "patterns", "host"),
    [
        ("https://api.example.com/v1", ("*",), ""),
        ("https://api.example.com/v1", ("api.example.com",), ""),
        ("https://API.example.com/v1", ("*.example.com",), ""),
        ("https://api.example.com/v1", ("api.example.com:443",), ""),
        ("http://localhost:8000", ("localhost:8000",), ""),
        ("http://[::1]:8000", ("::1",), ""),
        ("http://localhost:8001", ("localhost:8000",), "localhost"),
        ("https://example.com.evil.net", ("*.example.com", "example.com"), "example.com.evil.net"),
        ("https://api.example.com@evil.net/", ("api.example.com",), "evil.net"),
        ("https://api.example.com", (), "api.example.com"),
        ("https://[broken", ("api.example.com",), "https://[broken"),
        ("nothing", ("api.example.com",), "nothing"),
    ],
)
def test_only_hosts_that_a_pattern_is_of_are_reached(
    url: str, patterns: tuple[str, ...], host: str
) -> None:
    assert unreached(url, patterns) == host


def test_nobody_elsewhere_is_handed_work_who_may_not_be_reached() -> None:
    to = {"kind": Kind.DELEGATION, "tool": ""}
    near, far = call(name="writer", **to), call(name="https://agents.example.com/a", **to)
    assert said(near, Bounds(egress=())) is Ruling.ALLOW
    assert said(far, Bounds(egress=("*.example.com",))) is Ruling.ALLOW
    assert said(far, Bounds(egress=("*.example.org",))) is Ruling.DENY
