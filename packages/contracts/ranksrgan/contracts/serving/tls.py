"""Certificates of a server, read and checked before anything listens and when they are renewed. A
client's are read here too, and checked before it connects.

A certificate that has run out would be noticed by the other side alone, one call at a time, with a
message that does not say which file it is.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ranksrgan.contracts.errors import InvalidConfig

#: Days before a certificate runs out from which on a server says so at its start.
_WARN_DAYS = 14


def read_certificate(
    certificate: Path,
    key: Path,
    *,
    fields: tuple[str, str] = ("tls.certificate", "tls.key"),
    whole_chain: bool = True,
) -> tuple[bytes, bytes]:
    """A private key and its chain of certificates, in this order, as PEM.

    Args:
        certificate: file of the chain.
        key: file of the private key.
        fields: what names the two files.
        whole_chain: whether the certificates after the first one have to be valid too. A client's
            need not: the server may know a newer one, or not need it.

    Raises:
        InvalidConfig: a file cannot be read or is not PEM, the key is another certificate's or has
            a passphrase, or a certificate is not valid now; names the file, and the date.
    """
    of_chain, of_key = fields
    chain, secret = _read(certificate, of_chain), _read(key, of_key)
    certificates = _certificates(certificate, chain, of_chain)
    for one in certificates if whole_chain else certificates[:1]:
        _require_valid(one, certificate, of_chain)
    try:
        private = load_pem_private_key(secret, password=None)
    except (ValueError, TypeError) as error:  # TypeError is for a passphrase
        raise InvalidConfig(
            f"{of_key}: {key} is no private key without a passphrase: {error}", field=of_key
        ) from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != certificates[0].public_key().public_bytes(*form):
        raise InvalidConfig(
            f"{of_key}: {key} is not the key of the first certificate in {certificate}",
            field=of_key,
        )
    return secret, chain


def check_client_ca(path: Path) -> bytes:
    """The authorities that sign clients' certificates, as PEM; one that is valid is enough.

    Raises:
        InvalidConfig: unreadable, not PEM, or none is valid now.
    """
    content = _read(path, "tls.client_ca")
    authorities = _certificates(path, content, "tls.client_ca")
    now = datetime.now(UTC)
    if not any(one.not_valid_before_utc <= now <= one.not_valid_after_utc for one in authorities):
        _require_valid(authorities[0], path, "tls.client_ca")
    return content


def read_authorities(path: Path, field: str) -> bytes:
    """The authorities that a client trusts, as PEM.

    Args:
        path: of the file.
        field: what names it.

    Raises:
        InvalidConfig: unreadable, or not PEM.
    """
    content = _read(path, field)
    try:
        # It may be the system's hundred, of which a few are not as `cryptography` wants them.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise InvalidConfig(f"{field}: {path} holds no PEM certificate", field=field) from error
    return content


def days_left(certificate: Path) -> int | None:
    """Days until the first of the file's certificates runs out, negative if it has; None if it is
    not yet time to say so.

    Raises:
        InvalidConfig: unreadable, or not PEM.
    """
    content = _read(certificate, "tls.certificate")
    ends = min(
        one.not_valid_after_utc for one in _certificates(certificate, content, "tls.certificate")
    )
    left = (ends - datetime.now(UTC)).days
    return left if left < _WARN_DAYS else None


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"{field}: {path}: {error.strerror}", field=field) from error


def _certificates(path: Path, content: bytes, field: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise InvalidConfig(f"{field}: {path} holds no PEM certificate", field=field) from error


def _require_valid(certificate: x509.Certificate, path: Path, field: str) -> None:
    now = datetime.now(UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = certificate.subject.rfc4514_string()
    if now > ends:
        raise InvalidConfig(
            f"{field}: the certificate of {name} in {path} expired on {ends:%Y-%m-%d %H:%M} UTC",
            field=field,
        )
    if now < begins:
        raise InvalidConfig(
            f"{field}: the certificate of {name} in {path} is not valid before "
            f"{begins:%Y-%m-%d %H:%M} UTC",
            field=field,
        )
