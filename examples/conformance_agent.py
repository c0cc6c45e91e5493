"""The agent of the public A2A conformance suites: what it does, the message says.

One suite names a scenario at the beginning of the message's id, another at the beginning of the
first text of the task. Serve it, and point a suite at its URL:

    make conformance-agent PORT=9999

What its card declares is for the environment to say: `STREAMING=0`, `PUSH=0` and `EXTENDED=0` leave
it out, `REQUIRED_EXTENSION=uri` requires an extension. Whom it lets in is for the bridge: with
`AUTH=1`, `make` lets in the token `itk-valid-token`, and refuses `itk-insufficient-token` with 403;
with `AUTH=anyone` whoever has none gets all but the extended card.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable

from pelton.events.a2a import Part, Role, text_of
from pelton.events.card import AgentExtension, AgentSkill
from pelton.runtime.agents import agent
from pelton.runtime.turn import Turn

STREAMING_TIMEOUT = 2.0
"""Seconds; the suites measure their patience with streams in it."""
CHUNK = 0.1
"""Seconds between the chunks of an artifact, so that each is an event of its own."""

FILE = Part(raw="dGNr", filename="output.txt", media_type="text/plain")
FILE_URL = Part(
    url="https://example.com/output.txt", filename="output.txt", media_type="text/plain"
)


async def complete(turn: Turn) -> None:
    await turn.reply("Hello from TCK")


async def delayed_complete(turn: Turn) -> None:
    await asyncio.sleep(STREAMING_TIMEOUT)
    await turn.reply("Done after delay")


async def resubscribe(turn: Turn) -> None:
    await asyncio.sleep(2 * STREAMING_TIMEOUT)
    await turn.reply("Done")


async def input_required(turn: Turn) -> None:
    await turn.require_input("What else?")


async def auth_required(turn: Turn) -> None:
    await turn.require_auth("Please sign in, then write again")


async def reject(turn: Turn) -> None:
    await turn.reject("rejected")


async def fail(turn: Turn) -> None:
    await turn.fail("The task has failed, as it was asked to")


async def message_response(turn: Turn) -> None:
    await turn.reply("Direct message response", task=False)


async def multi_turn(turn: Turn) -> None:
    if not turn.text.startswith("done"):
        await turn.require_input("Say done when you are done")


async def until_canceled(turn: Turn) -> None:  # noqa: ARG001  it never looks at its turn
    await asyncio.Event().wait()


async def long_running(turn: Turn) -> None:
    await asyncio.sleep(1.0)
    await turn.artifact("It took a second", name="result")


def artifact(part: Part) -> Callable[[Turn], Awaitable[None]]:
    """Return the scenario that completes with one artifact."""

    async def scenario(turn: Turn) -> None:
        await turn.artifact([part], name="output")

    return scenario


def chunked(*chunks: str) -> Callable[[Turn], Awaitable[None]]:
    """Return the scenario that streams an artifact in chunks."""

    async def scenario(turn: Turn) -> None:
        for chunk in chunks[:-1]:
            await turn.stream(chunk, name="output")
            await asyncio.sleep(CHUNK)
        await turn.stream(chunks[-1], name="output", last=True)

    return scenario


TEXT = artifact(Part(text="Generated text content"))

# By the beginning of the message's id; the first that fits counts.
BY_MESSAGE_ID = {
    "tck-input-required": input_required,
    "tck-auth-required": auth_required,
    "tck-delayed-complete": delayed_complete,
    "tck-artifact-text": TEXT,
    "tck-artifact-file-url": artifact(FILE_URL),
    "tck-artifact-file": artifact(FILE),
    "tck-artifact-data": artifact(Part(data={"key": "value", "count": 42})),
    "tck-message-response": message_response,
    "tck-reject-task": reject,
    "tck-stream-001": TEXT,
    "tck-stream-003": TEXT,
    "tck-stream-ordering-001": TEXT,
    "tck-stream-artifact-text": TEXT,
    "tck-stream-artifact-file": artifact(FILE),
    "tck-stream-artifact-chunked": chunked("chunk-1 ", "chunk-2"),
    "test-resubscribe-message-id": resubscribe,
}

# By the beginning of the first text of the task.
BY_TEXT = {
    "tck-input-required": input_required,
    "tck-auth-required": auth_required,
    "tck-reject-task": reject,
    "tck-task-failure": fail,
    "tck-message-response": message_response,
    "tck-multi-turn": multi_turn,
    "tck-cancel": until_canceled,
    "tck-long-running": long_running,
    "tck-artifact-text": TEXT,
    "tck-artifact-data": artifact(Part(data={"key": "value", "count": 1})),
    "tck-artifact-file-url": artifact(FILE_URL),
    "tck-artifact-file": artifact(FILE),
    "tck-stream-basic": TEXT,
    "tck-stream-chunked": chunked("chunk-1 ", "chunk-2 ", "chunk-3"),
}

SCENARIO = re.compile(r"tck-[a-z0-9]+(-[a-z0-9]+)*")


def scenario_of(turn: Turn) -> Callable[[Turn], Awaitable[None]]:
    """Return what a message asks for."""
    for beginning, scenario in BY_MESSAGE_ID.items():
        if turn.message.message_id.startswith(beginning):
            return scenario
    said = [each for each in turn.history if each.task_id == turn.task_id]
    first = next((each for each in said if each.role is Role.USER), turn.message)
    named = SCENARIO.match(text_of(first.parts[:1]))
    return BY_TEXT.get(named[0], complete) if named else complete


def declared(name: str) -> bool:
    """Tell whether the environment leaves a capability in."""
    return os.environ.get(name, "") != "0"


MORE = AgentSkill(
    id="more", name="More", description="What only the extended card shows.", tags=("extended",)
)
REQUIRED = os.environ.get("REQUIRED_EXTENSION", "")


@agent(
    name="conformance",
    title="Conformance",
    description="Does what conformance suites ask of the system under test.",
    input_modes=("text/*", "image/*", "application/json", "application/octet-stream"),
    extensions=(AgentExtension(uri=REQUIRED, required=True),) if REQUIRED else (),
    extended_skills=(MORE,) if declared("EXTENDED") else None,
    streaming=declared("STREAMING"),
)
async def conformance(turn: Turn) -> None:
    await scenario_of(turn)(turn)
