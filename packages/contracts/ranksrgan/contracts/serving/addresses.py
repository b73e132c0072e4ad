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
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
