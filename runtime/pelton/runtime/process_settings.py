"""The settings of what processes keep and say of themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pelton.runtime.setting_types import Section


class ProjectionSettings(Section, frozen=True, kw_only=True):
    """The read models, which can be deleted at any time and are rebuilt from the log."""

    file: Annotated[
        str,
        Meta(
            min_length=1,
            description="Name of their SQLite file in the data directory, or its absolute path.",
        ),
    ] = "projections.db"


class LogSettings(Section, frozen=True, kw_only=True):
    """What the processes say of themselves, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least severe kind of line that is written."),
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json"],
        Meta(
            description="`console` for people, `json` for machines; `auto` is `console` on a"
            " terminal and `json` elsewhere."
        ),
    ] = "auto"
