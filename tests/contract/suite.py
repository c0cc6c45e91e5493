"""All tests of the contract, for worlds that are too dear to be a parameter of `drive`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Final

from tests.contract import test_log, test_log_bells, test_log_live
from tests.contract.worlds import Drive

Test = Callable[[Drive], None]

TESTS: Final[Mapping[str, Test]] = {
    name: test
    for module in (test_log, test_log_bells, test_log_live)
    for name, test in vars(module).items()
    if name.startswith("test_")
}


def kills(test: Test) -> bool:
    """Whether a test of the contract kills the server."""
    body = inspect.getclosurevars(test).nonlocals["body"]
    return "kill_server" in body.__code__.co_names
