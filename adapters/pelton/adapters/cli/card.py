"""`pelton card`: sign agent cards, and verify what others have signed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output

if TYPE_CHECKING:
    from pelton.events.a2a import JsonObject

Action = Literal["key", "sign", "verify"]


def card(
    action: Annotated[
        Action, typer.Argument(help="key: print a new private key; sign, verify: a card.")
    ],
    source: Annotated[
        str, typer.Argument(metavar="CARD", help="A file, a URL, or - for standard input.")
    ] = "-",
    *,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="A JWK or a JWK set; to sign, a private one."),
    ] = None,
    jku: Annotated[
        str, typer.Option("--jku", metavar="URL", help="Where readers find the public keys.")
    ] = "",
    json: options.Json = False,
) -> None:
    """Sign an agent card, or verify one against keys that are trusted."""
    import msgspec

    try:
        from pelton.adapters.a2a import signing
    except ModuleNotFoundError as error:
        raise CommandFailed("signing needs more: pip install 'pelton[signing]'") from error

    output = Output(json=json)
    if action == "key":
        sys.stdout.write(msgspec.json.encode(signing.new_key()).decode() + "\n")
        return
    if key is None:
        raise CommandFailed(f"name the key to {action} with: --key FILE", "usage")
    keys = signing.load_keys(key)
    given = _read(source)
    if action == "sign":
        signed = signing.sign(given, keys, jku=jku)
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(signed)).decode() + "\n")
        return
    kid = signing.verify(given, keys)
    output.result({"verified": True, "kid": kid}, [f"verified, signed with the key {kid}"])


def _read(source: str) -> JsonObject:
    """Return the card in a file or under a URL."""
    import msgspec

    from pelton.adapters.cli.client import fetch

    if source == "-":
        data = sys.stdin.buffer.read()
    elif source.startswith(("http://", "https://")):
        data = fetch(source)
    else:
        data = Path(source).read_bytes()
    try:
        found: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        raise CommandFailed("this is no agent card: it is not a JSON object") from None
    return found
