"""All benchmarks in one run: `python -m benchmarks --help` says what can be chosen.

Prints each round as it ends, and writes `docs/benchmarks.md` and its plot unless `--dry`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack

import msgspec
import uvloop

from benchmarks.load import Load
from benchmarks.processes import ROOT, Service, pelton, sdk
from benchmarks.rates import appending, rebuilding, task_of
from benchmarks.report import GOALS, REBUILT, Round, document, plot, rows

CONNECTIONS = (1, 16, 64)
STEPS = 5
"""Steps of a longer task, as the one of `make demo` has them."""


def measure(service: Service, connections: int, seconds: float) -> Round:
    """Load one server once."""
    arguments = ["-m", "benchmarks.load", service.url, str(connections), str(seconds)]
    before = service.cpu()
    output = subprocess.run(  # our own module, our own arguments
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PELTON_BENCH_KEY": service.key},
        check=True,
        capture_output=True,
    ).stdout
    load = msgspec.json.decode(output, type=Load)
    if load.errors:
        print(
            f"{service.name}: {load.errors} errors, the first: {load.first_error}", file=sys.stderr
        )
    done = max(1, len(load.latencies))
    found = Round(
        server=service.name,
        connections=connections,
        rate=len(load.latencies) / load.seconds,
        p50=load.latencies[done // 2],
        p99=load.latencies[min(done - 1, done * 99 // 100)],
        cpu=(service.cpu() - before) / done * 1e6,
        memory=service.memory(),
        errors=load.errors,
    )
    print(
        f"{connections:3} connections  {service.name:24} {found.rate:8,.0f}/s"
        f"  p50 {found.p50:8.2f} ms  p99 {found.p99:8.2f} ms"
        f"  {found.cpu:7,.0f} µs CPU/request  {found.memory:5.0f} MiB",
        flush=True,
    )
    return found


def main() -> int:
    """Run all and say whether the goals are reached: exit code 0 if they are, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each round lasts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=100_000, help="for the rates")
    parser.add_argument(
        "--connections", type=int, nargs="+", default=CONNECTIONS, metavar="N", help="with --dry"
    )
    parser.add_argument("--dry", action="store_true", help="write no files")
    given = parser.parse_args()
    if given.connections != CONNECTIONS and not given.dry:
        parser.error("--connections: the page has all of them, so this needs --dry")
    found: list[Round] = []
    for connections in given.connections:
        with ExitStack() as stack:
            # Each number of connections begins with empty servers: the SDK's slows down with age.
            services = [
                stack.enter_context(service)
                for service in (
                    sdk(),
                    pelton("relaxed"),
                    pelton("relaxed", keys=True),
                    pelton("durable"),
                    pelton("durable", keys=True),
                )
            ]
            for service in services:
                measure(service, connections, 1.0)  # warm
            found += [
                measure(service, connections, given.seconds)
                for _ in range(given.rounds)
                for service in services
            ]
    short, long = (
        [each for number in range(given.records // (2 + steps)) for each in task_of(number, steps)]
        for steps in (0, STEPS)
    )
    rebuilt = [
        uvloop.run(rebuilding(what, records))
        for what, records in (("short tasks", short), (f"tasks of {STEPS} steps", long))
    ]
    rates = [uvloop.run(appending(short[:20_000])), *rebuilt]
    for rate in rates:
        print(f"{rate.what}: {rate.pelton:,.0f}, bare {rate.bare:,.0f}, ratio {rate.ratio:.2f}")
    table = rows(found)
    base = found[0].server
    text = document(table, rates, base=base, rounds=given.rounds)
    print(text)
    if not given.dry:
        (ROOT / "docs" / "benchmarks.md").write_text(text)
        (ROOT / "docs" / "benchmarks.svg").write_text(plot(table))
    by_key = {(row.server, row.connections): row.rate for row in table}
    missed = [
        f"{server} at {connections}: {by_key[server, connections] / by_key[base, connections]:.1f}"
        f" of {goal:g} times the SDK's"
        for (server, connections), goal in GOALS.items()
        if connections in given.connections
        and by_key[server, connections] < goal * by_key[base, connections]
    ]
    missed += [
        f"{rate.what}: {rate.ratio:.2f} of {REBUILT:g} of bare reading"
        for rate in rebuilt
        if rate.ratio < REBUILT
    ]
    print("\n".join(["missed:", *missed]) if missed else "all goals reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
