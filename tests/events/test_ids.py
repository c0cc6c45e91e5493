"""Ids from outside and what is derived from them (S6, AS-42)."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pelton.events.errors import InvalidInput
from pelton.events.ids import (
    MAX_ID_BYTES,
    check_agent,
    check_id,
    context_of,
    derive,
    task_id,
    token,
    untoken,
)
from tests.strategies import agents, ids, plain_ids

SAFE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_-]*|=[0-9a-v]+)", re.ASCII)

LET_IN = [
    "a.b", "*", ">", " ", "..", "a..b", ".", "$JS", "_agent", "_", "-", "=", "=00", "a/b",
    "../../etc", "\u2028", "\u00e9", "e\u0301", "\U0001f600", "\ufdd0", "\u0378", "a" * 64,
    "a" * 65, "a" * 128, "\u00e9" * 64, "A", "a",
]  # fmt: skip
KEPT_OUT = [
    "", "\t", "\r\n", "a\nb", "\x00", "\x7f", "\x85", "\ud800", "a\udfff", "a" * 129, "a" * 4097,
    "\u00e9" * 65,
]  # fmt: skip


@pytest.mark.accepts("S6", "AS-42")
@pytest.mark.parametrize("value", LET_IN)
def test_what_may_be_an_id_becomes_one_safe_token(value: str) -> None:
    assert check_id(value, "field") == value
    made = token(value)
    assert SAFE.fullmatch(made)
    assert len(made) <= 206
    assert untoken(made) == value


@pytest.mark.accepts("S6", "AS-42")
@pytest.mark.parametrize("value", KEPT_OUT)
def test_what_may_not_be_an_id_is_refused_by_field(value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_id(value, "message.contextId")
    assert refused.value.field == "message.contextId"
    assert "a" * 129 not in str(refused.value)
    with pytest.raises(InvalidInput):
        token(value)


@pytest.mark.accepts("S6")
def test_all_ids_of_the_table_have_tokens_of_their_own() -> None:
    assert len({token(value) for value in LET_IN}) == len(LET_IN)
    composed, decomposed = "\u00e9", "e\u0301"
    assert unicodedata.normalize("NFC", decomposed) == composed
    assert token(composed) != token(decomposed)


@pytest.mark.accepts("S6")
@given(ids)
def test_a_token_is_safe_and_leads_back(value: str) -> None:
    made = token(value)
    assert SAFE.fullmatch(made)
    assert len(made) <= 206
    assert untoken(made) == value


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
@example("=")
@example("==")
@example("=zz")
@example("=C4")
@example("=c5")
@example("_agent")
@example("a\n")
def test_what_untoken_lets_in_is_what_token_makes(text: str) -> None:
    try:
        value = untoken(text)
    except InvalidInput:
        return
    assert token(value) == text


@given(st.text(st.characters(), max_size=200))
def test_any_string_is_an_id_or_an_error(value: str) -> None:
    try:
        assert check_id(value, "x") == value
    except InvalidInput:
        return
    assert 1 <= len(value.encode()) <= MAX_ID_BYTES


@given(agents)
def test_agents_are_slugs(name: str) -> None:
    assert check_agent(name) == name


@pytest.mark.accepts("S6")
@pytest.mark.parametrize(
    "name", ["", "A", "a.b", "*", ">", " ", "-a", "_a", "a" * 64, "\u00e9", "a\n", "a/b", "\x00"]
)
def test_other_names_are_no_agents(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_agent(name)


@given(ids, st.text())
def test_a_task_leads_to_its_context(context: str, command: str) -> None:
    made = task_id(context, command)
    assert context_of(made) == context
    assert re.fullmatch(r"=?[A-Za-z0-9_-]+", made, re.ASCII)
    assert len(made) <= 223


@given(plain_ids, plain_ids, st.text(), st.text())
@example("a", "a-0123456789abcdef", "x", "x")
def test_tasks_of_different_commands_differ(one: str, two: str, first: str, second: str) -> None:
    assert (task_id(one, first) == task_id(two, second)) == ((one, first) == (two, second))


@pytest.mark.accepts("S6")
@pytest.mark.parametrize(
    "value",
    [*LET_IN, *KEPT_OUT, "a-0123456789abcde", "a-0123456789ABCDEF", "-0123456789abcdef",
     "=-0123456789abcdef", "a.b-0123456789abcdef", "\n-0123456789abcdef", "a-0123456789abcdef\n"],
)  # fmt: skip
def test_other_strings_are_no_tasks(value: str) -> None:
    with pytest.raises(InvalidInput):
        context_of(value)


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
@example(["ab", "c"], ["a", "bc"])
@example(["a", ""], ["a"])
def test_derived_ids_never_run_together(one: list[str], two: list[str]) -> None:
    assert (derive(*one) == derive(*two)) == (one == two)
    assert re.fullmatch(r"[0-9a-f]{32}", derive(*one))


def test_derived_ids_are_the_same_for_ever() -> None:
    """Recorded once: another value here would give the tasks of old commands new ids (law 6)."""
    assert derive("a", "b") == "3c9d591045bc8876f9d0399bbfb05c6a"
    assert task_id("chat", "command") == "chat-f5e29ba1c62143e0"
    assert task_id("two words", "command") == "=ehrmu83ndtp68so-f705b54f4b42367f"
