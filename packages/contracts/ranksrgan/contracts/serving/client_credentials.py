"""How a client proves who it is and whom it trusts, from the environment of its process.

    RANKSRGAN_CLIENT_CA            PEM file of the authorities to trust (default: gRPC's own)
    RANKSRGAN_CLIENT_CERTIFICATE   PEM file of the client's certificate, where a server wants one
    RANKSRGAN_CLIENT_KEY           PEM file of its private key
    RANKSRGAN_CLIENT_SERVER_NAME   the name in the server's certificate, if it is not the address's
    RANKSRGAN_CLIENT_TOKEN         the token, or
    RANKSRGAN_CLIENT_TOKEN_FILE    a file that holds it and nothing else
    RANKSRGAN_CLIENT_TOKEN_IN_CLEAR=1   send it without encryption to other machines too

The first four are for addresses ``grpcs://HOST:PORT``. The token's file is read when a client
connects, and again when it has changed: a client that lives on sends the new token. So a spec that
is kept in a file, or handed to a process that trains, never holds a secret.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.serving.addresses import is_local
from ranksrgan.contracts.serving.token_file import signature

log = logging.getLogger(__name__)

PREFIX = "RANKSRGAN_CLIENT_"
TLS_SCHEME = "grpcs://"


@dataclass(frozen=True)
class ClientCredentials:
    """What a client connects with; see the module's head.

    Attributes:
        ca, certificate, key: PEM files.
        server_name: in the server's certificate.
        token: sent with every call; never shown.
        token_file: file of the token, in place of ``token``.
        token_in_clear: over any connection.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    token: str | None = None
    token_file: Path | None = None
    token_in_clear: bool = False

    def __repr__(self) -> str:
        return f"ClientCredentials(ca={self.ca}, certificate={self.certificate}, ...)"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ClientCredentials:
        """Those that the process was given; reads no file.

        Raises:
            InvalidConfig: both ways to give a token were used, or it cannot be one.
        """
        given = os.environ if environment is None else environment

        def value(name: str) -> str | None:
            return given.get(PREFIX + name) or None

        def path(name: str) -> Path | None:
            text = value(name)
            return None if text is None else Path(text)

        token, file = value("TOKEN"), path("TOKEN_FILE")
        if token is not None and file is not None:
            raise InvalidConfig(
                f"{PREFIX}TOKEN and {PREFIX}TOKEN_FILE are both set; one is enough",
                field=f"{PREFIX}TOKEN",
            )
        if token is not None:
            _check_token(token, f"{PREFIX}TOKEN")
        return cls(
            path("CA"),
            path("CERTIFICATE"),
            path("KEY"),
            value("SERVER_NAME"),
            token,
            file,
            value("TOKEN_IN_CLEAR") == "1",
        )

    @property
    def has_token(self) -> bool:
        """Whether one is sent."""
        return bool(self.token) or self.token_file is not None

    def without_token(self) -> ClientCredentials:
        """For calls that need none."""
        return replace(self, token=None, token_file=None)


def connect(
    address: str, credentials: ClientCredentials, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """A channel to ``HOST:PORT``, ``grpcs://HOST:PORT`` or ``unix:PATH``.

    Raises:
        InvalidConfig: a file cannot be read, that of a token holds none, a certificate comes
            without its key, is not valid now (see `tls.read_certificate`, `tls.read_authorities`),
            or a token would cross the network in clear.
    """
    if address.startswith(TLS_SCHEME):
        if credentials.server_name is not None:
            options = [*options, ("grpc.ssl_target_name_override", credentials.server_name)]
        channel = grpc.secure_channel(
            address.removeprefix(TLS_SCHEME), _channel_credentials(credentials), options
        )
    else:
        if credentials.has_token and not credentials.token_in_clear and not is_local(address):
            raise InvalidConfig(
                f"the token would cross the network to {address} in clear: use "
                f"{TLS_SCHEME}{address}, or set {PREFIX}TOKEN_IN_CLEAR=1",
                field=address,
            )
        channel = grpc.insecure_channel(address, options)
    if credentials.token_file is not None:
        token = _TokenInFile(credentials.token_file)
        return grpc.intercept_channel(channel, _Bearer(token.now))
    if credentials.token is not None:
        fixed = credentials.token
        return grpc.intercept_channel(channel, _Bearer(lambda: fixed))
    return channel


def explain(address: str, details: str, credentials: ClientCredentials | None = None) -> str | None:
    """What gRPC's text about a failed connection means, where encryption is the matter.

    Args:
        address: of the service.
        details: gRPC's text.
        credentials: that the client had; None for those of the environment.
    """
    _, verifying, why = details.partition("CERTIFICATE_VERIFY_FAILED")
    if verifying:
        why = why.strip(": ").removesuffix(": OK") or "it is not trusted"
        return f"the certificate of the service at {address} is refused: {why}"
    if "Hostname Verification Check failed" in details:
        return (
            f"the certificate of the service at {address} is another name's; "
            f"{PREFIX}SERVER_NAME says which one to expect"
        )
    if "WRONG_VERSION_NUMBER" in details:
        return (
            f"the service at {address} has no encryption, so no certificate: write the address "
            f"without {TLS_SCHEME}"
        )
    # A server that wants more than it was shown says nothing before it goes.
    if "all backends failing" in details and "Socket closed" in details:
        shown = (credentials or ClientCredentials.from_environment()).certificate
        if not address.startswith(TLS_SCHEME):
            why = f"want encryption ({TLS_SCHEME}{address})"
        elif shown is None:
            why = f"want a client's certificate ({PREFIX}CERTIFICATE and {PREFIX}KEY)"
        else:
            why = f"have refused the client's certificate in {shown}"
        return f"the service at {address} closed the connection; it may {why}"
    return None


class _TokenInFile:
    """A token as it stands in its file now; any thread may ask.

    Raises:
        InvalidConfig: the file cannot be read, or holds no token. Once it has, it is only said in
            the log, and the token stays the one from before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = (signature(path), _token_in(path))

    def now(self) -> str:
        seen, token = self._known
        if (changed := signature(self._path)) != seen:
            try:
                token = _token_in(self._path)
            except InvalidConfig as error:
                log.error("%s; the token stays the one from before", error)
            self._known = (changed, token)
        return token


class _Call(NamedTuple):
    """What `grpc.ClientCallDetails` has, which cannot be made."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: Any


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends the token of the moment with every call. gRPC's own way to do so wants encryption, and
    unix sockets have none."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def _with_token(
        self, continuation: Callable[..., Any], details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        call = _Call(
            details.method,
            details.timeout,
            [*(details.metadata or ()), ("authorization", f"Bearer {self._token()}")],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        return continuation(call, request)

    intercept_unary_unary = _with_token  # type: ignore[assignment]
    intercept_unary_stream = _with_token  # type: ignore[assignment]
    intercept_stream_unary = _with_token  # type: ignore[assignment]
    intercept_stream_stream = _with_token  # type: ignore[assignment]


def _channel_credentials(credentials: ClientCredentials) -> grpc.ChannelCredentials:
    if (credentials.certificate is None) != (credentials.key is None):
        raise InvalidConfig(
            f"{PREFIX}CERTIFICATE and {PREFIX}KEY go together; one of them is not set",
            field=f"{PREFIX}CERTIFICATE",
        )
    if credentials.ca is None and credentials.certificate is None:
        return grpc.ssl_channel_credentials()
    from ranksrgan.contracts.serving.tls import read_authorities, read_certificate

    ca = certificate = key = None
    if credentials.ca is not None:
        ca = read_authorities(credentials.ca, f"{PREFIX}CA")
    if credentials.certificate is not None and credentials.key is not None:
        key, certificate = read_certificate(
            credentials.certificate,
            credentials.key,
            fields=(f"{PREFIX}CERTIFICATE", f"{PREFIX}KEY"),
            whole_chain=False,
        )
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _token_in(path: Path) -> str:
    field = f"{PREFIX}TOKEN_FILE"
    token = _read(path, field).decode(errors="replace").strip()
    _check_token(token, field)
    return token


def _check_token(token: str, field: str) -> None:
    if not (token and token.isascii() and token.isprintable()):
        raise InvalidConfig(
            f"the token in {field} {'has characters that no token has' if token else 'is missing'}",
            field=field,
        )


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"{field}: {path}: {error.strerror}", field=field) from error
