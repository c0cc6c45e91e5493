"""How long one tenant waits while another asks ten times what it may: `make bench-fairness`.

Both phases alternate in one run, so that whatever else the machine does is in both.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pelton.adapters.identity.authenticator import Admission
from pelton.adapters.identity.limits import Rate, Rates
from tests.adapters.a2a.world import HEADERS
from tests.adapters.identity.people import Town, key

ROOT: Final = Path(__file__).parents[3]
LIMIT: Final = Rate(25, 40)
"""What a tenant may ask."""
TIMES: Final = 10
"""By how much one of them asks more."""
ADMISSION: Final = Admission(keys=True, anyone=None, rates=Rates(tenant=LIMIT, principal=LIMIT))
_PAUSE: Final = 0.05
_CONNECTIONS: Final = 10


class Waits(NamedTuple):
    """Seconds that the other tenant's requests took, and what the greedy one was answered."""

    alone: Sequence[float]
    beside: Sequence[float]
    statuses: Counter[int]


def p99(seconds: Sequence[float]) -> float:
    """Return the time that ninety-nine of a hundred do not exceed."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[98]


async def measure(place: Town, *, rounds: int, requests: int) -> Waits:
    """Measure a town that has `ADMISSION`: so many requests in each phase of each round."""
    alone: list[float] = []
    beside: list[float] = []
    statuses = Counter[int]()
    for _ in range(rounds):
        alone += await _ask(place, requests)
        async with _greedy(place, statuses):
            beside += await _ask(place, requests)
    return Waits(alone, beside, statuses)


async def _ask(place: Town, requests: int) -> list[float]:
    """Ask as one tenant, at less than it may; return how long each request took."""
    loop = asyncio.get_running_loop()
    found: list[float] = []
    for _ in range(requests):
        began = loop.time()
        answer = await place.ask("GET", "/echo/tasks", "carl")
        found.append(loop.time() - began)
        assert answer.status_code == 200
        await asyncio.sleep(_PAUSE)
    return found


@asynccontextmanager
async def _greedy(place: Town, statuses: Counter[int]) -> AsyncGenerator[None]:
    """Have another tenant ask more than it may, from when it is refused to the end of the block.

    It is a process of its own, so that its work is none of ours.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adapters.identity.fairness", place.url),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"refused\n"
        yield
        async with asyncio.timeout(20):
            said, _ = await process.communicate(b"\n")
        statuses.update({int(code): number for code, number in json.loads(said).items()})
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ask_much(url: str) -> None:
    """Ask ten times what one may until there is a line to read; print what was answered."""
    parts = urlsplit(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in (HEADERS | key("anna")).items())
    asked = f"GET /echo/tasks HTTP/1.1\r\nhost: {parts.netloc}\r\n{head}\r\n".encode()
    statuses = Counter[int]()
    enough = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while not enough.done():
            writer.write(asked)
            answer = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", answer)
            assert size is not None
            await reader.readexactly(int(size[1]))
            status = int(answer.split(maxsplit=2)[1])
            if status == 429 and not statuses[429]:
                print("refused", flush=True)
            statuses[status] += 1
            await asyncio.sleep(_CONNECTIONS / (LIMIT.rate * TIMES))
        writer.close()

    await asyncio.gather(*(ask() for _ in range(_CONNECTIONS)))
    print(json.dumps(statuses))


if __name__ == "__main__":
    asyncio.run(_ask_much(sys.argv[1]))
