"""Families of tokens in the log of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from pelton.events.envelope import digest
from pelton.events.keys import Presented
from pelton.runtime.clock import RealWorld
from pelton.runtime.families import Families, FamilyNotFound, GrantNotGood
from pelton.runtime.jetstream import RELAXED, JetStreamLog

pytestmark = pytest.mark.accepts("AS-36")

ID = "0" * 32
ONE, TWO, THREE = digest(b"one"), digest(b"two"), digest(b"three")


class Later(RealWorld):
    """A world whose wall clock is set ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=60)


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        yield log


@pytest_asyncio.fixture
async def families(log: JetStreamLog) -> Families:
    found = Families(log, world=RealWorld(), tenant="t", actor="cli")
    await found.grant("anna", ["client"], family=ID, hash=ONE, lasts=timedelta(days=1))
    return found


async def test_a_token_that_is_stolen_and_used_ends_the_family(
    families: Families, log: JetStreamLog
) -> None:
    later = Families(log, world=Later(), tenant="t", actor="cli")
    assert (await families.refresh(Presented(ID, ONE), TWO)).principal == "anna"
    assert await families.revoked() == frozenset()
    with pytest.raises(GrantNotGood):
        await later.refresh(Presented(ID, ONE), THREE)
    assert await families.revoked() == {ID}
    with pytest.raises(GrantNotGood):
        await families.refresh(Presented(ID, TWO), THREE)


async def test_an_answer_that_was_lost_can_be_asked_for_again(families: Families) -> None:
    await families.refresh(Presented(ID, ONE), TWO)
    await families.refresh(Presented(ID, ONE), THREE)
    await families.refresh(Presented(ID, THREE), digest(b"four"))
    assert await families.revoked() == frozenset()
    with pytest.raises(GrantNotGood):
        await families.refresh(Presented(ID, TWO), digest(b"five"))
    assert await families.revoked() == {ID}


async def test_a_guess_ends_nothing(families: Families, log: JetStreamLog) -> None:
    before = await log.extent()
    for guess in (Presented(ID, TWO), Presented("1" * 32, ONE)):
        with pytest.raises(GrantNotGood):
            await families.refresh(guess, THREE)
    assert await log.extent() == before


async def test_of_many_at_once_the_log_has_one_after_the_other(families: Families) -> None:
    hashes = [digest(str(number).encode()) for number in range(6)]
    asked = (families.refresh(Presented(ID, ONE), each) for each in hashes)
    await asyncio.gather(*asked)
    [found] = await families.list()
    assert found.hash in hashes
    assert found.spent == {ONE, *hashes} - {found.hash}


async def test_a_family_is_revoked_once_and_only_if_it_is_there(
    families: Families, log: JetStreamLog
) -> None:
    await families.revoke(ID)
    before = await log.extent()
    await families.revoke(ID)
    with pytest.raises(FamilyNotFound):
        await families.revoke("1" * 32)
    assert await log.extent() == before
    with pytest.raises(GrantNotGood):
        await families.refresh(Presented(ID, ONE), TWO)
