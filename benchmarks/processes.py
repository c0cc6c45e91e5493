"""Starting what is measured, and reading from `/proc` what it costs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_TICK: Final = os.sysconf("SC_CLK_TCK")
_READY: Final = 30.0  # seconds that a server has to be ready


class Service:
    """A running server with all its child processes."""

    def __init__(self, name: str, url: str, process: subprocess.Popen[bytes]) -> None:
        self.name, self.url, self._process = name, url, process
        self.key = ""
        """The API key that it wants, if it wants one."""

    def _tree(self) -> list[int]:
        """Return the ids of the process and of all below it."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # it may have ended meanwhile
                    after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                    children.setdefault(int(after_name[1]), []).append(int(entry.name))
        found: list[int] = []
        waiting = [self._process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += children.get(pid, [])
        return found

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used so far."""
        total = 0
        for pid in self._tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICK

    def memory(self, part: str = "") -> float:
        """Return its resident memory in MiB; with `part`, that of the process named so alone."""
        pages = sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            for pid in self._tree()
            if part in Path(f"/proc/{pid}/cmdline").read_text().split("\0") or not part
        )
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def _service(
    name: str, url: str, ready: str, arguments: list[str], **settings: str
) -> Generator[Service]:
    """Run a server until the block ends; it is ready when `ready` answers."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + _READY
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} did not start: run {' '.join(arguments)} to see why")
            time.sleep(0.05)
        yield Service(name, url, process)
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310  our own address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def sdk(module: str = "benchmarks.sdk_server") -> Generator[Service]:
    """Run the official SDK's server."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    card = f"{url}.well-known/agent-card.json"
    with _service("a2a-sdk, in memory", url, card, ["-m", module, str(port)]) as it:
        yield it


_CLI: Final = ["-m", "pelton.adapters.cli"]
_KEYS: Final = {
    "PELTON_AUTH_ACCEPT": "keys",
    "PELTON_LIMITS_PRINCIPAL_RATE": "1000000",
    "PELTON_LIMITS_PRINCIPAL_BURST": "1000000",
    "PELTON_LIMITS_TENANT_RATE": "1000000",
    "PELTON_LIMITS_TENANT_BURST": "1000000",
}
"""Settings that want an API key with every request, and count requests without ever refusing."""


@contextlib.contextmanager
def pelton(
    profile: str, *, keys: bool = False, agent: str = "echo", file: str = "echo.py"
) -> Generator[Service]:
    """Run pelton as a user does, with an empty log of that durability profile.

    With `keys`, each request has to show an API key.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}/{agent}/"
    name = f"pelton {profile}, API key" if keys else f"pelton {profile}"
    with tempfile.TemporaryDirectory(prefix="pelton-bench-") as data:
        arguments = [*_CLI, "dev", f"benchmarks/{file}"]
        arguments += ["--http", f"127.0.0.1:{port}", "--data", data, "--profile", profile]
        ready = f"http://127.0.0.1:{port}/readyz"
        with _service(name, url, ready, arguments, **(_KEYS if keys else {})) as it:
            if keys:
                it.key = _new_key(data)
            yield it


def _new_key(data: str) -> str:
    """Have a key made in the log of a running pelton."""
    command = [sys.executable, *_CLI, "keys", "create", "bench", "--data", data, "--json"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    return str(json.loads(made)["key"])
