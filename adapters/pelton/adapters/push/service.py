"""Push notifications as a bridge has them: what the settings say, opened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from pelton.adapters.a2a.engine import Engine
from pelton.adapters.push.addresses import origin
from pelton.adapters.push.configs import PushConfigs, PushTools
from pelton.adapters.push.keys import PushKeys
from pelton.adapters.push.sender import Retries, Sender
from pelton.adapters.push.webhooks import Webhooks, open_webhooks
from pelton.events.errors import InvalidInput
from pelton.runtime.clock import World
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Log
from pelton.runtime.push import PushLog
from pelton.runtime.push_settings import PushSettings
from pelton.runtime.settings import SettingsError


class Pushing(NamedTuple):
    """What a bridge sends push notifications with."""

    keys: PushKeys
    webhooks: Webhooks
    retries: Retries = Retries()

    def serve(
        self,
        engine: Engine,
        log: Log,
        contexts: Contexts,
        *,
        told: Callable[[str], None] = lambda _: None,
        world: World,
        tenant: str,
    ) -> Sender:
        """Give a tenant's engine the operations on push configs, and return what sends for it.

        `told` hears how each attempt to post has ended.
        """
        tools = PushTools(PushLog(log, world=world), self.keys, self.webhooks)
        source = f"push/{world.new_id()}"
        engine.push = PushConfigs(tools, engine.own, world=world, source=source, tenant=tenant)
        follow = engine.reader.watch
        return Sender(
            log,
            tools,
            follow,
            contexts,
            world=world,
            source=source,
            tenant=tenant,
            retries=self.retries,
            told=told,
        )


@asynccontextmanager
async def open_pushing(given: PushSettings, *, world: World) -> AsyncGenerator[Pushing]:
    """Give what the settings say, while the context lasts.

    Raises:
        SettingsError: the keys cannot be read, or something that is allowed is no origin.
    """
    try:
        allowed = [origin(each) for each in given.allow]
    except InvalidInput as error:
        raise SettingsError(f"push.allow: {error}") from error
    keys = PushKeys(Path(given.keys), world=world)
    retries = Retries(given.attempts, given.first_wait, given.longest_wait)
    async with open_webhooks(allowed, world=world) as webhooks:
        yield Pushing(keys, webhooks, retries)
