"""An event loop for code that runs again: on virtual time, and without threads or connections."""

from __future__ import annotations

from typing import NoReturn

from pelton.runtime.replay.guard import EffectRefused
from pelton.runtime.simulation.loop import VirtualLoop


class StillLoop(VirtualLoop):
    """A virtual loop that refuses what belongs into a step."""

    def create_connection(self, *_: object, **__: object) -> NoReturn:
        """Refuse: it is an effect."""
        raise EffectRefused("a re-run connects to nothing: do it in a step")

    def run_in_executor(self, executor: object, func: object, *args: object) -> NoReturn:
        """Refuse: what a thread does is an effect."""
        del executor, func, args
        raise EffectRefused("a re-run uses no thread: do it in a step")
