"""No effects while recorded code runs again: no connection and no process (AS-21).

The functions of steps are not called at all. This is for code that does outside a step what belongs
into one: it is refused, and so the re-run differs there. A thread that such code starts by itself
is out of sight.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar, Final

from pelton.events.errors import PeltonError

_EFFECTS: Final = frozenset(
    {
        *("socket.bind", "socket.connect", "socket.sendto", "socket.getaddrinfo"),
        *(
            "subprocess.Popen",
            "os.exec",
            "os.fork",
            "os.kill",
            "os.posix_spawn",
            "os.spawn",
            "os.system",
        ),
    }
)
"""What Python tells before it does it (PEP 578), and what a re-run may not do."""

_guarded: Final[set[int]] = set()
_hooked: Final[list[bool]] = []


class EffectRefused(PeltonError):
    """Recorded code that runs again wants to have an effect: do it in a step (`turn.step`)."""

    code: ClassVar[str] = "effect-refused"


@contextmanager
def no_effects() -> Generator[None]:
    """Refuse effects in this thread, as long as the context lasts."""
    if not _hooked:  # it cannot be taken away again
        sys.addaudithook(_refuse)
        _hooked.append(True)
    me = threading.get_ident()
    _guarded.add(me)
    try:
        yield
    finally:
        _guarded.discard(me)


def _refuse(event: str, _: object) -> None:
    if event in _EFFECTS and threading.get_ident() in _guarded:
        raise EffectRefused(f"a re-run has no effects, and this is one: {event}")
