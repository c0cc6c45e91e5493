"""What a turn does its work with."""

from __future__ import annotations

from typing import NamedTuple

from pelton.runtime.steps import Steps
from pelton.runtime.waits import Waits


class Tools(NamedTuple):
    """What a turn records its effects with, and waits with."""

    steps: Steps
    waits: Waits
