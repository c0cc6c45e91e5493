"""What an agent elsewhere calls a bridge back with, and by which secrets it is known."""

from __future__ import annotations

import msgspec

from pelton.adapters.push.signature import unspell
from pelton.events.errors import InvalidInput
from pelton.runtime.webhook_settings import WebhookSettings


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question to a person; the turn is posted again with the answer."""

    question: str
    choices: tuple[str, ...] = ()


class Used(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What calls of models have taken."""

    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Callback(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a post, in a callback; with `error` it has failed, and the rest is nothing."""

    answer: str = ""
    ask: Ask | None = None
    used: tuple[Used, ...] = ()
    error: str | None = None


def secrets_of(settings: WebhookSettings) -> list[bytes]:
    """Return the secrets of the settings, none if they name none.

    Raises:
        InvalidInput: what they name are none.
    """
    return spelled(settings.secret.reveal(), "webhook.secret") if settings.secret else []


def spelled(text: str, where: str) -> list[bytes]:
    """Return the secrets that a text spells, which is from `where`.

    Raises:
        InvalidInput: it spells none.
    """
    try:
        return [unspell(each) for each in text.split()]
    except ValueError as error:
        raise InvalidInput(f"{where} spells no secret: write whsec_ and Base64") from error
