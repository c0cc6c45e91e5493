"""A process that has imported pelton and becomes its command line by forking, in milliseconds.

A command that is started this way is a process of its own, with its own directory, environment and
output; only the second of imports is spared. Run as a script: reads jobs and answers with exit
codes, one JSON value a line.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from pelton.adapters.cli import main
from pelton.adapters.cli.startup import release_rich, withhold_rich

IMPORTED: Final = (
    "pelton.adapters.api.shapes",
    "pelton.adapters.cli.app",
    "pelton.adapters.cli.client",
    "pelton.adapters.cli.connect",
    "pelton.adapters.cli.timeline",
    "pelton.projections.read",
    "pelton.runtime.diagnosis",
    "pelton.runtime.jetstream.log",
    "pelton.runtime.memories",
    "pelton.runtime.rebuild",
)
"""What commands import when they run."""


def _become(job: dict[str, Any]) -> NoReturn:
    """Run one command line in this process, and end it."""
    code: object = 99
    try:
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor in (1, 2):
            name = ("stdout", "stderr")[descriptor - 1]
            os.dup2(os.open(job[name], os.O_WRONLY), descriptor)
            raw = open(descriptor, "wb", closefd=False)  # noqa: SIM115
            setattr(sys, name, io.TextIOWrapper(raw, "utf-8", write_through=True))
        main(job["arguments"])
    except SystemExit as error:
        code = error.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1 if code else 0)


def serve() -> None:
    """Fork for each job."""
    withhold_rich()
    for name in IMPORTED:
        importlib.import_module(name)
    release_rich()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _become(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Zygote:
    """Runs commands, one at a time; its process is started by the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        with self._lock, tempfile.TemporaryDirectory() as place:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            pipes = self._process
            assert pipes.stdin is not None
            assert pipes.stdout is not None
            out, err = Path(place, "out"), Path(place, "err")
            out.touch()
            err.touch()
            job = {
                "arguments": list(arguments),
                "cwd": str(cwd),
                "environment": dict(environment),
                "stdout": str(out),
                "stderr": str(err),
            }
            pipes.stdin.write(json.dumps(job) + "\n")
            pipes.stdin.flush()
            code = int(pipes.stdout.readline())
            return subprocess.CompletedProcess(
                list(arguments), code, out.read_text(), err.read_text()
            )

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


if __name__ == "__main__":
    serve()
