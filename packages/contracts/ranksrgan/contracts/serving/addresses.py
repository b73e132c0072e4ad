"""Addresses of servers: their form, and who reaches them."""

from __future__ import annotations

import ipaddress


def is_host_and_port(text: str) -> bool:
    """Whether it has the form ``HOST:PORT``."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit()


def tcp_address(text: str) -> str:
    """``HOST:PORT`` as it is.

    Raises:
        ValueError: of another form.
    """
    if not is_host_and_port(text):
        raise ValueError(f"{text!r} is not of the form HOST:PORT")
    if int(text.rpartition(":")[2]) > 65535:  # gRPC would take what is left of it in 16 bits
        raise ValueError(f"{text!r}: a port is at most 65535")
    return text


def listening(text: str) -> str:
    """``HOST:PORT`` or ``unix:PATH`` as it is.

    Raises:
        ValueError: of another form.
    """
    if text.startswith("unix:"):
        if not text.removeprefix("unix:"):
            raise ValueError("a path is missing: unix:PATH")
        return text
    try:
        return tcp_address(text)
    except ValueError as error:
        raise ValueError(f"{error}: listen on HOST:PORT or unix:PATH") from error


def is_local(address: str) -> bool:
    """Whether only this machine reaches that address: a unix socket, or loopback."""
    if address.startswith("unix:"):
        return True
    host = host_of(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def cannot_both_listen(first: str, second: str) -> bool:
    """Whether one of two addresses ``HOST:PORT`` takes the port of the other.

    Names other than ``localhost`` are not looked up: each is a host of its own, of those that
    ``0.0.0.0`` and ``[::]`` stand for.
    """
    ports = {int(address.rpartition(":")[2]) for address in (first, second)}
    if len(ports) > 1 or 0 in ports:
        return False
    here, there = _faces(first), _faces(second)
    return any(_covers(one, other) or _covers(other, one) for one in here for other in there)


def host_of(address: str) -> str:
    """The host of ``HOST:PORT`` in lower case, without the brackets of IPv6."""
    return address.rpartition(":")[0].removeprefix("[").removesuffix("]").lower()


def _faces(address: str) -> tuple[str, ...]:
    """What a host stands for: addresses in their shortest form, or its name."""
    host = host_of(address)
    if host == "localhost":
        return "127.0.0.1", "::1"
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return (host,)
    return (str(getattr(found, "ipv4_mapped", None) or found),)


def _covers(face: str, other: str) -> bool:
    """Who listens on all addresses of IPv6 does so on those of IPv4 too."""
    return face == other or face == "::" or (face == "0.0.0.0" and ":" not in other)
