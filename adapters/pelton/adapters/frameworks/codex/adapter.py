"""The codex command line: what it says and does is recorded as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pelton.adapters.frameworks.acting import ActingAdapter, Client
from pelton.adapters.frameworks.codex.client import CodexClient

COMMAND: Final = ("codex", "app-server")

_SAFE: Final = {
    "approvalPolicy": "untrusted",
    "approvalsReviewer": "user",
    "sandbox": "workspace-write",
}
"""A thread that asks whatever it can be made to ask."""


class CodexAdapter(ActingAdapter):
    """`codex app-server`; see `ActingAdapter`.

    `thread` goes into `thread/start`: `model`, `sandbox`, `approvalPolicy`, `config`… Without these
    two it asks before each command and each change of a file, and may write below its directory.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        name: str = "codex",
        thread: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(command, name=name, **more)
        self.thread = {**_SAFE, **(thread or {})}
        self.more = {"CODEX_HOME": "{home}", **self.more} if self.home is not None else self.more

    async def launch(self) -> Client:
        """Start a process with a new thread."""
        return await CodexClient.open(
            self.processes,
            self.command,
            more=self.more,
            directory=self.directory,
            home=self.home,
            thread=self.thread,
        )
