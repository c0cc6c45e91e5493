"""A conversation as the debugger has it: all records of it in memory, and what is asked of them.

A sequence of the log is a cut through everybody who took part, so one number says for all of them
what was known when. It grows when it is refreshed; nothing else changes it.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from pelton.adapters.debug.entries import Entry, entries_of
from pelton.events import subjects
from pelton.events.context import Context, fold_commit
from pelton.events.envelope import digest
from pelton.events.errors import DamagedRecord, PeltonError
from pelton.events.events import AnyEvent, name_of
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.graph import Graph, graph
from pelton.runtime.replay.session import Reader, Session, agents_of, others
from pelton.runtime.replay.walk import Cause, Pace, tread

Member = tuple[str, str]
"""A context that takes part: its agent and its id."""

_STRIDE: Final = 100
"""Commits between two states that are kept: so many are folded at most to see any other."""


class EntryNotFound(PeltonError):
    """The conversation has no entry there: it is listed anew from its log."""

    code = "record-not-found"


class Moment(NamedTuple):
    """An entry, seen closely: its record, and if it is an event, what it changed and why.

    `cause` is what led to it; `effects` are the sequences of what it led to in turn.
    """

    entry: Entry
    record: Record
    pace: Pace | None
    state: Context | None
    cause: Cause
    effects: Sequence[int]


class _Strand:
    """The commits of one context, with the states between them that are kept."""

    def __init__(self, agent: str, context_id: str) -> None:
        self.commits: list[Record] = []
        self._kept = [Context(agent=agent, id=context_id)]

    def before(self, place: int) -> Context:
        """Return the context before its commit at a place.

        Raises:
            DamagedRecord: the commits before it do not chain (law 13).
        """
        kept = min(place // _STRIDE, len(self._kept) - 1)
        state = self._kept[kept]
        for at in range(kept * _STRIDE, place):
            record = self.commits[at]
            commit = decode_commit(record.data)
            state = fold_commit(state, record.sequence, commit, digest(record.data))
            if (at + 1) % _STRIDE == 0 and (at + 1) // _STRIDE == len(self._kept):
                self._kept.append(state)
        return state

    def upto(self, sequence: int) -> Context:
        """Return the context as of a sequence of the log."""
        return self.before(bisect_right(self.commits, sequence, key=_sequence))


class Conversation:
    """Records of a conversation; `begin` reads it, `refresh` what has come since."""

    def __init__(self, reader: Reader, context_id: str) -> None:
        self._reader = reader
        self.context_id = context_id
        self.records: list[Record] = []
        self.entries: list[Entry] = []
        self.generation = 0
        """Counts how often entries came before others that were there: their places have moved."""
        self._end = 0
        self._named: set[Member] = set()
        self._members: dict[Member, _Strand] = {}
        self._causes: dict[str, Cause] = {}
        self._effects: dict[str, list[int]] = {}

    @property
    def members(self) -> list[Member]:
        """The contexts that take part, in the order of their first records."""
        return list(self._members)

    async def refresh(self) -> None:
        """Read what the log has of it, up to its end now.

        Raises:
            ContextNotFound: there is no such context.
            LogUnavailable: the log did not answer in time.
        """
        end = (await self._reader.extent()).last
        found = [each for each in await self._news(end) if each.sequence <= end]
        if any(each.sequence <= self._end for each in found):
            found = [*self.records, *found]
            self._forget()
        self._end = end
        for record in sorted(found):
            self._take(record)

    async def _news(self, end: int) -> list[Record]:
        """Return the records above the last one that was read, of whoever takes part by now."""
        found: list[Record] = []
        named = set(self._named)
        wanted = deque((member, self._end) for member in sorted(named))
        if not named:
            agents = await agents_of(self._reader, self.context_id)
            wanted.extend(((agent, self.context_id), 0) for agent in agents)
            named = {member for member, _ in wanted}
        while wanted:
            (agent, id_), after = wanted.popleft()
            if end <= after:
                continue
            commits = await self._reader.read(subjects.commits(agent, id_), after=after)
            found += commits
            found += await self._reader.read(subjects.commands(agent, id_), after=after)
            for member in _others(each for each in commits if each.sequence <= end):
                if member not in named:
                    named.add(member)
                    wanted.append((member, 0))
        self._named = named
        return found

    def _forget(self) -> None:
        self.records, self.entries, self._members = [], [], {}
        self._causes, self._effects = {}, {}
        self.generation += 1

    def _take(self, record: Record) -> None:
        """Take in a record that comes after all others."""
        subject = subjects.parse(record.subject)
        member = subject.agent, subject.context
        strand = self._members.setdefault(member, _Strand(*member))
        self.records.append(record)
        self.entries += entries_of(record)
        try:
            if subject.kind == "cmd":
                command = decode_command(record.data)
                self._causes[command.id] = Cause(
                    command.id, record.sequence, type(command).__name__
                )
                if command.causationid != command.id:
                    self._effects.setdefault(command.causationid, []).append(record.sequence)
                return
            strand.commits.append(record)
            commit = decode_commit(record.data)
        except DamagedRecord:
            return  # its entry says so
        began = name_of(commit.data.events[0]) if commit.data.events else ""
        self._causes[commit.id] = Cause(commit.id, record.sequence, began)
        self._effects.setdefault(commit.causationid, []).append(record.sequence)

    def find(self, wanted: Callable[[Entry], bool] | None) -> Sequence[int]:
        """Return the places of the entries that are wanted; all, if nothing says which."""
        if wanted is None:
            return range(len(self.entries))
        return [place for place, entry in enumerate(self.entries) if wanted(entry)]

    def containing(self, text: str) -> set[tuple[int, int]]:
        """Return the entries that hold a text, whatever its case, by sequence and place."""
        needle = msgspec.json.encode(text)[1:-1].lower()
        found: set[tuple[int, int]] = set()
        for record in self.records:
            if needle not in record.data.lower():
                continue
            found.add((record.sequence, 0))
            for place, event in enumerate(_events(record), 1):
                if needle in msgspec.json.encode(event).lower():
                    found.add((record.sequence, place))
        return found

    def place_of(self, sequence: int, place: int = 0) -> int:
        """Return where the entry of a record is, by its place in a commit; else the one before."""
        at = bisect_right(self.entries, (sequence, place), key=lambda e: (e.sequence, e.place))
        return max(at - 1, 0)

    def moment(self, sequence: int, place: int) -> Moment:
        """Return an entry, seen closely.

        Raises:
            EntryNotFound: there is none.
            DamagedRecord: what is before it does not chain (law 13).
        """
        at = bisect_left(self.records, sequence, key=_sequence)
        if at == len(self.records) or self.records[at].sequence != sequence:
            raise EntryNotFound("there is no such entry in this conversation")
        record = self.records[at]
        entry = self.entries[self.place_of(sequence, place)]
        if (entry.sequence, entry.place) != (sequence, place):
            raise EntryNotFound("there is no such entry in this conversation")
        if not place:
            return self._command(entry, record)
        commit = decode_commit(record.data)
        strand = self._members[entry.agent, entry.context]
        before = strand.before(bisect_left(strand.commits, sequence, key=_sequence))
        cause = self._cause(commit.causationid)
        state, paces = tread(before, record, commit, cause)
        pace = next((e for e in paces if e.recorded.id.endswith(f"/{place}")), None)
        return Moment(entry, record, pace, state, cause, self._effects.get(commit.id, ()))

    def _command(self, entry: Entry, record: Record) -> Moment:
        try:
            command = decode_command(record.data)
        except DamagedRecord:  # its entry says so
            return Moment(entry, record, None, None, self._cause(""), ())
        cause = self._cause(command.causationid if command.causationid != command.id else "")
        state = self._members[entry.agent, entry.context].upto(entry.sequence)
        return Moment(entry, record, None, state, cause, self._effects.get(command.id, ()))

    def _cause(self, id_: str) -> Cause:
        return self._causes.get(id_, Cause(id_, 0, ""))

    def states(self, upto: int | None = None) -> list[Context]:
        """Return all contexts that take part, as of a sequence or as of now.

        Raises:
            DamagedRecord: the commits of one do not chain (law 13).
        """
        until = self._end if upto is None else upto
        return [strand.upto(until) for strand in self._members.values()]

    def undecided(self) -> list[Entry]:
        """Return the commands that nobody has decided yet."""
        states = {(each.agent, each.id): each for each in self.states()}
        return [
            entry
            for entry in self.entries
            if not entry.place and not states[entry.agent, entry.context].decided(entry.sequence)
        ]

    def graph(self, upto: int | None = None) -> Graph:
        """Return who has asked whom, as of a sequence or as of now.

        Raises:
            DamagedRecord: the commits of a context do not chain (law 13).
        """
        until = self._end if upto is None else upto
        return graph(Session((e for e in self.records if e.sequence <= until), {}))

    def session(self) -> Session:
        """Return its records as what may be compared with others."""
        return Session(self.records, {})


def _others(commits: Iterable[Record]) -> Iterator[Member]:
    """Yield the contexts that commits name, as far as they can be read."""
    for record in commits:
        with contextlib.suppress(DamagedRecord):  # its entry says so
            yield from others([record])


def _events(record: Record) -> Sequence[AnyEvent]:
    """Return the events of a record; one that is no commit, or damaged, has none."""
    if not record.subject.startswith("evt."):
        return ()
    try:
        return decode_commit(record.data).data.events
    except DamagedRecord:  # its entry says so
        return ()


def _sequence(record: Record) -> int:
    return record.sequence
