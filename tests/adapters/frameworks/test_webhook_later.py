"""An endpoint that answers 202, and calls a bridge back (AS-71)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from aiohttp import web

from pelton.adapters.a2a.tenants import Account
from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.webhook import WebhookAdapter
from pelton.adapters.push.signature import headers, spell
from pelton.events.a2a import TaskState, text_of
from pelton.events.context import Context
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import DelegationReported, FailureClass, TurnEnded
from pelton.events.ids import task_id
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.agents import Terms
from pelton.runtime.bulk import inline_task
from pelton.runtime.jetstream import RELAXED
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.replay.rerun import rerun
from pelton.runtime.replay.session import task_session
from tests.acceptance.running import environment
from tests.adapters.a2a.world import served
from tests.adapters.frameworks.elsewhere import ALLOWED, SECRET, Elsewhere, Got
from tests.adapters.frameworks.kits import QUICK
from tests.runtime.clients import WORLD, Client, only, reply, serving

TENANT = "default"


@asynccontextmanager
async def bridge(log: JetStreamLog, data: Path, **options: Any) -> AsyncGenerator[str]:
    async with served(log, data, callbacks={TENANT: [SECRET]}, **options) as url:
        yield url


def later(elsewhere: Elsewhere, bridge: str, **options: Any) -> Any:
    adapter = WebhookAdapter(
        elsewhere.url, secrets=[SECRET], allowed=ALLOWED, retry=QUICK, callback=bridge, **options
    )
    return as_agent(adapter, name="there", terms=Terms(suspend_after=0.1))


async def accept(_: Got, __: web.Request) -> web.StreamResponse:
    return web.Response(status=202)


async def call(
    got: Got,
    said: Any = None,
    *,
    url: str = "",
    key: str | None = None,
    secret: bytes = SECRET,
    age: int = 0,
) -> tuple[int, str]:
    """Call back as a post says; return the status of what is answered, and its error's code."""
    body = msgspec.json.encode({"answer": "one two"} if said is None else said)
    id_ = got.headers["Idempotency-Key"] if key is None else key
    seconds = int(WORLD.now().timestamp()) - age
    signed = headers([secret], id=id_, seconds=seconds, body=body)
    async with httpx.AsyncClient() as client:
        found = await client.post(
            url or got.body["callback"],
            content=body,
            headers={**signed, "Content-Type": "application/json"},
        )
    return found.status_code, found.json()["error"]["code"] if found.content else ""


def waits(state: Context) -> bool:
    """Whether a turn waits to be called back."""
    turns = [each.turn for each in state.tasks.values() if each.turn is not None]
    return any(turn.delegated and turn.timers for turn in turns)


def suspended(state: Context) -> bool:
    """Whether it does so without a process."""
    return waits(state) and all(
        each.turn is None or each.turn.suspended for each in state.tasks.values()
    )


@pytest.mark.accepts("AS-60", "AS-71")
async def test_an_answer_comes_later_and_no_process_need_wait_for_it(
    log: JetStreamLog, tmp_path: Path
) -> None:
    """Two executors and two bridges have it in hand, one after the other: only the log stays."""
    client = Client(log, "there")
    async with Elsewhere(accept) as elsewhere:
        async with bridge(log, tmp_path) as url, serving(log, later(elsewhere, url)):
            context, id_ = await client.send("count")
            state = await client.until(context, suspended)
            assert state.tasks[id_].status.state is TaskState.WORKING
        (got,) = elsewhere.got
        assert got.body["callback"] == f"{url}/v1/callbacks/there/{id_}"
        async with bridge(log, tmp_path) as another:
            to = got.body["callback"].replace(url, another)
            assert await call(got, url=to) == (204, "")
            assert await call(got, url=to) == (409, "callback-late")  # before anybody reads it
        async with serving(log, later(elsewhere, "http://127.0.0.1:1")):
            task = await client.settled(context, id_)
        assert text_of(only(task).parts) == "one two"
        assert task.status.state is TaskState.COMPLETED
        assert len(elsewhere.got) == 1
        session = await task_session(log, id_)
        verdict = await asyncio.to_thread(rerun, session, id_, later(elsewhere, "http://x"))
        assert verdict.divergence is None


@pytest.mark.accepts("AS-60", "AS-71")
async def test_whoever_calls_back_too_early_is_told_to_call_again(
    log: JetStreamLog, tmp_path: Path
) -> None:
    early: list[tuple[int, str]] = []

    async def at_once(got: Got, _: web.Request) -> web.StreamResponse:
        early.append(await call(got))
        return web.Response(status=202)

    client = Client(log, "there")
    async with (
        Elsewhere(at_once) as elsewhere,
        bridge(log, tmp_path) as url,
        serving(log, later(elsewhere, url)),
    ):
        context, id_ = await client.send("count")
        await client.until(context, suspended)
        assert early == [(503, "callback-early")]
        large = "word " * 10_000
        assert await call(elsewhere.got[0], {"answer": large}) == (204, "")
        task = await client.settled(context, id_)
        assert text_of((await inline_task(log, task.view())).artifacts[0].parts) == large


@asynccontextmanager
async def doomed(
    nats_url: str, folder: Path, elsewhere: Elsewhere, url: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run an executor of it in a process of its own, by its settings, until somebody kills it."""
    settings = f"""
    [nats]
    url = "{nats_url}"
    profile = "relaxed"
    [webhook]
    allow = ["http://127.0.0.1"]
    callback = "{url}"
    """
    (folder / "pelton.toml").write_text(settings)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pelton.adapters.cli", "serve", "executor"),
        f"webhook+there:{elsewhere.url}",
        cwd=folder,
        env=environment(PELTON_WEBHOOK_SECRET=spell(SECRET)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.accepts("AS-11", "AS-60", "G5")
@pytest.mark.parametrize("moment", ["before the 202", "after the 202"])
async def test_an_executor_that_is_killed_posts_nothing_twice_that_is_recorded(
    nats_url: str, log: JetStreamLog, tmp_path: Path, moment: str
) -> None:
    """No executor lives when the answer comes; whoever is the next one goes on with it."""
    early = moment == "before the 202"

    async def taken(_: Got, __: web.Request) -> web.StreamResponse:
        if early and len(elsewhere.got) == 1:
            process.kill()
            await process.wait()
        return web.Response(status=202)

    client = Client(log, "there")
    async with Elsewhere(taken) as elsewhere, bridge(log, tmp_path) as url:
        async with doomed(nats_url, tmp_path, elsewhere, url) as process:
            context, id_ = await client.send("count")
            if not early:
                await client.until(context, waits)
                process.kill()
            async with asyncio.timeout(20):
                assert await process.wait() == -signal.SIGKILL
        said = await call(elsewhere.got[0])
        assert said == ((503, "callback-early") if early else (204, ""))
        async with serving(log, later(elsewhere, url), patience=1.0):
            if early:
                await client.until(context, waits, within=20)
                assert await call(elsewhere.got[1]) == (204, "")
            task = await client.settled(context, id_, within=20)
        assert await call(elsewhere.got[0]) == (409, "callback-late")
    assert task.status.state is TaskState.COMPLETED
    assert text_of(only(task).parts) == "one two"
    keys = [got.headers["Idempotency-Key"] for got in elsewhere.got]
    assert len(keys) == 1 + early, "what is recorded is not posted again"
    assert len(set(keys)) == 1, "what is posted again has the same key"
    events = await client.events(context)
    assert len([each for each in events if isinstance(each, DelegationReported)]) == 1


@pytest.mark.accepts("AS-71")
async def test_a_callback_that_fits_nothing_is_refused_and_leaves_nothing(
    log: JetStreamLog, tmp_path: Path
) -> None:
    client = Client(log, "there")
    async with (
        Elsewhere(accept) as elsewhere,
        bridge(log, tmp_path) as url,
        serving(log, later(elsewhere, url)),
    ):
        context, id_ = await client.send("count")
        await client.until(context, suspended)
        got, extent = elsewhere.got[0], await log.extent()
        at = f"{url}/v1/callbacks"
        key = got.headers["Idempotency-Key"]
        denied, none = (401, "auth-denied"), (404, "task-not-found")
        assert await call(got, secret=b"another secret") == denied
        assert await call(got, age=301) == denied
        assert await call(got, age=-302) == denied
        assert await call(got, key="") == (404, "post-not-found")
        assert await call(got, key=WORLD.new_id()) == (404, "post-not-found")
        assert await call(got, url=f"{at}/there/{task_id(context, WORLD.new_id())}") == none
        assert await call(got, url=f"{at}/other/{id_}") == none
        assert await call(got, url=f"{at}/there/nonsense") == none
        assert await call(got, url=f"{at}/there") == (404, "path-not-found")
        assert await call(got, {"answer": 1}) == (400, "validation-denied")
        async with httpx.AsyncClient() as http:
            unsigned = await http.post(got.body["callback"], json={"answer": "x"})
        assert unsigned.status_code == 401
        assert await log.extent() == extent
        assert await call(got) == (204, "")
        await client.settled(context, id_)
        extent = await log.extent()
        assert await call(got) == (409, "callback-late")
        _, next_ = await client.send("again", context)
        await client.until(context, suspended)
        to = got.body["callback"].replace(id_, next_)
        extent = await log.extent()
        assert await call(got, url=to) == (404, "post-not-found")
        assert await log.extent() == extent
        assert key != elsewhere.got[1].headers["Idempotency-Key"]


@pytest.mark.accepts("AS-71", "S4")
async def test_a_tenant_takes_no_callback_for_another(
    log: JetStreamLog, new_account: Callable[[], Awaitable[str]], tmp_path: Path
) -> None:
    client, other = Client(log, "there"), b"a secret of another tenant"
    async with (
        JetStreamLog.open(await new_account(), profile=RELAXED) as globex,
        open_store(tmp_path / "globex.db"),
        open_read_models(tmp_path / "globex.db") as models,
        Elsewhere(accept) as elsewhere,
        served(
            *(log, tmp_path),
            tenant="acme",
            more=[Account("globex", globex, models), Account("none", globex, models)],
            callbacks={"acme": [SECRET], "globex": [other]},
        ) as url,
        serving(log, later(elsewhere, f"{url}/acme"), tenant="acme"),
    ):
        context, id_ = await client.send("count")
        await client.until(context, suspended)
        (got,), extents = elsewhere.got, [await log.extent(), await globex.extent()]
        at = f"v1/callbacks/there/{id_}"
        assert await call(got, secret=other) == (401, "auth-denied")
        assert await call(got, url=f"{url}/globex/{at}") == (401, "auth-denied")
        there = f"{url}/globex/{at}"
        assert await call(got, url=there, secret=other) == (404, "task-not-found")
        for nowhere in (f"{url}/none/{at}", f"{url}/{at}"):
            assert await call(got, url=nowhere) == (404, "path-not-found")
        assert [await log.extent(), await globex.extent()] == extents
        assert await call(got) == (204, "")
        await client.settled(context, id_)


@pytest.mark.accepts("AS-60")
async def test_a_question_and_a_failure_may_come_later(log: JetStreamLog, tmp_path: Path) -> None:
    client = Client(log, "there")
    async with (
        Elsewhere(accept) as elsewhere,
        bridge(log, tmp_path) as url,
        serving(log, later(elsewhere, url)),
    ):
        context, id_ = await client.send("a drink")
        await client.until(context, suspended)
        ask = {"question": "Which?", "choices": ["tea", "coffee"]}
        assert await call(elsewhere.got[0], {"answer": "Well.", "ask": ask}) == (204, "")
        await client.asked(context, id_)
        await client.send("tea", context, task=id_, id_=WORLD.new_id())
        await client.until(context, lambda state: len(elsewhere.got) == 2 and waits(state))
        assert elsewhere.got[1].body["answers"][0]["answer"] == "tea"
        assert await call(elsewhere.got[0], {"answer": "x"}) == (409, "callback-late")
        assert await call(elsewhere.got[1], {"error": "it has a secret cause"}) == (204, "")
        task = await client.settled(context, id_)
    assert task.status.state is TaskState.FAILED
    assert "secret" not in reply(task)


@pytest.mark.accepts("AS-60")
async def test_who_does_not_call_back_in_time_fails_the_task(
    log: JetStreamLog, tmp_path: Path
) -> None:
    client = Client(log, "there")
    async with (
        Elsewhere(accept) as elsewhere,
        bridge(log, tmp_path) as url,
        serving(log, later(elsewhere, url, within=0.5)),
    ):
        context, id_ = await client.send("count")
        task = await client.settled(context, id_)
        extent = await log.extent()
        assert await call(elsewhere.got[0]) == (409, "callback-late")
        assert await log.extent() == extent
        events = await client.events(context)
    assert task.status.state is TaskState.FAILED
    (ended,) = [each for each in events if isinstance(each, TurnEnded)]
    assert ended.failure is not None
    assert ended.failure.kind is FailureClass.TIMEOUT
    assert not [each for each in events if isinstance(each, DelegationReported)]


@pytest.mark.accepts("AS-60")
async def test_without_a_callback_202_is_no_answer(log: JetStreamLog) -> None:
    client = Client(log, "there")
    async with Elsewhere(accept) as elsewhere, serving(log, later(elsewhere, "")):
        context, id_ = await client.send("count")
        task = await client.settled(context, id_)
    assert task.status.state is TaskState.FAILED
    assert "callback" not in elsewhere.got[0].body


def test_a_callback_is_a_url_and_its_time_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTON_WEBHOOK_SECRET", spell(SECRET))
    monkeypatch.setenv("PELTON_WEBHOOK_ALLOW", "http://127.0.0.1")
    where = "webhook+there:http://127.0.0.1:8000/"
    monkeypatch.setenv("PELTON_WEBHOOK_CALLBACK", "https://bridge.example/acme/")
    monkeypatch.setenv("PELTON_WEBHOOK_CALLBACK_WITHIN", "60")
    assert load_agent(where).name == "there"
    for within in ("soon", "0", "nan"):
        monkeypatch.setenv("PELTON_WEBHOOK_CALLBACK_WITHIN", within)
        with pytest.raises(PeltonError, match=r"WITHIN|seconds"):
            load_agent(where)
    monkeypatch.delenv("PELTON_WEBHOOK_CALLBACK_WITHIN")
    monkeypatch.setenv("PELTON_WEBHOOK_CALLBACK", "bridge.example")
    with pytest.raises(InvalidInput, match="URL of a bridge"):
        load_agent(where)
