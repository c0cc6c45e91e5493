"""Backtests: what a rule would have said of the calls that the log has, had it been there."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing

import msgspec

from pelton.events import subjects
from pelton.events.calls import Call, Calls, Ruling
from pelton.events.errors import DamagedRecord
from pelton.events.ids import check_agent
from pelton.events.upcast import decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.session import Reader
from pelton.runtime.rules import Rule, RuleFailed


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A call that would have been stopped or asked about, by the commit at `sequence`.

    `problem` says why the rule could not tell: then the call would have been stopped, too.
    """

    sequence: int
    ruling: Ruling
    call: Call
    problem: str = ""


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule would have said: of how many calls what, in how many tasks, and the first hits.

    `failed` counts those of which it could not tell; they are among the denied. `groups` counts the
    hits by what they are: ruling, agent, kind and name.
    """

    calls: int
    rulings: dict[Ruling, int]
    failed: int
    tasks: int
    groups: tuple[tuple[Ruling, str, str, str, int], ...]
    hits: tuple[Hit, ...]


async def backtest(
    reader: Reader, rule: Rule, *, after: int = 0, agent: str = "", most: int = 100
) -> Backtest:
    """Ask a rule about all calls above a sequence, of one agent or of all.

    What tasks had done up to there counts for it. At most `most` hits are listed, all are counted.

    Raises:
        InvalidInput: `agent` is no name.
        LogUnavailable: the log did not answer in time.
    """
    pattern = f"evt.{check_agent(agent)}.>" if agent else "evt.>"
    known: dict[str, Calls] = {}
    rulings, groups = Counter[Ruling](), Counter[tuple[Ruling, str, str, str]]()
    hits, tasks = list[Hit](), set[str]()
    failed = 0
    async with aclosing(reader.scan(after=after, pattern=pattern)) as batches:
        async for batch in batches:
            for record in batch:
                subject = subjects.parse(record.subject)
                if not subject.context or subject.beside:
                    continue
                if record.subject not in known:
                    known[record.subject] = await _before(reader, record)
                for call in _calls(known[record.subject], record):
                    ruling, problem = _ruled(rule, call)
                    rulings[ruling] += 1
                    failed += bool(problem)
                    if ruling is Ruling.ALLOW:
                        continue
                    tasks.add(call.task)
                    groups[ruling, call.agent, call.kind.value, call.name] += 1
                    if len(hits) < most:
                        hits.append(
                            Hit(sequence=record.sequence, ruling=ruling, call=call, problem=problem)
                        )
    return Backtest(
        calls=rulings.total(),
        rulings={each: rulings[each] for each in Ruling},
        failed=failed,
        tasks=len(tasks),
        groups=tuple((*group, number) for group, number in groups.most_common()),
        hits=tuple(hits),
    )


def _ruled(rule: Rule, call: Call) -> tuple[Ruling, str]:
    try:
        return rule.of(call), ""
    except RuleFailed as error:
        return Ruling.DENY, str(error)


def _calls(known: Calls, record: Record) -> list[Call]:
    try:
        return list(known.take(decode_commit(record.data)))
    except DamagedRecord:  # `ReadModels.damage` lists it
        return []


async def _before(reader: Reader, record: Record) -> Calls:
    """Return the calls of a context up to a record of it."""
    subject = subjects.parse(record.subject)
    found = Calls(subject.agent, subject.context)
    for each in await reader.read(record.subject):
        if each.sequence >= record.sequence:
            break
        _calls(found, each)
    return found
