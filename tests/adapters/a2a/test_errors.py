"""The table of errors, against the specification's own (§5.4)."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
import structlog
import structlog.testing

from pelton.adapters.a2a import errors, jsonrpc, rest
from pelton.adapters.a2a.errors import FAULTS, Fault, as_plain, fault_of, headers_of
from pelton.events import errors as domain
from pelton.events.decide import refusal
from pelton.events.delegation import DelegationRefused
from pelton.events.events import CommandRejected
from pelton.projections.database import StoreUnavailable
from pelton.runtime import log

SPECIFIED = {
    domain.TaskNotFound: (-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    domain.TaskNotCancelable: (-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    errors.PushNotificationNotSupported: (
        -32003,
        400,
        "FAILED_PRECONDITION",
        "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
    domain.UnsupportedOperation: (-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    domain.ContentTypeNotSupported: (-32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
    errors.VersionNotSupported: (-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
    errors.ParseError: (-32700, 400, "INVALID_ARGUMENT", "JSON_PARSE_ERROR"),
    errors.InvalidRequest: (-32600, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    errors.MethodNotFound: (-32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
    domain.InvalidInput: (-32602, 400, "INVALID_ARGUMENT", "INVALID_PARAMS"),
    domain.Busy: (-32000, 409, "ABORTED", "BUSY"),
    DelegationRefused: (-32004, 400, "FAILED_PRECONDITION", "DELEGATION_REFUSED"),
}


@pytest.mark.parametrize(("error", "expected"), SPECIFIED.items(), ids=str)
def test_an_error_looks_as_specified(
    error: type[domain.PeltonError], expected: tuple[int, int, str, str]
) -> None:
    code, status, name, reason = expected
    raised = error("what happened")
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "a2a-protocol.org",
        "metadata": {"correlationId": "c1"},
    }

    answer = jsonrpc.failure(raised, "c1", 7)
    body = json.loads(answer.body)
    assert answer.status == 200
    assert body.pop("jsonrpc") == "2.0"
    assert body.pop("id") == 7
    assert body["error"]["code"] == code
    assert body["error"]["message"] == "what happened"
    assert body["error"]["data"][0] == info

    answer = rest.failure(raised, "c1")
    body = json.loads(answer.body)
    assert answer.status == status
    assert answer.media_type == b"application/json"
    assert body["error"]["code"] == status
    assert body["error"]["status"] == name
    assert body["error"]["details"][0] == info


def test_an_invalid_member_is_named() -> None:
    error = domain.InvalidInput("it must be a number", field="params.n")
    violation = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": "params.n", "description": "it must be a number"}],
    }
    assert json.loads(rest.failure(error, "").body)["error"]["details"][1] == violation
    assert json.loads(jsonrpc.failure(error, "").body)["error"]["data"][1] == violation


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret: /etc/passwd 10.0.0.1"),
        domain.DamagedRecord("secret: evt.a.b at 17"),
        domain.IllegalTransition("secret"),
        log.BlobMissing("secret"),
        log.LogUnavailable("secret: nats://user:password@host"),
        log.LogMisconfigured("secret: host"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.accepts("AS-28")
def test_what_is_ours_tells_nothing_of_how_we_are_built(error: Exception) -> None:
    for body in (jsonrpc.failure(error, "c").body, rest.failure(error, "c").body, as_plain(error)):
        assert b"secret" not in body
        assert b"Traceback" not in body


@pytest.mark.parametrize("away", [log.LogUnavailable("no answer"), StoreUnavailable("locked")])
def test_what_is_away_is_a_503_that_says_when_to_come_again(away: domain.PeltonError) -> None:
    for answer in (jsonrpc.failure(away, "c"), rest.failure(away, "c")):
        assert answer.status == 503
        assert dict(answer.headers)[b"retry-after"].isdigit()
    assert json.loads(jsonrpc.failure(away, "c").body)["error"]["code"] == -32603
    assert json.loads(rest.failure(away, "c").body)["error"]["status"] == "UNAVAILABLE"


@pytest.mark.accepts("AS-7")
def test_what_is_ours_is_logged_with_the_id_that_the_client_reads() -> None:
    with structlog.testing.capture_logs() as lines:
        answer = jsonrpc.failure(RuntimeError("boom"), "c-17")
        jsonrpc.failure(log.LogUnavailable("no answer"), "c-18")
        jsonrpc.failure(domain.TaskNotFound("theirs"), "c-19")
    assert json.loads(answer.body)["error"]["data"][0]["metadata"] == {"correlationId": "c-17"}
    assert [(line["log_level"], line["correlationid"]) for line in lines] == [
        ("error", "c-17"),
        ("warning", "c-18"),
    ]


def _classes(root: type[Any]) -> list[type[Any]]:
    return [root, *chain.from_iterable(_classes(each) for each in root.__subclasses__())]


def test_every_error_that_a_client_can_cause_has_a_place_in_the_table() -> None:
    ours = {"internal", "illegal-transition", "damaged-record", "unknown-version"}
    bridge = {each.code for each in _classes(errors.HttpError)} - ours
    assert bridge <= FAULTS.keys()
    assert all(isinstance(fault, Fault) for fault in FAULTS.values())
    assert fault_of(ValueError()) is errors.INTERNAL
    assert headers_of(ValueError()) == ()


REFUSED = (
    *("task-not-found", "task-not-cancelable", "unsupported-operation", "validation-denied"),
    *("policy-denied", "busy", "delegation-refused", "content-type-not-supported"),
)


def test_who_may_not_reads_so_from_http_too() -> None:
    denied = domain.NotAuthorised("somebody else has to answer")
    for answer in (jsonrpc.failure(denied, "c"), rest.failure(denied, "c")):
        assert answer.status == 403
        assert b"POLICY_DENIED" in answer.body


@pytest.mark.parametrize("code", REFUSED)
def test_a_refused_command_is_the_error_that_it_was_refused_with(code: str) -> None:
    error = refusal(CommandRejected(command_id="c", code=code, reason="because"))
    assert error.code == code
    assert str(error) == "because"


def test_a_refusal_of_another_version_is_internal() -> None:
    error = refusal(CommandRejected(command_id="c", code="from-the-future", reason="because"))
    assert fault_of(error) is errors.INTERNAL


@pytest.mark.accepts("AS-28")
def test_errors_outside_a2a_have_one_shape() -> None:
    body = json.loads(as_plain(errors.NotReady("not ready", {"log": False})))
    expected = {"code": "unavailable", "message": "not ready", "detail": {"log": False}}
    assert body == {"error": expected}
    body = json.loads(as_plain(errors.PolicyDenied("no")))
    assert body == {"error": {"code": "policy-denied", "message": "no", "detail": {}}}
