"""Each guard is needed: without it a named test fails (reliability is shown, not believed).

A small patch takes one guard away, in a copy of the sources. The same test passes on the sources as
they are: it is one of this suite.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("events", "projections", "runtime", "adapters", "tests", "schemas", "examples", "docs")
SOURCES = ("events", "projections", "runtime", "adapters")


class Mutant(NamedTuple):
    """A guard taken away: what a file says with it and without it, and the test that misses it.

    `says` is part of what the failing test says: it fails for that reason and no other.
    """

    path: str
    guard: str
    without: str
    test: str
    says: str


OPTIONS = ("-p", "no:cacheprovider", "--hypothesis-profile=unshrunk")
"""That it fails is enough: no smaller example is looked for."""

SIMULATION = "tests/simulation/test_scenarios.py::test_the_guarantees_hold"
TENANCY = "tests/adapters/identity/test_tenancy.py"

MUTANTS = {
    "the fence: appends expect what was seen": Mutant(
        "runtime/pelton/runtime/writer.py",
        "id=id_, expect=head)",
        "id=id_, expect=None)",
        SIMULATION,
        "Violation",
    ),
    "the position in the transaction of what it counts": Mutant(
        "projections/pelton/projections/write.py",
        "        if self.shown:\n            shown =",
        '        database.execute("COMMIT")\n        database.execute("BEGIN IMMEDIATE")\n'
        "        if self.shown:\n            shown =",
        "tests/projections/test_store.py::test_a_crash_between_any_two_statements_changes_nothing",
        "AssertionError",
    ),
    "the id of a delegated command follows from its event": Mutant(
        "runtime/pelton/runtime/handing_on.py",
        'command_id = derive("delegate", own, number, key)',
        'command_id = derive("delegate", own, self.recorder.now(), key)',
        SIMULATION,
        "AS-10: another command than was recorded",
    ),
    "a command that has been decided is known by its id": Mutant(
        "events/pelton/events/decide.py",
        "    if command.id in context.commands:\n        return ()\n",
        "",
        "tests/simulation/test_regression.py::test_a_message_that_comes_twice_disturbs_no_turn",
        "a task was submitted twice",
    ),
    "the intent is stored before the effect": Mutant(
        "runtime/pelton/runtime/steps.py",
        "await self._recorder.flush()  # it is stored before the effect",
        "pass",
        "tests/simulation/test_regression.py::"
        "test_the_intent_of_a_step_is_in_the_log_before_its_effect",
        "AssertionError",
    ),
    "the bridge looks whose a task is": Mutant(
        "adapters/pelton/adapters/a2a/engine.py",
        "if task is None or task.answer is not None or not reached:",
        "if task is None or task.answer is not None:",
        f"{TENANCY}::test_what_another_has_opened_is_not_there",
        "AssertionError: ('bert', Ask(",
    ),
    "whoever decides a command looks whose its context is": Mutant(
        "events/pelton/events/decide.py",
        "        check_reach(context, command)\n",
        "",
        f"{TENANCY}::test_the_executor_refuses_what_no_bridge_has_refused",
        "KeyError",
    ),
    "a list is of ones own tasks in the query": Mutant(
        "projections/pelton/projections/read.py",
        '("t.owner = :owner", owner),',
        '("t.owner = :owner", None),',
        f"{TENANCY}::test_lists_and_their_cursors_are_ones_own",
        "AssertionError",
    ),
    "a read of the read models is of ones own task": Mutant(
        "projections/pelton/projections/read.py",
        "        if owner is not None:\n",
        "        if owner is not None and not owner:\n",
        "tests/adapters/identity/test_isolation.py::test_nobody_finds_a_word_of_what_is_not_theirs",
        "'anna'",
    ),
    "durable is synced before it is acknowledged": Mutant(
        "runtime/pelton/runtime/jetstream/profiles.py",
        'name="durable",\n    sync=ALWAYS',
        'name="durable",\n    sync="2m"',
        "tests/runtime/test_server.py::test_monitoring_is_on_loopback_and_only_when_asked_for",
        "sync_always",
    ),
}


@pytest.mark.timeout(180)
@pytest.mark.accepts("G2", "G4", "G5", "G6", "G8", "AS-3")
@pytest.mark.parametrize("name", MUTANTS)
def test_without_a_guard_a_test_fails(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "mutation", "node_modules")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / mutant.path
    text = path.read_text()
    assert text.count(mutant.guard) == 1, f"{mutant.path} has changed: let the mutant follow"
    path.write_text(text.replace(mutant.guard, mutant.without))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n0", *OPTIONS, mutant.test],
        cwd=tmp_path,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
            "PYTHONPATH": os.pathsep.join(str(tmp_path / source) for source in SOURCES),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, f"{mutant.test} passes without it:\n{done.stdout}{done.stderr}"
    assert "1 failed" in done.stdout
    assert mutant.says in done.stdout, done.stdout
