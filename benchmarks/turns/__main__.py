"""Durable turns beside DBOS on SQLite and Restate: `python -m benchmarks.turns --help`.

Prints each round as it ends, and writes `docs/benchmarks-turns.md` unless `--dry`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import msgspec
import uvloop

from benchmarks.load import Load
from benchmarks.processes import ROOT
from benchmarks.turns.growth import growth
from benchmarks.turns.report import Row, document, missed
from benchmarks.turns.services import Target, dbos, pelton, prepare, restate, sync_time

CONCURRENT = (1, 32)
TURNS = (10, 100, 1000)


def measure(target: Target, concurrent: int, seconds: float) -> Row:
    """Load one system once."""
    arguments = ["-m", "benchmarks.load", target.url, str(concurrent), str(seconds), target.kind]
    output = subprocess.run(  # our own module, our own arguments
        [sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True
    ).stdout
    load = msgspec.json.decode(output, type=Load)
    if load.errors:
        print(f"{target.name}: {load.errors} errors, first {load.first_error}", file=sys.stderr)
    done = len(load.latencies) or 1
    latencies = load.latencies or [float("inf")]
    row = Row(
        system=target.name,
        concurrent=concurrent,
        rate=len(load.latencies) / load.seconds,
        p50=latencies[done // 2],
        p99=latencies[min(done - 1, done * 99 // 100)],
        errors=load.errors,
    )
    print(
        f"{concurrent:3} concurrent  {row.system:16} {row.rate:8,.1f} tasks/s"
        f"  p50 {row.p50:8.2f} ms  p99 {row.p99:8.2f} ms",
        flush=True,
    )
    return row


def medians(rows: list[Row]) -> list[Row]:
    """Return the medians of the rounds, in the order of the first."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.concurrent, row.system), []).append(row)
    return [
        Row(
            system=system,
            concurrent=concurrent,
            rate=statistics.median(row.rate for row in group),
            p50=statistics.median(row.p50 for row in group),
            p99=statistics.median(row.p99 for row in group),
            errors=sum(row.errors for row in group),
        )
        for (concurrent, system), group in groups.items()
    ]


def main() -> int:
    """Run all and say whether the goals are reached: exit code 0 if they are, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each round lasts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--growth", action="store_true", help="only the bytes per turn")
    parser.add_argument("--dry", action="store_true", help="write no files")
    given = parser.parse_args()
    turns = TURNS[:2] if given.short else TURNS
    rounds, seconds = (1, 1.5) if given.short else (given.rounds, given.seconds)
    grown = uvloop.run(growth(turns))
    for each in grown:
        print(f"turn {each.turn:5}: {each.log:,} bytes of log, {each.bulk:,} of bulk", flush=True)
    if given.growth:
        return 0
    missing = prepare()
    print("\n".join(missing), file=sys.stderr)
    others: list[Any] = [dbos] if not any("dbos" in each for each in missing) else []
    others += [restate] if not any("restate" in each for each in missing) else []
    found: list[Row] = []
    synced = [sync_time()]
    for concurrent in CONCURRENT:
        with ExitStack() as stack:
            starts = [lambda: pelton("durable"), lambda: pelton("relaxed"), *others]
            targets = [stack.enter_context(start()) for start in starts]
            for target in targets:
                measure(target, concurrent, min(1.0, seconds))  # warm
            for _ in range(rounds):
                found += [measure(target, concurrent, seconds) for target in targets]
        synced.append(sync_time())
    table = medians(found)
    text = document(table, grown, rounds=rounds, missing=missing, sync=max(synced))
    print(text)
    if not (given.dry or given.short):
        (ROOT / "docs" / "benchmarks-turns.md").write_text(text)
    failures = missed(table)
    print("\n".join(["missed:", *failures]) if failures else "all goals reached")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
