"""What an agent elsewhere is posted, how it may answer, and where it may be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pelton.adapters.cli.references import environ_of, load_agent
from pelton.adapters.frameworks.contract import AdapterError
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.webhook import WebhookAdapter
from pelton.adapters.push.signature import spell
from pelton.events.a2a import TaskState, text_of
from pelton.events.errors import InvalidInput
from pelton.events.events import FailureClass, StepStarted, TurnEnded, TurnStarted
from pelton.events.retries import Retry
from pelton.runtime.agents import Agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.setting_types import Secret
from pelton.runtime.settings import Settings
from pelton.runtime.toml import SettingsError
from pelton.runtime.webhook_settings import WebhookSettings
from tests.adapters.frameworks.elsewhere import ALLOWED, SECRET, Elsewhere, Got, streamed
from tests.adapters.frameworks.kits import QUICK, TERMS
from tests.runtime.clients import TRACE, WORLD, Client, only, serving


def adapter(url: str, **options: Any) -> WebhookAdapter:
    given: dict[str, Any] = {"secrets": [SECRET], "allowed": ALLOWED, "retry": QUICK, **options}
    return WebhookAdapter(url, **given)


def served(url: str, **options: Any) -> Any:
    return as_agent(adapter(url, **options), name="there", terms=TERMS)


async def json(_: Got, __: web.Request) -> web.StreamResponse:
    return web.json_response({"answer": "one two"})


async def lines(_: Got, request: web.Request) -> web.StreamResponse:
    response = await streamed(request)
    await response.write(b'{"text": "one"}\n\n{"text": " t')
    await response.write(b'wo"}\n{"used": []}')
    return response


async def events(_: Got, request: web.Request) -> web.StreamResponse:
    response = await streamed(request, "text/event-stream")
    await response.write(b': hello\n\ndata: {"text": "one"}\r\n\r\n')
    await response.write(b'event: x\ndata: {"text":\ndata: " two"}\n\n')
    return response


@pytest.mark.accepts("AS-60")
@pytest.mark.parametrize("kind", [json, lines, events])
async def test_an_endpoint_answers_in_each_of_three_ways(
    log: JetStreamLog, kind: Callable[[Got, web.Request], Awaitable[web.StreamResponse]]
) -> None:
    client = Client(log, "there")
    async with Elsewhere(kind) as elsewhere, serving(log, served(elsewhere.url)):
        context, id_ = await client.send("count")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert text_of(only(task).parts) == "one two"
    (got,) = elsewhere.got
    (step,) = [e for e in events if isinstance(e, StepStarted)]
    assert got.headers["Idempotency-Key"] == got.headers["webhook-id"] == step.idempotency_key
    assert got.headers["traceparent"] == TRACE
    assert got.body | {"message": ""} == {
        "type": "turn",
        "agent": "there",
        "contextId": context,
        "taskId": id_,
        "turn": 1,
        "text": "count",
        "message": "",
        "history": [],
        "answers": [],
    }
    assert got.body["message"]["parts"] == [{"text": "count"}]


@pytest.mark.accepts("AS-60")
async def test_it_is_posted_again_with_the_same_key(log: JetStreamLog) -> None:
    async def second(got: Got, request: web.Request) -> web.StreamResponse:
        if len(elsewhere.got) == 1:
            return web.Response(status=503)
        return await json(got, request)

    client = Client(log, "there")
    async with Elsewhere(second) as elsewhere, serving(log, served(elsewhere.url)):
        context, id_ = await client.send("count")
        await client.settled(context, id_)
    assert len({got.headers["Idempotency-Key"] for got in elsewhere.got}) == 1
    assert len(elsewhere.got) == 2


async def test_what_is_posted_again_later_is_not_called_off_meanwhile(log: JetStreamLog) -> None:
    """The turn gives its process back until then: that is no reason to tell the endpoint."""

    async def second(got: Got, request: web.Request) -> web.StreamResponse:
        if len(elsewhere.got) == 1:
            return web.Response(status=503)
        return await json(got, request)

    client = Client(log, "there")
    retry = Retry(attempts=2, first=1.0)
    async with Elsewhere(second) as elsewhere:
        there = as_agent(adapter(elsewhere.url, retry=retry), name="there", terms=TERMS)
        async with serving(log, there):
            context, id_ = await client.send("count")
            task = await client.settled(context, id_)
            events = await client.events(context)
    assert text_of(only(task).parts) == "one two"
    assert len([e for e in events if isinstance(e, TurnStarted)]) == 2
    assert [got.method for got in elsewhere.got] == ["POST", "POST"]


@pytest.mark.accepts("AS-60")
async def test_a_person_is_asked_and_it_is_posted_the_answer(log: JetStreamLog) -> None:
    async def asking(got: Got, _: web.Request) -> web.StreamResponse:
        if not got.body["answers"]:
            question = {"question": "Which?", "choices": ["tea", "coffee"]}
            return web.json_response({"answer": "Well.", "ask": question})
        return web.json_response({"answer": got.body["answers"][0]["answer"]})

    client = Client(log, "there")
    async with Elsewhere(asking) as elsewhere, serving(log, served(elsewhere.url)):
        context, id_ = await client.send("a drink")
        await client.asked(context, id_)
        await client.send("tea", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_)
        assert text_of(only(task).parts) == "Well.\n\ntea"
        _, id_ = await client.send("again", context)
        await client.asked(context, id_)
    assert elsewhere.got[1].body["answers"] == [
        {"said": "Well.", "question": "Which?", "answer": "tea"}
    ]
    assert [each["text"] for each in elsewhere.got[2].body["history"]] == [
        "a drink",
        "Well.\n\nWhich?",
        "tea",
        "tea",
    ]


@pytest.mark.accepts("AS-60")
async def test_it_is_told_that_nobody_wants_it_any_more(log: JetStreamLog) -> None:
    async def stalled(_: Got, request: web.Request) -> web.StreamResponse:
        response = await streamed(request)
        await response.write(b'{"text": "a beginning"}\n')
        await elsewhere.left.wait()
        return response

    client = Client(log, "there")
    async with Elsewhere(stalled) as elsewhere, serving(log, served(elsewhere.url)):
        context, id_ = await client.send("count")
        await client.until(
            context, lambda state: id_ in state.tasks and bool(state.tasks[id_].artifacts)
        )
        await client.cancel(context, id_)
        task = await client.settled(context, id_)
        await elsewhere.canceled.wait()
        await elsewhere.left.wait()
    assert task.status.state is TaskState.CANCELED
    post, delete = elsewhere.got
    assert delete.body["type"] == "cancel"
    assert delete.headers["Idempotency-Key"] == post.headers["Idempotency-Key"]
    assert delete.headers["webhook-id"] != post.headers["webhook-id"]


async def wrong(_: Got, __: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="text/html")


async def moved(_: Got, __: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/")


async def failed(_: Got, __: web.Request) -> web.StreamResponse:
    return web.json_response({"error": "it has a secret cause"})


@pytest.mark.accepts("AS-60")
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (wrong, FailureClass.PROVIDER),
        (moved, FailureClass.VALIDATION),
        (failed, FailureClass.AGENT),
    ],
)
async def test_what_is_no_answer_has_its_class(
    log: JetStreamLog,
    answer: Callable[[Got, web.Request], Awaitable[web.StreamResponse]],
    kind: FailureClass,
) -> None:
    client = Client(log, "there")
    async with Elsewhere(answer) as elsewhere, serving(log, served(elsewhere.url)):
        context, id_ = await client.send("count")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert task.status.state is TaskState.FAILED
    (ended,) = [e for e in events if isinstance(e, TurnEnded)]
    assert ended.failure is not None
    assert ended.failure.kind is kind
    assert "secret" not in ended.failure.message


@pytest.mark.accepts("S8")
async def test_what_is_not_public_is_not_posted_to_unless_it_is_allowed() -> None:
    for url in ("http://127.0.0.1:8000/", "https://localhost/", "http://example.org/"):
        with pytest.raises(AdapterError, match="nothing is posted to this URL"):
            await adapter(url, allowed=()).start()


def test_a_reference_leads_to_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTON_WEBHOOK_SECRET", f"{spell(SECRET)} {spell(b'another')}")
    assert load_agent("webhook:https://agents.example.org/a?b=c").name == "agents-example-org"
    assert load_agent("webhook+helper:https://agents.example.org/a").name == "helper"
    with pytest.raises(InvalidInput, match="not https"):
        load_agent("webhook+here:http://127.0.0.1:8000/")
    monkeypatch.setenv("PELTON_WEBHOOK_ALLOW", "http://127.0.0.1,http://localhost")
    assert load_agent("webhook+here:http://127.0.0.1:8000/").name == "here"
    monkeypatch.setenv("PELTON_WEBHOOK_SECRET", "tiger")
    with pytest.raises(InvalidInput, match="spells no secret") as caught:
        load_agent("webhook:https://agents.example.org")
    assert "tiger" not in str(caught.value)
    monkeypatch.delenv("PELTON_WEBHOOK_SECRET")
    with pytest.raises(InvalidInput, match=r"needs webhook\.secret"):
        load_agent("webhook:https://agents.example.org")


def test_a_file_says_what_is_its_own_and_names_the_variable_of_its_secret(tmp_path: Path) -> None:
    secret = Secret(spell(SECRET))
    settings = Settings(webhook=WebhookSettings(secret=secret, callback="https://usual.example"))
    file = tmp_path / "agent.toml"
    says = 'name = "there"\nadapter = "webhook:https://agents.example.org"\n[options]\n'

    def loaded(options: str, **more: str) -> Agent:
        file.write_text(says + options)
        return load_agent(str(file), environ_of(settings) | more)

    assert loaded("").name == loaded("callback_within = 60.0").name == "there"
    with pytest.raises(SettingsError, match="needs THEIR_SECRET"):
        loaded('secret = "THEIR_SECRET"')
    assert loaded('secret = "THEIR_SECRET"', THEIR_SECRET=spell(b"theirs")).name == "there"
    with pytest.raises(SettingsError, match="URL of a bridge"):
        loaded('callback = "bridge.example"')
    with pytest.raises(SettingsError, match="unknown field `allow`"):
        loaded('allow = ["http://10.0.0.1"]')
