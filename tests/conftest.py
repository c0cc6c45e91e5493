"""What all tests share: the fixtures of `servers`, and the list of what is proved.

`pytest --accepted` lists which acceptance statements are proved by which tests, and runs none.
"""

from __future__ import annotations

import re

import pytest
import structlog
from hypothesis import Phase, settings

pytest_plugins = ["tests.leftovers", "tests.servers", "tests.cluster"]

# Two cores shared by many: an example that takes long is no failure, a test that does is.
settings.register_profile("pelton", deadline=None, print_blob=True)
settings.register_profile(
    "unshrunk", deadline=None, phases=(Phase.explicit, Phase.generate), database=None
)
settings.load_profile("pelton")

# structlog draws a traceback with all variables, for up to half a second: all else stands still.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

STATEMENT = re.compile(r"(AS-|G|S)([1-9][0-9]?)")
"""AS: acceptance; G: guarantees; S: security."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accepted",
        action="store_true",
        help="list the proved acceptance statements with the tests that prove them, and run none",
    )


def proofs(items: list[pytest.Item]) -> dict[str, list[str]]:
    """Return the tests that prove each statement, in the order of the statements."""
    found: dict[str, list[str]] = {}
    for item in items:
        for marker in item.iter_markers("accepts"):
            for statement in marker.args:
                if not STATEMENT.fullmatch(statement):
                    raise pytest.UsageError(f"{item.nodeid}: no statement is called {statement!r}")
                tests = found.setdefault(statement, [])
                test = item.nodeid.partition("[")[0]
                if test not in tests:
                    tests.append(test)
    return {key: sorted(found[key]) for key in sorted(found, key=_natural)}


def _natural(statement: str) -> tuple[str, int]:
    letters, number = STATEMENT.fullmatch(statement).groups()  # type: ignore[union-attr]
    return letters, int(number)


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[PROOFS] = proofs(session.items)


PROOFS = pytest.StashKey[dict[str, list[str]]]()


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if not session.config.getoption("--accepted") or session.testsfailed:
        return None
    found = session.config.stash[PROOFS]
    print()
    for statement, tests in found.items():
        print(f"{statement:6}", ("\n" + " " * 7).join(tests))
    print(f"{len(found)} statements are proved")
    return True
