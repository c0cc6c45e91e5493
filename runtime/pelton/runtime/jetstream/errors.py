"""Every error of nats-py and of the JetStream API, in our words."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Generator, Mapping
from typing import Final

import msgspec
import nats.errors

from pelton.events.errors import InvalidInput, PeltonError
from pelton.runtime.log import (
    LogError,
    LogFull,
    LogMisconfigured,
    LogUnavailable,
    TooLarge,
)


class ApiError(msgspec.Struct, frozen=True):
    """What the JetStream API answers when it refuses."""

    code: int = 0
    err_code: int = 0
    description: str = ""


IN_FLIGHT: Final = 10164
WRONG_LAST_SEQUENCE: Final = frozenset({10071, IN_FLIGHT})
"""Somebody else was first; `IN_FLIGHT` while that is not yet decided (three servers only)."""

_SERVER_FULL: Final = 10023
"""The server looks at the size of its disk only when it starts."""
_FULL: Final = frozenset({10002, _SERVER_FULL, 10028, 10047})
_STORE_FAILED: Final = 10077
_TOO_LARGE: Final = frozenset({10054, 10097})
_MISCONFIGURED: Final = frozenset(
    {
        10026,  # too many consumers
        10027,  # too many streams
        10039,  # no JetStream in this account
        10052,  # the configuration of a stream is refused
        10058,  # a stream of that name is configured otherwise
        10059,  # no such stream
        10065,  # another stream has the subjects
        10074,  # replicas without a cluster
        10076,  # no JetStream
    }
)


_NO_PEERS: Final = 10005


def passing(error: ApiError) -> bool:
    """Whether a refusal is about the server's present state, so that asking again may help.

    No leader, a server that is away, one that has yet to hear of the others.
    """
    unable = error.code >= 500 or error.err_code == _NO_PEERS
    return unable and isinstance(refused(error), LogUnavailable)


def refused(error: ApiError) -> LogError:
    """Return what a refusal of the JetStream API means."""
    text = f"{error.description} ({error.err_code})"
    if error.err_code in _FULL or (
        error.err_code == _STORE_FAILED and "exceeded" in error.description
    ):
        remedy = "raise the limit or add disk"
        if error.err_code == _SERVER_FULL:
            remedy += ", and restart the server"
        return LogFull(f"the log takes no more: {text}; {remedy}")
    if error.err_code in _TOO_LARGE:
        return TooLarge(f"the server refuses the message: {text}")
    if error.err_code in _MISCONFIGURED:
        return LogMisconfigured(f"JetStream cannot serve: {text}; see `pelton doctor`")
    return LogUnavailable(f"JetStream refuses: {text}")


_BY_KIND: Final[Mapping[type[BaseException], type[PeltonError]]] = {
    nats.errors.AuthorizationError: LogMisconfigured,
    nats.errors.BadHeaderError: InvalidInput,
    nats.errors.BadSubjectError: InvalidInput,
    nats.errors.InvalidUserCredentialsError: LogMisconfigured,
    nats.errors.MaxPayloadError: TooLarge,
    nats.errors.SecureConnFailedError: LogMisconfigured,
}


_REFUSAL: Final = "authorization violation"
_OTHER_NAME: Final = frozenset({62, 64})
"""What OpenSSL calls the mismatch of a host name and of an address."""


_NO_TLS: Final = (
    ssl.SSLCertVerificationError,
    nats.errors.SecureConnRequiredError,
    nats.errors.SecureConnWantedError,
)


def hopeless(error: Exception) -> bool:
    """Whether trying to connect again will not help, until somebody changes settings."""
    return isinstance(error, _NO_TLS) or _REFUSAL in str(error).lower()


def translate(error: Exception) -> PeltonError:
    """Return our error for one that nats-py, or the socket below it, raised."""
    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return LogMisconfigured(
                "the NATS server's certificate is not for the host in the URL: use the name that"
                " it is for"
            )
        return LogMisconfigured(
            f"the NATS server's certificate is not accepted: {error.verify_message}; if it is from"
            " an authority of your own, name the file of that in SSL_CERT_FILE"
        )
    if isinstance(error, nats.errors.SecureConnWantedError):
        return LogMisconfigured("the URL asks for TLS, and the NATS server has none: use nats://")
    if isinstance(error, nats.errors.SecureConnRequiredError):
        return LogMisconfigured(
            "the NATS server wants a TLS certificate from its clients, and pelton shows none: set"
            " verify: false in its tls block"
        )
    for kind, ours in _BY_KIND.items():
        if isinstance(error, kind):
            return ours(text)
    if _REFUSAL in text.lower():
        return LogMisconfigured("the NATS server refuses these credentials")
    if "connect url" in text:
        return LogMisconfigured("this is not the URL of a NATS server: use nats://host:port")
    return LogUnavailable(f"the NATS server cannot be reached: {text}")


@contextlib.contextmanager
def translated() -> Generator[None]:
    """Let no foreign error out."""
    try:
        yield
    except TimeoutError as error:
        if isinstance(error, nats.errors.Error):
            raise translate(error) from error
        raise
    except (nats.errors.Error, OSError) as error:
        raise translate(error) from error
