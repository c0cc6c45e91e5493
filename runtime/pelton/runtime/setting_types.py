"""What settings are made of: sections, secrets, addresses."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

import msgspec


class Secret:
    """A text that must not be shown: `repr` and `str` are `***`, `reveal` is the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for whoever needs it to connect."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Address:
    """Where to listen: a host and a TCP port; port 0 is any free one."""

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that `host:port` or `[v6]:port` spells.

        Raises:
            ValueError: it spells none.
        """
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or port is None or "@" in text or "/" in text:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of the sections of the settings."""
