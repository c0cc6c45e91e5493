"""Reads metrics as Prometheus does."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

Figures = dict[str, list[tuple[dict[str, str], float]]]


def figures(text: str) -> Figures:
    """Return the values of each name, with their labels."""
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def value(found: Figures, name: str, **labels: str) -> float:
    """Return the sum of what has these labels, 0 if nothing has."""
    return sum(each for known, each in found.get(name, []) if labels.items() <= known.items())


def labels(found: Figures) -> Iterator[tuple[str, str]]:
    """Yield all labels with their values."""
    for samples in found.values():
        for known, _ in samples:
            yield from known.items()
