"""TLS of the bridge: its certificate, renewed as it runs, and those of clients."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import structlog

from pelton.runtime.auth_settings import TlsSettings
from pelton.runtime.settings import SettingsError

_OLDEST: Final = ssl.TLSVersion.TLSv1_2

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.a2a")


class Tls:
    """What connections are made secure with; `look` takes up a certificate that was renewed."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate, self._key = certificate, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = _OLDEST
        self.context.set_alpn_protocols(["http/1.1"])
        if client_ca is not None:
            self.context.verify_mode = ssl.CERT_OPTIONAL
            self.context.load_verify_locations(client_ca)
        self._seen = self._stamp()
        self.context.load_cert_chain(certificate, key)
        self.pair = self._read()
        """Key and certificate, in PEM, for what speaks TLS itself."""

    def look(self) -> None:
        """Use the files as they are now, for what connects later; a wrong pair changes nothing."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
            self.pair = self._read()
            logger.info("certificate-renewed")
        except (OSError, ssl.SSLError) as error:
            logger.warning("certificate-not-renewed", reason=type(error).__name__)

    def _read(self) -> tuple[bytes, bytes]:
        return self._key.read_bytes(), self._certificate.read_bytes()

    def _stamp(self) -> tuple[int, int]:
        return self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns


def open_tls(given: TlsSettings) -> Tls | None:
    """Return the TLS that settings ask for, if they do.

    Raises:
        SettingsError: the files cannot be used.
    """
    if not given.certificate:
        if given.key or given.client_ca:
            raise SettingsError("tls.certificate is not set, and the other settings of tls are")
        return None
    try:
        ca = Path(given.client_ca) if given.client_ca else None
        return Tls(Path(given.certificate), Path(given.key), ca)
    except (OSError, ssl.SSLError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"tls: the files cannot be used: {reason or 'not PEM'}") from error
