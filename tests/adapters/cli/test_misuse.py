"""Command lines that are wrong, and how that is said."""

from __future__ import annotations

import pytest

from pelton.adapters.cli.app import app, run
from pelton.adapters.cli.output import USAGE

GROUPS = [
    each.name for each in app.registered_groups if not each.typer_instance.info.invoke_without_command
]


@pytest.mark.parametrize("group", [name for name in GROUPS if name])
def test_a_group_without_a_command_says_what_there_is(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([group]) == USAGE
    said, wrong = capsys.readouterr()
    assert said.startswith(f"Usage: pelton {group} ")
    assert "Commands:" in said
    assert wrong == ""
