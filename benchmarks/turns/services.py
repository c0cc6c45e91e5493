"""Starting what is measured: pelton, DBOS on SQLite, Restate, each as its users run it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT, free_port

ENVIRONMENTS: Final = ROOT / "build" / "bench-turns"
DBOS: Final = "dbos==3.4.0"
RESTATE: Final = ("restate-sdk==1.3.0", "hypercorn==0.18.0")
RESTATE_SERVER: Final = "@restatedev/restate-server@1.7.12"
_READY: Final = 60.0


class Target:
    """A system that runs: its name, and where and how it is asked."""

    def __init__(self, name: str, url: str, kind: str) -> None:
        self.name, self.url, self.kind = name, url, kind


def sync_time() -> float:
    """Return how long it takes here to append a record to a file and sync it: the median, in ms."""
    found: list[float] = []
    with tempfile.NamedTemporaryFile(prefix="bench-turns-") as file:
        for _ in range(200):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(1024))
            os.fsync(file.fileno())
            found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def prepare() -> list[str]:
    """Make the environments of the others, once; return what cannot be had, each with the reason.

    They come from the registries that pip and npm are set to use.
    """
    missing: list[str] = []
    for name, packages in (("dbos", (DBOS, "uvicorn")), ("restate", RESTATE)):
        try:
            _environment(name, packages)
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(f"{name}: its packages cannot be installed ({type(error).__name__})")
    try:
        _server()
    except (OSError, subprocess.CalledProcessError) as error:
        missing.append(f"restate: its server cannot be installed ({type(error).__name__})")
    return missing


def _environment(name: str, packages: tuple[str, ...]) -> None:
    place = ENVIRONMENTS / name
    if not (place / ".ready").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        venv = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)]
        subprocess.run(venv, check=True)
        python = str(place / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
        (place / ".ready").touch()


def _server() -> Path:
    found = [*ENVIRONMENTS.glob("node/node_modules/@restatedev/restate-server-*/bin/*")]
    if not found:
        place = ENVIRONMENTS / "node"
        place.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("npm")
        arguments = [npm, "install", "--silent", "--ignore-scripts", "--no-save", RESTATE_SERVER]
        subprocess.run(arguments, cwd=place, check=True, capture_output=True)
        found = [*ENVIRONMENTS.glob("node/node_modules/@restatedev/restate-server-*/bin/*")]
    if not found:
        raise FileNotFoundError(RESTATE_SERVER)
    return found[0]


@contextlib.contextmanager
def _process(
    arguments: list[str], ready: Callable[[], bool], **environment: str
) -> Generator[None]:
    """Run a process until the block ends; it is ready when `ready` says so."""
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + _READY
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"it did not start: run {' '.join(arguments)} to see why")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _asked(url: str, body: object = None) -> bool:
    """Return whether a request gets an answer of the class 2xx."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  our own address
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def pelton(profile: str) -> Generator[Target]:
    """Run pelton with an empty log of a durability profile."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-turns-") as data:
        arguments = ["-m", "pelton.adapters.cli", "dev", "benchmarks/turns/three.py:three"]
        arguments += ["--http", f"127.0.0.1:{port}", "--data", data, "--profile", profile]
        ready = f"http://127.0.0.1:{port}/readyz"
        with _process([sys.executable, *arguments], lambda: _asked(ready)):
            yield Target(f"pelton {profile}", f"http://127.0.0.1:{port}/three/", "a2a")


@contextlib.contextmanager
def dbos() -> Generator[Target]:
    """Run DBOS on an empty SQLite database."""
    url = f"http://127.0.0.1:{(port := free_port())}/"
    with tempfile.TemporaryDirectory(prefix="bench-turns-") as data:
        python = str(ENVIRONMENTS / "dbos" / "bin" / "python")
        arguments = ["-m", "benchmarks.turns.dbos_server", f"{data}/dbos.sqlite", str(port)]
        with _process([python, *arguments], lambda: _asked(url, "x")):
            yield Target("DBOS, SQLite", url, "text")


@contextlib.contextmanager
def restate() -> Generator[Target]:
    """Run a Restate server on an empty directory, and a service with its SDK."""
    ingress, admin, node, sdk = (free_port() for _ in range(4))
    python = str(ENVIRONMENTS / "restate" / "bin" / "python")
    with tempfile.TemporaryDirectory(prefix="bench-turns-") as data, contextlib.ExitStack() as all_:
        all_.enter_context(
            _process(
                [str(_server())],
                lambda: _asked(f"http://127.0.0.1:{admin}/health"),
                RESTATE_BASE_DIR=data,
                RESTATE_BIND_ADDRESS=f"127.0.0.1:{node}",
                RESTATE_ADVERTISED_ADDRESS=f"http://127.0.0.1:{node}",
                RESTATE_INGRESS__BIND_ADDRESS=f"127.0.0.1:{ingress}",
                RESTATE_ADMIN__BIND_ADDRESS=f"127.0.0.1:{admin}",
                RESTATE_LOG_FILTER="error",
                DO_NOT_TRACK="1",
            )
        )
        deployment = {"uri": f"http://127.0.0.1:{sdk}", "force": True}
        all_.enter_context(
            _process(
                [python, "-m", "benchmarks.turns.restate_server", str(sdk)],
                lambda: _asked(f"http://127.0.0.1:{admin}/deployments", deployment),
            )
        )
        url = f"http://127.0.0.1:{ingress}/three/run"
        until = time.monotonic() + _READY
        while not _asked(url, "x"):
            if time.monotonic() > until:
                raise RuntimeError("Restate does not run its service")
            time.sleep(0.1)
        yield Target("Restate", url, "text")
