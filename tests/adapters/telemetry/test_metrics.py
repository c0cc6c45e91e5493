"""Metrics: what bridges, executors and projectors tell Prometheus, and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from pelton.adapters.telemetry import standing
from pelton.adapters.telemetry.families import FAMILIES, exposed
from pelton.adapters.telemetry.listener import serve_metrics
from pelton.adapters.telemetry.standing import AgentStanding, Standing, in_hand, position, readings
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.events.events import FailureClass
from pelton.projections.read import Queue
from pelton.projections.store import open_store
from pelton.runtime.agents import Terms, agent
from pelton.runtime.failures import AgentError
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.projector import Projector
from pelton.runtime.settings import Address, Secret, SettingsError
from pelton.runtime.telemetry_settings import TelemetrySettings
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import HEADERS, WORLD, Rpc, executing, message, served
from tests.adapters.identity.people import ACME, GLOBEX, key, town
from tests.adapters.telemetry.reading import Figures, figures, labels, value
from tests.secrets import TEXTS

SECRET = TEXTS["github-token"]


@agent(terms=Terms(retries={}))
async def echo(turn: Turn) -> str:
    """Say it again, with a step; fail, if told to."""
    if turn.text == "fail":
        raise AgentError("It is broken.", kind=FailureClass.VALIDATION)
    said: str = await turn.step(f"say {turn.text}", str.upper, turn.text, idempotent=True)
    turn.usage("small", input_tokens=3, output_tokens=2, cost=0.25)
    return said


async def read(client: httpx.AsyncClient, site: str) -> Figures:
    found = await client.get(f"{site}/metrics")
    assert found.status_code == 200, found.text
    assert found.headers["content-type"].startswith("text/plain")
    return figures(found.text)


@pytest.mark.accepts("AS-18", "AS-40")
async def test_a_bridge_tells_of_its_requests_and_of_the_log(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with served(log, tmp_path) as site, executing(log, echo):
        rpc = Rpc(f"{site}/echo", client)
        for text in ("one", SECRET, "fail"):
            await rpc.result("SendMessage", **message(text))
        await rpc.error(f"Dance{SECRET}")
        await rpc.error("GetTask", id="x-0123456789abcdef")
        await client.get(f"{site}/{SECRET}/tasks", headers=HEADERS)
        await client.get(f"{site}/v1/agents")
        async with asyncio.timeout(10):
            while value(found := await read(client, site), "pelton_dead_letters_total") < 1:
                await asyncio.sleep(0.05)
    sends = {"binding": "jsonrpc", "method": "SendMessage", "outcome": "ok", "tenant": "default"}
    assert value(found, "pelton_request_seconds_count", **sends) == 3
    assert value(found, "pelton_request_seconds_bucket", **sends, le="+Inf") == 3
    assert value(found, "pelton_request_seconds_sum", **sends) > 0
    assert value(found, "pelton_request_errors_total", code="method-not-found", method="") == 1
    assert value(found, "pelton_request_errors_total", code="task-not-found") == 1
    assert value(found, "pelton_request_errors_total", code="agent-not-found") == 1
    assert value(found, "pelton_request_seconds_count", binding="api", method="listAgents") == 1
    assert value(found, "pelton_commands_total", agent="echo", tenant="default") == 3
    assert value(found, "pelton_turns_total", agent="echo") == 3
    assert value(found, "pelton_open_dead_letters") == 1
    assert value(found, "pelton_tokens_total", agent="echo", direction="input") == 6
    assert value(found, "pelton_cost_total", agent="echo") == 0.5
    assert value(found, "pelton_projection_lag") == 0
    assert value(found, "pelton_log_connected") == 1
    assert value(found, "pelton_open_turns") == 0
    assert value(found, "process_resident_memory_bytes") > 1e6
    assert not any(SECRET in text for pair in labels(found) for text in pair)
    known = {name for family in FAMILIES for name in exposed(family)}
    assert {name for name in found if name.startswith("pelton_")} <= known


async def test_work_that_waits_is_a_queue(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with served(log, tmp_path) as site:
        async with executing(log, echo):  # so that it is registered
            pass
        rpc = Rpc(f"{site}/echo", client)
        for text in ("one", "two"):
            await rpc.result(
                "SendMessage", **message(text, configuration={"returnImmediately": True})
            )
        async with asyncio.timeout(10):
            while value(found := await read(client, site), "pelton_queue_contexts") < 2:
                await asyncio.sleep(0.05)
    assert value(found, "pelton_queue_commands", agent="echo") == 2


async def test_an_executor_tells_of_attempts_steps_and_bells(
    nats_url: str, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    telemetry = Telemetry(world=WORLD)
    given = TelemetrySettings(metrics=Address("127.0.0.1", 0))
    assert given.metrics is not None
    async with (
        JetStreamLog.open(nats_url, profile=RELAXED, observer=telemetry) as log,
        served(log, tmp_path) as site,
        executing(log, echo, observer=telemetry) as executor,
        serve_metrics(given, given.metrics, telemetry) as url,
    ):
        telemetry.read(lambda: in_hand("default", log, executor))
        rpc = Rpc(f"{site}/echo", client)
        for text in ("one", "two", "fail"):
            await rpc.result("SendMessage", **message(text))
        async with asyncio.timeout(10):
            while executor.active:
                await asyncio.sleep(0.02)
        answer = await client.get(url)
        wrong = [
            await client.get(f"{url}x"),
            await client.post(url),
            await client.get(url, headers={"Host": "evil.example"}),
        ]
    found = figures(answer.text)
    assert value(found, "pelton_attempt_seconds_count", agent="echo", outcome="completed") == 2
    assert value(found, "pelton_attempt_seconds_count", agent="echo", outcome="failed") == 1
    assert value(found, "pelton_attempts_total", agent="echo", kind="first") == 3
    assert value(found, "pelton_step_seconds_count", agent="echo", outcome="completed") == 2
    assert value(found, "pelton_bells_total", agent="echo", kind="first") == 3
    assert value(found, "pelton_append_seconds_count", outcome="stored") > 6
    assert value(found, "pelton_contexts_in_hand") == 0
    assert value(found, "pelton_agents_without_keys") == 0
    assert [each.status_code for each in wrong] == [404, 405, 421]


async def test_a_projector_tells_how_far_it_is(log: JetStreamLog, tmp_path: Path) -> None:
    telemetry = Telemetry(world=WORLD)
    async with open_store(tmp_path / "models.db") as store, executing(log, echo):
        projector = Projector(log, store, world=WORLD)
        telemetry.read(lambda: position("default", projector))
        behind = figures((await telemetry.metrics.exposition()).decode())
        running = asyncio.create_task(projector.run())
        end = (await log.extent()).last
        assert await projector.reached(end, within=10)
        found = figures((await telemetry.metrics.exposition()).decode())
        running.cancel()
        await asyncio.wait((running,))
    assert value(behind, "pelton_projection_lag", tenant="default") >= 1
    assert value(behind, "pelton_projection_position", tenant="default") == 0
    assert value(found, "pelton_projection_lag", tenant="default") == 0
    assert value(found, "pelton_projection_position", tenant="default") >= end


@pytest.mark.accepts("AS-39", "G8")
async def test_a_tenant_reads_what_is_its_own(
    new_account: Callable[[], Awaitable[str]], tmp_path: Path
) -> None:
    telemetry = Telemetry(world=WORLD, token="of-all-parts")
    async with (
        JetStreamLog.open(await new_account(), profile=RELAXED) as acme,
        JetStreamLog.open(await new_account(), profile=RELAXED) as globex,
        town({ACME: acme, GLOBEX: globex}, tmp_path, telemetry=telemetry) as place,
    ):
        await place.send("anna", "ask")
        refused = [await place.ask("GET", "/metrics", who) for who in ("anna", "robot", "paul", "")]
        own = await place.ask("GET", "/metrics", "otto")
        bearer = {"Authorization": f"Bearer {key('olga')['X-API-Key']}"}
        by_bearer = await place.ask("GET", "/metrics", headers=bearer)
        every = await place.ask("GET", "/metrics", headers={"Authorization": "Bearer of-all-parts"})
        wrong = await place.ask("GET", "/metrics", headers={"Authorization": "Bearer of-all"})
        posted = await place.ask("POST", "/metrics", "olga")
    assert [each.status_code for each in refused] == [403, 403, 403, 401]
    assert wrong.status_code == 401
    assert posted.status_code == 404
    found = figures(own.text)
    assert {known["tenant"] for samples in found.values() for known, _ in samples} == {GLOBEX}
    assert value(found, "pelton_commands_total") == 0
    assert "process_" not in own.text
    assert by_bearer.status_code == 200
    everything = figures(every.text)
    assert {text for name, text in labels(everything) if name == "tenant"} == {ACME, GLOBEX, ""}
    assert "process_resident_memory_bytes" in everything


async def test_beyond_loopback_there_must_be_a_token(client: httpx.AsyncClient) -> None:
    open_to_all = Address("0.0.0.0", 0)
    with pytest.raises(SettingsError, match=r"set telemetry\.token"):
        async with serve_metrics(TelemetrySettings(), open_to_all, Telemetry(world=WORLD)):
            pass
    given = TelemetrySettings(token=Secret("word"))
    telemetry = Telemetry(world=WORLD, token="word")
    async with serve_metrics(given, open_to_all, telemetry) as url:
        here = url.replace("0.0.0.0", "127.0.0.1")
        without = await client.get(here)
        good = await client.get(here, headers={"Authorization": "Bearer word"})
        port = int(here.split(":")[2].partition("/")[0])
        with pytest.raises(SettingsError, match="choose another port"):
            async with serve_metrics(given, Address("127.0.0.1", port), telemetry):
                pass
    assert (without.status_code, good.status_code) == (401, 200)


def test_many_agents_have_few_labels() -> None:
    agents = {
        f"agent-{number:04}": AgentStanding(
            queue=Queue(1, 2), counts={"turns": 3}, turns={"running": 1}, cost=1_000_000_000
        )
        for number in range(standing.MOST + 10)
    }
    found = list(
        readings(
            "t",
            Standing(
                connected=True,
                last=5,
                position=3,
                damaged=0,
                questions=0,
                dead_letters=0,
                agents=agents,
            ),
        )
    )
    turns = {labels[1]: count for name, labels, count in found if name == "pelton_turns"}
    assert len(turns) == standing.MOST + 1
    assert turns[standing.OTHERS] == 30
    assert ("pelton_queue_commands", ("t", standing.OTHERS), 20) in found
    assert ("pelton_cost", ("t", standing.OTHERS), 10.0) in found
    assert ("pelton_projection_lag", ("t",), 2) in found
