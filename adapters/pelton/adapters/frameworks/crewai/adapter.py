"""CrewAI's adapter: a worker whose environment has CrewAI, and whose program makes its steps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.contract import Health
from pelton.adapters.frameworks.worker import WorkerAdapter
from pelton.adapters.frameworks.worker.adapter import GUEST
from pelton.events.retries import Retry


class CrewAIAdapter(WorkerAdapter):
    """What `module:name` names in CrewAI's environment: an agent, a crew, a flow, or its maker.

    `environment` is the folder of that environment, and modules are looked for in `directory`.
    `idempotent` names the tools that are called again without asking a person when a crash has cut
    them off, `ask` those that a person approves each call of. `retry` says how its models are
    asked again when they fail (else by the class of the failure).
    """

    def __init__(
        self,
        reference: str,
        *,
        environment: Path | None = None,
        idempotent: Collection[str] = (),
        ask: Collection[str] = (),
        retry: Retry | None = None,
        directory: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.environment = environment or environments.root(os.environ) / "crewai"
        self._storage: tempfile.TemporaryDirectory[str] | None = None
        path = os.pathsep.join((str(GUEST), str(Path(directory or "").resolve())))
        super().__init__(
            (
                environments.program(self.environment, "python"),
                *("-m", "pelton_crewai", reference),
                *(f"--again={name}" for name in sorted(idempotent)),
                *(f"--ask={name}" for name in sorted(ask)),
            ),
            name="crewai",
            retry=retry,
            directory=directory,
            more={"PYTHONPATH": path, **(more or {})},
        )

    async def start(self) -> None:
        """Start a process, which imports CrewAI and what is named.

        Raises:
            AdapterError: CrewAI is not installed, or what is named is not there.
        """
        self._storage = tempfile.TemporaryDirectory(prefix="pelton-crewai-")
        self.more["CREWAI_STORAGE_DIR"] = self._storage.name
        try:
            await super().start()
        except BaseException:
            self._storage.cleanup()
            raise

    async def health(self) -> Health:
        """Return whether its environment is there, and it was started."""
        found = await environments.look("crewai", self.environment)
        return await super().health() if found.ok else found

    async def stop(self) -> None:
        """End every process, and delete what CrewAI has kept."""
        await super().stop()
        if self._storage is not None:
            self._storage.cleanup()
