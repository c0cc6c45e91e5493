"""Families of tokens: each refresh token is good once, and one that comes again ends them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events.access import TokensGranted, TokensRefreshed
from pelton.events.commit import Commit, CommitData
from pelton.events.envelope import digest
from pelton.events.errors import IllegalTransition
from pelton.events.events import AnyEvent
from pelton.events.families import Family, Standing, fold_family, presented, spell

pytestmark = pytest.mark.accepts("AS-36")

ID = "0" * 32
ONE, TWO, THREE = digest(b"one"), digest(b"two"), digest(b"three")
NOW, SOON, LATER = (f"2026-01-01T00:00:{second:02d}.000Z" for second in (0, 10, 20))
END = "2026-02-01T00:00:00.000Z"
GRANTED = TokensGranted(family=ID, principal="anna", roles=("client",), hash=ONE, expires=END)


def folded(*events: AnyEvent) -> Family | None:
    commit = Commit(
        id="c",
        source="x",
        subject="x",
        time=NOW,
        tenant="t",
        actor="x",
        correlationid="c",
        causationid="c",
        sequence=1,
        prevhash="",
        data=CommitData(events=events),
    )
    return fold_family([commit])


def family(*events: AnyEvent) -> Family:
    found = folded(GRANTED, *events)
    assert found is not None
    return found


def test_a_token_is_good_until_its_family_ends() -> None:
    assert family().standing(ONE, NOW) is Standing.GOOD
    assert family().standing(ONE, END) is Standing.STRANGE
    assert family().standing(TWO, NOW) is Standing.STRANGE


def test_a_spent_token_may_come_again_for_a_moment_only() -> None:
    known = family(family().refresh(ONE, TWO, until=SOON))
    assert known.standing(TWO, NOW) is Standing.GOOD
    assert known.standing(ONE, NOW) is Standing.GOOD
    assert known.standing(ONE, SOON) is Standing.SPENT
    assert known.standing(TWO, LATER) is Standing.GOOD


def test_a_token_that_comes_again_makes_the_one_before_spent() -> None:
    """The answer was lost: whoever has it nevertheless is found out."""
    once = family().refresh(ONE, TWO, until=SOON)
    known = family(once)
    again = known.refresh(ONE, THREE, until=LATER)
    assert again.until == SOON, "the moment does not begin anew"
    known = family(once, again)
    assert known.standing(THREE, NOW) is Standing.GOOD
    assert known.standing(TWO, NOW) is Standing.SPENT
    assert known.standing(ONE, SOON) is Standing.SPENT


def test_what_does_not_fit_is_refused() -> None:
    assert folded() is None
    with pytest.raises(IllegalTransition):
        folded(GRANTED, GRANTED)
    with pytest.raises(IllegalTransition):
        folded(TokensRefreshed(family=ID, hash=TWO, spent=ONE, until=SOON))


@given(st.text())
def test_any_text_is_a_token_or_is_none(text: str) -> None:
    assert presented(text) is None or text.startswith("peltonr_")
    assert presented(spell(ID, "s" * 43)) == (ID, digest(b"s" * 43))
