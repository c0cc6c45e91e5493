"""Who gets to the debugger: whoever has this run's token, from this machine, from no other page.

The page shows all of a tenant and acts for its operator, so it is guarded more narrowly than the
bridge around it (S20): loopback's names alone, the very origin alone, port included, and a token
that is made anew with each run. The token is exchanged for a cookie that no script reads and no
other site's page sends.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from pelton.adapters.a2a.errors import AuthDenied, Misdirected, PolicyDenied
from pelton.adapters.a2a.guard import is_loopback, name_of
from pelton.adapters.a2a.sse import Headers

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may do: run and fetch what is served beside it, and make markup of no text."""
HEADERS: Final[Headers] = (
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""What every answer below `/debug` has."""
_OWN: Final = (b"same-origin", b"none")


class Gate:
    """Lets in whoever has the token of this run, or the cookie that it was exchanged for."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._pass = hmac.new(self._token, b"pelton debug", hashlib.sha256).hexdigest()

    def check_place(self, headers: Mapping[bytes, bytes], *, scheme: str) -> None:
        """Check where a request means to go, and what page it comes from.

        Raises:
            Misdirected: the host is no name of loopback.
            PolicyDenied: it comes from a page that is not the debugger's own.
        """
        host = headers.get(b"host", b"").lower()
        if not is_loopback(name_of(host)):
            raise Misdirected("the debugger answers to the names of this machine alone")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() != scheme.encode() + b"://" + host:
            raise PolicyDenied("the debugger takes no requests of other pages")
        fetched = headers.get(b"sec-fetch-mode", b"navigate") != b"navigate"
        if fetched and headers.get(b"sec-fetch-site", b"none") not in _OWN:
            raise PolicyDenied("the debugger takes no requests of other pages")

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Check that a request has the cookie.

        Raises:
            AuthDenied: it has not.
        """
        if not self.admits(headers):
            raise AuthDenied

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request has the cookie."""
        wanted = f"{_name(headers)}={self._pass}".encode()
        cookies = headers.get(b"cookie", b"").split(b";")
        return any(hmac.compare_digest(each.strip(), wanted) for each in cookies)

    def exchange(
        self, query: bytes, headers: Mapping[bytes, bytes], *, scheme: str
    ) -> bytes | None:
        """Return the cookie for whoever shows the token in a query, None if it shows none.

        Raises:
            AuthDenied: it is another one: that of a run that is over.
        """
        shown = parse_qs(query.decode("latin-1")).get("token")
        if shown is None:
            return None
        if not hmac.compare_digest(shown[-1].encode(), self._token):
            raise AuthDenied
        secure = "; Secure" if scheme == "https" else ""
        found = f"{_name(headers)}={self._pass}; Path=/debug; HttpOnly; SameSite=Strict{secure}"
        return found.encode()


def _name(headers: Mapping[bytes, bytes]) -> str:
    """Return the name of the cookie: cookies know no ports, and several bridges may run here."""
    port = headers.get(b"host", b"").rpartition(b":")[2]
    return f"pelton_debug_{port.decode() if port.isdigit() else ''}".rstrip("_")
