"""The security checklist: each threat, what is done about it, and why there is no test if so.

The tests of a threat are those that bear its mark, `@pytest.mark.accepts("S4")`; the generator
finds them, so that the page names tests that exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
_TEST: Final = re.compile(r"^(?:async )?def (?P<name>test_\w+)", re.MULTILINE)
_MARK: Final = re.compile(r"accepts\((?P<ids>[^)]*)\)")


class Threat(NamedTuple):
    """A row. `left` is what is not done or not tested, and why."""

    id: str
    name: str
    control: str
    left: str = ""


THREATS: Final = (
    Threat(
        "S1",
        "API keys",
        "256 bits, SHA-256 in the log, expiry, rotation with overlap, revocation live; compared in"
        " constant time, on every route",
        "Timing is not measured: secrets are compared by their hashes, with `hmac.compare_digest`.",
    ),
    Threat(
        "S2",
        "JWT, JWKS",
        "pinned algorithms, `iss`, `aud`, `exp`, `nbf`, `kid`; no key from the token; keys outlive"
        " outages and floods",
    ),
    Threat(
        "S3",
        "Client credentials, mTLS",
        "tokens over TLS alone; identity is the exact alternative name",
        "A new authority for clients' certificates needs a restart. Scopes are of pelton, not of"
        " an agent's skills. gRPC asks for no certificates of clients.",
    ),
    Threat(
        "S4",
        "Missing object authorisation",
        "tenant and owner from the credential alone; held by the bridge, by the decision, and in"
        " the query",
        "A context id of one's own choosing that is refused is known to be in use.",
    ),
    Threat("S5", "Isolation in NATS", "an account for each tenant; roles inside it are no wall"),
    Threat("S6", "Subject injection", "ids become subjects in one place, encoded"),
    Threat("S7", "A subject that cuts the connection", "ids have at most 128 bytes"),
    Threat(
        "S8",
        "SSRF by webhook",
        "public https alone, resolved once and connected to as checked, at creation and at every"
        " post; no redirects, no proxies, bounded answers",
        "What `push.allow` names is allowed to the clients of all tenants. That a name leads to an"
        " address that is not public is told to who asks.",
    ),
    Threat(
        "S9",
        "SSRF by card, file, JWKS",
        "only the URLs of the settings are fetched, and agents elsewhere that they name, without"
        " redirects or proxies; a file's URL is never opened",
    ),
    Threat(
        "S10",
        "Webhook authenticity",
        "signed as Standard Webhooks, with a secret of each principal's, two while keys change; the"
        " id of a notification stays",
        "That an id is taken once is for the receiver to see to. There is no variant with JWTs.",
    ),
    Threat(
        "S11",
        "Credentials that leak onward",
        "headers are never part of a command, so no agent, record or log line has them; the keys of"
        " models' providers stay in the gateway",
    ),
    Threat(
        "S12",
        "Card spoofing",
        "cards are signed if there is a key for it, and verified by `pelton card`; no key from the"
        " card is trusted",
        "A signature does not expire, and nothing says that a card's URL is its signer's: whoever"
        " verifies names the key that is to have signed it.",
    ),
    Threat(
        "S13",
        "Misuse of tools",
        "an approval is given by whoever may, and nobody outside can write one, or claim to be an"
        " agent inside",
        "Which tools there are, and what they may do, is the agents' own.",
    ),
    Threat("S14", "Bodies, headers, parts", "bounded before they are read"),
    Threat(
        "S15",
        "Slow senders and readers",
        "deadlines, caps of connections, readers cut off, silent WebSockets given up",
    ),
    Threat(
        "S16",
        "JSON bombs",
        "64 levels, seen before anything parses; one decoder for HTTP and the log",
        "A name that comes twice in an object is taken as the last one says: there is one decoder,"
        " so nobody reads the other one.",
    ),
    Threat(
        "S17",
        "Decompression bombs",
        "nothing compressed is taken; over gRPC what is unpacks to no more than a body may have",
    ),
    Threat(
        "S18",
        "SQL injection",
        "parameters alone; columns and orders are constants of the source; those who read cannot"
        " write",
    ),
    Threat(
        "S19",
        "FTS injection",
        "what is looked for reaches the index as quoted words, never as its query language",
    ),
    Threat(
        "S20",
        "CSRF, DNS rebinding",
        "loopback by default, hosts and origins checked, JSON alone, no CORS; a WebSocket only for"
        " the very origin, port included; the debugger wants loopback's names, its very origin, and"
        " a cookie that this run's token was exchanged for",
        "Cookies know no ports: a server on another port of this machine that one opens at `/debug`"
        " is sent the debugger's. In a browser itself: `make test-browser`, which needs Chromium.",
    ),
    Threat(
        "S21",
        "XSS in a debugger",
        "all text of the log is shown as text; a policy without inline scripts, styles or `eval`,"
        " and with trusted types, so that no script makes markup of a text",
        "In a browser itself: `make test-browser`. Browsers without trusted types lack that wall.",
    ),
    Threat("S22", "Path traversal", "ids never become file names"),
    Threat(
        "S23",
        "Secrets in logs",
        "typed secrets, scrubbed lines, and redaction of all that is stored",
    ),
    Threat("S24", "Fairness", "rates of tenants and principals, across bridges"),
    Threat(
        "S25",
        "Ranges, regular expressions, multipart",
        "no file is served but those of the debugger, whole and from memory; no multipart is taken,"
        " and no pattern backtracks",
    ),
    Threat("S26", "Deployment of NATS", "a configuration that is linted, and tried on a server"),
    Threat(
        "S27",
        "Supply chain",
        "a lock with the hash of every file, which is what is installed and tested",
        "No database of advisories is asked, for CI has no network: whoever upgrades (`make lock"
        " UPGRADE=--upgrade`) asks one.",
    ),
)


def proofs(threat: str) -> Iterator[str]:
    """Yield the tests that bear the mark of a threat, as the page names them."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        whole = re.search(r"^pytestmark = .*$", text, re.MULTILINE)
        if whole and threat in _ids(whole[0]):
            yield f"`{path.relative_to(ROOT)}`"
            continue
        marks: list[str] = []
        for line in text.splitlines():
            if line.startswith("@pytest.mark.accepts"):
                marks += _ids(line)
            elif (test := _TEST.match(line)) is not None:
                if threat in marks:
                    yield f"`{path.relative_to(ROOT)}` {test['name']}"
                marks = []


def _ids(text: str) -> list[str]:
    found = _MARK.search(text)
    return re.findall(r"\w+-?\d*", found["ids"]) if found else []
