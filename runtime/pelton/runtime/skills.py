"""Skills: folders with a `SKILL.md`, which tells an agent how something is done.

The front matter has a `name` and a `description`; agents see these, and read the text on demand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from pelton.events.envelope import digest
from pelton.events.errors import InvalidInput

FILE: Final = "SKILL.md"
"""The file in a skill's folder."""

LARGEST: Final = 256 * 1024
"""Bytes of it."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_LINE: Final = re.compile(r"(?P<name>[A-Za-z][\w-]*):[ \t]*(?P<value>.*)")


class Skill(NamedTuple):
    """A skill: what it is called, when it helps, and what it says."""

    name: str
    description: str
    text: str
    version: str
    digest: str


def skill(folder: Path) -> Skill:
    """Return the skill that a folder holds.

    Raises:
        InvalidInput: it holds none; the text says why.
    """
    file = folder / FILE
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: cannot be read", field="skills") from error
    if len(data) > LARGEST:
        raise InvalidInput(f"{file}: a skill has at most {LARGEST} bytes", field="skills")
    head, body = _front_matter(text, file)
    name, description = head.get("name", ""), head.get("description", "")
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{file}: a skill has a `name` of a-z, 0-9 and -", field="skills")
    if not description or len(description) > 1024:
        raise InvalidInput(f"{file}: a skill has a `description` of 1024 characters at most")
    return Skill(name, description, body, head.get("version", ""), digest(data))


def _front_matter(text: str, file: Path) -> tuple[dict[str, str], str]:
    """Return the members between the lines of three hyphens, and what follows.

    Of YAML it knows members that are texts on one line, or that go on in lines with an indent.
    """
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in (x.strip() for x in lines[1:]):
        raise InvalidInput(f"{file}: it begins with front matter between lines of ---")
    end = next(at for at, line in enumerate(lines[1:], 1) if line.strip() == "---")
    found: dict[str, str] = {}
    name = ""
    for line in lines[1:end]:
        if line[:1].isspace() and name:
            found[name] = f"{found[name]} {line.strip()}".strip()
        elif match := _LINE.fullmatch(line):
            name, value = match["name"], match["value"].strip()
            folded = value in {">", "|", ">-", "|-"}
            found[name] = "" if folded else value.strip("\"'")
        elif line.strip():
            raise InvalidInput(f"{file}: {line[:80]!r} is no member of front matter")
    return found, "\n".join(lines[end + 1 :]).strip() + "\n"
