"""Kills groups of processes when whoever started them is gone: a program of its own.

It reads lines on standard input, `+PGID` for a group that has begun and `-PGID` for one that has
ended. When the input ends, its writer has stopped or was killed: what is left is killed. It needs
the standard library alone, so that it starts in a few milliseconds.
"""

import os
import signal
import sys


def main() -> None:
    """Read until the end, and kill what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its writer, and not before
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
