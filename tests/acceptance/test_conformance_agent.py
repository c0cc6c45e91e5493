"""`make conformance-agent`: the agent of the suites, with the card that its variables ask for."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import A2AServiceStub

from tests.a2a import validate

ROOT = Path(__file__).parents[2]
MESSAGE = {"messageId": "tck-artifact-text-1", "role": "ROLE_USER", "parts": [{"text": "x"}]}


@contextlib.contextmanager
def served(*variables: str) -> Generator[tuple[str, dict[str, Any]]]:
    """Give the root URL of the agent, and its card."""
    with subprocess.Popen(
        ["make", "conformance-agent", "PORT=0", *variables],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = iter(process.stdout.readline, "")
            url = next(line.split()[1] for line in said if line.startswith("ready "))
            yield url, httpx.get(f"{url}/.well-known/agent-card.json").json()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here, as in the image")
@pytest.mark.accepts("AS-27")
@pytest.mark.parametrize(
    ("variables", "streaming", "extended", "required", "members"),
    [
        ((), True, True, [], set[str]()),
        (("STREAMING=0", "EXTENDED=0", "PUSH=0"), False, False, [], set[str]()),
        (("REQUIRED_EXTENSION=urn:x", "A2A03=1"), True, True, ["urn:x"], {"url"}),
    ],
    ids=["whole", "reduced", "required"],
)
def test_the_card_is_as_asked_for(
    variables: tuple[str, ...],
    streaming: bool,
    extended: bool,
    required: list[str],
    members: set[str],
) -> None:
    with served(*variables) as (url, card):
        if not members:
            validate("Agent Card", card)
        assert members <= card.keys()
        capabilities = card["capabilities"]
        assert capabilities["streaming"] is streaming
        assert capabilities["pushNotifications"] is ("PUSH=0" not in variables)
        assert capabilities["extendedAgentCard"] is extended
        asked = [each["uri"] for each in capabilities["extensions"] if each.get("required")]
        assert asked == required
        bindings = [each["protocolBinding"] for each in card["supportedInterfaces"][:3]]
        assert bindings == ["JSONRPC", "HTTP+JSON", "GRPC"]
        headers = {"A2A-Version": "1.0"}
        body = json.dumps({"message": MESSAGE})
        for path in ("", "/conformance"):
            sent = httpx.post(
                f"{url}{path}/message:send",
                content=body,
                headers=headers | {"Content-Type": "application/json"},
            )
            if required and "A2A-Extensions" not in headers:
                assert sent.json()["error"]["details"][0]["reason"] == "EXTENSION_SUPPORT_REQUIRED"
                headers["A2A-Extensions"] = required[0]
            else:
                [artifact] = sent.json()["task"]["artifacts"]
                assert artifact["parts"] == [{"text": "Generated text content"}]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here, as in the image")
@pytest.mark.accepts("AS-27", "AS-38")
@pytest.mark.parametrize("auth", ["1", "anyone"])
def test_the_tokens_of_the_suites(auth: str) -> None:
    with served(f"AUTH={auth}") as (url, card):
        assert card["securitySchemes"]["bearer"]["httpAuthSecurityScheme"]["scheme"] == "Bearer"
        assert bool(card.get("securityRequirements")) is (auth == "1")
        validate("Agent Card", card)
        nobody = 401 if auth == "1" else 200
        tokens = {"itk-valid-token": 200, "itk-insufficient-token": 403, "other": 401, "": nobody}
        for token, expected in tokens.items():
            headers = {"A2A-Version": "1.0"}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            for extended in (False, True):
                status = 401 if extended and not token else expected
                path = "extendedAgentCard" if extended else "tasks"
                answer = httpx.get(f"{url}/{path}", headers=headers)
                assert answer.status_code == status, (token, path)
                assert ("www-authenticate" in answer.headers) is (status != 200)
                method = "GetExtendedAgentCard" if extended else "ListTasks"
                body = {"jsonrpc": "2.0", "id": 1, "method": method}
                told = httpx.post(url, json=body, headers=headers)
                assert ("result" in told.json()) is (status == 200)
                assert told.status_code == status
                assert _over_grpc(card, method, headers) == _CODES[status]


_CODES = {
    200: grpc.StatusCode.OK,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
}


def _over_grpc(card: dict[str, Any], method: str, headers: dict[str, str]) -> grpc.StatusCode:
    """Return how a call ends over gRPC."""
    interface = card["supportedInterfaces"][2]
    with grpc.insecure_channel(interface["url"]) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        kinds = {
            "ListTasks": pb.ListTasksRequest,
            "GetExtendedAgentCard": pb.GetExtendedAgentCardRequest,
        }
        metadata = tuple((name.lower(), text) for name, text in headers.items())
        try:
            getattr(stub, method)(kinds[method](), metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK
