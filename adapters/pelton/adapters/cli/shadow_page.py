"""The report of `pelton shadow` as a page: one file, without scripts, all text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Final

from pelton.adapters.cli.output import many, words
from pelton.adapters.cli.shadow import how
from pelton.events.printable import printable

if TYPE_CHECKING:
    from pelton.runtime.replay.shadow import Lane, Report, Shadowed

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: auto; padding: 1rem }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums }}
details {{ border-top: 1px solid #8886; padding: .4rem 0 }}
summary {{ cursor: pointer; overflow-wrap: anywhere }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0 }}
b {{ display: inline-block; min-width: 5.5rem }}
.identical b {{ color: #2a8a4a }} .changed b {{ color: #b07000 }}
.worse b {{ color: #d03030 }} .unclear b {{ color: #8060c0 }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{counts}</p>
{lanes}
{tasks}
{skipped}
</body>
</html>
"""


def page(report: Report) -> str:
    """Return a report as a page of HTML."""
    from pelton.runtime.replay.shadow import Judged

    order = list(Judged)
    tasks = sorted(report.tasks, key=lambda each: -order.index(each.judged))
    skipped = [f"<li>{_text(each.task)}: {_text(each.why)}</li>" for each in report.skipped]
    return _PAGE.format(
        title=f"{many(len(report.tasks), 'task')} with {_text(report.agent)}",
        counts=", ".join(f"{number} {_text(name)}" for name, number in report.counts.items()),
        lanes=_lanes(report),
        tasks="\n".join(map(_task, tasks)),
        skipped=f"<h2>Skipped</h2>\n<ul>{''.join(skipped)}</ul>" if skipped else "",
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; all of its cells but the first of each row are numbers or short."""

    def row(cells: Iterable[str], tag: str) -> str:
        inner = (
            f"<{tag}{' class=n' if at else ''}>{_text(cell)}</{tag}>"
            for at, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inner)}</tr>"

    return "\n".join(["<table>", row(heading, "th"), *(row(e, "td") for e in rows), "</table>"])


def _lanes(report: Report) -> str:
    return _table(
        ["lane", "tasks", "tokens", "cost", "worked", "median", "slowest"],
        [
            [
                *(name, str(each.tasks), f"{each.tokens:,}", f"{each.cost:.4f}"),
                *(f"{each.worked:.3f} s", f"{each.median:.3f} s", f"{each.slowest:.3f} s"),
            ]
            for name, each in report.lanes.items()
        ],
    )


def _task(each: Shadowed) -> str:
    lanes = [("recorded", each.recorded), ("again", each.again), ("new", each.new)]
    said = [f"<pre>{name}: {_text(lane.said)}</pre>" for name, lane in lanes if lane and lane.said]
    differences = "\n".join(line for one in each.differences for line in one.lines())
    summary = f"<b>{each.judged}</b> {_text(f'{each.task} of {each.agent}: {how(each)}')}"
    return "\n".join(
        [
            f"<details class={each.judged}>",
            f"<summary>{summary}</summary>",
            _table(
                ["lane", "state", "turns", "steps", "tokens", "cost", "worked"],
                [_row(name, lane) for name, lane in lanes if lane is not None],
            ),
            *said,
            f"<pre>{_text(differences)}</pre>" if differences else "",
            "</details>",
        ]
    )


def _row(name: str, lane: Lane) -> list[str]:
    state = words(lane.state) if lane.state else "not at rest"
    return [
        *(name, state, str(lane.turns), str(lane.steps), f"{lane.tokens:,}"),
        *(f"{lane.cost:.4f}", f"{lane.worked:.3f} s"),
    ]
