"""Traces: one for a request, through bridges, executors and agents, and across their deaths."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pelton.adapters.telemetry.families import SPANS
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.adapters.telemetry.traces import open_traces
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.agents import Terms, agent
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.settings import SettingsError
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import HEADERS, WORLD, executing, message, served
from tests.adapters.telemetry.reading import figures, value
from tests.runtime.clients import TRACE, Client, reply
from tests.secrets import TEXTS

TRACE_ID = int(TRACE.split("-")[1], 16)
SECRET = TEXTS["github-token"]


class Watched:
    """Telemetry whose spans are kept."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self._opened = open_traces(
            part="test", version="0", processor=SimpleSpanProcessor(self.exporter)
        )
        self.telemetry = Telemetry(self._opened.__enter__(), world=WORLD)

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Return the spans that have ended, those of a name or all."""
        found = self.exporter.get_finished_spans()
        return [span for span in found if not name or span.name == name]

    def only(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    yield found
    found.close()


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


@agent(name="worker")
async def worker(turn: Turn) -> str:
    """Work."""
    return f"worked on {turn.text}"


@agent(name="echo")
async def boss(turn: Turn) -> str:
    """Do a step, and hand on the rest."""

    def inside() -> str:
        with trace.get_tracer("agent").start_as_current_span("inside"):
            return f"{trace.get_current_span().get_span_context().trace_id:x}"

    await turn.step(f"prepare {SECRET}", inside)
    return (await turn.delegate("worker", turn.text)).text


@pytest.mark.accepts("AS-7", "AS-40")
async def test_a_request_is_one_trace_with_all_that_follows(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path, watched: Watched
) -> None:
    async with (
        served(log, tmp_path, telemetry=watched.telemetry) as site,
        executing(log, boss, worker, observer=watched.telemetry),
    ):
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("it")}
        headers = HEADERS | {"traceparent": TRACE}
        answer = await client.post(f"{site}/echo", json=body, headers=headers)
        assert answer.json()["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert answer.headers["traceparent"] == TRACE
        records = [record async for batch in log.scan() for record in batch]
    request = watched.only("A2A SendMessage")
    turn, child = watched.only("turn echo"), watched.only("turn worker")
    handed = watched.only("delegate worker")
    (step,) = [span for span in watched.spans() if span.name.startswith("step ")]
    for span in (request, turn, child, handed, step):
        assert span.context is not None
        assert span.context.trace_id == TRACE_ID
    assert parent_of(request) == int(TRACE.split("-")[2], 16)
    assert parent_of(turn) == id_of(request)
    assert parent_of(step) == parent_of(handed) == id_of(turn)
    assert parent_of(child) == id_of(handed)
    kinds = {span.name: span.kind.name for span in (request, turn, handed)}
    assert kinds == {
        "A2A SendMessage": "SERVER",
        "turn echo": "CONSUMER",
        "delegate worker": "PRODUCER",
    }
    assert turn.attributes is not None
    assert turn.attributes["pelton.outcome"] == "completed"
    for span in watched.spans():
        known = [each for each in SPANS if each.name == span.name.partition(" ")[0]]
        assert known or span.name == "inside"
        for each in known:
            assert span.kind.name.lower() == each.kind
            assert set(span.attributes or ()) <= {f"pelton.{name}" for name in each.attributes}
    assert SECRET not in repr([span.to_json() for span in watched.spans()])
    ours = [each for each in records if not each.subject.partition(".")[2].startswith(("_",))]
    traced = [
        decode_command(each.data).traceparent
        if each.subject.startswith("cmd.")
        else decode_commit(each.data).traceparent
        for each in ours
        if not each.subject.endswith("._agent")
    ]
    assert len(traced) >= 4
    assert {str(each).split("-")[1] for each in traced} == {f"{TRACE_ID:032x}"}


async def test_an_executor_that_takes_over_goes_on_with_the_trace(
    nats_url: str, log: JetStreamLog
) -> None:
    """The first has gone silent; each exports its own spans, as two processes would."""
    one, two = Watched(), Watched()
    started, go_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @agent(name="echo", terms=Terms(retries={}))
    async def zombie(turn: Turn) -> str:
        await turn.step("begin", asyncio.sleep, 0, idempotent=True)
        if turn.attempt == 1:
            started.set()
            await go_on.wait()
            try:
                await turn.step("late", asyncio.sleep, 0)
            finally:
                over.set()
        return f"attempt {turn.attempt}"

    async with (
        JetStreamLog.open(nats_url, profile=RELAXED) as here,
        JetStreamLog.open(nats_url, profile=RELAXED) as there,
    ):
        first = Executor(here, [zombie], world=WORLD, patience=1.0, observer=one.telemetry)
        first._beat = asyncio.Event().wait  # type: ignore[assignment,method-assign]  # noqa: SLF001
        running = asyncio.create_task(first.run(budget=1.0))
        await first.ready.wait()
        sender = Client(log)
        context, task = await sender.send("go")
        await asyncio.wait_for(started.wait(), 5)
        async with executing(there, zombie, patience=1.0, observer=two.telemetry):
            ended = await sender.settled(context, task, within=20)
            go_on.set()
            await asyncio.wait_for(over.wait(), 5)
            first.stop()
            await asyncio.wait_for(running, 10)
        command, *_ = await log.read(f"cmd.echo.{context}")
    assert reply(ended) == "attempt 2"
    before, after = one.only("turn echo"), two.only("turn echo")
    assert before.context is not None
    assert after.context is not None
    assert before.context.trace_id == after.context.trace_id
    (link,) = after.links
    assert link.context.span_id == id_of(before)
    assert link.context.trace_id == before.context.trace_id
    sent = decode_command(command.data).traceparent
    assert str(sent).split("-")[1] == f"{after.context.trace_id:032x}"
    assert before.attributes is not None
    assert before.attributes["pelton.outcome"] == "fenced"
    found = figures((await one.telemetry.metrics.exposition()).decode())
    assert value(found, "pelton_fenced_total", agent="echo") == 1
    assert value(found, "pelton_attempt_seconds_count", outcome="fenced") == 1
    taken = figures((await two.telemetry.metrics.exposition()).decode())
    assert value(taken, "pelton_attempts_total", kind="again") == 1
    assert value(taken, "pelton_steps_served_total", agent="echo") == 1
    for each in (one, two):
        each.close()


async def test_a_request_without_a_trace_begins_one(
    log: JetStreamLog, client: httpx.AsyncClient, tmp_path: Path, watched: Watched
) -> None:
    async with (
        served(log, tmp_path, telemetry=watched.telemetry) as site,
        executing(log, worker, observer=watched.telemetry),
    ):
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("it")}
        answer = await client.post(f"{site}/worker", json=body, headers=HEADERS)
        assert "traceparent" not in answer.headers
        await client.post(f"{site}/worker", json=body | {"method": "Dance"}, headers=HEADERS)
    request, turn = watched.only("A2A SendMessage"), watched.only("turn worker")
    assert request.parent is None
    assert parent_of(turn) == id_of(request)
    refused = watched.only("A2A jsonrpc")
    assert refused.attributes is not None
    assert refused.attributes["pelton.code"] == "method-not-found"


def test_without_traces_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys; from pelton.adapters.telemetry.telemetry import Telemetry;"
        " from pelton.runtime.clock import RealWorld; import pelton.adapters.a2a.server;"
        " Telemetry(world=RealWorld()); print([m for m in sys.modules if"
        " m.startswith(('opentelemetry', 'prometheus_client'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


def test_an_exporter_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with (
        pytest.raises(SettingsError, match="there is no exporter 'carrier-pigeon'"),
        open_traces(part="test", version="0"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with (
        pytest.raises(SettingsError, match=r"pip install 'pelton\[telemetry\]'"),
        open_traces(part="test", version="0"),
    ):
        pass
