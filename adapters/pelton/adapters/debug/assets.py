"""The files of the page, as they lie in the package: served as they are, nothing is built."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

_PAGE: Final = Path(__file__).parent / "page"
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class Asset(NamedTuple):
    """A file of the page."""

    media_type: bytes
    data: bytes


def load() -> dict[str, Asset]:
    """Return all files of the page by their paths: a path that is asked for names nothing else."""
    return {
        file.relative_to(_PAGE).as_posix(): Asset(_TYPES[file.suffix], file.read_bytes())
        for file in sorted(_PAGE.rglob("*"))
        if file.suffix in _TYPES
    }
