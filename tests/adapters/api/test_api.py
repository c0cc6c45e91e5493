"""Our own API: every route of its table, by everybody, and what its document says of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pelton.adapters.a2a.errors import FAULTS
from pelton.adapters.api import routes as module
from pelton.adapters.api.openapi import openapi, path_of
from pelton.adapters.api.route import Route
from pelton.adapters.api.routes import ROUTES
from pelton.adapters.api.shapes import (
    TaskQuery,
)
from pelton.events import subjects
from pelton.events.errors import InvalidInput
from pelton.events.events import FailureClass
from pelton.events.ids import task_id
from pelton.events.memory import CauseKind, MemoryCause, MemoryScope
from pelton.events.principal import Scope
from pelton.events.remembering import CommitMemory
from pelton.events.start import AgentStageFailed, Stage
from pelton.runtime.aggregates import agents_of, own
from pelton.runtime.clock import RealWorld
from pelton.runtime.memories import Memories
from tests.adapters.identity import conftest
from tests.adapters.identity.people import ACME, GLOBEX, PEOPLE, Town

logs = conftest.logs
place = conftest.place

WORLD = RealWorld()
DOCUMENT: Mapping[str, Any] = json.loads(json.dumps(openapi()))
MISSING = {
    "agent": "nobody",
    "task": task_id("nowhere", "x"),
    "sequence": "999999",
    "event": "999999",
    "memory": "0" * 32,
}


def schema(name: str) -> Any:
    """Return the validator of a shape of the document."""
    text = json.dumps(DOCUMENT["components"]["schemas"]).replace("#/components/schemas", "#/$defs")
    return Draft202012Validator({"$defs": json.loads(text), "$ref": f"#/$defs/{name}"})


def path(route: Route, name: str = "") -> str:
    """Return the path of a route with its parameter."""
    return (
        path_of(route).replace(f"{{{route.parameter}}}", name)
        if route.parameter
        else path_of(route)
    )


@pytest_asyncio.fixture
async def real(place: Town) -> AsyncIterator[dict[str, str]]:
    """Return names of what is there, all of it anna's or acme's."""
    task = (await place.send("anna", "ask"))["id"]
    [first, *_] = await place.logs[ACME].read(subjects.commits("echo", task.rpartition("-")[0]))
    log = place.logs[ACME]
    memories = Memories(log, world=WORLD, agents=agents_of(log, WORLD))
    kept = CommitMemory(
        operation="kept",
        cause=MemoryCause(kind=CauseKind.PERSON),
        content=f"This is about {task}.",
        scope=MemoryScope.GLOBAL,
    )
    origin = own("test", ACME, WORLD.new_id())
    memory = await memories.change(kept.memory_id, kept, member=None, origin=origin)
    yield {
        "agent": "echo",
        "task": task,
        "sequence": str(first.sequence),
        "event": str(first.sequence),
        "memory": memory.id,
    }


def error(body: Any) -> str:
    """Return the code of an error, which has exactly the shape that all have."""
    schema("Failure").validate(body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "detail"}
    assert body["error"]["code"] in {*FAULTS, "internal"}
    return str(body["error"]["code"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.id)
@pytest.mark.accepts("S4", "AS-1", "AS-28", "AS-39")
async def test_a_route_answers_whom_it_should(
    place: Town, real: dict[str, str], route: Route
) -> None:
    """Everybody of both tenants, and nobody; what is answered has its schema (AS-5)."""
    name, missing = real.get(route.parameter, ""), MISSING.get(route.parameter, "")
    before = await place.logs[ACME].extent()
    nobody = await place.ask("GET", path(route, name))
    assert nobody.status_code == 401
    assert error(nobody.json()) == "auth-denied"
    assert nobody.headers["www-authenticate"]
    for who, (tenant, roles) in PEOPLE.items():
        found = await place.ask("GET", path(route, name), who)
        if route.scope is Scope.INSPECT and "operator" not in roles:
            assert found.status_code == 403, (who, found.text)
            assert error(found.json()) == "policy-denied"
            continue
        is_owner = who == "anna" or "approver" in roles or "operator" in roles
        hidden = route.parameter == "task" and (tenant != ACME or not is_owner)
        foreign = tenant != ACME and route.parameter in ("sequence", "event", "memory")
        if hidden or foreign:
            other = await place.ask("GET", path(route, missing), who)
            if route.parameter == "task":
                assert (found.status_code, found.text) == (404, other.text)
                assert error(found.json()) == "task-not-found"
            else:
                assert real["task"] not in found.text
            continue
        assert found.status_code == 200, (who, found.text)
        schema(route.answer.__name__).validate(found.json())
        if tenant != ACME or not is_owner:
            assert real["task"] not in found.text, who
    assert await place.logs[ACME].extent() == before


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.id)
@pytest.mark.accepts("AS-28", "AS-29", "AS-42")
async def test_what_is_wrong_is_refused_in_one_shape(place: Town, route: Route) -> None:
    where = path(route, MISSING.get(route.parameter, ""))
    for query, code in (
        ("nonsense=1", "validation-denied"),
        ("pageSize=101", "validation-denied"),
        ("pageSize=0", "validation-denied"),
        ("pageSize=x", "validation-denied"),
        ("pageToken=x", "validation-denied"),
        (f"pageToken={'x' * 3000}", "validation-denied"),
        ("pageSize=1&pageSize=2", "validation-denied"),
        ("%ff=1", "validation-denied"),
    ):
        found = await place.ask("GET", f"{where}?{query}", "olga")
        assert found.status_code == 400, (query, found.text)
        assert error(found.json()) == code
    for verb in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        found = await place.ask(verb, where, "olga")
        assert found.status_code == 405
        assert found.headers["allow"] == "GET, HEAD"
        assert error(found.json()) == "method-not-allowed"
    head = await place.ask("HEAD", path(route, "echo"), "olga")
    assert not head.content
    if route.parameter:
        for name in ("%00", "%2e%2e", "a%0d%0ab", "%ff", "'", "*", ">", "x" * 4000, "-1", "0"):
            found = await place.ask("GET", path(route, name), "olga")
            assert found.status_code in (400, 404)
            error(found.json())
        found = await place.ask("GET", where, "olga")
        assert found.status_code == 404
        error(found.json())


async def test_what_is_served_nowhere_is_not_found(place: Town) -> None:
    for where in (
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/tasks/",
        "/v1/tasks/a/b",
        "/v1//tasks",
        "/v1/openapi",
    ):
        found = await place.ask("GET", where, "olga")
        assert found.status_code == 404
        assert error(found.json()) == "path-not-found"
        assert (await place.ask("GET", where)).status_code == 401
    wrong = await place.ask("GET", f"/{GLOBEX}/v1/tasks", "olga")
    assert wrong.status_code == 404
    error(wrong.json())
    right = await place.ask("GET", f"/{ACME}/v1/tasks", "olga")
    assert right.status_code == 200


@pytest.mark.accepts("AS-30")
async def test_lists_come_in_pages_that_make_the_whole(place: Town) -> None:
    sent = {(await place.send("anna"))["id"] for _ in range(7)}
    await place.send("bert")
    log = place.logs[ACME]
    await log.append("evt.echo.broken", b"nonsense", id="n1", expect=0)
    await log.append("evt.echo.worse", b"nonsense", id="n2", expect=0)

    async def pages(where: str, who: str, **more: str) -> list[Any]:
        found: list[Any] = []
        token, totals = "", set[int]()
        while True:
            query = {"pageSize": "2", "pageToken": token} | more
            page = (await place.ask("GET", where, who, params=query)).json()
            assert len(page["items"]) <= 2
            totals.add(page.get("totalSize", -1))
            found += page["items"]
            token = page["nextPageToken"]
            if not token:
                assert totals in ({len(found)}, {-1})
                return found

    mine = await pages("/v1/tasks", "anna")
    assert {each["task"]["id"] for each in mine} == sent
    assert {each["owner"] for each in mine} == {"anna"}
    assert len(await pages("/v1/tasks", "olga")) == 8
    assert await pages("/v1/tasks", "olga", agent="nobody") == []
    assert await pages("/v1/tasks", "olga", state="TASK_STATE_FAILED") == []
    assert len(await pages("/v1/agents", "bert")) == 1
    talks = await pages("/v1/sessions", "olga", agent="echo")
    assert [each["id"] for each in talks if each["stopped"]] == ["worse", "broken"]
    assert await pages("/v1/sessions", "olga", find=talks[-1]["id"]) == talks[-1:]
    events = await pages("/v1/events", "olga")
    last = (await log.extent()).last
    assert [each["sequence"] for each in events] == list(range(1, last + 1))
    assert events[-1]["record"] is None
    of_echo = await pages("/v1/events", "olga", agent="echo")
    assert {each["subject"].split(".")[1] for each in of_echo} == {"echo"}
    assert len(of_echo) < len(events)
    used = await pages("/v1/usage", "olga", by="principal")
    assert [(each["name"], each["turns"]) for each in used] == [("anna", 7), ("bert", 1)]
    assert [each["name"] for each in await pages("/v1/usage", "bert", by="principal")] == ["bert"]
    done = await pages("/v1/audit", "olga", principal="anna")
    assert [each["command"] for each in done] == ["SendMessage"] * 7
    assert {each["taskId"] for each in done} == sent
    assert await pages("/v1/audit", "olga", refused="true") == []
    [first, *_] = await log.read(subjects.commits("echo", min(sent).rpartition("-")[0]))
    came = await pages(f"/v1/taint/{first.sequence}", "olga")
    assert {each["taskId"] for each in came} == {min(sent)}
    assert [each["how"] for each in came] == ["source"]
    damage = await pages("/v1/damage", "olga")
    assert [each["subject"] for each in damage] == ["evt.echo.broken", "evt.echo.worse"]
    token = (await place.ask("GET", "/v1/tasks?pageSize=1", "olga")).json()["nextPageToken"]
    stolen = await place.ask("GET", "/v1/tasks", "anna", params={"pageToken": token})
    assert error(stolen.json()) == "validation-denied"


@pytest.mark.accepts("AS-57", "S4")
async def test_the_inbox_has_what_one_is_asked(place: Town) -> None:
    own = (await place.send("anna", "ask"))["id"]
    by_name = (await place.send("anna", "ask bert"))["id"]
    for who, asked in (
        ("anna", [own]),
        ("bert", [by_name]),
        ("paul", [own, by_name]),
        ("olga", [own, by_name]),
    ):
        page = (await place.ask("GET", "/v1/inbox?agent=echo", who)).json()
        assert [each["taskId"] for each in page["items"]] == asked, who
        assert page["totalSize"] == len(asked)
    assert page["items"][0]["message"]["parts"][0]["text"] == "what?"
    assert page["items"][1]["approvers"] == ["bert"]
    assert (await place.ask("GET", "/v1/inbox?agent=nobody", "olga")).json()["items"] == []


async def test_dead_letters_are_listed_until_they_are_done_again(place: Town) -> None:
    task = (await place.send("anna", "fail"))["id"]
    page = (await place.ask("GET", "/v1/dead-letters", "olga")).json()
    [letter] = page["items"]
    assert (letter["taskId"], letter["redrivenAs"], letter["attempts"]) == (task, "", 1)
    assert "canary" not in str(page)
    assert (await place.ask("GET", "/v1/dead-letters?agent=other", "olga")).json()["items"] == []


async def test_a_task_is_shown_with_what_it_has(place: Town) -> None:
    task = await place.send("anna", "hello")
    shown = (await place.ask("GET", f"/v1/tasks/{task['id']}?historyLength=5", "anna")).json()
    assert shown["task"]["status"]["message"]["parts"] == [{"text": "hello"}]
    assert len(shown["task"]["history"]) == 1
    assert (shown["agent"], shown["owner"], shown["turns"]) == ("echo", "anna", 1)
    agent = (await place.ask("GET", "/v1/agents/echo", "anna")).json()
    assert agent["url"] == f"{place.url}/echo"


@pytest.mark.accepts("AS-28", "AS-69")
async def test_what_went_wrong_with_a_start_is_for_operators_and_its_class_for_all(
    place: Town,
) -> None:
    agents = agents_of(place.logs[ACME], WORLD)
    for name in ("echo", "parrot"):
        failed = AgentStageFailed(
            executor="one",
            stage=Stage.ADAPTER,
            kind=FailureClass.DEPENDENCY,
            detail="there is no program '/opt/parrot'",
        )
        state = await agents.load(name)
        await agents.append(state, (failed,), origin=own("test", ACME, WORLD.new_id()))

    async def shown() -> list[Any]:
        items: list[Any] = (await place.ask("GET", "/v1/agents", "olga")).json()["items"]
        return [each["lastError"] for each in items if each["name"] in ("echo", "parrot")]

    async with asyncio.timeout(10):
        while None in (found := await shown()) or len(found) < 2:
            await asyncio.sleep(0.02)
    assert [each["detail"] for each in found] == ["there is no program '/opt/parrot'"] * 2
    listed = (await place.ask("GET", "/v1/agents", "anna")).json()
    assert "parrot" not in str(listed)
    [error] = [each["lastError"] for each in listed["items"] if each["name"] == "echo"]
    assert error == {
        "at": error["at"],
        "stage": "adapter",
        "kind": "dependency-unavailable",
        "detail": "",
    }
    assert (await place.ask("GET", "/v1/agents/parrot", "anna")).status_code == 404
    unstarted = (await place.ask("GET", "/v1/agents/parrot", "olga")).json()
    assert (unstarted["profile"], unstarted["status"]) == (None, "removed")
    assert [*schema("AgentView").iter_errors(unstarted)] == []


async def test_the_document_is_served_and_names_every_route(place: Town) -> None:
    assert (await place.ask("GET", "/v1/openapi.json")).status_code == 401
    served = (await place.ask("GET", "/v1/openapi.json", "anna")).json()
    assert served == DOCUMENT
    beside = {"/v1/live", "/v1/callbacks/{agent}/{task}"}
    assert set(served["paths"]) == {*(path_of(route) for route in ROUTES), *beside}
    for route in ROUTES:
        operation = served["paths"][path_of(route)]["get"]
        assert operation["operationId"] == route.id
        assert operation["summary"]
        named = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
        assert all(each["description"] for each in operation["parameters"] if each["in"] == "query")
        assert "pageSize" in named or route.parameter
    for shape in served["components"]["schemas"].values():
        Draft202012Validator.check_schema(shape)


@pytest.mark.accepts("AS-42")
@given(st.binary(max_size=80))
def test_any_query_is_one_or_is_refused(query: bytes) -> None:
    try:
        found = module.parse_query(query, TaskQuery)
    except InvalidInput:
        return
    assert isinstance(found, TaskQuery)


@pytest.mark.accepts("AS-28")
async def test_an_error_of_ours_tells_nothing_of_how_we_are_built(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/srv/secret canary nats://user:password@host")

    monkeypatch.setattr("pelton.adapters.api.routes.answer", broken)
    found = await place.ask("GET", "/v1/tasks", "anna")
    assert found.status_code == 500
    assert error(found.json()) == "internal"
    assert "canary" not in found.text
