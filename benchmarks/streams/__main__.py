"""Streams beside the official SDK's server: `python -m benchmarks.streams --help`.

Prints what it finds as it goes, and writes `docs/benchmarks-streams.md` unless `--dry`.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from benchmarks.processes import ROOT, Service, pelton, sdk
from benchmarks.streams.listen import STAMP, Heard

IDLE_WITHIN = 1024.0
"""MiB that a bridge may have with all idle streams."""


class Row(NamedTuple):
    """One server, all subscribers and one task; milliseconds, KiB of the process that serves."""

    server: str
    pace: float
    complete: int
    said: float
    """The 99th percentile from the agent's call to a subscriber's socket."""
    stored: float
    """The same from when the log, if there is one, had stored the event."""
    rate: float
    """Events delivered each second, to all together."""
    memory: float
    """For each subscriber."""


class Idle(NamedTuple):
    """What so many idle streams cost a bridge, in MiB."""

    streams: int
    tasks: int
    before: float
    after: float


def listen(url: str, *arguments: object) -> list[str]:
    """Return the command of the subscribers."""
    return [sys.executable, "-m", "benchmarks.streams.listen", url, *map(str, arguments)]


def fan_out(service: Service, part: str, count: int, events: int, pace: float) -> Row:
    """Have many follow one task of a server."""
    before = service.memory(part)
    command = listen(service.url, "talk", count, events, pace)
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    memory = service.memory(part) - before
    found = msgspec.json.decode(output, type=Heard)
    stored = when_stored(service.url) if part else dict(enumerate(found.said))
    last = max(heard for each in found.heard for heard in each)
    row = Row(
        server=service.name,
        pace=pace,
        complete=found.complete,
        said=_p99([heard - found.said[n] for n, each in enumerate(found.heard) for heard in each]),
        stored=_p99([heard - stored[n] for n, each in enumerate(found.heard) for heard in each]),
        rate=sum(map(len, found.heard)) / (last - found.said[0]) * 1e9,
        memory=memory * 1024 / count,
    )
    print(
        f"{row.server:20} {_paced(pace):14} complete {row.complete}/{count}"
        f"  p99 {row.said:8.1f} ms, from the append {row.stored:8.1f} ms"
        f"  {row.rate:8,.0f} events/s  {row.memory:6.0f} KiB a subscriber",
        flush=True,
    )
    return row


def when_stored(url: str) -> dict[int, int]:
    """Return when the log has stored each event, in nanoseconds since 1970, to the millisecond."""
    found: dict[int, int] = {}
    token = ""
    while True:
        query = urllib.parse.urlencode({"pageSize": 100, "pageToken": token})
        place = urllib.parse.urljoin(url, f"/v1/events?{query}")
        with urllib.request.urlopen(place, timeout=30) as answer:  # noqa: S310  our own address
            page = msgspec.json.decode(answer.read())
        for item in page["items"]:
            moment = datetime.fromisoformat(item["received"]).timestamp()
            for stamp in STAMP.finditer(msgspec.json.encode(item["record"])):
                found.setdefault(int(stamp[1]), int(moment * 1e9))
        token = page["nextPageToken"]
        if not token:
            return found


def _p99(taken: list[int]) -> float:
    taken.sort()
    return taken[len(taken) * 99 // 100] / 1e6


def idle(service: Service, count: int, tasks: int) -> Idle:
    """Have many streams open in which nothing happens."""
    before = service.memory("bridge")
    command = listen(service.url, "wait", count, tasks)
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        there = int(process.stdout.readline())
        after = service.memory("bridge")
        output, _ = process.communicate()
    alive = int(output)
    print(
        f"{there} idle streams on {tasks} tasks: a bridge of {after:,.0f} MiB, {before:,.0f}"
        f" before, {(after - before) * 1024 / count:.1f} KiB a stream; {alive} at the end",
        flush=True,
    )
    return Idle(alive, tasks, before, after)


def _paced(pace: float) -> str:
    return f"{1 / pace:,.0f} a second" if pace else "all at once"


def document(rows: Sequence[Row], still: Idle, count: int, events: int) -> str:
    """Return the page."""
    table = "\n".join(
        f"| {_paced(row.pace)} | {row.server} | {row.complete} of {count} | {row.said:,.1f}"
        f" | {row.stored:,.1f} | {row.rate:,.0f} | {row.memory:,.0f} |"
        for row in rows
    )
    each = (still.after - still.before) * 1024 / still.streams
    about = f"{platform.machine()}, Python {platform.python_version()}"
    heads = "p99 from agent, ms | p99 from append, ms | to all, events/s | KiB each |"
    return f"""# Benchmarks of streams

One task, {count} subscribers over SSE (JSON-RPC), {events:,} events: `make bench-streams` writes
this page anew. The same agent behind both servers says a status with its number and the moment; one
process with all subscribers takes the time when each has it. All of it shares one machine of two
cores ({about}), which others use too: read the ratios.

*Complete* is who had every event, once and in order. Of the times, one is from the agent's call,
for which pelton gathers what is said within 50 ms; the other is from when the log has stored it,
which the SDK's server never does. Memory is what the process that serves, the bridge or the SDK's
server, has grown by.

| events | server | complete | {heads}
|---|---|---|---|---|---|---|
{table}

## Idle streams

{still.streams:,} streams open on one bridge, on {still.tasks:,} tasks that wait for input: the
bridge has **{still.after:,.0f} MiB**, {still.before:,.0f} without them; {each:.1f} KiB each, beside
what the kernel buffers. The goal is 1 GiB. A bridge needs an open file for each (`ulimit -n`); see
also `limits.connections`.
"""


def main() -> int:
    """Run all and say whether the goals are reached: exit code 0 if they are, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--subscribers", type=int, default=200)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--pace", type=float, default=0.2, help="seconds between two events")
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--tasks", type=int, default=1000, help="that idle streams are of")
    parser.add_argument("--dry", action="store_true", help="write no file")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < given.idle + 1000:
        parser.error(f"{given.idle} streams need more open files than {hard}: see ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # who is started inherits it
    rows: list[Row] = []
    for pace in (given.pace, 0.0):
        with sdk("benchmarks.streams.sdk_server") as service:
            rows.append(fan_out(service, "", given.subscribers, given.events, pace))
        for profile in ("relaxed", "durable"):
            with pelton(profile, agent="talk", file="streams/agent.py") as service:
                rows.append(fan_out(service, "bridge", given.subscribers, given.events, pace))
    with pelton("relaxed", agent="talk", file="streams/agent.py") as service:
        still = idle(service, given.idle, given.tasks)
    if not given.dry:
        text = document(rows, still, given.subscribers, given.events)
        (ROOT / "docs" / "benchmarks-streams.md").write_text(text)
    missed = [
        f"{row.server}, {_paced(row.pace)}: {row.complete} complete"
        for row in rows
        if row.server.startswith("pelton") and row.complete < given.subscribers
    ]
    if still.streams < given.idle or still.after > IDLE_WITHIN:
        missed.append(f"{still.streams} idle streams with {still.after:.0f} MiB")
    print("\n".join(["missed:", *missed]) if missed else "all goals reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
