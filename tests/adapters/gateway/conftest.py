"""A log, a scripted model as the provider of all dialects, and agents that ask it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from pelton.adapters.frameworks.cli import CliAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.runtime.agents import Agent, Terms
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.testing.models import ScriptedModel

KEYS = {
    "ANTHROPIC_API_KEY": "key-of-anthropic",
    "OPENAI_API_KEY": "key-of-openai",
    "GEMINI_API_KEY": "key-of-gemini",
}
QUICK = Retry(attempts=3, first=0.02, longest=0.05)
TERMS = Terms(retries=dict.fromkeys(FailureClass, QUICK))


def environ(url: str) -> dict[str, str]:
    """Return the environment of an executor whose providers are all at a URL."""
    bases = {"ANTHROPIC_BASE_URL": url, "GOOGLE_GEMINI_BASE_URL": url}
    return {**KEYS, **bases, "OPENAI_BASE_URL": f"{url}/v1"}


def asker(*steps: str, again: bool = True) -> Agent:
    """Return an agent that asks models; see `asker.py`."""
    command = [sys.executable, "-I", str(Path(__file__).with_name("asker.py")), *steps]
    return as_agent(CliAdapter(command, idempotent=again), name="cli", terms=TERMS)


@pytest_asyncio.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        yield log
