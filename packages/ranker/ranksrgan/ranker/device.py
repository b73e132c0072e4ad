"""Where a Ranker runs and in which precision it learns."""

from __future__ import annotations

from typing import Literal

import torch

from ranksrgan.contracts.errors import InvalidInput


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA where there is one.

    Raises:
        InvalidInput: no such device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(
            f"device: {name!r} is none; use auto, cpu, cuda or cuda:1", field="device"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device: {name!r} is not supported; use cpu or cuda", field="device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidInput(
            f"device: there is no {name} here; PyTorch sees {torch.cuda.device_count()} GPUs",
            field="device",
        )
    return device


def resolve_precision(name: str, device: torch.device) -> Literal["float32", "bfloat16"]:
    """``auto`` is bfloat16 where the hardware multiplies in it: emulated, it is slower."""
    if name == "auto":
        return "bfloat16" if _multiplies_bfloat16(device) else "float32"
    return "bfloat16" if name == "bfloat16" else "float32"


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not hasattr(torch.cpu, "get_capabilities"):  # came after torch 2.10
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
