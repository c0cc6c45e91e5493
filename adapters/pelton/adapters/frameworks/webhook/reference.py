"""Agents elsewhere by reference: `webhook:URL`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.webhook.adapter import WebhookAdapter
from pelton.adapters.push.addresses import origin, target
from pelton.adapters.push.signature import unspell
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug

SECRET: Final = "WEBHOOK_SECRET"  # noqa: S105  its name
"""The variable with the secrets, `whsec_…`: more than one, while one is exchanged for another."""
ALLOW: Final = "WEBHOOK_ALLOW"
"""The variable with the origins that may be posted to beyond public ones with https."""


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
    try:
        secrets = [unspell(each) for each in environ.get(SECRET, "").split()]
    except ValueError as error:
        raise InvalidInput(f"{SECRET} spells no secret: write whsec_ and Base64") from error
    if not secrets:
        raise InvalidInput(f"{reference!r} needs {SECRET}: what requests are signed with, whsec_…")
    adapter = WebhookAdapter(url, secrets=secrets, allowed=allowed)
    return as_agent(adapter, name=head.partition("+")[2] or slug(to.host))
