"""The settings of what is kept out of the log, and of what can be erased from it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pelton.runtime.setting_types import Section


class RedactionSettings(Section, frozen=True, kw_only=True):
    """Redaction: what looks like a secret is replaced before it is stored."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether secrets are replaced in all that is stored: nobody can take back"
            " what is in the log. Lines that are logged go without them in any case."
        ),
    ] = True
    patterns: Annotated[
        dict[str, str],
        Meta(
            description="Secrets of your own, beside those that are known: names of kinds, and a"
            " regular expression of Python for each; what its group `secret` finds is replaced,"
            ' or all of it: `{"acme-key" = "acme-[0-9a-f]{32}"}`. Each is looked for in every text.'
            " In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, str])
    allow: Annotated[
        tuple[str, ...],
        Meta(
            description="Regular expressions of what is no secret although it looks like one, each"
            " for the whole of it: `AKIA[A-Z0-9]*EXAMPLE`."
        ),
    ] = ()


class EncryptionSettings(Section, frozen=True, kw_only=True):
    """Encryption: content is sealed with a key for each context, and erased with that key."""

    keys: Annotated[
        str,
        Meta(
            description="File with the tenant's keys, as `pelton seal-key` makes it, the same for"
            " all executors, bridges and commands of the tenant. Without it nothing is sealed, and"
            " nothing can be erased: content is plain JSON, which any program can read."
        ),
    ] = ""
    agents: Annotated[
        tuple[str, ...],
        Meta(description="Whose contexts are sealed; if it is empty, those of all agents."),
    ] = ()
