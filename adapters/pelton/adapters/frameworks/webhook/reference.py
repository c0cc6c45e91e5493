"""Agents elsewhere by reference: `webhook:URL`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pelton.adapters.frameworks.callback import secrets_of, spelled
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.webhook.adapter import WebhookAdapter
from pelton.adapters.push.addresses import origin, target
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug
from pelton.runtime.settings import load as load_settings


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an agent file may say in the place of the settings; `secret` names a variable."""

    secret: str = ""
    callback: str | None = None
    callback_within: float | None = None


def load(
    reference: str, *, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> Agent:
    """Return the agent that `webhook[+NAME]:URL` names; without a name it is called as its host is.

    Raises:
        InvalidInput: this is no such reference, the URL may not be posted to, there is no secret,
            or an option is none.
        SettingsError: the settings in the environment are none.
    """
    settings = load_settings(Path(os.devnull), environment=environ).webhook
    own = _read(options or {})
    head, _, url = reference.partition(":")
    try:
        allowed = [origin(each) for each in settings.allow]
        to = target(url, allowed)
    except InvalidInput as error:
        raise InvalidInput(f"{reference!r}: {error}") from error
    if own.secret:
        secrets = spelled(environ.get(own.secret, ""), own.secret)
    else:
        secrets = secrets_of(settings)
    if not secrets:
        variable = own.secret or "webhook.secret (PELTON_WEBHOOK_SECRET)"
        raise InvalidInput(f"{reference!r} needs {variable}: what posts are signed with, whsec_…")
    adapter = WebhookAdapter(
        url,
        secrets=secrets,
        allowed=allowed,
        callback=settings.callback if own.callback is None else own.callback,
        within=own.callback_within or settings.callback_within,
    )
    return as_agent(adapter, name=head.partition("+")[2] or slug(to.host))


def _read(given: Mapping[str, Any]) -> _Options:
    try:
        return msgspec.convert(given, _Options)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"options: {error}") from error
