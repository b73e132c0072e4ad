"""Weights and training states on disk.

Weights are ``.safetensors`` with what they are in the metadata. ``.pth`` files of other projects
are read with ``weights_only=True`` and never otherwise: a pickle that wants to run code is refused.
A training state is one file, so that a kill between two writes cannot tear it apart.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save
from torch import Tensor

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput

log = logging.getLogger(__name__)

_OURS = "ranksrgan-"
FORMAT = f"{_OURS}1"

# Where other projects put the weights inside their files, best first.
_WRAPPERS = ("params_ema", "params", "state_dict", "model")
# What models are made of: weights, and whole numbers that count or point (trees of a forest).
# Others, complex or with 8 bits, none here takes: the latter mean something by a scale elsewhere.
_KINDS = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16}
    | {torch.int64, torch.int32, torch.int16}
)
# Tensors of a pickle can be larger than what is stored of them, to any degree. Those of a file that
# somebody has made for its weights are not, but for a few small ones.
_MOST_REPEATED, _SMALL_FILE = 4, 16 * 2**20

# What DDP and torch.compile put before every key.
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Weights:
    """The content of a weights file.

    Attributes:
        path: where it was read.
        tensors: by key, on the CPU, all finite.
        kind: ``"generator"``, ``"discriminator"``, ``"ranker"`` or ``"ma"``; None if the file does
            not say (any ``.pth``).
        architecture: the network's name; None if the file does not say.
        options: of the architecture.
        about: everything else that the writer recorded (the metric of a Ranker, say).
        sha256: of the tensors' keys, shapes, types and bytes, in hex: the same for the same
            weights in either file format.
    """

    path: Path
    tensors: dict[str, Tensor]
    kind: str | None
    architecture: str | None
    options: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def source(self) -> dict[str, str]:
        """What files that are made of this one record of it: its name and ``sha256``."""
        return {"name": self.path.name, "sha256": self.sha256}


def save_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    architecture: str,
    options: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a weights file, whole or not at all.

    Args:
        path: ends in ``.safetensors``.
        tensors: the network's ``state_dict()``.
        kind: what it is, one word; see `Weights`.
        architecture: the network's name.
        options: its constructor's arguments; JSON values.
        about: further JSON values.

    The same content makes the same bytes.

    Raises:
        DiskFull: there is no room for it; the file before it stays.
    """
    header = {
        "format": FORMAT,
        "kind": kind,
        "architecture": architecture,
        "options": json.dumps(dict(options)),
        "about": json.dumps(dict(about or {})),
    }
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with atomic.replacing(path) as temporary:
        # Its own writer would hide why it failed: a full disk, say.
        temporary.write_bytes(_in_order(save(plain, metadata=header)))


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float16, for a file of half the size; whoever loads it computes in float32.

    Kernels and matrices are rounded. Vectors (biases, the statistics of BatchNorm) stay as they
    are, since they weigh nothing and may lie outside of float16, and so do whole numbers.

    Raises:
        InvalidInput: a weight is too large for float16; names it.
    """
    found = dict(tensors)
    for key, value in tensors.items():
        if value.is_floating_point() and value.ndim > 1:
            found[key] = value.half()
            if not bool(torch.isfinite(found[key]).all()):
                raise InvalidInput(
                    f"{key} reaches {float(value.abs().max()):g}; float16 ends at 65504", field=key
                )
    return found


def load_weights(path: Path) -> Weights:
    """Read ``.safetensors``, or a ``.pth``/``.pt`` state dict of another project.

    Raises:
        InvalidCheckpoint: missing, damaged, unsafe to unpickle, without tensors, not finite, or of
            a later format of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidCheckpoint(f"{path}: no such file", field=str(path))
    if path.suffix == ".safetensors":
        header, tensors = _read_safetensors(path)
    elif path.suffix in {".pth", ".pt"}:
        header, tensors = {}, _read_pickle(path)
    else:
        raise InvalidCheckpoint(
            f"{path}: weights end in .safetensors, .pth or .pt", field=str(path)
        )
    return _checked(header, tensors, path, path.stat().st_size)


def weights_in(data: bytes, path: Path) -> Weights:
    """Read the content of a ``.safetensors`` file that somebody holds in memory.

    Args:
        data: the whole file.
        path: what to call it.

    Raises:
        InvalidCheckpoint: damaged, not finite, or of a later format of ours.
    """
    try:
        tensors = load_safetensors(data)
        # It has found the header sound: its length in 8 bytes, and JSON.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, KeyError) as error:  # KeyError: a number format that torch lacks
        raise InvalidCheckpoint(f"{path} is damaged: {error}", field=str(path)) from error
    return _checked(header.get("__metadata__", {}), tensors, path, len(data))


def _checked(
    header: Mapping[str, str], tensors: dict[str, Tensor], path: Path, size: int
) -> Weights:
    _check_format(header, path)
    _check_cost(tensors, path, size)
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InvalidCheckpoint(f"{path}: {key} holds NaN or infinity", field=str(path))
    return Weights(
        path=path,
        tensors=tensors,
        kind=header.get("kind"),
        architecture=header.get("architecture"),
        options=_json_object(header, "options", path),
        about=_json_object(header, "about", path),
        sha256=hash_tensors(tensors),
    )


def _check_format(header: Mapping[str, str], path: Path) -> None:
    """Refuse what a later version has written: its words may mean something else. Files of other
    projects have formats of their own (``pt``), which say nothing here."""
    found = header.get("format", FORMAT)
    if found != FORMAT and found.startswith(_OURS):
        raise InvalidCheckpoint(
            f"{path} is of format {found}; this version reads {FORMAT}: update to read it",
            field=str(path),
        )


def load_into(network: torch.nn.Module, weights: Weights) -> None:
    """Load weights into a network whose keys and shapes they must match exactly.

    Weights of more bits than the network's are rounded, with a warning.

    Raises:
        InvalidCheckpoint: see `check_fit`.
    """
    check_fit(network, weights)
    own = network.state_dict()
    rounded = [
        key
        for key, value in weights.tensors.items()
        if _is_wider(value, own[key])
        and not torch.equal(value.to(own[key].dtype).to(value.dtype), value)
    ]
    if rounded:
        kind, wider = (str(of[rounded[0]].dtype) for of in (own, weights.tensors))
        log.warning(
            "%s: %d of its tensors are %s and are rounded to %s",
            weights.path,
            len(rounded),
            wider.removeprefix("torch."),
            kind.removeprefix("torch."),
        )
    network.load_state_dict(weights.tensors, strict=False)


def check_fit(network: torch.nn.Module, weights: Weights) -> None:
    """Whether weights have the keys and shapes of a network, which may be on the device ``meta``,
    and are numbers that it can hold.

    A file decides how large a network is built, and a small one can ask for any size: so that is
    found out of a network that takes no memory.

    Raises:
        InvalidCheckpoint: they belong to another architecture; lists the keys, see `list_keys`.
    """
    own = network.state_dict()
    # Files written before PyTorch 0.4.1 lack this counter; it affects nothing here.
    missing = [k for k in own if k not in weights.tensors and not k.endswith("num_batches_tracked")]
    unknown = [key for key in weights.tensors if key not in own]
    wrong = [
        f"{key} is {tuple(value.shape)} and should be {tuple(own[key].shape)}"
        for key, value in weights.tensors.items()
        if key in own and value.shape != own[key].shape
    ]
    kinds = [
        f"{key} is {value.dtype} and should be {own[key].dtype}"
        for key, value in weights.tensors.items()
        if key in own and own[key].is_floating_point() and not value.is_floating_point()
    ]
    beyond = [
        key
        for key, value in weights.tensors.items()
        if key in own
        and _is_wider(value, own[key])
        and not bool(torch.isfinite(value.to(own[key].dtype)).all())
    ]
    problems = [
        f"{what} {list_keys(names)}"
        for what, names in (
            ("misses", missing),
            ("has unknown", unknown),
            ("size:", wrong),
            ("type:", kinds),
            ("too large for its type:", beyond),
        )
        if names
    ]
    if problems:
        raise InvalidCheckpoint(
            f"{weights.path} does not fit {type(network).__name__}: {'; '.join(problems)}",
            field=str(weights.path),
        )


def _is_wider(value: Tensor, own: Tensor) -> bool:
    """Whether a tensor has floating point of more bits than the network's."""
    both = value.is_floating_point() and own.is_floating_point()
    return both and value.itemsize > own.itemsize


def list_keys(keys: Iterable[str]) -> str:
    """All keys in one line; of more than three, those that differ in indices alone are one."""
    keys = list(keys)
    if len(keys) <= 3:
        return ", ".join(keys)
    alike: dict[str, list[str]] = {}
    for key in keys:
        alike.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "N", key), []).append(key)
    return ", ".join(
        f"{pattern} ({len(group)})" if len(group) > 1 else group[0]
        for pattern, group in alike.items()
    )


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors, numbers, strings, lists and dicts), whole or not at all.

    Raises:
        DiskFull: there is no room for it; the state before it stays.
    """
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(state), file)


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state onto the CPU.

    Raises:
        InvalidCheckpoint: missing, damaged or unsafe to unpickle.
    """
    state = _unpickle(Path(path))
    if not isinstance(state, dict):
        raise InvalidCheckpoint(f"{path} holds no training state", field=str(path))
    return state


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """sha256 in hex of keys, types, shapes and bytes, in the order of the keys' names."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _in_order(data: bytes) -> bytes:
    """The content of a ``.safetensors`` file with its metadata by name: its writer, which keeps
    them in a hash table, writes them in another order each time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpoint(f"{path} is damaged: {error}", field=str(path)) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    content = _unpickle(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise InvalidCheckpoint(f"{path} holds no state dict (tensors by name)", field=str(path))
    tensors = {str(key): value for key, value in content.items()}
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), ""):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InvalidCheckpoint(f"{path}: no such file", field=str(path)) from error
    except pickle.UnpicklingError as error:
        raise InvalidCheckpoint(
            f"{path} is refused: it is damaged, or holds more than tensors and plain values, and "
            "loading it could run code",
            field=str(path),
        ) from error
    except Exception as error:  # a flipped byte makes torch raise nearly anything
        raise InvalidCheckpoint(f"{path} is damaged: {error}", field=str(path)) from error


def _check_cost(tensors: Mapping[str, Tensor], path: Path, size: int) -> None:
    """Refuse tensors that no network has, before anything is made of them.

    Args:
        tensors: as they were read.
        path: of the file, for messages.
        size: of the file in bytes.
    """
    room = max(_SMALL_FILE, _MOST_REPEATED * size)
    for key, value in tensors.items():
        plain = value.layout is torch.strided and value.device.type == "cpu"
        if not plain or value.dtype not in _KINDS:
            kind = value.dtype if plain else f"{value.layout} on {value.device}"
            raise InvalidCheckpoint(
                f"{path}: {key} is of {kind}; dense real numbers are wanted", field=str(path)
            )
        room -= value.numel() * value.itemsize
        if room < 0:
            raise InvalidCheckpoint(
                f"{path}: {key} has {value.numel()} elements, far more than the file holds",
                field=str(path),
            )


def _json_object(header: Mapping[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(header.get(key, "{}"))
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, 2000 brackets
        raise InvalidCheckpoint(
            f"{path}: its {key} are not JSON: {error}", field=str(path)
        ) from error
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{path}: its {key} are not a JSON object", field=str(path))
    return value
