"""Recall by meaning: a function turns texts into vectors, and the nearest ones are looked for.

The search is exact: one product of a matrix with a vector, about a tenth of a second for a hundred
thousand memories of some hundred numbers each, which take 4 bytes a number. With millions, an index
of approximate neighbours (HNSW) belongs in the place of `Nearness`, and nothing else changes.
Needs numpy, which is the extra `semantic`: this module is imported only where a function is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from pelton.events.errors import PeltonError
from pelton.projections.memories import Memories, MemoryQuery

Vectors = NDArray[np.float32]
Embed = Callable[[list[str]], Any]
"""From n texts to an array of n rows of float32, all of one length, equal for equal texts. It is
called in a thread, one call at a time, and may take its time."""

NEAREST: Final = 100
"""So many memories of all that may be recalled are near: what is farther is found by its words."""

_BATCH: Final = 64


class EmbeddingFailed(PeltonError):
    """The function of `memory.embed` failed or returned no vectors: mend it, or take it away."""

    code: ClassVar[str] = "embedding-failed"


class Nearness:
    """Knows the vectors of the memories of one copy: each is made once for what a memory says."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._lock = asyncio.Lock()
        self._rows: dict[int, tuple[int, int]] = {}
        self._matrix: Vectors = np.empty((0, 0), np.float32)

    async def nearest(self, memories: Memories, query: MemoryQuery) -> list[int]:
        """Return the numbers of the memories nearest to a query, the nearest first.

        What is not known yet is made vectors of first; whoever waits no longer has not lost what
        was made until then.

        Raises:
            EmbeddingFailed: the function has failed.
        """
        async with self._lock:
            eligible = await memories.eligible(query)
            fresh = [number for number, updated in eligible if not self._knows(number, updated)]
            for start in range(0, len(fresh), _BATCH):
                said = await memories.said(fresh[start : start + _BATCH])
                vectors = await self._vectors([content for *_, content in said])
                for (number, updated, _), vector in zip(said, vectors, strict=True):
                    self._put(number, updated, vector)
            if not eligible:
                return []
            [asked] = await self._vectors([query.text])
            numbers = [number for number, _ in eligible]
            return await asyncio.to_thread(self._ranked, numbers, asked)

    def _ranked(self, numbers: Sequence[int], asked: Vectors) -> list[int]:
        likeness = (self._matrix @ asked)[[self._rows[number][1] for number in numbers]]
        places = np.argsort(-likeness, kind="stable")[:NEAREST]
        return [numbers[place] for place in places]

    def _knows(self, number: int, updated: int) -> bool:
        return self._rows.get(number, (0, 0))[0] == updated

    def _put(self, number: int, updated: int, vector: Vectors) -> None:
        row = self._rows.get(number, (0, len(self._rows)))[1]
        if row == len(self._matrix):  # grows by doubling: no row is copied often
            grown = np.zeros((max(_BATCH, 2 * row), len(vector)), np.float32)
            if row:
                grown[:row] = self._matrix
            self._matrix = grown
        self._matrix[row] = vector
        self._rows[number] = (updated, row)

    async def _vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, each of length 1."""
        try:
            made = await asyncio.to_thread(self._embed, list(texts))
            found = np.asarray(made, dtype=np.float32)
        except Exception as error:
            raise EmbeddingFailed(f"{type(error).__name__}: {error}") from error
        width = self._matrix.shape[1] or (found.shape[-1] if found.ndim else 0)
        if found.shape != (len(texts), width) or not np.isfinite(found).all():
            raise EmbeddingFailed(
                f"of {len(texts)} texts it made an array of {found.shape}, not of finite numbers in"
                f" {len(texts)} rows of {width}"
            )
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.where(length == 0, 1, length), np.float32)
