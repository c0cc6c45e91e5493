"""The commands of the acceptance tests run in one process that ends with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.running import zygote


@pytest.fixture(scope="session", autouse=True)
def run_in_a_zygote() -> Iterator[None]:
    yield
    zygote.close()
