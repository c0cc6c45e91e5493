"""Command lines that are wrong, and how that is said."""

from __future__ import annotations

import pytest

from pelton.adapters.cli.app import app, run
from pelton.adapters.cli.output import USAGE, CommandFailed
from pelton.adapters.cli.policies import named, policy
from pelton.events.errors import InvalidInput
from pelton.runtime.jetstream.wire import check_pattern

GROUPS = [
    each.name
    for each in app.registered_groups
    if each.typer_instance and not each.typer_instance.info.invoke_without_command
]


@pytest.mark.parametrize("group", [name for name in GROUPS if name])
def test_a_group_without_a_command_says_what_there_is(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([group]) == USAGE
    said, wrong = capsys.readouterr()
    assert said.startswith(f"Usage: pelton {group} ")
    assert "Commands:" in said
    assert wrong == f"pelton: Missing command: see pelton {group} --help\n"


def test_what_is_otherwise_in_a_fork_is_written_with_an_equals_sign() -> None:
    with pytest.raises(CommandFailed, match="write STEP=POLICY"):
        policy(tool=["mail"])
    with pytest.raises(CommandFailed, match="a text stands in quotes"):
        named(["mail=sent"], "stub")
    assert named(['mail="sent"'], "stub") == {"mail": "sent"}


@pytest.mark.parametrize("pattern", ["*.a b.>", "*..>", "evt.>.x", ""])
def test_a_pattern_that_is_none_is_told_as_it_was_written(pattern: str) -> None:
    with pytest.raises(InvalidInput) as told:
        check_pattern(pattern)
    assert str(told.value) == f"{pattern!r} is no pattern of subjects"
