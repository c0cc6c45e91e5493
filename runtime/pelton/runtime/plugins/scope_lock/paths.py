"""A lock that keeps the tools of an agent to some folders: paths among arguments must be in them.

A path is an argument that is called like one (`path`, `file`, `folder`, …), or a text that begins
with `/`, `~` or `..`, or goes up with `../`. Links are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from pelton.events.ruling import Ruling
from pelton.runtime.hooks import Occasion, Reply

_NAMES: Final = re.compile(r"(?i)(?:.*_)?(?:paths?|files?|filename|folder|dir|directory|cwd)")
_PATH: Final = re.compile(r"^(?:/|~|\.\.)|(?:^|/)\.\.(?:/|$)")


def look(occasion: Occasion) -> Reply | None:
    """Look at every path among the arguments."""
    folders = [Path(each).expanduser().resolve() for each in occasion.options.get("folders", ())]
    if not folders:
        return Reply(ruling=Ruling.DENY, reason="The scope lock has no `folders`: name some.")
    for text in paths(occasion.content):
        found = (folders[0] / Path(text).expanduser()).resolve()
        if not any(found.is_relative_to(folder) for folder in folders):
            return Reply(ruling=Ruling.DENY, reason="The path is outside of the agent's folders.")
    return None


def paths(content: Any, name: str = "") -> Iterator[str]:
    """Yield the paths in JSON."""
    if isinstance(content, str):
        if "\0" not in content and (_PATH.search(content) or _NAMES.fullmatch(name)):
            yield content
    elif isinstance(content, dict):
        for key, each in cast("dict[str, Any]", content).items():
            yield from paths(each, key)
    elif isinstance(content, list):
        for each in cast("list[object]", content):
            yield from paths(each, name)
