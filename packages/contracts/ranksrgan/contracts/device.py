"""Where networks compute, and in which number format: one rule for every package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import nn

from ranksrgan.contracts.errors import InvalidConfig

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Network = TypeVar("Network", bound=nn.Module)
Name = TypeVar("Name", bound=str)


def choose_device(name: str | torch.device, *, field: str = "device") -> torch.device:
    """The device of that name; ``auto`` is the first GPU, or the CPU where there is none.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``, or a device.
        field: the setting that it comes from, for the error.

    Raises:
        InvalidConfig: not a device, or one that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidConfig(
            f"{field}: {name!r} is no device; use auto, cpu, cuda or cuda:1", field=field
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise InvalidConfig(f"{field}: {name!r} is not supported; use cpu or cuda", field=field)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidConfig(
            f"{field}: there is no {name} here; PyTorch sees {torch.cuda.device_count()} GPUs",
            field=field,
        )
    return device


def find_precision(text: str, known: Sequence[Name]) -> Name:
    """The precision of that name among those that are known; raises InvalidConfig if it is none."""
    for precision in known:
        if text == precision:
            return precision
    raise InvalidConfig(f"precision={text} is none of {', '.join(known)}", field="precision")


def computes_in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether convolutions run in bfloat16; ``auto`` says so where the hardware multiplies it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not hasattr(torch.cpu, "get_capabilities"):  # came after torch 2.10
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


@contextmanager
def mixed(bfloat16: bool, device: torch.device) -> Iterator[None]:
    """Autocast to bfloat16 if wanted; parameters, losses and optimiser states stay float32.

    What stays float32 on the way, the last layer of a generator, is TF32 then on a GPU.
    """
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16), tf32(bfloat16, device):
        yield


@contextmanager
def tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """Within the block float32 convolutions of this process may be TF32, good to three digits.

    For the backward pass of what went forward under `mixed`: in true float32 the few convolutions
    that are not in bfloat16 take longer than all others together.
    """
    if not (allowed and device.type == "cuda"):
        yield
        return
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "tf32"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def place(network: Network, device: torch.device) -> Network:
    """Move a network to a device, channels last: a quarter to a third faster on CPUs and GPUs.

    From then on float32 means float32 in every convolution of the process on a GPU. PyTorch's own
    default there is TF32, which is good to three digits: scores would depend on the device.
    """
    if device.type == "cuda":
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    # mypy knows no `to` of a module with a memory format.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
