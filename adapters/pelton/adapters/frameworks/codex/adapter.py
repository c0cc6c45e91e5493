"""The codex command line: what it says and does is recorded as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pelton.adapters.frameworks.acting import ActingAdapter, Client
from pelton.adapters.frameworks.codex.client import CodexClient
from pelton.runtime.model_gateway import ModelRoute

COMMAND: Final = ("codex", "app-server")

_GATEWAY: Final = "pelton"
_SPOKEN: Final = 'wire_api="responses",env_key="OPENAI_API_KEY"'
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

    async def launch(self, route: ModelRoute | None) -> Client:
        """Start a process with a new thread; it reads from no variable where its model is."""
        command, thread = self.command, self.thread
        if route is not None and route.leads_to("openai") and "modelProvider" not in thread:
            told = f'name="{_GATEWAY}",base_url="{route.url("openai")}",{_SPOKEN}'
            command = (*command, "-c", f"model_providers.{_GATEWAY}={{{told}}}")
            thread = {**thread, "modelProvider": _GATEWAY}
        return await CodexClient.open(
            self.processes,
            command,
            more=self.more,
            directory=self.directory,
            home=self.furnished(route),
            route=route,
            thread=thread,
        )
