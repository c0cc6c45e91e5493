"""An agent of the Agent Client Protocol: what it says and does is recorded as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pelton.adapters.frameworks.acp.client import AcpClient
from pelton.adapters.frameworks.acting import ActingAdapter, Client
from pelton.adapters.frameworks.contract import Capability
from pelton.runtime.model_gateway import ModelRoute


class AcpAdapter(ActingAdapter):
    """A command that speaks ACP on its standard input and output; see `ActingAdapter`.

    `auth` is the way to authenticate, by the id that the agent knows it by. `usage` says whether
    it tells what its model takes.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str = "acp",
        auth: str = "",
        usage: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(command, name=name, **more)
        self.auth = auth
        if not usage:
            self.capabilities -= {Capability.USAGE}

    async def launch(self, route: ModelRoute | None) -> Client:
        """Start a process with a new session."""
        return await AcpClient.open(
            self.processes,
            self.command,
            more=self.more,
            directory=self.directory,
            home=self.furnished(route),
            route=route,
            auth=self.auth,
        )
