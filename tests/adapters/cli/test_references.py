"""What names an agent, and where its file is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pelton.adapters.cli.references import placed
from pelton.adapters.cli.rerun import beside


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("team.py", "/here/team.py"),
        ("sub/team.py:boss", "/here/sub/team.py:boss"),
        ("/there/team.py:boss", "/there/team.py:boss"),
        ("sub/agent.toml", "/here/sub/agent.toml"),
        ("team:boss", "team:boss"),
        ("boss", "boss"),
        ("cli:./shout.py", "cli:./shout.py"),
        ("model:openai/gpt-5", "model:openai/gpt-5"),
    ],
)
def test_what_leads_to_a_file_leads_there_from_everywhere(reference: str, expected: str) -> None:
    assert placed(reference, Path("/here")) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("team.py:boss", "str(HERE / '../team.py') + ':boss'"),
        ("agent.toml", "str(HERE / '../agent.toml')"),
        ("team:boss", "'team:boss'"),
    ],
)
def test_a_saved_test_finds_the_file_beside_it(reference: str, expected: str) -> None:
    assert beside(Path("tests"), reference) == expected
