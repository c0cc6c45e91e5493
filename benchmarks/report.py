"""The table and the plot that `docs/benchmarks.md` holds."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

from benchmarks.rates import Rate

GOALS: Final = {
    (f"pelton {profile}{keys}", connections): goal
    for profile, connections, goal in (
        ("relaxed", 16, 6.0),
        ("relaxed", 64, 10.0),
        ("durable", 16, 2.5),
        ("durable", 64, 4.0),
    )
    for keys in ("", ", API key")
}
"""How many times the SDK's requests per second we mean to reach, at a number of connections.

Authentication is no excuse: with a key the goals are the same.
"""

REBUILT: Final = 0.4
"""How much of the rate of bare reading a rebuild means to reach."""


class Round(NamedTuple):
    """One run of the load against one server; latencies in milliseconds."""

    server: str
    connections: int
    rate: float
    p50: float
    p99: float
    cpu: float
    """Microseconds of the server's processor time per request."""
    memory: float
    """Resident MiB after the run."""
    errors: int


def rows(rounds: Sequence[Round]) -> list[Round]:
    """Return the medians, in the order in which servers and connections first occur."""
    groups: dict[tuple[str, int], list[Round]] = {}
    for entry in rounds:
        groups.setdefault((entry.server, entry.connections), []).append(entry)
    return [
        Round(
            server=server,
            connections=connections,
            rate=statistics.median(entry.rate for entry in group),
            p50=statistics.median(entry.p50 for entry in group),
            p99=statistics.median(entry.p99 for entry in group),
            cpu=statistics.median(entry.cpu for entry in group),
            memory=statistics.median(entry.memory for entry in group),
            errors=sum(entry.errors for entry in group),
        )
        for (server, connections), group in sorted(groups.items(), key=lambda item: item[0][1])
    ]


def _ratio(row: Round, table: Sequence[Round], base: str) -> float:
    (other,) = (r for r in table if r.server == base and r.connections == row.connections)
    return row.rate / other.rate


def document(table: Sequence[Round], rates: Sequence[Rate], *, base: str, rounds: int) -> str:
    """Return `docs/benchmarks.md`."""
    about = f"{platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"""# Benchmarks

The same echo agent behind three servers, loaded in one run by one process with blocking
`SendMessage` requests over JSON-RPC, alternating, {rounds} rounds each, medians. All of it shares
one machine of two cores ({about}), which others use too: read the ratios.
`make bench` writes this page anew.

The SDK's server keeps its tasks in memory and loses them with its process. pelton stores every
message and every event before it answers; *relaxed* leaves syncing to the server, *durable* syncs
each record to the disk. *API key* is the same with authentication: each request shows a key, and
is counted against its limits; the SDK's server lets in everybody. CPU is processor time per
request; it and memory are of all processes: the NATS server, the bridge, the projector and one
executor.

| connections | server | requests/s | of SDK | goal | p50 ms | p99 ms | CPU µs | MiB | errors |
|---|---|---|---|---|---|---|---|---|---|""",
    ]
    for row in table:
        goal = GOALS.get((row.server, row.connections))
        lines.append(
            f"| {row.connections} | {row.server} | {row.rate:,.0f} | {_ratio(row, table, base):.1f}"
            f" | {'' if goal is None else f'≥ {goal:g}'} | {row.p50:.2f} | {row.p99:.1f}"
            f" | {row.cpu:,.0f} | {row.memory:.0f} | {row.errors} |"
        )
    lines += [
        "",
        "![requests per second](benchmarks.svg)",
        "",
        "| | pelton | bare nats-py | ratio |",
        "|---|---|---|---|",
    ]
    lines += [f"| {r.what} | {r.pelton:,.0f} | {r.bare:,.0f} | {r.ratio:.2f} |" for r in rates]
    lines.append("""
Appending: each record with its expectation and id, 256 under way at once, beside `js.publish` of
the same bytes. Rebuilding: decoding, folding and storing every record in SQLite, beside an ordered
consumer whose callback does nothing. A short task is a command and a commit of five events; each
step adds a commit of two.
""")
    return "\n".join(lines)


def plot(table: Sequence[Round]) -> str:
    """Return an SVG with a bar for the requests per second of each row."""
    most = max(row.rate for row in table)
    shades = {
        "a2a-sdk, in memory": "#9aa5b1",
        "pelton relaxed": "#2b6cb0",
        "pelton relaxed, API key": "#63a4e0",
        "pelton durable": "#2c7a7b",
        "pelton durable, API key": "#5fb3b1",
    }
    height = 26 * len(table) + 20
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="820" height="{height}"'
    bars = [f'{head} font-family="sans-serif" font-size="13">']
    for place, row in enumerate(table):
        y, width = 10 + 26 * place, 380 * row.rate / most
        label = f"{row.connections} connections, {row.server}"
        bars.append(
            f'<text x="5" y="{y + 15}">{label}</text>'
            f'<rect x="280" y="{y}" width="{width:.1f}" height="20" fill="{shades[row.server]}"/>'
            f'<text x="{288 + width:.1f}" y="{y + 15}">{row.rate:,.0f}/s</text>'
        )
    return "\n".join([*bars, "</svg>", ""])
