"""What a name stands for, as its text alone says; `discovery` opens it.

No torch here: commands that only ask a service how it is need none.
"""

from __future__ import annotations

from typing import NamedTuple

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.serving.addresses import is_host_and_port

#: Of files that hold weights, ours first.
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt")


#: What the address of a service begins with.
SCHEMES = ("grpc://", "grpcs://", "unix:")


class RemoteName(NamedTuple):
    """``grpc://host:port/name``, ``grpcs://...`` or ``unix:///path.sock/name`` taken apart."""

    address: str  # "host:port", "grpcs://host:port" or "unix:/path.sock"
    name: str


def is_remote(spec: str) -> bool:
    return spec.startswith(SCHEMES)


def is_sum(spec: str) -> bool:
    """Whether a scorer's name is a weighted sum, such as ``niqe+0.4*rmse``."""
    return "+" in spec or "*" in spec


def parse_remote(spec: str) -> RemoteName:
    """Take a service's address and the name behind it apart.

    Raises:
        InvalidInput: no name, or no address.
    """
    if spec.startswith(("grpc://", "grpcs://")):
        scheme, _, rest = spec.partition("://")
        address, _, name = rest.partition("/")
        if not is_host_and_port(address):
            raise InvalidInput(f"{spec}: write {scheme}://HOST:PORT/NAME", field=spec)
        address = address if scheme == "grpc" else f"grpcs://{address}"
    else:
        path, _, name = spec.removeprefix("unix:").partition("?")[0].rpartition("/")
        # The name may carry options, and those may hold a slash.
        name = spec[len("unix:") + len(path) + 1 :]
        address = f"unix:{path.removeprefix('//')}"
        if not path.removeprefix("//"):
            raise InvalidInput(f"{spec}: write unix:///PATH.sock/NAME", field=spec)
    if not name:
        raise InvalidInput(f"{spec}: the name of a scorer, model or dataset is missing", field=spec)
    return RemoteName(address, name)


def service_address(service: str) -> str:
    """``grpc://HOST:PORT`` or ``unix:///PATH.sock`` as gRPC wants it.

    Raises:
        InvalidInput: neither of the two.
    """
    if not is_remote(service):
        raise InvalidInput(f"{service}: write grpc://HOST:PORT or unix:///PATH.sock", field=service)
    return parse_remote(f"{service.rstrip('/')}/any").address
