"""What is written goes without secrets, and what is in memory is what the log has."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from pelton.events.events import FailureClass, StepFailed
from pelton.events.redact import Redactor
from pelton.runtime.agents import Terms, agent
from pelton.runtime.bulk import inline
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.redaction import redactor_of
from pelton.runtime.replay.rerun import rerun
from pelton.runtime.replay.session import task_session
from pelton.runtime.settings import Settings, SettingsError, load
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, only, reply, serving
from tests.secrets import PREFIXED, TEXTS

ROOT = Path(__file__).parents[2]
KEY = PREFIXED["github-token"]
MARKER = "(redacted:github-token)"


def token() -> dict[str, str]:
    return {"key": KEY}


def much() -> list[str]:
    return [KEY, "x" * 40_000]


def denied() -> None:
    raise AgentError(f"{KEY} was refused", kind=FailureClass.VALIDATION)


@agent(name="echo", terms=Terms(suspend_after=0.1))
async def leaky(turn: Turn) -> str:
    """Gets secrets from its tools, and waits in between."""
    seen = [await turn.step("token", token), (await turn.step("much", much))[0]]
    for start in range(0, len(KEY), 5):
        await turn.stream(KEY[start : start + 5])
    try:
        await turn.step("denied", denied)
    except StepError as error:
        seen.append(str(error))
    await turn.sleep(0.3)  # the next attempt has all of it from the log
    return f"{seen}"


@agent(name="echo")
async def again(turn: Turn) -> str:
    """Tells of a key, is cut off in the middle of it, and tells it all once more."""
    await turn.stream(f"The key: {KEY[:12]}")
    await turn.stream("The key: ", anew=True)
    await turn.stream(f"{KEY}, it says")
    return "done"


@pytest.mark.accepts("AS-40")
async def test_a_text_that_begins_anew_has_nothing_of_before(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, again):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert only(ended).parts[0].text == f"The key: {MARKER}, it says"


@pytest.mark.accepts("AS-40", "AS-23")
async def test_every_attempt_has_what_the_log_has(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, leaky):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert reply(ended) == f"{[{'key': MARKER}, MARKER, f'{MARKER} was refused']}"
    assert only(ended).parts[0].text == MARKER
    (failed,) = [e for e in await client.events(context) if isinstance(e, StepFailed)]
    assert failed.failure.message == f"{MARKER} was refused"
    session = await task_session(log, task)
    verdict = await asyncio.to_thread(rerun, session, task, leaky)
    assert verdict.equal, verdict.lines()


@pytest.mark.accepts("AS-40")
async def test_a_command_from_beside_the_bridge_goes_no_further(log: JetStreamLog) -> None:
    """The server takes it as it is; what is decided of it, and what agents see, has no secret."""

    @agent(name="echo")
    async def echo(turn: Turn) -> str:
        return turn.text

    client = Client(log)
    async with serving(log, echo):
        context, task = await client.send(f"it is {KEY}")
        ended = await client.settled(context, task)
    assert reply(ended) == f"it is {MARKER}"
    assert KEY not in str(await client.events(context))


async def test_patterns_of_ones_own_are_heeded(nats_url: str) -> None:
    @agent(name="echo")
    async def echo(turn: Turn) -> str:
        await turn.artifact("badge-1234" + "x" * 40_000, name="bulk")
        return f"badge-1234 {KEY}"

    redactor = Redactor({"badge": "badge-[0-9]+"}, allow=("ghp_.*",))
    async with JetStreamLog.open(nats_url, redactor=redactor) as log:
        client = Client(log)
        async with serving(log, echo):
            context, task = await client.send("go")
            ended = await client.settled(context, task)
        assert reply(ended) == f"(redacted:badge) {KEY}"
        (part,) = (await inline(log, only(ended))).parts
        assert part.text == "(redacted:badge)" + "x" * 40_000


def test_settings_make_the_redactor(tmp_path: Path) -> None:
    file = tmp_path / "pelton.toml"
    file.write_text('[redaction]\npatterns = { badge = "badge-[0-9]+" }\nallow = ["AKIA.*"]\n')
    redactor = redactor_of(load(file, environment={}))
    assert redactor.text("the badge-1234 of all") == "the (redacted:badge) of all"
    aws = TEXTS["aws-access-key"]
    assert redactor.text(aws) == aws
    off = redactor_of(load(None, environment={"PELTON_REDACTION_ENABLED": "false"}))
    assert off.text(KEY) == KEY
    assert redactor_of(Settings()).text(KEY) == MARKER
    broken = load(None, environment={"PELTON_REDACTION_PATTERNS": '{"badge": "("}'})
    with pytest.raises(SettingsError, match=r"redaction: badge: is no regular expression"):
        redactor_of(broken)


EXEMPT = {
    "access.py:change": "keys and families of tokens, as hashes of their secrets",
    "idempotency.py:claim": "a digest",
    "diagnosis.py:append": "nothing",
    "diagnosis.py:_permissions": "nothing",
    "writer.py:_stored": "see `commit`",
    "fork.py:plant": "what is recorded already",
    "rerun.py:_furnish": "what is recorded already",
    "bulk.py:put_blob": "see `offload`",
    "log.py:put_blob": "see `offload`",
    "bulk.py:put": "see `offload`",
    "bulk.py:_store": "see `offload`",
    "keeping.py:_put": "see `_store`",
    "sweep.py:_send": "into a log of its own, which is gone afterwards",
}
"""Functions that store something and look for no secrets in it."""


def _stores(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(attr="put_blob"):
            return True
        case ast.Attribute(attr="put", value=ast.Name(id="blobs") | ast.Attribute(attr="_blobs")):
            return True
        case ast.Attribute(attr="append"):
            return any(keyword.arg == "id" for keyword in call.keywords)
        case _:
            return False


def test_nothing_is_stored_without_a_look() -> None:
    unseen: set[str] = set()
    for file in (*ROOT.glob("runtime/pelton/**/*.py"), *ROOT.glob("adapters/pelton/**/*.py")):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = [each for each in ast.walk(function) if isinstance(each, ast.Call)]
                looks = any(isinstance(c.func, ast.Name) and c.func.id == "cleaned" for c in calls)
                if any(map(_stores, calls)) and not looks:
                    unseen.add(f"{file.name}:{function.name}")
    assert unseen - set(EXEMPT) == set(), "look with `pelton.runtime.redaction.cleaned`"
    assert set(EXEMPT) - unseen == set(), "these store nothing any more"
