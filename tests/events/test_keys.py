"""API keys as their commits make them: which secrets are good, when, and for whom."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events.access import KeyCreated, KeyRevoked, KeyRotated
from pelton.events.commit import Commit, CommitData
from pelton.events.envelope import digest
from pelton.events.errors import IllegalTransition, InvalidInput
from pelton.events.events import AnyEvent
from pelton.events.keys import KeyNotFound, Keys, existing, fold_keys, presented, spell
from pelton.events.principal import (
    GRANTS,
    Principal,
    Role,
    Scope,
    check_grant,
    check_principal,
    granted,
)

pytestmark = pytest.mark.accepts("S1")

ID = "0123456789abcdef"
NOW = "2026-01-01T00:00:00.000Z"
LATER = "2026-01-02T00:00:00.000Z"
END = "2026-02-01T00:00:00.000Z"
NEVER = "2099-01-01T00:00:00.000Z"


def created(**members: object) -> KeyCreated:
    given = {"principal": "anna", "roles": ("client",), "hash": digest(b"one"), "expires": END}
    return KeyCreated(key_id=ID, **given | members)  # type: ignore[arg-type]


def folded(*events: AnyEvent, keys: Keys | None = None) -> Keys:
    commit = Commit(
        id="c",
        source="x",
        subject="_access/keys",
        time=NOW,
        tenant="t",
        actor="x",
        correlationid="c",
        causationid="c",
        sequence=1,
        prevhash="",
        data=CommitData(events=events),
    )
    return fold_keys(keys or {}, commit)


def good(keys: Keys, now: str) -> Sequence[str]:
    """Return which of three secrets are good."""
    return [s for s in ("one", "two", "three") if keys[ID].opens(digest(s.encode()), now)]


def rotated(secret: str, overlap: str) -> KeyRotated:
    return KeyRotated(key_id=ID, hash=digest(secret.encode()), expires=NEVER, overlap=overlap)


def test_a_key_is_good_until_it_expires() -> None:
    keys = folded(created())
    assert good(keys, NOW) == ["one"]
    assert good(keys, END) == []


@pytest.mark.accepts("AS-36")
def test_a_rotated_key_is_good_with_both_secrets_for_the_overlap() -> None:
    keys = folded(created(), rotated("two", LATER))
    assert good(keys, NOW) == ["one", "two"]
    assert good(keys, LATER) == ["two"]
    assert good(keys, END) == ["two"]


def test_an_overlap_does_not_outlive_the_secret() -> None:
    keys = folded(created(), rotated("two", NEVER))
    assert good(keys, END) == ["two"]


def test_of_three_secrets_the_first_is_good_no_longer() -> None:
    keys = folded(created(), rotated("two", LATER), rotated("three", LATER))
    assert good(keys, NOW) == ["two", "three"]


def test_a_revoked_key_is_good_with_no_secret() -> None:
    keys = folded(created(), rotated("two", LATER), KeyRevoked(key_id=ID))
    assert good(keys, NOW) == []
    with pytest.raises(KeyNotFound):
        existing(keys, ID)
    with pytest.raises(KeyNotFound):
        existing({}, ID)


@pytest.mark.parametrize(
    "events",
    [(KeyRevoked(key_id=ID),), (rotated("two", LATER),), (created(), created())],
)
def test_what_does_not_fit_is_refused(events: tuple[AnyEvent, ...]) -> None:
    with pytest.raises(IllegalTransition):
        folded(*events)


@pytest.mark.parametrize(
    "members",
    [
        {"roles": ()},
        {"roles": ("emperor",)},
        {"roles": ("client",), "scopes": ("tenant:write",)},
        {"scopes": ("",)},
        {"principal": ""},
        {"principal": "anonymous"},
        {"principal": "issuer:anna"},
        {"principal": "a\nb"},
        {"principal": "x" * 101},
        {"principal": "\u0430nna"},
    ],
)
@pytest.mark.accepts("AS-42")
def test_a_key_that_cannot_be_is_not_made(members: dict[str, object]) -> None:
    key = created()
    check_grant(key.principal, key.roles, key.scopes)
    wrong = created(**members)
    with pytest.raises(InvalidInput):
        check_grant(wrong.principal, wrong.roles, wrong.scopes)


def test_scopes_narrow_what_roles_grant_and_never_widen_it() -> None:
    keys = folded(created(roles=("operator",), scopes=("tasks:read", "no:such")))
    assert keys[ID].holder("t") == Principal(
        id="anna",
        tenant="t",
        roles=frozenset({Role.OPERATOR}),
        scopes=frozenset({Scope.READ}),
    )
    keys = folded(created(roles=("client", "emperor"), scopes=()))
    assert keys[ID].holder("t").scopes == granted([Role.CLIENT])
    keys = folded(created(roles=("client",), scopes=("tenant:write",)))
    assert keys[ID].holder("t").scopes == frozenset()


def test_only_operators_and_approvers_reach_what_others_opened() -> None:
    for role, scopes in GRANTS.items():
        who = Principal(id="a", tenant="t", roles=frozenset({role}), scopes=scopes)
        assert (who.owner is None) is (role in (Role.APPROVER, Role.OPERATOR))


@pytest.mark.accepts("AS-39")
def test_only_operators_have_scopes_over_the_tenant() -> None:
    over = {Scope.INSPECT, Scope.ADMINISTER}
    assert {role for role, scopes in GRANTS.items() if scopes & over} == {Role.OPERATOR}


@pytest.mark.accepts("AS-41")
def test_a_role_grants_what_is_listed_and_no_more() -> None:
    own = {"tasks:read", "tasks:write"}
    assert {role.value: {scope.value for scope in scopes} for role, scopes in GRANTS.items()} == {
        "client": own,
        "agent": own,
        "approver": own | {"tasks:every", "approvals:decide"},
        "operator": own | {"tasks:every", "approvals:decide", "tenant:read", "tenant:write"},
    }


@given(st.text())
def test_any_text_is_a_key_or_is_none(text: str) -> None:
    found = presented(text)
    assert found is None or text.startswith(f"pelton_{found.id}_")


def test_a_key_is_known_by_its_form() -> None:
    secret = "s" * 43
    found = presented(spell(ID, secret))
    assert found is not None
    assert found == (ID, digest(secret.encode()))
    for wrong in ("", secret, spell(ID, "short"), spell("id", secret), spell(ID, secret) + "\n"):
        assert presented(wrong) is None


@given(st.text())
@pytest.mark.accepts("AS-42")
def test_any_text_names_a_principal_or_is_refused(text: str) -> None:
    try:
        name = check_principal(text)
    except InvalidInput:
        return
    assert name == text
    assert ":" not in name
    assert name.isascii()
