"""Finding the compiled operators, or saying why the PyTorch twins serve instead.

``RANKSRGAN_NATIVE`` chooses:

* ``auto`` (default): compiled operators if they can be had, the twins of
  `ranksrgan.metrics.reference` otherwise, with one warning that says why;
* ``require``: an error where they cannot be had;
* ``off``: the twins.

A library built ahead of time (``python -m ranksrgan.metrics.native_build``) in the package's
folder ``_native`` is taken first; otherwise one is compiled on first use and kept in the user's
cache. Nothing is looked for before the first operator is called.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ranksrgan.contracts.errors import InvalidConfig, NotSupported
from ranksrgan.metrics.native_library import (
    AHEAD_OF_TIME,
    LIBRARY,
    RECORD,
    VARIABLE,
    UnusableLibrary,
    load,
)

MODES = ("auto", "require", "off")

_logger = logging.getLogger(__name__)
_lock = threading.RLock()
_operators: dict[str, Callable[..., Any]] = {}
_status: NativeStatus | None = None


@dataclass(frozen=True)
class NativeStatus:
    """What a process uses, for ``ranksrgan doctor``.

    Attributes:
        mode: the value of ``RANKSRGAN_NATIVE``.
        in_use: whether the compiled operators serve.
        reason: why so, in words.
        path: the library in use.
        facts: of its build: ``compiler``, ``c++``, ``simd``, ``cuda`` (architectures), ``torch``.
    """

    mode: str
    in_use: bool
    reason: str
    path: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def operator(
    name: str, *, twin: Callable[..., Any], register: Callable[[str], None]
) -> Callable[..., Any]:
    """The compiled operator ``name``, or ``twin`` where it cannot be had.

    Args:
        name: as in ``torch.ops.ranksrgan``.
        twin: the same in plain PyTorch.
        register: called once with the qualified name, to add the fake kernel and the gradient.

    Raises:
        InvalidConfig: ``RANKSRGAN_NATIVE`` has an unknown value.
        NotSupported: it says ``require`` and the operators cannot be had.
    """
    # Read without the lock, so that torch.compile can see through a call that is not the first.
    found = _operators.get(name)
    if found is not None:
        return found
    with _lock:
        if name not in _operators:
            state = status()
            if state.mode == "require" and not state.in_use:
                raise NotSupported(
                    f"{VARIABLE}=require, but the native operators cannot be had: {state.reason}",
                    field=VARIABLE,
                )
            if state.in_use:
                register(f"ranksrgan::{name}")
                _operators[name] = getattr(torch.ops.ranksrgan, name).default
            else:
                _operators[name] = twin
        return _operators[name]


def status() -> NativeStatus:
    """What this process uses; compiles on the first call if need be. Decided once a process.

    Raises:
        InvalidConfig: ``RANKSRGAN_NATIVE`` has an unknown value.
    """
    global _status
    with _lock:
        if _status is None:
            _status = _find(_mode())
            if _status.mode == "auto" and not _status.in_use:
                _logger.warning(
                    "the native operators are not in use, the slower PyTorch twins serve: %s",
                    _status.reason,
                )
        return _status


def _mode() -> str:
    mode = os.environ.get(VARIABLE) or "auto"
    if mode not in MODES:
        raise InvalidConfig(
            f"{VARIABLE}: one of {', '.join(MODES)} wanted, got {mode}", field=VARIABLE
        )
    return mode


def _find(mode: str) -> NativeStatus:
    if mode == "off":
        return NativeStatus(mode, in_use=False, reason=f"{VARIABLE}=off")
    # Imported here: what compiles is needed by few processes, and runs as a program of its own.
    from ranksrgan.metrics import native_build

    reasons = []
    try:
        if (AHEAD_OF_TIME / RECORD).is_file():
            facts = load(AHEAD_OF_TIME)
            return NativeStatus(mode, True, "built ahead of time", AHEAD_OF_TIME / LIBRARY, facts)
    except UnusableLibrary as error:
        reasons.append(str(error))
    try:
        folder = native_build.cache_folder()
        facts = native_build.cached(folder)
        for reason in reasons:
            _logger.warning("%s; compiled for this process instead", reason)
        return NativeStatus(mode, True, "compiled on this machine", folder / LIBRARY, facts)
    except (OSError, RuntimeError, NotSupported, UnusableLibrary) as error:
        reasons.append(str(error))
    return NativeStatus(mode, in_use=False, reason="; ".join(reasons))
