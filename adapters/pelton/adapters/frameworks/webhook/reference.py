"""Agents elsewhere by reference: `webhook:URL`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pelton.adapters.frameworks.callback import SECRET as SECRET  # noqa: PLC0414  one of these
from pelton.adapters.frameworks.callback import secrets_of
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.webhook.adapter import WITHIN, WebhookAdapter
from pelton.adapters.push.addresses import origin, target
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug

ALLOW: Final = "WEBHOOK_ALLOW"
"""The variable with the origins that may be posted to beyond public ones with https."""
CALLBACK: Final = "WEBHOOK_CALLBACK"
"""The variable with the URL of a bridge of this log, for answers that come later."""
CALLBACK_WITHIN: Final = "WEBHOOK_CALLBACK_WITHIN"
"""The variable with the seconds that such an answer may take."""


def load(reference: str, *, environ: Mapping[str, str]) -> Agent:
    """Return the agent that `webhook[+NAME]:URL` names; without a name it is called as its host is.

    Raises:
        InvalidInput: this is no such reference, the URL may not be posted to, or there is no
            secret.
    """
    head, _, url = reference.partition(":")
    try:
        allowed = [origin(each) for each in environ.get(ALLOW, "").split()]
        to = target(url, allowed)
    except InvalidInput as error:
        raise InvalidInput(f"{reference!r}: {error}") from error
    secrets = secrets_of(environ)
    if not secrets:
        raise InvalidInput(f"{reference!r} needs {SECRET}: what requests are signed with, whsec_…")
    adapter = WebhookAdapter(
        url,
        secrets=secrets,
        allowed=allowed,
        callback=environ.get(CALLBACK, ""),
        within=_seconds(environ.get(CALLBACK_WITHIN, "")),
    )
    return as_agent(adapter, name=head.partition("+")[2] or slug(to.host))


def _seconds(text: str) -> float:
    try:
        return float(text) if text else WITHIN
    except ValueError as error:
        raise InvalidInput(f"{CALLBACK_WITHIN} is no number of seconds") from error
