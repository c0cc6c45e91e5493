"""A tenant at its limit and another beside it: `python -m benchmarks.fairness` prints the p99s.

The bridge, what is behind it and the client that is measured share one process, and the machine
with the greedy one: what counts is the ratio.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.adapters.identity.fairness import ADMISSION, LIMIT, TIMES, measure, p99
from tests.fuzz.serving import tenants

ROUNDS, REQUESTS = 5, 100


async def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory(prefix="pelton-bench-") as data:
        async with tenants(Path(data), ADMISSION) as place:
            await measure(place, rounds=1, requests=20)  # warm
            waits = await measure(place, rounds=ROUNDS, requests=REQUESTS)
    print(f"a tenant may ask {LIMIT.rate:g} times a second; the other one asks {TIMES} times that")
    print(f"the other one was answered {dict(waits.statuses)}")
    for name, seconds in (("alone", waits.alone), ("beside", waits.beside)):
        print(
            f"{name:7} {len(seconds):5} requests  p50 {statistics.median(seconds) * 1000:7.2f} ms"
            f"  p99 {p99(seconds) * 1000:7.2f} ms"
        )
    print(f"p99 beside / alone: {p99(waits.beside) / p99(waits.alone):.2f}")


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
