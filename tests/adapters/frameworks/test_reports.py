"""What commands say themselves that their calls of models took, where nobody counts these."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from pelton.adapters.frameworks.cli import CliAdapter
from pelton.adapters.frameworks.cli.dialects import DIALECTS, Took
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.events import UsageReported
from pelton.runtime.jetstream.log import JetStreamLog
from tests.runtime.clients import Client, serving

CLAUDE = {
    "type": "result",
    "result": "It is 5.",
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
    },
    "modelUsage": {"claude-opus-4": {"inputTokens": 3}},
}
CODEX = {
    "type": "turn.completed",
    "usage": {"input_tokens": 50, "cached_input_tokens": 40, "output_tokens": 7},
}
GEMINI = {"type": "result", "status": "success", "stats": {"input_tokens": 9, "output_tokens": 2}}


@pytest.mark.parametrize(
    ("dialect", "line", "took"),
    [
        ("claude", CLAUDE, Took(113, 7, 100, "claude-opus-4")),
        ("claude", {**CLAUDE, "modelUsage": {"a": {}, "b": {}}}, Took(113, 7, 100)),
        ("claude", {**CLAUDE, "is_error": True}, Took(113, 7, 100, "claude-opus-4")),
        ("claude", {"type": "result", "result": ""}, None),
        ("codex", CODEX, Took(50, 7, 40)),
        ("codex", {"type": "turn.completed", "usage": {"input_tokens": "many"}}, None),
        ("gemini", GEMINI, Took(9, 2, 0)),
        ("gemini", {**GEMINI, "status": "error"}, Took(9, 2, 0)),
    ],
)
def test_what_all_has_taken_stands_at_the_end(
    dialect: str, line: dict[str, Any], took: Took | None
) -> None:
    assert DIALECTS[dialect](json.dumps(line).encode()).took == took


async def test_it_is_counted_where_no_call_goes_through_a_gateway(log: JetStreamLog) -> None:
    command = [sys.executable, "-c", f"print({json.dumps(CODEX)!r})"]
    agent = as_agent(CliAdapter(command, dialect="codex"), name="cli")
    async with serving(log, agent):
        client = Client(log, "cli")
        context, task = await client.send("go")
        await client.settled(context, task)
        events = await client.events(context)
    (used,) = [each for each in events if isinstance(each, UsageReported)]
    assert (used.input_tokens, used.cached_tokens, used.output_tokens) == (50, 40, 7)
