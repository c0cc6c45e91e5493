"""The metrics of one process, and what Prometheus reads of them.

Figures are counted here, in a few dictionaries: a request may cost no more than it must, and a part
starts sooner without the client library, which spells them when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from pelton.adapters.telemetry.families import FAMILIES, Family

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Reading = tuple[str, Labels, float]
"""The value of a metric, by its name and its labels."""
Read = Callable[[], Awaitable[Iterable[Reading]]]
"""Looks up what is not counted here, when somebody asks for the metrics."""

_BY_NAME: Final = {family.name: family for family in FAMILIES}
_TENANT: Final = "tenant"


class _Times:
    """How long something took, each time: how often below each bound, and the sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


class Metrics:
    """What a process counts and measures, and where it looks up the rest (`readers`)."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], int] = {}
        self._times: dict[tuple[str, Labels], _Times] = {}
        self.readers: list[Read] = []
        """What is asked for the metrics that are read."""

    def count(self, name: str, *labels: str) -> None:
        """Count something that has happened."""
        key = (name, labels)
        self._counts[key] = self._counts.get(key, 0) + 1

    def took(self, name: str, seconds: float, *labels: str) -> None:
        """Take note of how long something took."""
        key = (name, labels)
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = _Times(_BY_NAME[name].buckets)
        times.add(seconds)

    async def exposition(self, tenant: str | None = None) -> bytes:
        """Return the metrics as Prometheus reads them: all, or only what is a tenant's own."""
        from prometheus_client import generate_latest  # noqa: PLC0415  see the module
        from prometheus_client.process_collector import ProcessCollector  # noqa: PLC0415

        readings = [reading for read in self.readers for reading in await read()]
        found = self._families(readings, tenant)
        if tenant is None:
            found += ProcessCollector(registry=None).collect()
        return generate_latest(_Collected(found))

    def _families(self, readings: Iterable[Reading], tenant: str | None) -> list[Metric]:
        from prometheus_client.core import Metric  # noqa: PLC0415

        made: dict[str, Metric] = {}
        for name, labels, suffix, value, more in self._samples(readings):
            family = _BY_NAME[name]
            named = dict(zip(family.labels, labels, strict=True))
            if tenant is not None and named.get(_TENANT) != tenant:
                continue
            if name not in made:
                made[name] = Metric(name, family.text, family.kind)
            made[name].add_sample(f"{name}{suffix}", named | more, value)
        return list(made.values())

    def _samples(
        self, readings: Iterable[Reading]
    ) -> Iterator[tuple[str, Labels, str, float, dict[str, str]]]:
        """Yield all values: of what metric, under which labels, and what follows its name."""
        for (name, labels), count in self._counts.items():
            yield name, labels, "_total", count, {}
        for name, labels, value in readings:
            yield name, labels, _suffix(_BY_NAME[name]), value, {}
        for (name, labels), times in self._times.items():
            bounds = [*map(str, times.bounds), "+Inf"]
            for bound, count in zip(bounds, accumulate(times.counts), strict=True):
                yield name, labels, "_bucket", count, {"le": bound}
            yield name, labels, "_count", sum(times.counts), {}
            yield name, labels, "_sum", times.sum, {}


def _suffix(family: Family) -> str:
    return "_total" if family.kind == "counter" else ""


class _Collected:
    """Metrics that are collected already, for the library to spell."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
