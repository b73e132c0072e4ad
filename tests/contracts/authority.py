"""Certificates for tests, made by the test: an authority, and what it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates, into a folder.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.certificate))

    def sign(
        self, name: str, *identities: str, common_name: str | None = None, days: float = 30
    ) -> Pair:
        """A certificate for ``identities`` that runs out in ``days``, which may be in the past."""
        signed = self._authority.issue_cert(
            *identities,
            common_name=common_name,
            not_before=datetime.now(UTC) - timedelta(days=60),
            not_after=datetime.now(UTC) + timedelta(days=days),
        )
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in signed.cert_chain_pems))
        signed.private_key_pem.write_to_path(str(pair.key))
        return pair
