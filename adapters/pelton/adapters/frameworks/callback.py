"""What an agent elsewhere calls a bridge back with, and by which secrets it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from pelton.adapters.push.signature import unspell
from pelton.events.errors import InvalidInput

SECRET: Final = "WEBHOOK_SECRET"  # noqa: S105  its name
"""The variable with the secrets, `whsec_…`: more than one, while one is exchanged for another."""


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


def secrets_of(environ: Mapping[str, str]) -> list[bytes]:
    """Return the secrets that the variable holds, none if it is not set.

    Raises:
        InvalidInput: what it holds are none.
    """
    try:
        return [unspell(each) for each in environ.get(SECRET, "").split()]
    except ValueError as error:
        raise InvalidInput(f"{SECRET} spells no secret: write whsec_ and Base64") from error
