"""One agent for each adapter, made alike, so that one suite can be run on all of them.

Each is told `SYSTEM` where its framework takes that, asks the scripted model at a URL, and where it
can call tools has `add` and `pay`; a person approves the latter. Both leave a line in the file that
the environment variable `EFFECTS` names, for their effects to be counted whatever process has them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pelton.adapters.frameworks.cli import CliAdapter
from pelton.adapters.frameworks.contract import Adapter
from pelton.adapters.frameworks.model import Endpoint, ModelAdapter, tool
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.runtime.agents import Agent, Terms

SYSTEM: Final = "You are a test."
EFFECTS: Final = "TEST_EFFECTS"
QUICK: Final = Retry(attempts=3, first=0.02, longest=0.05)
"""Tried again at once: nobody waits for a provider here."""

TERMS: Final = Terms(suspend_after=0.1, retries=dict.fromkeys(FailureClass, QUICK))


def effect(name: str) -> None:
    """Have an effect outside, in one write."""
    if path := os.environ.get(EFFECTS):
        with Path(path).open("a") as file:
            file.write(f"{name}\n")


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    effect("add")
    return a + b


def pay(amount: int) -> str:
    """Pay an amount."""
    effect("pay")
    return f"paid {amount}"


class Kit(NamedTuple):
    """An adapter in the suite: `make` makes one whose model is at a URL."""

    name: str
    make: Callable[[str], Adapter]

    def agent(self, url: str) -> Agent:
        """Return its agent, called by the adapter's name."""
        return as_agent(self.make(url), name=self.name, terms=TERMS)


def _model(dialect: str) -> Callable[[str], Adapter]:
    def make(url: str) -> Adapter:
        where = f"{url}/v1" if dialect == "openai" else url
        tools = [tool(idempotent=True)(add), tool(ask=True, idempotent=True)(pay)]
        endpoint = Endpoint(dialect, where, "scripted", "sk-test")
        return ModelAdapter(endpoint, system=SYSTEM, tools=tools, retry=QUICK)

    return make


def _cli(url: str) -> Adapter:
    command = [sys.executable, "-I", str(Path(__file__).with_name("command.py")), url, "{prompt}"]
    return CliAdapter(command, dialect="jsonl", idempotent=True)


KITS: Final[Mapping[str, Kit]] = {
    kit.name: kit
    for kit in (
        Kit("model", _model("openai")),
        Kit("model-anthropic", _model("anthropic")),
        Kit("cli", _cli),
    )
}
"""All of them, by name."""
