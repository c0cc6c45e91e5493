"""Nothing of nats-py gets out: neither an exception, nor a traceback, nor a line on a terminal."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nats.errors
import nats.js.errors
import pytest

from pelton.events.errors import InvalidInput, PeltonError
from pelton.runtime.jetstream.errors import (
    WRONG_LAST_SEQUENCE,
    ApiError,
    refused,
    translate,
    translated,
)
from pelton.runtime.log import (
    LogError,
    LogFull,
    LogMisconfigured,
    LogUnavailable,
    TooLarge,
)

NOT_UNAVAILABLE: dict[str, type[PeltonError]] = {
    "AuthorizationError": LogMisconfigured,
    "BadHeaderError": InvalidInput,
    "BadSubjectError": InvalidInput,
    "InvalidUserCredentialsError": LogMisconfigured,
    "MaxPayloadError": TooLarge,
    "SecureConnFailedError": LogMisconfigured,
    "SecureConnRequiredError": LogMisconfigured,
    "SecureConnWantedError": LogMisconfigured,
}
"""What does not mean that there is no answer."""


def errors_of_nats() -> Iterator[type[Exception]]:
    """Every exception class that nats-py defines."""
    for module in (nats.errors, nats.js.errors):
        for _, member in inspect.getmembers(module, inspect.isclass):
            if issubclass(member, nats.errors.Error):
                yield member


ERRORS = sorted(set(errors_of_nats()), key=str)


def raised(kind: type[Exception]) -> Exception:
    """Make an exception without knowing what its constructor wants."""
    error = kind.__new__(kind)
    error.args = ("what happened",)
    for name in inspect.signature(kind.__init__).parameters:
        if name not in {"self", "args", "kwargs"}:
            setattr(error, name, 0)
            setattr(error, f"_{name}", 0)
    return error


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_of_nats_py_is_translated(kind: type[Exception]) -> None:
    error = raised(kind)
    expected = NOT_UNAVAILABLE.get(kind.__name__, LogUnavailable)
    assert type(translate(error)) is expected
    with pytest.raises(expected) as ours, translated():
        raise error
    assert ours.value.__cause__ is error


def test_there_are_errors_to_translate() -> None:
    assert len(ERRORS) > 50
    names = {kind.__name__ for kind in ERRORS}
    assert names >= NOT_UNAVAILABLE.keys()


@pytest.mark.parametrize(
    "error", [OSError("x"), ConnectionRefusedError(), ConnectionResetError(), ssl.SSLError("x")]
)
def test_errors_of_the_socket_are_translated(error: OSError) -> None:
    with pytest.raises(LogUnavailable), translated():
        raise error


def test_our_own_deadline_is_not_taken_for_an_error_of_nats_py() -> None:
    with pytest.raises(TimeoutError), translated():
        raise TimeoutError
    with pytest.raises(asyncio.CancelledError), translated():
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("code", "description", "meaning"),
    [
        (10002, "resource limits exceeded for account", LogFull),
        (10023, "insufficient resources", LogFull),
        (10028, "insufficient memory resources available", LogFull),
        (10047, "insufficient storage resources available", LogFull),
        (10077, "maximum bytes exceeded", LogFull),
        (10077, "maximum messages exceeded", LogFull),
        (10077, "stream is being restored", LogUnavailable),
        (10054, "message size exceeds maximum allowed", TooLarge),
        (10039, "JetStream not enabled for account", LogMisconfigured),
        (10076, "JetStream not enabled", LogMisconfigured),
        (10059, "stream not found", LogMisconfigured),
        (10026, "maximum consumers limit reached", LogMisconfigured),
        (10008, "JetStream system temporarily unavailable", LogUnavailable),
        (99999, "something new", LogUnavailable),
    ],
)
def test_every_refusal_of_the_api_has_a_meaning(
    code: int, description: str, meaning: type[LogError]
) -> None:
    error = refused(ApiError(code=503, err_code=code, description=description))
    assert type(error) is meaning
    assert str(code) in str(error)


def test_both_codes_of_a_conflict_are_known() -> None:
    assert {10071, 10164} == WRONG_LAST_SEQUENCE


@pytest.mark.accepts("AS-62")
def test_nothing_of_nats_py_reaches_a_terminal(tmp_path: Path) -> None:
    """A whole outage, seen by a process that has configured no logging at all."""
    script = f"""
import asyncio
from pathlib import Path
import structlog
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.log import LogUnavailable
from pelton.runtime.server import EmbeddedServer

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

async def main():
    server = EmbeddedServer(Path({str(tmp_path)!r}), profile=RELAXED)
    await server.start()
    async with JetStreamLog.open(server.url, profile=RELAXED) as log:
        async with log.bells("echo", capacity=3), log.listen("evt.>", lambda heard: 1 / 0):
            await log.append("evt.a.c", b"", id="1")
            server.kill()
            log._api.deadline = 0.5
            for attempt in range(3):
                try:
                    await log.append("evt.a.c", b"", id="2")
                except LogUnavailable:
                    print("unavailable")
            await server.start()
            log._api.deadline = 5
            print(await log.append("evt.a.c", b"", id="3") > 1)
    await server.stop()

asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-W", "default", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["unavailable"] * 3 + ["True"]
