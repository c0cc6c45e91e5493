"""Kills groups of processes when whoever started them is gone: a program of its own.

It reads lines on standard input, `+PGID` for a group that has begun and `-PGID` for one that has
ended. When the input ends, its writer has stopped or was killed: what is left is killed. It needs
the standard library alone, so that it starts in a few milliseconds.
"""

import contextlib
import os
import signal
import sys

MARK = "PELTON_GROUP"
"""The variable by which a process knows, and hands on, the group that it was started in."""


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
        kill(group)


def kill(group: int) -> None:
    """Kill a group, and what has left it for one of its own, as far as /proc tells."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: what is ending
        os.killpg(group, signal.SIGKILL)
    mark = f"{MARK}={group}".encode()
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():  # noqa: PTH112, PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                    if mark in file.read().split(b"\0"):
                        os.kill(int(name), signal.SIGKILL)
            except OSError:
                continue  # it has ended meanwhile, or is somebody else's


if __name__ == "__main__":
    main()
