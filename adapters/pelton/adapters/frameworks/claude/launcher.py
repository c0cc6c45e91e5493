"""Runs the program of the SDK in a group of its own that ends with this executor.

`launcher.py PROGRAM ARGUMENT…`; `PELTON_TOLD` names the file in which it leaves its group's id,
`PELTON_HIDE` the variables that the program does not get to see. The standard library alone, so
that it starts in a few milliseconds.
"""

import ctypes
import os
import signal
import sys


def main() -> None:
    """Become the program."""
    os.setsid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # until the reaper knows the group
    with open(os.environ["PELTON_TOLD"], "w") as file:  # noqa: PTH123  pathlib takes its time
        file.write(str(os.getpid()))
    for name in os.environ["PELTON_HIDE"].split(","):
        os.environ.pop(name, None)
    for name in [name for name in os.environ if name.startswith("PELTON_")]:
        if name != "PELTON_CONTEXT":
            del os.environ[name]
    os.environ["PELTON_GROUP"] = str(os.getpid())  # see `reaper`
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  there is no shell


if __name__ == "__main__":
    main()
