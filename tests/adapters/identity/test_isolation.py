"""The matrix: everybody asks everything about what is not theirs, and finds no word of it (G8).

What each principal says holds a canary. The canaries of another tenant, and of another principal
of the same one, are looked for in every answer; those of another tenant also on every subject, in
every record and row. No log line has any. What may be asked is read from the code: a new operation,
route or path that no row here asks is a failure.
"""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import nats
import pytest
import pytest_asyncio
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from grpc import aio
from nats.aio.msg import Msg

from pelton.adapters.a2a import app, card
from pelton.adapters.a2a.grpc_server import WIRES
from pelton.adapters.a2a.openapi import PATHS
from pelton.adapters.a2a.operations import OPERATIONS
from pelton.adapters.api.routes import ROUTES
from pelton.adapters.identity.grants import TOKEN_PATH, Grants
from pelton.adapters.identity.signing import new_key
from pelton.adapters.mcp.contract import SERVERS
from pelton.adapters.mcp.door import SERVERS as DOORS
from pelton.adapters.mcp.door import Door
from pelton.adapters.mcp.tool import schema_of
from pelton.events import families
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from tests.adapters.a2a.world import WORLD
from tests.adapters.api.test_api import path as path_of_route
from tests.adapters.identity import test_grants, test_grpc
from tests.adapters.identity.people import ACME, GLOBEX, PEOPLE, Town, key_id, secret, town
from tests.adapters.identity.test_tenancy import Ask, every, operations

SPEAKERS: Final = {"anna": ACME, "bert": ACME, "carl": GLOBEX, "otto": GLOBEX}
"""Who opens tasks."""
CARD: Final = "/" + "/".join(card.WELL_KNOWN)


def canary(who: str) -> str:
    return f"canary-of-{who}"


def foreign(who: str) -> list[str]:
    """Return whose tasks somebody must not see."""
    tenant, roles = PEOPLE.get(who, ("", ()))
    reaches_all = {"operator", "approver"} & set(roles)
    return [
        other
        for other, theirs in SPEAKERS.items()
        if other != who and not (theirs == tenant and reaches_all)
    ]


# What there is to ask, by the code


def test_every_operation_has_a_path_and_a_message() -> None:
    """`every` asks all of these; the paths of HTTP+JSON are those of its source."""
    assert {(each.operation, each.verb.upper()) for each in PATHS} == set(operations())
    assert {each.operation for each in PATHS} == set(OPERATIONS) == set(WIRES)
    asked = {(each.verb, each.path.partition("?")[0]) for each in every("x-0123456789abcdef")}
    for each in PATHS:
        path = each.path.replace("{id}", "x-0123456789abcdef").replace("{config}", "p")
        assert (each.verb.upper(), f"/echo{path}") in asked


def test_whatever_answers_is_asked() -> None:
    """Each method of the application that makes an answer has its rows in `everything`."""
    answering = {
        name
        for name, method in inspect.getmembers(app.App, inspect.isfunction)
        if "Reply" in str(inspect.signature(method).return_annotation)
    }
    leading = {"_answered", "_answer", "_let_in", "_a2a"}  # to another one, or to a binding
    rows = {"_own", "_grant", "_health", "_card", "_directory", "_metrics"}
    assert answering == leading | rows


JOINING: Final = {"join", "inbox_peek", "inbox_pop", "wait_for_message"}
"""Tools that make an agent known, and are asked about nobody else."""


def tooled(task: str, record: int) -> Iterator[Ask]:
    """Yield the calls of all tools, on everybody's path, about somebody's task."""
    context = task.rpartition("-")[0]
    known: dict[str, Any] = {
        "task": task,
        "task_id": task,
        "left": task,
        "right": task,
        "answers": task,
        "sequence": record,
        "agent": "echo",
        "text": "x",
        "approved": True,
        "lease": "x",
        "context_id": context,
        "contextId": context,
        "idempotency_key": "k",
        "memory": "0" * 32,
    }
    for server, paths in (("operator", ["operator"]), ("agents", ["agents/robot", "agents/anna"])):
        for tool in SERVERS[server]:
            if tool.name in JOINING:
                continue
            members = schema_of(tool.takes)["properties"]
            given = {name: value for name, value in known.items() if name in members}
            if members.get("sequence", {}).get("type") == "string":
                given["sequence"] = str(record)
            if "answers" in members and server == "agents":
                given |= {"lease": "", "context_id": ""}
            params = {"name": tool.name, "arguments": given}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            yield from (Ask("POST", f"/v1/mcp/{path}", body) for path in paths)


def everything(task: str, record: int) -> Iterator[Ask]:
    """Yield all that may be asked about somebody's task and the record of the log that opens it."""
    yield from tooled(task, record)
    yield from every(task)
    names = {"agent": "echo", "task": task, "sequence": str(record)}
    for route in ROUTES:
        for query in ("", f"?contextId={task.rpartition('-')[0]}&pageSize=100", "?historyLength=9"):
            yield Ask("GET", path_of_route(route, names.get(route.parameter, "")) + query)
    yield Ask("GET", "/v1/openapi.json")
    for path in (f"/v1/callbacks/echo/{task}", f"/{ACME}/v1/callbacks/echo/{task}"):
        yield Ask("POST", path, {"answer": "x"})
    for path, verbs in Grants.paths.items():
        yield from (Ask(verb, f"/{path}") for verb in verbs)
    for path in ("/", "/healthz", "/readyz", "/metrics", "/echo" + CARD, CARD):
        yield Ask("GET", path)


# The matrix


@pytest_asyncio.fixture
async def urls(new_account: Callable[[], Awaitable[str]]) -> Mapping[str, str]:
    return {ACME: await new_account(), GLOBEX: await new_account()}


@pytest_asyncio.fixture
async def place(urls: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Town]:
    new_key(tmp_path / "signing.json", world=WORLD)
    admission = test_grants.admission(tmp_path / "signing.json")
    async with (
        JetStreamLog.open(urls[ACME], profile=RELAXED) as acme,
        JetStreamLog.open(urls[GLOBEX], profile=RELAXED) as globex,
        town(
            *({ACME: acme, GLOBEX: globex}, tmp_path, admission),
            grpc=True,
            legacy=True,
            tools=Door(DOORS, world=WORLD),
            callbacks={ACME: [b"a secret of acme"], GLOBEX: [b"a secret of globex"]},
        ) as found,
    ):
        yield found


async def speak(place: Town) -> dict[str, str]:
    """Have everybody say their canary, and open a task that waits for them; return these."""
    tasks: dict[str, str] = {}
    for who in SPEAKERS:
        said = {"metadata": {"note": canary(who)}, "messageId": canary(who)}
        await place.send(who, canary(who), **said)
        tasks[who] = (await place.send(who, "ask", **said))["id"]
    return tasks


def check(text: str, who: str) -> None:
    """Check that an answer has no word of what is not for whoever asked."""
    tenant = PEOPLE[who][0] if who else ""
    for other in foreign(who):
        assert canary(other) not in text, (who, other)
        assert SPEAKERS[other] == tenant or other not in text, (who, other)


async def ask_everything(place: Town, tasks: Mapping[str, str], who: str) -> int:
    """Ask all that there is about all that is not somebody's; return how much that was."""
    asks = {
        repr(ask): ask
        for number, other in enumerate(foreign(who), 1)
        for ask in everything(tasks[other], number)
    }
    for ask in asks.values():
        sent = {"json": ask.body} if ask.body is not None else {}
        found = await place.ask(ask.verb, ask.path, who, **sent)
        check(f"{found.headers} {found.text}", who)
        if ask.path.startswith("/v1/mcp/"):  # it was the tool that was asked, or nobody let in
            assert found.status_code in (200, 401, 403), (ask, found.text)
    return len(asks)


async def ask_over_grpc(place: Town, tasks: Mapping[str, str], who: str) -> None:
    """Do so over gRPC."""
    async with aio.insecure_channel(await test_grpc.address(place)) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        for other in foreign(who):
            for name, request in test_grpc.asks(tasks[other]).items():
                _, said = await test_grpc.answer(stub, name, request, test_grpc.metadata(who))
                check(said, who)


async def ask_for_tokens(place: Town, tasks: Mapping[str, str], who: str) -> None:
    """Ask for tokens with what is others', and ask for others' tasks with a token of one's own."""
    for other in foreign(who):
        for form in (
            {"grant_type": "client_credentials", "client_id": key_id(other)},
            {"grant_type": "refresh_token", "refresh_token": families.spell("0" * 32, secret(who))},
        ):
            found = await place.client.post(
                f"{place.url}/{TOKEN_PATH}", data={**form, "client_secret": secret(who)}
            )
            assert found.status_code in (400, 401)
            check(f"{found.headers} {found.text}", who)
        code, token = await test_grants.by_key(place, who)
        assert code == 200
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        for ask in (Ask("GET", f"/echo/tasks/{tasks[other]}"), Ask("GET", "/v1/tasks")):
            found = await place.ask(ask.verb, ask.path, headers=headers)
            check(found.text, who)


@asynccontextmanager
async def heard(url: str) -> AsyncGenerator[list[str]]:
    """Give all that is said on any subject of an account meanwhile."""
    said: list[str] = []

    async def hear(message: Msg) -> None:
        said.append(f"{message.subject} {message.reply} {message.data!r}")

    async with await nats.connect(url) as client:
        await client.subscribe(">", cb=hear)
        await client.flush()
        yield said
        await client.flush()


@pytest.mark.timeout(150)
@pytest.mark.accepts("G8", "AS-1", "AS-3", "S4", "S5")
async def test_nobody_finds_a_word_of_what_is_not_theirs(
    place: Town, urls: Mapping[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with heard(urls[ACME]) as of_acme, heard(urls[GLOBEX]) as of_globex:
        tasks = await speak(place)
        before = {tenant: await log.extent() for tenant, log in place.logs.items()}
        asked = 0
        for who in (*PEOPLE, ""):
            asked += await ask_everything(place, tasks, who)
            await ask_over_grpc(place, tasks, who)
            if who:
                await ask_for_tokens(place, tasks, who)
        assert asked > 1000
        assert {tenant: await log.extent() for tenant, log in place.logs.items()} == before
    printed = capsys.readouterr()
    assert "canary-of" not in printed.out + printed.err
    for tenant, file, said in ((ACME, "models.db", of_acme), (GLOBEX, "globex.db", of_globex)):
        with closing(sqlite3.connect(tmp_path / file)) as models:
            rows = "".join(models.iterdump())
        batches = [batch async for batch in place.logs[tenant].scan()]
        records = "".join(f"{each.subject} {each.data!r}" for batch in batches for each in batch)
        for other, theirs in SPEAKERS.items():
            for place_ in (rows, records, "".join(said)):
                assert (canary(other) in place_) is (theirs == tenant), (tenant, other)
