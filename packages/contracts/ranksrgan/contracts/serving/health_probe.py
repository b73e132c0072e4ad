"""Whether a server serves, asked from outside.

No torch here: a probe is a new process every few seconds.
"""

from __future__ import annotations

import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ranksrgan.contracts.serving.channel import open_channel
from ranksrgan.contracts.serving.client_credentials import ClientCredentials
from ranksrgan.contracts.serving.readiness import READY
from ranksrgan.contracts.wire import error_codec


def health_problem(
    address: str,
    service: str = READY,
    *,
    timeout: float = 2.0,
    credentials: ClientCredentials | None = None,
) -> str | None:
    """Why the server at ``address`` does not serve; None if it says that it does.

    Args:
        address: of the server.
        service: `READY` for all of its services, a service's full name, or ``""`` for the process,
            which lives while it loads and drains.
        timeout: seconds to wait for the answer.
        credentials: see `open_channel`; no token is sent.
    """
    given = ClientCredentials.from_environment() if credentials is None else credentials
    with open_channel(address, given.without_token()) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(service=service), timeout=timeout
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return f"{address} has no service {service!r}"
            return str(error_codec.error_from_proto(error, address, given))
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return f"{address} does not serve {service!r} now: it is loading or stopping"


def check_health(address: str, service: str = READY, *, timeout: float = 2.0) -> bool:
    """Whether the server at ``address`` says that it serves; see `health_problem`."""
    return health_problem(address, service, timeout=timeout) is None


def wait_until_healthy(address: str, *, timeout: float = 60.0) -> bool:
    """Wait until the server at ``address`` answers that it serves; False if it does not in time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if check_health(address):
            return True
        time.sleep(0.1)
    return False
