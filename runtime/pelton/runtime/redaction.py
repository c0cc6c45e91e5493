"""The look at everything before it is stored: nothing that is written goes past it (law 12)."""

from __future__ import annotations

from typing import TypeVar

import structlog

from pelton.events.errors import InvalidInput
from pelton.events.redact import Redactor
from pelton.runtime.settings import Settings, SettingsError

T = TypeVar("T")

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


def cleaned(redactor: Redactor, value: T, about: str) -> T:
    """Return a record, a message or JSON as it may be stored; says where which secrets were.

    Whoever stores it goes on with what is returned, as the log has it.

    Raises:
        InvalidInput: it is nested too deep to be looked at.
    """
    made = redactor.clean(value)
    if made is not value:
        found = [f"{kind} at {path}" for kind, path in redactor.findings(value)]
        logger.warning("redacted", about=about, found=found)
    return made


def redactor_of(settings: Settings) -> Redactor:
    """Return what all that is stored and logged goes through, as the settings have it.

    Raises:
        SettingsError: a pattern is none.
    """
    given = settings.redaction
    try:
        return Redactor(given.patterns, allow=given.allow, enabled=given.enabled)
    except InvalidInput as error:
        raise SettingsError(f"redaction: {error}") from None
