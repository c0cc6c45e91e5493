"""What it costs to be observed: `python -m benchmarks.telemetry` prints µs of each thing done.

It is the processor's time, so that a busy machine changes little. The last lines are with spans,
made and thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.trace import SpanProcessor

from pelton.adapters.a2a.asked import ASKED, Asked
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.adapters.telemetry.traces import open_traces
from pelton.runtime.clock import RealWorld
from pelton.runtime.observer import Attempted

WORLD: Final = RealWorld()
BEGUN: Final = Attempted("echo", "context", "task", 1, 1, "correlation")


def main() -> None:
    """Measure, and print."""
    measured("", Telemetry(world=WORLD))
    with open_traces(part="bench", version="0", processor=SpanProcessor()) as traces:
        measured(", with its span", Telemetry(traces, world=WORLD))


def measured(more: str, telemetry: Telemetry) -> None:
    """Print what requests, attempts, steps and appends cost with this telemetry."""

    def request() -> None:
        asked = Asked(WORLD.monotonic())
        ASKED.set(asked)
        asked.id = "0192f5c1-7a34-7c3e-9c0a-2f6f0b1d2e3f"
        with telemetry.request(asked):
            asked.be("jsonrpc", "SendMessage")
            telemetry.answered(asked)

    def attempt() -> None:
        with telemetry.attempt(BEGUN) as seen:
            seen.how = "completed"

    def step() -> None:
        with telemetry.step("echo", "code", "work", "work#1") as seen:
            seen.how = "completed"

    def append() -> None:
        telemetry.appended(0.001, "stored")

    for does in (request, attempt, step, append):
        print(f"{does.__name__ + more:28} {cost(does) * 1e6:8.2f} µs")


def cost(does: Callable[[], None], number: int = 20_000) -> float:
    """Return the least seconds of the processor that something takes, of five tries."""
    tries: list[float] = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(number):
            does()
        tries.append((time.process_time() - began) / number)
    return min(tries)


if __name__ == "__main__":
    main()
