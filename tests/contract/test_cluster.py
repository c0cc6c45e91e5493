"""The contract, proved against a cluster of three; what kills all three takes an election each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.cluster import Cluster
from tests.contract.jetstream_log import cluster_world
from tests.contract.suite import TESTS, Test, kills
from tests.contract.worlds import Body


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "test",
    [
        pytest.param(test, id=name, marks=[pytest.mark.slow] if kills(test) else [])
        for name, test in TESTS.items()
    ],
)
def test_on_a_cluster(test: Test, shared_cluster: Cluster, cluster_accounts: Iterator[int]) -> None:
    def drive(body: Body, _: bool) -> None:
        async def main() -> None:
            async with cluster_world(shared_cluster, next(cluster_accounts)) as world:
                await body(world)

        asyncio.run(main())

    test(drive)


def test_some_tests_kill_and_some_do_not() -> None:
    assert 5 <= sum(map(kills, TESTS.values())) <= 15
