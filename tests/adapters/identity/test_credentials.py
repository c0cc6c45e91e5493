"""Credentials at every route: missing, wrong, expired, revoked, of too few scopes (S1, AS-38)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from pelton.adapters.identity.authenticator import Admission, TestTokens, anyone
from pelton.events.keys import spell
from pelton.events.principal import Principal, Role
from pelton.runtime.access import KeyChanges, Keyring
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.log import Heard
from tests.a2a import validate
from tests.adapters.a2a.world import WORLD
from tests.adapters.identity.people import ACME, GLOBEX, Town, give_key, key, key_id, secret, town
from tests.adapters.identity.test_tenancy import MISSING, Ask, every

CARD = "/.well-known/agent-card.json"
OTHERS = [
    Ask("GET", "/"),
    Ask("GET", "/echo"),
    Ask("GET", "/echo/nothing"),
    Ask("POST", "/nobody", {}),
    Ask("GET", f"/{ACME}/echo/tasks"),
    Ask("GET", f"/{ACME}/"),
    Ask("GET", "/metrics"),
    Ask("GET", f"/echo{CARD}"),
    Ask("DELETE", "/echo/tasks/x"),
]
WRONG = {
    "none": {},
    "empty": {"X-API-Key": ""},
    "no bearer": {"Authorization": "Bearer"},
    "no scheme": {"Authorization": spell(key_id("anna"), secret("anna"))},
    "basic": {"Authorization": "Basic YTpi"},
    "wrong secret": {"X-API-Key": spell(key_id("anna"), secret("bert"))},
    "wrong id": {"X-API-Key": spell("0" * 16, secret("anna"))},
    "wrong case": {"X-API-Key": spell(key_id("anna"), secret("anna")).upper()},
    "long": {"X-API-Key": "pelton_" + "a" * 9000},
    "not ascii": {"X-API-Key": "pelton_\u00e4"},
    "two": key("anna") | {"Authorization": f"Bearer {key('bert')['X-API-Key']}"},
    "expired": key("late"),
    "revoked": key("gone"),
    "a token": {"Authorization": "Bearer a.b.c"},
    "a cookie": {"Cookie": f"X-API-Key={key('anna')['X-API-Key']}"},
}


async def people_of_the_past(log: JetStreamLog) -> None:
    await give_key(log, "late", ACME, lasts=timedelta(seconds=-1))
    await give_key(log, "gone", ACME)
    await KeyChanges(log, world=WORLD, tenant=ACME, actor="cli").revoke(key_id("gone"))


@pytest.mark.accepts("S1", "AS-38", "AS-28")
async def test_no_route_is_open_to_a_wrong_credential(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    await people_of_the_past(logs[ACME])
    async with town(logs, tmp_path) as place:
        before = {tenant: await log.extent() for tenant, log in logs.items()}
        for name, headers in WRONG.items():
            encoded = {each.encode(): value.encode() for each, value in headers.items()}
            for ask in (*every(MISSING), *OTHERS):
                found = await place.client.request(
                    ask.verb, place.url + ask.path, json=ask.body, headers=encoded
                )
                assert found.status_code == 401, (name, ask, found.text)
                assert found.headers["www-authenticate"].startswith('Bearer realm="pelton"')
                assert "anna" not in found.text
        assert {tenant: await log.extent() for tenant, log in logs.items()} == before


async def test_a_key_is_taken_in_both_headers(place: Town) -> None:
    spelt = key("anna")["X-API-Key"]
    for headers in ({"X-API-Key": spelt}, {"Authorization": f"bearer {spelt}"}):
        assert (await place.ask("GET", "/echo/tasks", headers=headers)).status_code == 200


async def test_health_needs_no_credential_and_tells_nothing(place: Town) -> None:
    assert (await place.ask("GET", "/healthz")).json() == {"status": "ok"}
    assert set((await place.ask("GET", "/readyz")).json()["detail"].values()) == {True}


@pytest.mark.accepts("S1")
async def test_a_revocation_is_in_force_at_once(place: Town) -> None:
    assert (await place.ask("GET", "/echo/tasks", "anna")).status_code == 200
    changes = KeyChanges(place.logs[ACME], world=WORLD, tenant=ACME, actor="cli")
    await changes.revoke(key_id("anna"))
    async with asyncio.timeout(1):
        while (await place.ask("GET", "/echo/tasks", "anna")).status_code != 401:
            pass
    assert (await place.ask("GET", "/echo/tasks", "bert")).status_code == 200


@pytest.mark.accepts("AS-38")
async def test_no_key_is_good_before_the_keys_are_known(
    logs: Mapping[str, JetStreamLog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: Keyring) -> None:
        await asyncio.Event().wait()

    def deaf(_: Keyring, __: Heard) -> bool:
        return False

    async def at_once(_: str) -> None:
        await asyncio.sleep(0)

    async with town(logs, tmp_path) as place:
        await place.send("anna")
    monkeypatch.setattr(Keyring, "keep", never)
    monkeypatch.setattr(Keyring, "heard", deaf)
    monkeypatch.setattr("tests.adapters.a2a.world.until_ready", at_once)
    monkeypatch.setattr("tests.adapters.identity.people.PEOPLE", {})
    (tmp_path / "second").mkdir()
    async with town(logs, tmp_path / "second") as place:
        found = await place.ask("GET", "/echo/tasks", "anna")
        assert found.status_code == 503
        assert "retry-after" in found.headers
        assert (await place.ask("GET", "/echo/tasks")).status_code == 401


async def test_cards_are_public_where_a_path_or_a_host_leads_to_them(place: Town) -> None:
    for path, headers in (
        (f"/{ACME}/echo", {}),
        (f"/{GLOBEX}/echo", {}),
        ("/echo", {"host": "globex.example"}),
    ):
        found = await place.ask("GET", path + CARD, headers=headers)
        assert found.status_code == 200
        card = found.json()
        validate("Agent Card", card)
        assert card["supportedInterfaces"][0]["url"].endswith(path)
        assert card["securitySchemes"] == {
            "apiKey": {"apiKeySecurityScheme": {"location": "header", "name": "X-API-Key"}}
        }
        assert card["securityRequirements"] == [{"schemes": {"apiKey": {"list": []}}}]
    unnamed = await place.ask("GET", f"/echo{CARD}", "anna")
    assert unnamed.status_code == 200


async def test_cards_name_urls_that_lead_to_the_same_tenant(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    """Behind a public URL, a tenant with a host of its own is under that host."""
    async with town(logs, tmp_path, public_url="https://agents.example/base") as place:
        for path, headers, url in (
            (f"/{GLOBEX}/echo", {}, f"https://agents.example/base/{GLOBEX}/echo"),
            ("/echo", {"host": "globex.example"}, "https://globex.example/echo"),
        ):
            card = (await place.ask("GET", path + CARD, headers=headers)).json()
            assert card["supportedInterfaces"][0]["url"] == url


@pytest.mark.accepts("S1")
async def test_private_cards_need_a_credential(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    admission = Admission(keys=True, anyone=None, cards=False)
    async with town(logs, tmp_path, admission) as place:
        assert (await place.ask("GET", f"/{ACME}/echo{CARD}")).status_code == 401
        assert (await place.ask("GET", f"/{ACME}/echo{CARD}", "carl")).status_code == 404
        assert (await place.ask("GET", f"/{ACME}/echo{CARD}", "anna")).status_code == 200


async def test_shared_tasks_are_everybodys_in_the_tenant_alone(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    async with town(logs, tmp_path, Admission(keys=True, anyone=None, shared=True)) as place:
        task = (await place.send("anna", "ask"))["id"]
        assert (await place.send("bert", "this", taskId=task))["id"] == task
        assert (await place.rpc("GetTask", "carl", id=task))["error"]["code"] == -32001


@pytest.mark.accepts("S4")
async def test_anonymous_callers_are_one_client_and_no_more(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    admission = Admission(keys=True, anyone=frozenset({Role.CLIENT}))
    async with town(logs, tmp_path, admission) as place:
        task = (await place.send("anna"))["id"]
        assert (await place.rpc("ListTasks", ""))["result"]["totalSize"] == 0
        assert (await place.rpc("GetTask", "", id=task))["error"]["code"] == -32001
        own = (await place.send("", "mine"))["id"]
        assert (await place.rpc("GetTask", "", id=own))["result"]["id"] == own
        wrong = await place.ask("GET", "/echo/tasks", headers={"X-API-Key": "pelton_x"})
        assert wrong.status_code == 401, "a wrong credential is not as good as none"


async def test_scopes_are_held_by_every_operation(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    """A key that may read may not write, and the other way round; 403 names the scope."""
    await give_key(logs[ACME], "reader", ACME, scopes=("tasks:read",))
    await give_key(logs[ACME], "writer", ACME, scopes=("tasks:write",))
    async with town(logs, tmp_path) as place:
        for who, allowed in (("reader", False), ("writer", True)):
            body = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}}
            sent = await place.ask("POST", "/echo/message:send", who, json=body)
            assert (sent.status_code == 200) is allowed
            got = await place.ask("GET", "/echo/tasks", who)
            assert (got.status_code == 200) is not allowed
            denied = got if allowed else sent
            assert denied.status_code == 403
            assert 'error="insufficient_scope", scope="tasks:' in denied.headers["www-authenticate"]
        canceled = await place.ask("POST", f"/echo/tasks/{MISSING}:cancel", "reader")
        assert canceled.status_code == 403
        missing = await place.ask("POST", f"/echo/tasks/{MISSING}:cancel", "writer")
        assert missing.status_code == 404


@pytest.mark.accepts("S11", "S23", "AS-40")
async def test_no_credential_leaves_the_door(place: Town, caplog: pytest.LogCaptureFixture) -> None:
    """Canaries in every header: in no record of the log, no line of the logs and no answer."""
    canaries = {
        "Cookie": "session=canary-cookie",
        "Proxy-Authorization": "Basic canary-proxy",
        "X-Auth-Token": "canary-token",
        "traceparent": "00-canary",
        "Referer": "https://canary.example",
    }
    spelt = key("anna")["X-API-Key"]
    said = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    headers = canaries | {"Authorization": f"Bearer {spelt}"}
    with caplog.at_level("DEBUG"):
        bodies: list[object] = [{"message": said}, {"message": said | {"role": "its-own"}}, []]
        for body in bodies:
            sent = await place.ask("POST", "/echo/message:send", headers=headers, json=body)
            assert "canary" not in sent.text
            assert spelt not in sent.text
        wrong = headers | {"Authorization": f"Bearer {spelt[:-1]}"}
        refused = await place.ask("GET", "/echo/tasks", headers=wrong)
        assert spelt[:-1] not in refused.text
    for log in place.logs.values():
        async for batch in log.scan():
            for record in batch:
                assert b"canary" not in record.data
                assert secret("anna").encode() not in record.data
    assert "canary" not in caplog.text
    assert secret("anna")[:-1] not in caplog.text


async def test_the_tokens_of_the_conformance_suites(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    good = anyone(ACME, Role.CLIENT)
    tokens = TestTokens({"good": good, "bad": Principal(id="x", tenant=ACME)})
    admission = Admission(anyone=None, tokens=(tokens,))
    async with town(logs, tmp_path, admission) as place:
        for token, status in (("good", 200), ("bad", 403), ("other", 401), ("a b", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            found = await place.ask("GET", "/echo/tasks", headers=headers)
            assert found.status_code == status
            body = b'{"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}'
            kind = {"content-type": "application/json"}
            answer = await place.ask("POST", "/echo", headers=headers | kind, content=body)
            assert answer.status_code == status
        card = (await place.ask("GET", f"/{ACME}/echo{CARD}")).json()
        assert card["securitySchemes"] == {
            "bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}
        }


async def test_without_credentials_everybody_is_anonymous(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    async with town(logs, tmp_path, Admission()) as place:
        task = (await place.send("anna"))["id"]
        assert (await place.rpc("GetTask", "", id=task))["result"]["id"] == task
        card = (await place.ask("GET", f"/{ACME}/echo{CARD}")).json()
        assert "securitySchemes" not in card
