"""The model gateway as a turn sees it: where its agent's calls of models go (`docs/gateway.md`).

What is behind it is an adapter. Here is what the adapters of agents need of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pelton.events.turns import Step
from pelton.runtime.bulk import Blobs
from pelton.runtime.failures import AgentError
from pelton.runtime.recorder import Recorder

if TYPE_CHECKING:
    from pelton.runtime.turn import Turn


class ModelDoor(Protocol):
    """Where a process asks its models, from its start on: it leads on while a route is open.

    `token` is what it shows in the place of a provider's key, and what opens the route.
    """

    @property
    def token(self) -> str:
        """What a client of it has in the place of a key."""
        ...

    def leads_to(self, provider: str) -> bool:
        """Whether there is a way to a provider; else its clients ask it by themselves."""
        ...

    def url(self, provider: str) -> str:
        """Return the base URL of a provider: `anthropic`, `openai` or `gemini`.

        Clients add to it what they add to that of the provider itself.

        Raises:
            InvalidInput: there is no such provider.
        """
        ...

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return an environment that leads an agent's process here, and has no provider's key."""
        ...


class ModelRoute(ModelDoor, Protocol):
    """The way to models of one attempt of a turn, while its agent runs.

    `failure` is why its last call came to nothing, if it did: it says better what has become of an
    agent than that does.
    """

    @property
    def failure(self) -> AgentError | None:
        """Why its last call came to nothing."""
        ...

    @property
    def asked(self) -> bool:
        """Whether anything was asked through it, so that what that took is counted."""
        ...


class ModelGateway(Protocol):
    """What an executor has, if its agents' calls of models are to go through it."""

    async def door(self) -> ModelDoor:
        """Return where a process is to ask its models that is started before it has a turn."""
        ...

    def route(
        self, models: Models, *, anew: bool, token: str
    ) -> AbstractAsyncContextManager[ModelRoute]:
        """Open a way to models; see `Models.route`."""
        ...


def opened(
    turn: Turn, *, anew: bool, token: str = ""
) -> AbstractAsyncContextManager[ModelRoute | None]:
    """Open the way to models of a turn; see `Models.route`. None if its executor has no gateway."""
    return nullcontext() if turn.models is None else turn.models.route(anew=anew, token=token)


class Models(NamedTuple):
    """What an attempt of a turn has as `Turn.models`; `blobs` is where bulk of it goes."""

    gateway: ModelGateway
    turn: Turn
    recorder: Recorder
    blobs: Blobs

    def route(
        self, *, anew: bool = False, token: str = ""
    ) -> AbstractAsyncContextManager[ModelRoute]:
        """Open the way to models, as long as the context lasts.

        Within a step its calls are steps within that one, and `anew` says that the agent does all
        of it again on a later attempt, so that its calls come in the order of those that are
        recorded. Elsewhere they are steps beside the agent's own, which a later attempt need not
        ask for. A process that lives on has the `token` of an earlier route, which opens this one:
        it leads nowhere while no route is open.
        """
        return self.gateway.route(self, anew=anew, token=token)

    @property
    def recorded(self) -> Mapping[str, Step]:
        """The steps of the turn as the log has them, by their keys."""
        turn = self.recorder.turn
        return turn.steps if turn is not None else {}
