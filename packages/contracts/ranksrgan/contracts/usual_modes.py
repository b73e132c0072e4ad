"""Torch's modes as they are where nobody has changed them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def usual_modes() -> Iterator[None]:
    """Do what is to be the same whatever the caller has set; also as a decorator.

    New tensors are float32 and no inference tensors, and the caller's global generator is
    afterwards as it was. The default type is the whole process's: where the caller has set another
    one, other threads have float32 meanwhile.
    """
    dtype = torch.get_default_dtype()
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        if dtype == torch.float32:
            yield
            return
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def making_networks() -> Iterator[None]:
    """`usual_modes`, and new tensors are on the CPU, for networks and the weights that they get."""
    with usual_modes(), torch.device("cpu"):
        yield
