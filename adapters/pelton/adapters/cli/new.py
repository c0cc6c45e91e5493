"""`pelton new`: an agent of your own, and its test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output

_AGENT: Final = '''\
"""The agent {name}: run it with `pelton dev {file}`."""

from pelton.runtime import Turn, agent


async def count_words(text: str) -> int:
    """Stand for what your agent really does: call a model, a tool, a service."""
    return len(text.split())


@agent(name="{name}")
async def {function}(turn: Turn) -> str:
    """Counts the words it is sent."""
    # What a step returns is recorded: should this process die, the next one goes on from here.
    # `idempotent` says that the step may run again if nobody knows whether it was done.
    words = await turn.step("count", count_words, turn.text, idempotent=True)
    return f"That was {{words}} word" + ("" if words == 1 else "s")
'''
_TEST: Final = '''\
"""The agent {name}, asked through a bridge as any A2A client asks: run it with `pytest {file}`."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PELTON = [sys.executable, "-m", "pelton.adapters.cli"]
AGENT = Path(__file__).with_name("{agent_file}")


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the agent on a port and a data directory of the test's own."""
    where = ["--http", "127.0.0.1:0", "--data", str(tmp_path_factory.mktemp("pelton"))]
    with subprocess.Popen([*PELTON, "dev", str(AGENT), *where], stdout=subprocess.PIPE) as dev:
        assert dev.stdout is not None
        try:
            said = (re.match(r"ready (\\S+)", line.decode()) for line in dev.stdout)
            url = next(filter(None, said), None)
            assert url, "pelton dev has ended: what it said is above"
            yield url[1]
        finally:
            dev.terminate()


def test_it_counts_words(bridge: str) -> None:
    command = [*PELTON, "send", "{name}", "one two three", "--url", bridge, "--json"]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert answer["task"]["status"]["message"]["parts"] == [{{"text": "That was 3 words"}}]
'''


_FILE: Final = """\
# An agent in a file: docs/agent-file.md has all that may stand here.
name = "{name}"
description = "Say here in a sentence what it does."
version = "0.1.0"
{adapter}
"""
_PROMPT: Final = "You are a helpful agent. Answer in one sentence.\n"
_SCRIPT: Final = """\
#!/bin/sh
# Its output is the answer; what it is told is its first argument.
echo "$1"
"""
_MODEL: Final = """\
adapter = "model"
model = "anthropic/claude-sonnet-4-5"
prompts = ["prompt.md"]
environment = ["ANTHROPIC_API_KEY"]"""

_ADAPTERS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "model": (_MODEL, {"prompt.md": _PROMPT}),
    "cli": ('adapter = "cli:./answer.sh {text}"', {"answer.sh": _SCRIPT}),
}
"""What stands in the file for an adapter, and the files beside it; others name what they run."""


def new(
    name: Annotated[str, typer.Argument(help="The agent's name, as in word-counter.")],
    *,
    adapter: Annotated[
        str | None,
        typer.Option("--adapter", metavar="KIND", help="Write an agent file for this instead."),
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where to write the files.")
    ] = Path(),
    json: options.Json = False,
) -> None:
    """Write an agent and its test, to begin with."""
    from pelton.events.ids import check_agent

    if adapter is not None:
        _described(check_agent(name), adapter, directory, Output(json=json))
        return
    stem = re.sub(r"[^a-z0-9]", "_", check_agent(name))
    if stem[0].isdecimal():
        stem = f"agent_{stem}"
    agent, test = directory / f"{stem}.py", directory / f"test_{stem}.py"
    for path in (agent, test):
        if path.exists():
            raise CommandFailed(f"{str(path)!r} is there already: use another name or directory")
    directory.mkdir(parents=True, exist_ok=True)
    agent.write_text(_AGENT.format(name=name, file=agent, function=stem), encoding="utf-8")
    test.write_text(_TEST.format(name=name, file=test, agent_file=agent.name), encoding="utf-8")
    Output(json=json).result(
        {"agent": str(agent), "test": str(test)},
        [
            f"wrote {agent} and {test}",
            f"run it:    pelton dev {agent}",
            f'ask it:    pelton send {name} "one two three"',
            f"test it:   pytest {test}",
        ],
    )


def _described(name: str, adapter: str, directory: Path, output: Output) -> None:
    """Write an agent file, and what it names."""
    from pelton.adapters.cli.references import KINDS

    if adapter not in KINDS:
        raise CommandFailed(f"there is no adapter {adapter!r}: {', '.join(KINDS)} are", "usage")
    line, beside = _ADAPTERS.get(adapter, (f'adapter = "{adapter}:agent.py:agent"', {}))
    files = {"agent.toml": _FILE.format(name=name, adapter=line), **beside}
    for path in (directory / each for each in files):
        if path.exists():
            raise CommandFailed(f"{str(path)!r} is there already: use another directory")
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (directory / file).write_text(text, encoding="utf-8")
        if file.endswith(".sh"):
            (directory / file).chmod(0o755)
    written = [str(directory / each) for each in files]
    output.result(
        {"files": written},
        [
            f"wrote {', '.join(written)}",
            f"check it:  pelton check {written[0]}",
            f"run it:    pelton run {written[0]}",
            f'ask it:    pelton send {name} "Hello"',
        ],
    )
