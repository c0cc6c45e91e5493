"""The page that `docs/benchmarks-turns.md` is."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks.turns.growth import Grown

OURS: Final = "pelton durable"
"""What the goals are about: its p50 at 1 below the others', its rate at 32 above."""


class Row(NamedTuple):
    """One system under so many clients at once; latencies in milliseconds."""

    system: str
    concurrent: int
    rate: float
    p50: float
    p99: float
    errors: int


def missed(table: Sequence[Row]) -> list[str]:
    """Return the goals that are not reached, in words."""
    by_key = {(row.concurrent, row.system): row for row in table}
    found: list[str] = []
    for (concurrent, system), row in by_key.items():
        if system.startswith("pelton"):
            continue
        ours = by_key[concurrent, OURS]
        if concurrent == 1 and ours.p50 >= row.p50:
            found.append(f"p50 at 1: {ours.p50:.2f} ms, {system} {row.p50:.2f} ms")
        if concurrent == 32 and ours.rate <= row.rate:
            found.append(f"tasks/s at 32: {ours.rate:,.0f}, {system} {row.rate:,.0f}")
    return found


def document(
    table: Sequence[Row],
    grown: Sequence[Grown],
    *,
    rounds: int,
    missing: Sequence[str],
    sync: float,
) -> str:
    """Return `docs/benchmarks-turns.md`; `sync` is how long a sync takes here, in milliseconds."""
    about = f"{platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"""# Benchmarks of turns

The same task of three steps in four systems, loaded in one run by one process over HTTP, in
alternating rounds: {rounds} each, medians. A client sends its next task when it has the result of
the last one. All of it shares one machine ({about}), which others use too: read the ratios.
To append 1 KiB to a file and sync it took {sync:.1f} ms in this run, between the rounds: a fraction
of a millisecond on a quiet machine.
`make bench-turns` writes this page anew; `make bench-turns ARGS=--short` only shows that it runs.

| concurrent | system | tasks/s | p50 ms | p99 ms | errors |
|---|---|---|---|---|---|"""
    ]
    lines += [
        f"| {row.concurrent} | {row.system} | {row.rate:,.0f} | {row.p50:.2f} | {row.p99:.1f}"
        f" | {row.errors} |"
        for row in table
    ]
    if missing:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    lines.append("""
- **pelton** runs as `pelton dev` does: nats-server, bridge, projector and one executor; a task is
  a blocking `SendMessage`. *durable* syncs every record to the disk before it counts, *relaxed*
  leaves syncing to the server. A task is five records: the command, the intent of each step
  together with the result of the one before it, and the end. The server syncs each of them by
  itself: where a sync takes long, *durable* suffers more than Restate, which syncs many together.
- **DBOS** (PyPI `dbos`) with its SQLite system database as it comes, a workflow of three steps
  behind uvicorn in the same process. It records results, no intents.
- **Restate** (npm `@restatedev/restate-server`, PyPI `restate-sdk`) as it comes, asked through its
  ingress; the service runs in hypercorn.

The steps do nothing, so that what is measured is what surrounds them. All three may run a step
again that was begun and has no result: in pelton it is marked `idempotent`.

## Bytes per turn

One conversation with an agent that sends its whole history to a model with each turn, as a step's
arguments. The log holds what is new: content that was seen before is referred to, by hash.

| turn | bytes of log | bytes of bulk |
|---|---|---|""")
    lines += [f"| {each.turn} | {each.log:,} | {each.bulk:,} |" for each in grown]
    lines.append("""
`tests/runtime/test_growth.py` holds it.
""")
    return "\n".join(lines)
