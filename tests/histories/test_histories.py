"""Every history that a released contract has recorded still means what it meant (G13, AS-6)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pelton.events import subjects
from pelton.events.commands import COMMANDS
from pelton.events.errors import DamagedRecord
from pelton.events.events import EVENTS, type_of
from pelton.events.schema import CONTRACT
from pelton.events.states import TRANSITIONS
from pelton.events.upcast import decode_command, decode_commit, decode_schedule_command
from tests.histories.record import FOLDER, portraits, read
from tests.histories.tales import TALES

HISTORIES = sorted(FOLDER.glob("*/*.ndjson"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in HISTORIES]


@pytest.mark.accepts("G13", "AS-6")
@pytest.mark.parametrize("path", HISTORIES, ids=NAMES)
def test_a_history_folds_to_the_recorded_state(path: Path) -> None:
    state = json.loads(path.with_name(f"{path.stem}.state.json").read_text())
    assert portraits(read(path)) == state


@pytest.mark.accepts("G13")
def test_the_comparison_can_fail() -> None:
    path = FOLDER / CONTRACT / "attempts.ndjson"
    records = read(path)
    assert portraits(records[:-1]) != portraits(records)
    first = next(at for at, record in enumerate(records) if record.subject.startswith("evt."))
    altered = records[first]._replace(data=records[first].data.replace(b"story", b"fable"))
    with pytest.raises(DamagedRecord):
        portraits([*records[:first], altered, *records[first + 1 :]])


def test_the_histories_of_this_contract_know_all_its_types_and_states() -> None:
    types: set[str] = set()
    states: set[str] = set()
    for path in sorted((FOLDER / CONTRACT).glob("*.ndjson")):
        for record in read(path):
            subject = subjects.parse(record.subject)
            decode = decode_schedule_command if subject.beside else decode_command
            if subject.kind == "evt":
                types |= {type_of(event) for event in decode_commit(record.data).data.events}
            else:
                try:
                    types.add(str(type(decode(record.data)).__struct_config__.tag))
                except DamagedRecord:
                    types.add("damaged")
        states |= {
            task["view"]["status"]["state"]
            for aggregate in portraits(read(path)).values()
            for task in aggregate.get("tasks", {}).values()
        }
    known = {str(struct.__struct_config__.tag) for struct in (*EVENTS, *COMMANDS)}
    assert types == known | {"damaged"}
    assert states >= {state for state, after in TRANSITIONS.items() if not after}


def test_every_tale_is_recorded_as_it_is_told() -> None:
    """While the contract is the one they were recorded with, the tales tell the same bytes."""
    for name, tale in TALES.items():
        assert read(FOLDER / CONTRACT / f"{name}.ndjson") == tale().records, name
