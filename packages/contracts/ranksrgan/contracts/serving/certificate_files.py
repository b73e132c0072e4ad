"""The certificates of a server as their files have them: renewed ones count for every connection
that begins after they were written, as authorities and clusters renew them every few weeks."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

import grpc

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.serving.settings import TlsSettings
from ranksrgan.contracts.serving.tls import check_client_ca, days_left, read_certificate
from ranksrgan.contracts.serving.token_file import signature

log = logging.getLogger(__name__)


class CertificateFiles:
    """A server's certificate, its key, and the authorities of its clients.

    Whoever renews them writes one file after the other. What is there in between is no pair, or not
    yet whole: that is said in the log, and the certificates stay those from before until the files
    change again.

    Args:
        settings: which files.

    Raises:
        InvalidConfig: see `tls.read_certificate` and `tls.check_client_ca`.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()  # connections begin in several threads of gRPC
        self._seen = self._signatures()
        self._configuration = self._read()
        self._looked = datetime.now(UTC).date()

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC encrypts with; it asks `renewed` at the beginning of each connection."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            self.renewed,  # type: ignore[arg-type]  # None is no change, as gRPC documents it
            self._settings.client_ca is not None,
        )

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """The files' content if it has changed since it was asked for; None if it has not, or is
        not what it should be."""
        with self._lock:
            self._warn_each_day()
            seen = self._signatures()
            if seen == self._seen:
                return None
            self._seen = seen
            try:
                self._configuration = self._read()
            except InvalidConfig as error:
                log.error("%s; the certificates stay those from before", error)
                return None
            log.info("%s was read again", self._settings.certificate)
            return self._configuration

    def _signatures(self) -> list[object]:
        files = (self._settings.certificate, self._settings.key, self._settings.client_ca)
        return [None if file is None else signature(file) for file in files]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        pair = read_certificate(self._settings.certificate, self._settings.key)
        ca = self._settings.client_ca
        clients = None if ca is None else check_client_ca(ca)
        return grpc.ssl_server_certificate_configuration([pair], clients)

    def _warn_each_day(self) -> None:
        """As at the start, of a server that has run since long before."""
        today = datetime.now(UTC).date()
        if today != self._looked:
            self._looked = today
            warn_if_it_expires_soon(self._settings)


def warn_if_it_expires_soon(settings: TlsSettings) -> None:
    """Say in the log how long the certificate is valid, if that is not long.

    A file that is damaged now is left to those who read it when it has changed.
    """
    try:
        days = days_left(settings.certificate)
    except InvalidConfig:
        return
    if days is not None and days < 0:
        log.error("the certificate in %s has expired: clients refuse it", settings.certificate)
    elif days is not None:
        log.warning("the certificate in %s expires in %d days", settings.certificate, days)
