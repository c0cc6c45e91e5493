"""Measuring what is ours, without the collector of garbage."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def left_alone() -> Generator[None]:
    """Keep the collector from what there is already: all that the tests before have left behind."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
