"""What a client's configuration may ask for: limits of a service, which its operator sets.

A service's limits are a `Config` of the shape of the configuration that they are for: the limit of
``data.batch`` is ``data.batch`` too. A limit of a number is the most that it may be, one of a list
or a mapping the most entries that it may have. Within a process nothing is limited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import InvalidConfig


def check_limits(content: Mapping[str, Any], limits: Config, setting: str) -> None:
    """Refuse a configuration that asks for more than a service gives.

    To be asked of what a client has sent, before anything in it is looked up, and again of what it
    comes to with all defaults, before anything is allocated for it. What is of another type than
    its limit is for is left to the configuration's own checks.

    Args:
        content: keys and values of a configuration.
        limits: of the service.
        setting: of the service, that holds the limits, for messages.

    Raises:
        InvalidConfig: names the key, its value and the limit; ``field`` is the key.
    """
    for key, most in _leaves(limits):
        value = _at(content, key)
        if isinstance(value, int | float) and not isinstance(value, bool) and not value <= most:
            raise InvalidConfig(
                f"{key}: {value:g} is more than this server allows, {most} ({setting}.{key})",
                field=key,
            )
        if isinstance(value, list | tuple | Mapping) and len(value) > most:
            raise InvalidConfig(
                f"{key}: {len(value)} entries are more than this server allows, {most} "
                f"({setting}.{key})",
                field=key,
            )


def _leaves(limits: Config, prefix: str = "") -> Iterator[tuple[str, int]]:
    for name in type(limits).model_fields:
        value = getattr(limits, name)
        if isinstance(value, Config):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _at(content: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(content, Mapping):
            return None
        content = content.get(part)
    return content
