"""What processes log holds no secret, whoever logged it and in whatever shape."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pelton.adapters.logging import HIDDEN, redact, set_up
from pelton.runtime.observer import ATTEMPTED, Attempted

SECRET = "canary-0123456789"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.accepts("S23", "AS-40")
@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_reach_no_line(capsys: pytest.CaptureFixture[str], form: str) -> None:
    set_up(level="debug", format="json" if form == "json" else "console")
    log = structlog.get_logger("test")
    log.info("said", password=SECRET, nested={"api_key": SECRET, "list": [{"token": SECRET}]})
    event = f"connecting to nats://user:{SECRET}@host:4222"
    log.warning(event)
    log.error("header", value=f"Bearer {SECRET}")
    logging.getLogger("foreign").warning("url %s", f"nats://user:{SECRET}@host")
    try:
        raise OSError(f"cannot reach nats://user:{SECRET}@host")
    except OSError:
        log.exception("failed")
    lines = capsys.readouterr().err
    assert "canary" not in lines
    assert "cannot reach nats://***@host" in lines
    assert lines.count(HIDDEN) >= 7


@pytest.mark.accepts("AS-40")
@pytest.mark.parametrize(
    "value",
    [
        "0192f5c1-7a34-7c3e-9c0a-2f6f0b1d2e3f",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "/var/lib/pelton/token/store.db",
        "evt.agent.context",
        "basic training",
    ],
)
def test_what_is_no_secret_stays(value: str) -> None:
    assert redact(value, "value") == value
    assert redact({"input_tokens": 12, "tokens": 3}) == {"input_tokens": 12, "tokens": 3}


@given(st.recursive(st.none() | st.booleans() | st.text(), st.lists))
def test_redacting_twice_is_redacting_once(value: object) -> None:
    assert redact(redact(value)) == redact(value)


def test_each_line_for_machines_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(level="info", format="json")
    structlog.get_logger("test").info("one", correlation="c-1")
    structlog.get_logger("test").debug("not this one")
    logging.getLogger("uvicorn").info("nor this one")
    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["correlation"], found["level"]) == ("one", "c-1", "info")


@pytest.mark.accepts("AS-7")
def test_a_line_of_an_attempt_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(level="info", format="json")
    attempted = Attempted("echo", "c1", "t1", 2, 3, "request-1", traceparent="00-aa-bb-01")
    named = ATTEMPTED.set(attempted)
    try:
        structlog.get_logger("test").info("said", turn="its own")
    finally:
        ATTEMPTED.reset(named)
    structlog.get_logger("test").info("said")
    during, after = map(json.loads, capsys.readouterr().err.splitlines())
    names = {"agent", "context", "task", "turn", "attempt", "correlationid"}
    assert {name: during[name] for name in names} == {
        "agent": "echo",
        "context": "c1",
        "task": "t1",
        "turn": "its own",
        "attempt": 3,
        "correlationid": "request-1",
    }
    assert "traceparent" not in during
    assert not names & after.keys()
