"""The built-in issuer: tokens for keys, refresh tokens that are good once (S3, AS-36)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio

from pelton.adapters.identity.authenticator import Admission
from pelton.adapters.identity.grants import Signing
from pelton.adapters.identity.limits import Rate, Rates
from pelton.adapters.identity.signing import SETTLES, SigningKeys, new_key
from pelton.adapters.identity.tokens import Issuer, Tokens
from pelton.events.envelope import digest
from pelton.events.families import spell
from pelton.events.principal import Scope
from pelton.runtime.access import KeyChanges
from pelton.runtime.families import Families
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.settings import SettingsError
from tests.a2a import validate
from tests.adapters.a2a.world import WORLD
from tests.adapters.identity.issuing import Clock
from tests.adapters.identity.people import ACME, GLOBEX, Town, give_key, key_id, secret, town

URL = "https://agents.example"
FAMILY = "0" * 32


def admission(path: Path, *, rate: float = 0) -> Admission:
    keys = SigningKeys(path, world=WORLD)
    signing = Signing(keys, URL)
    own = Issuer(
        issuer=URL,
        audience=URL,
        algorithms=frozenset({"EdDSA"}),
        keys=keys,
        tenant="",
        prefix="",
        roles_claim="roles",
        scopes=True,
        own=True,
    )
    tokens = Tokens([own], world=WORLD, schemes=signing.schemes())
    rates = Rates(address=Rate(rate, 10)) if rate else Rates()
    return Admission(keys=True, anyone=None, tokens=(tokens,), signing=signing, rates=rates)


@pytest_asyncio.fixture
async def place(logs: Mapping[str, JetStreamLog], tmp_path: Path) -> AsyncIterator[Town]:
    new_key(tmp_path / "signing.json", world=WORLD)
    async with town(logs, tmp_path, admission(tmp_path / "signing.json")) as found:
        yield found


async def ask(place: Town, **form: Any) -> tuple[int, dict[str, Any]]:
    """Ask for a token."""
    auth = form.pop("auth", None)
    answer = await place.client.post(f"{place.url}/oauth/token", data=form, auth=auth)
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


async def by_key(place: Town, name: str, **form: Any) -> tuple[int, dict[str, Any]]:
    auth = (key_id(name), secret(name))
    return await ask(place, grant_type="client_credentials", auth=auth, **form)


async def status(place: Town, token: str, path: str = "/echo/tasks") -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return (await place.ask("GET", path, headers=headers)).status_code


async def granted(place: Town, name: str = "anna", *scopes: str) -> str:
    """Begin a family, and return its first refresh token."""
    families = Families(place.logs[ACME], world=WORLD, tenant=ACME, actor="cli")
    hash_, lasts = digest(secret(name).encode()), timedelta(days=1)
    await families.grant(name, ["client"], scopes, family=FAMILY, hash=hash_, lasts=lasts)
    return spell(FAMILY, secret(name))


@pytest.mark.accepts("S3")
async def test_a_key_gets_a_token_for_the_same_principal(place: Town) -> None:
    task = (await place.send("anna"))["id"]
    code, answer = await by_key(place, "anna")
    assert code == 200
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 300
    assert set(answer["scope"].split()) == {"tasks:read", "tasks:write"}
    assert "refresh_token" not in answer
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 300
    assert await status(place, answer["access_token"], f"/echo/tasks/{task}") == 200
    _, carls = await by_key(place, "carl")
    assert await status(place, carls["access_token"], f"/echo/tasks/{task}") == 404
    posted = {"client_id": key_id("otto"), "client_secret": secret("otto")}
    code, answer = await ask(place, grant_type="client_credentials", **posted)
    assert code == 200
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["tenant"] == GLOBEX


@pytest.mark.accepts("S3")
async def test_a_token_may_be_narrower_and_never_wider(place: Town) -> None:
    code, answer = await by_key(place, "anna", scope="tasks:write")
    assert (code, answer["scope"]) == (200, "tasks:write")
    assert await status(place, answer["access_token"]) == 403
    for scope in ("tenant:read", "tasks:read tenant:write", "openid"):
        assert await by_key(place, "anna", scope=scope) == (400, {"error": "invalid_scope"})


@pytest.mark.accepts("S1")
async def test_a_revoked_key_takes_its_tokens_along(place: Town) -> None:
    _, answer = await by_key(place, "anna")
    assert await status(place, answer["access_token"]) == 200
    changes = KeyChanges(place.logs[ACME], world=WORLD, tenant=ACME, actor="cli")
    await changes.revoke(key_id("anna"))
    async with asyncio.timeout(2):
        while await status(place, answer["access_token"]) != 401:
            pass
    assert (await by_key(place, "anna"))[0] == 401


@pytest.mark.accepts("S1", "AS-38")
async def test_who_is_not_known_gets_no_token(place: Town) -> None:
    await give_key(place.logs[ACME], "late", ACME, lasts=timedelta(seconds=-1))
    good = {"grant_type": "client_credentials"}
    for auth in (
        None,
        ("", ""),
        (key_id("anna"), secret("bert")),
        (key_id("late"), secret("late")),
    ):
        assert await ask(place, **good, auth=auth) == (401, {"error": "invalid_client"})
    both = {"client_id": key_id("anna"), "client_secret": secret("anna")}
    assert (await ask(place, **good, **both, auth=("a", "b")))[0] == 401
    for form in ({}, {"grant_type": "password"}, {"grant_type": "authorization_code"}):
        assert await ask(place, **form) == (400, {"error": "unsupported_grant_type"}) or not form
    post = place.client.post
    url = f"{place.url}/oauth/token"
    for content, kind in (
        (b"grant_type=client_credentials&grant_type=x", "application/x-www-form-urlencoded"),
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"a=" + b"b" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(99)), "application/x-www-form-urlencoded"),
        (b"\xff", "application/x-www-form-urlencoded"),
    ):
        refused = await post(url, content=content, headers={"content-type": kind})
        assert (refused.status_code, refused.json()) == (400, {"error": "invalid_request"})
    assert (await place.client.get(url)).status_code == 405


@pytest.mark.accepts("AS-37")
async def test_who_asks_for_too_many_tokens_has_to_wait(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    new_key(tmp_path / "signing.json", world=WORLD)
    async with town(logs, tmp_path, admission(tmp_path / "signing.json", rate=0.01)) as place:
        found = [
            await place.client.post(f"{place.url}/oauth/token", data={"grant_type": "x"})
            for _ in range(12)
        ]
        assert [each.status_code for each in found] == [400] * 10 + [429] * 2
        error = found[-1].json()["error"]
        assert set(error) == {"code", "message", "detail"}
        assert error["code"] == "rate-limited"
        assert int(found[-1].headers["retry-after"]) > 1
        assert (await place.ask("GET", "/echo/tasks", "anna")).status_code == 200


@pytest.mark.accepts("AS-36")
async def test_refresh_tokens_rotate_and_a_stolen_one_ends_the_family(place: Town) -> None:
    first = await granted(place)
    code, one = await ask(place, grant_type="refresh_token", refresh_token=first)
    assert code == 200
    code, two = await ask(place, grant_type="refresh_token", refresh_token=one["refresh_token"])
    assert code == 200
    assert len({first, one["refresh_token"], two["refresh_token"]}) == 3
    for token in (one["access_token"], two["access_token"]):
        assert await status(place, token) == 200, "both are good for as long as they last"
    refused = (400, {"error": "invalid_grant"})
    assert await ask(place, grant_type="refresh_token", refresh_token=first) == refused
    async with asyncio.timeout(2):
        while await status(place, two["access_token"]) != 401:
            pass
    assert await status(place, one["access_token"]) == 401
    again = two["refresh_token"]
    assert await ask(place, grant_type="refresh_token", refresh_token=again) == refused
    for wrong in ("", "x", spell("1" * 32, "s" * 43)):
        assert await ask(place, grant_type="refresh_token", refresh_token=wrong) == refused


@pytest.mark.accepts("AS-36")
async def test_a_family_keeps_to_its_scopes(place: Town) -> None:
    first = await granted(place, "anna", "tasks:read")
    form = {"grant_type": "refresh_token", "scope": "tasks:read tasks:write tenant:read"}
    code, answer = await ask(place, refresh_token=first, **form)
    assert (code, answer["scope"]) == (200, "tasks:read")
    form["scope"] = "tasks:write"
    code, answer = await ask(place, refresh_token=answer["refresh_token"], **form)
    assert (code, answer["scope"]) == (200, "")
    assert await status(place, answer["access_token"]) == 403


async def test_the_issuer_says_where_all_is(place: Town) -> None:
    get = place.client.get
    metadata = (await get(f"{place.url}/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == URL
    assert metadata["token_endpoint"] == f"{URL}/oauth/token"
    shown = (await get(f"{place.url}/.well-known/jwks.json")).json()
    assert "d" not in shown["keys"][0]
    _, answer = await by_key(place, "anna")
    key = jwt.PyJWK(shown["keys"][0])
    jwt.decode(answer["access_token"], key.key, algorithms=["EdDSA"], audience=URL, issuer=URL)
    card = (await get(f"{place.url}/acme/echo/.well-known/agent-card.json")).json()
    validate("Agent Card", card)
    assert set(card["securitySchemes"]) == {"apiKey", "bearer", "oauth2"}
    flow = card["securitySchemes"]["oauth2"]["oauth2SecurityScheme"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == metadata["token_endpoint"]
    assert set(flow["scopes"]) == set(Scope)


@pytest.mark.accepts("AS-36")
async def test_a_new_signing_key_is_known_everywhere_before_it_signs(tmp_path: Path) -> None:
    """Two bridges with one file; nobody is restarted, and neither refuses the other's tokens."""
    clock = Clock()
    path = tmp_path / "signing.json"
    new_key(path, world=clock)
    one, two = SigningKeys(path, world=clock), SigningKeys(path, world=clock)

    def kid(keys: SigningKeys) -> str:
        found: str = jwt.get_unverified_header(keys.sign({"sub": "x"}))["kid"]
        return found

    first = kid(one)
    clock.forward(SETTLES * 2)
    second = new_key(path, world=clock)
    signed: set[str] = set()
    for _ in range(20):
        clock.forward(10)
        one.sign({})  # one bridge is busy, the other one looks at times
        for keys, other in ((one, two), (two, one)):
            assert await other.key(kid(keys)) is not None
            signed.add(kid(keys))
    assert signed == {first, second}
    assert kid(one) == kid(two) == second


def test_a_file_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "signing.json"
    with pytest.raises(SettingsError, match="pelton tokens key"):
        SigningKeys(path, world=WORLD)
    new_key(path, world=WORLD)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read"):
        SigningKeys(path, world=WORLD)
    for _ in range(6):
        new_key(path, world=WORLD)
    assert len(json.loads(path.read_text())["keys"]) == 4
