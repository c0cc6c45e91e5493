"""`pelton demo` tells the truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pelton.adapters.cli import demo
from tests.acceptance.running import pelton_itself

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    not Path(demo.__file__).is_relative_to(ROOT),
    reason="pelton is installed here, as in the image: its demo is in the repository",
)
@pytest.mark.accepts("AS-11", "AS-20", "AS-48")
def test_the_demo_holds_what_it_promises_and_cleans_up(tmp_path: Path) -> None:
    done = pelton_itself("demo", "--json", cwd=tmp_path, within=55, TMPDIR=str(tmp_path))
    found = json.loads(done.stdout)
    assert found["ok"], (found, done.stderr)
    assert done.returncode == 0
    assert len(found["checks"]) == 5
    print(f"{found['seconds']} s")
    assert list(tmp_path.iterdir()) == []
