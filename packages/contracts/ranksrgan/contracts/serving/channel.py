"""The way from a client to a server."""

from __future__ import annotations

import grpc

from ranksrgan.contracts.serving.client_credentials import ClientCredentials, connect

# Where a name stands for several servers, calls take turns among them.
_TAKE_TURNS = '{"loadBalancingConfig": [{"round_robin": {}}]}'

# What a client accepts in one answer: an upscaled image is many times the request.
_MAX_ANSWER_BYTES = 2**30


def open_channel(address: str, credentials: ClientCredentials | None = None) -> grpc.Channel:
    """A channel to ``HOST:PORT``, ``grpcs://HOST:PORT`` or ``unix:PATH``; connects when it is first
    used. A name that stands for several servers is all of them: calls take turns.

    Args:
        address: of the server.
        credentials: None for those of the environment, see `serving.client_credentials`.

    Raises:
        InvalidConfig: see `client_credentials.connect`.
    """
    return connect(
        address,
        ClientCredentials.from_environment() if credentials is None else credentials,
        [
            ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config", _TAKE_TURNS),
            # What one attempt to connect may take, whatever its name says: a busy server needs it.
            ("grpc.min_reconnect_backoff_ms", 20_000),
            # A service that restarts should be found again within a second, not within two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ],
    )
