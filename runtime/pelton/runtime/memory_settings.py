"""The settings of memory."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from pelton.runtime.setting_types import Section


class MemorySettings(Section, frozen=True, kw_only=True):
    """What agents remember, and how it is found again."""

    embed: Annotated[
        str,
        Meta(
            description="Function that turns texts into vectors, `module:function` or"
            " `path/to/file.py:function`: executors and `pelton memory recall` then find memories"
            " by meaning, too. Needs the extra `pelton[semantic]`."
        ),
    ] = ""
