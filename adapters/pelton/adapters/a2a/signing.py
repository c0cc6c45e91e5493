"""Signed agent cards (§8.4): JWS over the canonical form of a card, by joserfc and rfc8785."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, cast

import msgspec
import rfc8785
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from pelton.events.a2a import JsonObject
from pelton.events.errors import InvalidInput, PeltonError

_ALGORITHMS: Final = ("ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "RS256")
"""What is taken: none that shares its secret with whoever verifies."""
_OF_KEYS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "Ed25519"}


class CardNotVerified(PeltonError):
    """No signature of the card is one of a key that is trusted: do not trust what it says."""

    code: ClassVar[str] = "card-not-verified"


class KeyUnusable(PeltonError):
    """The file holds no key that can be used: a JWK or a JWK set, for signing a private one."""

    code: ClassVar[str] = "settings"


class Shape(NamedTuple):
    """What canonical JSON must know of a message: what stays though it is empty, what is inside.

    `inside` leads from members to the shapes of the messages in them; `*` is a map's or a list's
    own. A member of the shape None is the client's own JSON.
    """

    kept: tuple[str, ...]
    others: tuple[str, ...] = ()
    inside: Mapping[str, Shape | None] = {}


_FREE: Final = None
_SCOPES: Final = Shape(("scopes",), ("tokenUrl", "refreshUrl", "authorizationUrl"))
_FLOW: Final = Shape(
    ("scopes", "tokenUrl", "authorizationUrl", "deviceAuthorizationUrl"),
    ("refreshUrl", "pkceRequired"),
    {"scopes": _FREE},
)
_OLD_FLOW: Final = Shape(
    (), ("authorizationUrl", "tokenUrl", "refreshUrl", "scopes"), {"scopes": _FREE}
)
_FLOWS: Final = Shape(
    (),
    inside={
        "authorizationCode": _FLOW,
        "clientCredentials": _FLOW,
        "deviceCode": _FLOW,
        "implicit": _OLD_FLOW,
        "password": _OLD_FLOW,
    },
)
_SCHEME: Final = Shape(
    (),
    inside={
        "apiKeySecurityScheme": Shape(("location", "name"), ("description",)),
        "httpAuthSecurityScheme": Shape(("scheme",), ("description", "bearerFormat")),
        "oauth2SecurityScheme": Shape(
            ("flows",), ("description", "oauth2MetadataUrl"), {"flows": _FLOWS}
        ),
        "openIdConnectSecurityScheme": Shape(("openIdConnectUrl",), ("description",)),
        "mtlsSecurityScheme": Shape((), ("description",)),
    },
)
_REQUIREMENT: Final = Shape((), inside={"schemes": Shape((), inside={"*": Shape((), ("list",))})})
_CARD: Final = Shape(
    (
        *("name", "description", "supportedInterfaces", "version", "documentationUrl"),
        *("capabilities", "defaultInputModes", "defaultOutputModes", "skills", "iconUrl"),
    ),
    inside={
        "supportedInterfaces": Shape(("url", "protocolBinding", "protocolVersion"), ("tenant",)),
        "provider": Shape(("url", "organization")),
        "capabilities": Shape(
            ("streaming", "pushNotifications", "extendedAgentCard"),
            inside={"extensions": Shape((), ("uri", "description", "required"), {"params": _FREE})},
        ),
        "securitySchemes": Shape((), inside={"*": _SCHEME}),
        "securityRequirements": _REQUIREMENT,
        "skills": Shape(
            ("id", "name", "description", "tags"),
            ("examples", "inputModes", "outputModes"),
            {"securityRequirements": _REQUIREMENT},
        ),
    },
)


def canonical(card: JsonObject) -> bytes:
    """Return what is signed of a card: what protocol buffers keep of it, without its signatures.

    Members that no card has are no part of it, and what is no default is there (§8.4.1, RFC 8785).

    Raises:
        InvalidInput: it is no card, or one with numbers or characters that have no canonical form.
    """
    try:
        return rfc8785.dumps(_message(card, _CARD))
    except (rfc8785.CanonicalizationError, AttributeError, RecursionError):
        raise InvalidInput("this is no agent card, or none that can be signed") from None


def _message(value: JsonObject, shape: Shape) -> JsonObject:
    found: JsonObject = {}
    for name, member in value.items():
        inner = shape.inside.get(name, shape.inside.get("*"))
        free = name in shape.inside and inner is None
        if not free and inner is None and name not in (*shape.kept, *shape.others):
            continue
        if inner is not None and isinstance(member, dict):
            found[name] = _message(cast("JsonObject", member), inner)
            if found[name] or name in shape.kept or "*" not in inner.inside:
                continue
            del found[name]  # an empty map
        elif inner is not None and isinstance(member, list):
            found[name] = [_message(each, inner) for each in cast("Sequence[JsonObject]", member)]
        else:
            found[name] = member
        if name not in shape.kept and found[name] in ("", 0, False, [], {}):
            del found[name]
    return found


def load_keys(path: Path) -> KeySet:
    """Return the keys in a file: one JWK, or a set of them.

    Raises:
        KeyUnusable: it holds none.
    """
    try:
        value = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return KeySet.import_key_set({"keys": value.get("keys", [value])})
    except (OSError, msgspec.DecodeError, JoseError, ValueError, TypeError) as error:
        raise KeyUnusable("the file of the key holds no JWK, nor a set of them") from error


def new_key() -> JsonObject:
    """Return a new private key for ES256 as a JWK, its id derived from it (RFC 7638)."""
    key = ECKey.generate_key("P-256", auto_kid=True)
    return cast("JsonObject", key.as_dict(private=True))


def sign(card: JsonObject, keys: KeySet, *, jku: str = "") -> JsonObject:
    """Return a card with one signature more, by the first of the keys that is private.

    Raises:
        KeyUnusable: none of them is, or it has no id.
        InvalidInput: it is no card.
    """
    key = next((each for each in keys.keys if each.is_private), None)
    if key is None or not key.kid:
        raise KeyUnusable("a card is signed with a private key that has an id (`kid`)")
    header: JsonObject = {"alg": _algorithm(key), "typ": "JOSE", "kid": key.kid}
    if jku:
        header["jku"] = jku
    token = jws.serialize_compact(header, canonical(card), key, algorithms=[*_ALGORITHMS])
    protected, _, signature = token.split(".")
    signatures = [*card.get("signatures", ()), {"protected": protected, "signature": signature}]
    return {**card, "signatures": signatures}


def verify(card: JsonObject, keys: KeySet) -> str:
    """Return the id of the key that a card is signed with.

    Raises:
        CardNotVerified: it is signed with none of the keys.
        InvalidInput: it is no card.
    """
    payload = base64.urlsafe_b64encode(canonical(card)).rstrip(b"=").decode()
    signatures = card.get("signatures")
    for each in cast("Sequence[Any]", signatures) if isinstance(signatures, list) else ():
        if isinstance(each, dict):
            given = cast("JsonObject", each)
            token = f"{given.get('protected')}.{payload}.{given.get('signature')}"
            try:
                kid = jws.extract_compact(token.encode()).headers().get("kid")
                key = next(each for each in keys.keys if each.kid == kid)
                jws.deserialize_compact(token, key, algorithms=[_algorithm(key)])
            except (JoseError, ValueError, TypeError, StopIteration):  # any header may be there
                continue
            return str(kid)
    raise CardNotVerified("no signature of the card is one of these keys")


def _algorithm(key: Key) -> str:
    """Return the one algorithm that a key signs with: never what a signature says of itself."""
    if isinstance(key, ECKey | OKPKey):
        found = _OF_KEYS.get(key.curve_name)
    else:
        found = (key.alg or "RS256") if isinstance(key, RSAKey) else None
    if found is None or found not in _ALGORITHMS:
        raise KeyUnusable("sign with an EC key (P-256, P-384, P-521), an Ed25519 or an RSA key")
    return found
