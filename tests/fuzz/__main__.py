"""`python -m tests.fuzz --minutes 10`: fuzz for so long, and say how much was tried.

Half of the time goes to the decoders under atheris, a quarter each to the two APIs under
schemathesis and to JSON-RPC over a socket. What fails is printed with what it takes to see it
again: bytes for `found` in `decoders.py`, a request, or a seed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.decoders import DECODERS
from tests.fuzz.serving import bridge
from tests.fuzz.sockets import rounds

ROOT = Path(__file__).parents[2]


class Tried(NamedTuple):
    """What was tried, how often, and what was said if it failed."""

    what: str
    times: int
    failure: str = ""


def decoders(seconds: float) -> Iterator[Tried]:
    """Fuzz all decoders one after the other."""
    if importlib.util.find_spec("atheris") is None:
        print("no atheris here (it has wheels for Linux on x86-64): the decoders were not fuzzed")
        return
    for name in DECODERS:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder, "corpus")
            corpus.mkdir()
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.fuzz.coverage", name),
                    f"-max_total_time={max(1, round(seconds / len(DECODERS)))}",
                    *("-max_len=4096", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"),
                    f"-artifact_prefix={folder}/",
                    str(corpus),
                ],
                cwd=ROOT,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            said = done.stderr + done.stdout
            units = re.search(r"number_of_executed_units: (\d+)", said)
            failure = ""
            if done.returncode:
                left = [path.read_bytes() for path in Path(folder).iterdir() if path.is_file()]
                failure = f"{said[-3000:]}\n{left!r}"
            yield Tried(f"decoder: {name}", int(units[1]) if units else 0, failure)


async def served(seconds: float) -> list[Tried]:
    """Fuzz a bridge: both documents, then JSON-RPC."""
    found: list[Tried] = []
    with tempfile.TemporaryDirectory() as folder:
        async with bridge(Path(folder)) as place:
            for document in ("a2a.openapi.json", "openapi.json"):
                ran = await place.schemathesis(
                    document,
                    *("--max-time", str(round(seconds / 3)), "--generation-database", "none"),
                )
                found.append(Tried(document, ran.requests, "" if ran.held else ran.said))
            count = await rounds(place.url, place.key, seconds=seconds / 3)
            found.append(Tried("JSON-RPC over a socket", count))
    return found


def told(tried: Tried) -> bool:
    """Print how it went; return whether all held."""
    failure = f", FAILED\n{tried.failure}" if tried.failure else ""
    print(f"{tried.what:32} {tried.times:10,} tried{failure}", flush=True)
    return not failure


def main() -> int:
    """Fuzz; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz for a while.")
    parser.add_argument("--minutes", type=float, default=10)
    seconds = parser.parse_args().minutes * 60
    held = [told(tried) for tried in decoders(seconds / 2)]
    held += [told(tried) for tried in asyncio.run(served(seconds / 2))]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
