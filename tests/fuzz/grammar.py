"""JSON-RPC as a grammar: bodies that are requests, nearly so, or nothing of the kind.

And what each is to be answered with, read from it by another parser than ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, cast

from hypothesis import strategies as st

from pelton.adapters.a2a.errors import FAULTS
from pelton.adapters.a2a.operations import OPERATIONS
from pelton.adapters.a2a.requests import MAX_DEPTH

CODES = {fault.rpc for fault in FAULTS.values()} | {-32603}
METHODS = [
    "SendMessage",
    "SendStreamingMessage",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetExtendedAgentCard",
    "message/send",
    "",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["gone", "broken", "away", "ROLE_USER", "TASK_STATE_WORKING"])
)
NAMES = (
    st.sampled_from(["message", "messageId", "role", "parts", "text", "raw", "data", "url", "id"])
    | st.sampled_from(["pageSize", "contextId", "taskId", "configuration", "historyLength"])
    | st.text(max_size=10)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)
MESSAGES = st.fixed_dictionaries(
    {
        "messageId": st.just("m") | JSON,
        "role": st.just("ROLE_USER") | JSON,
        "parts": st.lists(st.fixed_dictionaries({"text": st.text(max_size=5)}), max_size=3) | JSON,
    },
    optional={"contextId": JSON, "taskId": JSON, "metadata": JSON, "extensions": JSON},
)
PARAMS = (
    st.fixed_dictionaries({"message": MESSAGES}, optional={"configuration": JSON})
    | st.fixed_dictionaries({"id": st.sampled_from(["gone", "broken", "away", "t"]) | JSON})
    | st.dictionaries(NAMES, JSON, max_size=5)
    | JSON
)
REQUESTS = st.fixed_dictionaries(
    {
        "jsonrpc": st.just("2.0") | JSON,
        "method": st.sampled_from(METHODS) | JSON,
        "id": st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9) | st.none() | JSON,
    },
    optional={"params": PARAMS, "more": JSON},
)
BODIES = st.binary(max_size=200) | (REQUESTS | JSON | st.lists(REQUESTS, max_size=2)).map(
    lambda value: json.dumps(value).encode()
)


def check(body: bytes, answer: bytes) -> None:
    """Check that a body is answered as JSON-RPC says: the code is right, and the id comes back."""
    found = json.loads(answer)
    assert found.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}), found
    assert found["jsonrpc"] == "2.0"
    asked = parsed(body)
    id_ = cast("dict[str, Any]", asked).get("id") if isinstance(asked, dict) else None
    assert found["id"] == (id_ if is_id(id_) else None), (body, answer)
    code = expected(asked)
    if "error" in found:
        assert found["error"].keys() == {"code", "message", "data"}
        assert found["error"]["code"] in CODES
        assert found["error"]["data"][0]["reason"]
        assert code in (None, found["error"]["code"]), (body, answer)
    else:
        assert code is None, (body, answer)


class NotJson:
    """What a body holds that is not JSON."""


def parsed(body: bytes) -> Any:
    """Return the JSON value of a body, as a parser that is not ours reads it."""

    def refuse(_: str) -> None:
        raise ValueError("no number of JSON")

    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse)
        if re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
            return NotJson()
    except (ValueError, RecursionError):
        return NotJson()
    return NotJson() if depth(value) > MAX_DEPTH else value


def depth(value: Any) -> int:
    """Return how deep a JSON value is nested."""
    inner: Iterable[Any] = cast("Any", value).values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(value, list | dict) else 0


def is_id(value: Any) -> bool:
    """Return whether a value may be the id of a request."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def expected(value: Any) -> int | None:
    """Return the code of the error that a body must lead to, or None if that is for its method."""
    if isinstance(value, NotJson):
        return -32700
    asked = cast("dict[str, Any]", value if isinstance(value, dict) else {})
    if asked.get("jsonrpc") != "2.0" or not isinstance(asked.get("method"), str):
        return -32600
    if "id" not in asked or not (asked["id"] is None or is_id(asked["id"])):
        return -32600
    return None if asked["method"] in OPERATIONS else -32601
