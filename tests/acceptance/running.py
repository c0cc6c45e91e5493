"""`pelton` as its users meet it: processes, files, exit codes, HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.acceptance.zygote import Zygote

PELTON = [sys.executable, "-m", "pelton.adapters.cli"]
WITHIN = 30.0

WORKER = '''\
import os
import time

from pelton.runtime import Turn, agent


def effect(text: str) -> str:
    time.sleep(float(os.environ.get("STEP_SECONDS", "0.02")))
    with open(os.environ["EFFECTS"], "a") as file:
        file.write(text + "\\n")
    return text + " "


@agent
async def worker(turn: Turn) -> str:
    """Does two steps and streams a piece after each."""
    for part in ("first", "second"):
        await turn.stream(await turn.step(part, effect, f"{turn.text}-{part}", idempotent=True))
    return f"{turn.text}, after {len(turn.history)} messages"
'''

T = TypeVar("T")


def environment(**more: str) -> dict[str, str]:
    """Return our environment without settings of pelton's."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PELTON_")}
    return {**clean, **more}


zygote = Zygote()


def pelton(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; see `zygote`."""
    return zygote.run(arguments, cwd=cwd, environment=environment(**variables))


def pelton_itself(
    *arguments: str, cwd: Path, within: float = WITHIN, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a shell would."""
    return subprocess.run(
        [*PELTON, *arguments],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def eventually(what: Callable[[], T | None], within: float = WITHIN) -> T:
    """Return the first truth that `what` tells."""
    until = time.monotonic() + within
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < until, f"not within {within} s: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def get(url: str, within: float = 5.0) -> tuple[int, Any]:
    """Return the status and the JSON of a GET; 0 if nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=within) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, None


def ask(url: str, method: str, params: dict[str, Any], within: float = WITHIN) -> Any:
    """Return the result of a JSON-RPC call.

    Raises:
        OSError: there is no answer.
        RuntimeError: the answer is an error.
    """
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "A2A-Version": "1.0"},
    )
    with urllib.request.urlopen(request, timeout=within) as answer:
        found = json.load(answer)
    if "error" in found:
        raise RuntimeError(found["error"])
    return found["result"]


def message(text: str, **more: str) -> dict[str, Any]:
    """Return a message of a user whose id is its text."""
    return {"message": {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}], **more}}


class Dev:
    """A running `pelton dev` in a directory, with the agent `worker`; `with Dev(…) as dev`."""

    def __init__(
        self,
        cwd: Path,
        *arguments: str,
        agents: Sequence[str] = ("worker.py",),
        **variables: str,
    ) -> None:
        self.cwd = cwd
        self.lines: list[str] = []
        self.effects = cwd / "effects.txt"
        self._arguments, self._variables = (*agents, *arguments), variables

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print("\n".join(self.lines))
        self.kill()

    def start(self) -> None:
        """Start it, without waiting."""
        (self.cwd / "worker.py").write_text(WORKER)
        self.effects.touch()
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*PELTON, "dev", *self._arguments, "--http", "127.0.0.1:0"],
            cwd=self.cwd,
            env=environment(EFFECTS=str(self.effects), **self._variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip("\n"))

    def said(self, text: str) -> bool:
        """Return whether it has printed a line that holds a text."""
        return any(text in line for line in tuple(self.lines))

    def ready(self) -> Self:
        """Wait until it is ready; `url` is the bridge's."""

        def look() -> str | None:
            assert self.process.poll() is None, "\n".join(self.lines)
            urls = [line[6:] for line in tuple(self.lines) if line.startswith("ready ")]
            return urls[0] if urls else None

        self.url = eventually(look)
        self.seconds = time.monotonic() - self.began
        return self

    @property
    def file(self) -> dict[str, Any]:
        """What `dev.json` says."""
        found: dict[str, Any] = json.loads((self.cwd / ".pelton" / "dev.json").read_bytes())
        return found

    def pids(self) -> dict[str, int]:
        """Return the processes of the parts, by name."""
        return {each["name"]: each["pid"] for each in self.file["processes"]}

    def strike(self, name: str) -> int:
        """Kill a part, and return the process that it was."""
        pid = self.pids()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def await_restart(self, name: str, before: int) -> None:
        """Wait until a part that was another process is ready again."""
        eventually(lambda: self.pids().get(name, before) != before)

    def await_line(self, text: str) -> None:
        """Wait until it prints a line that holds a text."""
        eventually(lambda: self.said(text))

    def state(self, task: str) -> str:
        """Return the state of a task, as the bridge shows it."""
        state: str = ask(f"{self.url}/worker", "GetTask", {"id": task})["status"]["state"]
        return state.removeprefix("TASK_STATE_")

    def await_state(self, task: str, state: str) -> None:
        """Wait until a task is in a state."""
        eventually(lambda: self.state(task) == state)

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = WITHIN) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(number)
        return self.end(within)

    def end(self, within: float = WITHIN) -> int:
        """Wait for its end, and return its exit code."""
        code = self.process.wait(within)
        self._reader.join(within)
        return code

    def kill(self) -> None:
        """End it at once; its children end with it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.end()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in its directory."""
        return pelton(*arguments, cwd=self.cwd)

    def json(self, *arguments: str) -> Any:
        """Run a command that succeeds, and return what it prints as JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
