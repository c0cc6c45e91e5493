"""How far a re-run has come along its script: what is to come to it next, and where it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from pelton.events.a2a import Artifact
from pelton.runtime.replay.changes import changes
from pelton.runtime.replay.script import Entry, Script, texts
from pelton.runtime.replay.verdict import Divergence, Told

_BEGIN: Final = frozenset({"StepStarted", "TimerSet", "QuestionAsked", "TaskDelegated"})
_ACCEPTED: Final = "DelegationAccepted"  # which is not yet the end of a delegation


class Course:
    """The way of one re-run along its script.

    What comes from outside comes once everything before it is met, and what is recorded one after
    the other comes together. An event is known again by its identity: calls that ran at the same
    time may mix otherwise than they did.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._recorded = {entry.identity: entry for entry in script.entries}
        self._places = {entry.identity: at for at, entry in enumerate(script.entries)}
        self._met: set[tuple[str, ...]] = set()
        self._next = 0
        self.divergence: Divergence | None = None

    @property
    def met(self) -> int:
        """How many recorded events the run has met."""
        return len(self._met)

    @property
    def done(self) -> bool:
        """Whether all of the record is met."""
        return self.met == len(self._script.entries)

    def due(self) -> list[Entry]:
        """Return what comes from outside now, once."""
        found: list[Entry] = []
        entries = self._script.entries
        while self._next < len(entries):
            entry = entries[self._next]
            if entry.identity not in self._met:
                if not entry.comes:
                    break
                found.append(entry)
            self._next += 1
        return found

    def compare(self, written: Sequence[Entry]) -> None:
        """Take in what the run has written so far."""
        odd: Entry | None = None
        for entry in written:
            if entry.identity in self._met:
                continue
            recorded = self._recorded.get(entry.identity)
            if recorded is not None and recorded.content == entry.content:
                self._met.add(entry.identity)
            else:
                odd = odd or entry
        if odd is not None and self.waits:
            left, same = self._left(), self._recorded.get(odd.identity)
            if same is not None and (left is None or self._place(same) < self._place(left)):
                left = same
            self._diverge(left, odd)

    @property
    def _beyond(self) -> bool:
        """Whether a run may do more than is recorded, once it has done that."""
        return self._script.ending != "agent"

    def stop(self, written: Sequence[Entry]) -> None:
        """Say that the agent does nothing any more."""
        left = self._left()
        later = (e for e in written if left and self._place(e) > self._place(left))
        self._diverge(left, next((e for e in later if not e.comes), None))

    @property
    def waits(self) -> bool:
        """Whether the agent has something left to do that is recorded, or its turn to end."""
        return not (self.done and self._beyond)

    def _place(self, entry: Entry) -> int:
        """Return where in the record the counterpart of an event is; at the end, if it has none."""
        return self._places.get(entry.identity, len(self._places))

    def _left(self) -> Entry | None:
        """Return what the record has next of its agent's doing."""
        rest = self._script.entries
        return next((e for e in rest if e.identity not in self._met and not e.comes), None)

    def conclude(self, written: Sequence[Entry], artifacts: Mapping[str, Artifact]) -> None:
        """Find what only the whole shows; `artifacts` are those that the run has written."""
        self.compare(written)
        if self.divergence is not None:
            return
        if not self.done:
            self.stop(written)
        elif self._script.ending == "agent":
            if self._script.attempts == 1:
                self._order(written)
            if self._script.attempts > 1 or self._script.within:
                self._texts(artifacts)

    def _order(self, written: Sequence[Entry]) -> None:
        """Find what was done in another order while nothing else was going on."""
        place = {entry.identity: at for at, entry in enumerate(written)}
        open_, alone, last = set[str](), True, -1
        before_comes = False
        for entry in self._script.entries:
            name, key, _ = entry.identity
            if entry.comes:
                if not before_comes:
                    alone = len(open_) <= 1
                if name != _ACCEPTED:
                    open_.discard(key)
            else:
                if alone and not open_ and place[entry.identity] < last:
                    self._diverge(entry, written[last])
                    return
                last = max(last, place[entry.identity])
                if name in _BEGIN:
                    open_.add(key)
            before_comes = entry.comes

    def _texts(self, artifacts: Mapping[str, Artifact]) -> None:
        """Compare what several attempts, or steps, have written with what one has: as it reads."""
        recorded, found = texts(self._script.artifacts), texts(artifacts)
        if self.divergence is None and (fields := changes(recorded, found)):
            self.divergence = Divergence(
                turn=self._script.number,
                recorded=Told(event=recorded),
                found=Told(event=found),
                fields=tuple(fields),
            )

    def _diverge(self, recorded: Entry | None, found: Entry | None) -> None:
        """Keep the first divergence."""
        if self.divergence is not None:
            return
        fields: Sequence[Any] = ()
        if recorded is not None and found is not None and recorded.identity == found.identity:
            fields = changes(recorded.content, found.content)
        self.divergence = Divergence(
            turn=self._script.number,
            recorded=recorded
            and Told(event=msgspec.to_builtins(recorded.event), sequence=recorded.sequence),
            found=found and Told(event=msgspec.to_builtins(found.event)),
            fields=tuple(fields),
        )
