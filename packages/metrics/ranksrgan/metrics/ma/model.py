"""What turns the 138 features of Ma into a score: three forests and four weights."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ranksrgan.contracts.assets import find_asset, get_asset, verify_asset
from ranksrgan.contracts.checkpoint import hash_tensors, load_weights, save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.metrics.forest import Forest, from_r_package
from ranksrgan.metrics.luma import Convention, check_border, check_convention

ASSET = "ma"

#: Features of each of the three groups.
GROUPS = (18, 45, 75)
FEATURES = sum(GROUPS)

_KIND = "ma"
_ARCHITECTURE = "three-forests"
_FOREST_ARRAYS = ("roots", "feature", "split", "children")

_logger = logging.getLogger(__name__)
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class MaModel:
    """A forest for each group of features, and how their predictions are combined.

    Attributes:
        forests: of 18, 45 and 75 inputs.
        linear: ``(4,)`` float64, a constant and the weight of each forest.
        about: how it was made; JSON values.
        sha256: of the authors' file if it was read from that; of the arrays otherwise.
    """

    forests: tuple[Forest, ...]
    linear: Tensor
    about: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        inputs = tuple(forest.inputs for forest in self.forests)
        if inputs != GROUPS:
            raise InvalidInput(
                f"a Ma model has forests of {GROUPS} inputs, not {inputs}", field="forests"
            )
        if self.linear.shape != (4,) or self.linear.dtype != torch.float64:
            raise InvalidInput(
                f"a Ma model has 4 linear weights in float64, not {tuple(self.linear.shape)} in "
                f"{self.linear.dtype}",
                field="linear",
            )
        if not self.sha256:
            object.__setattr__(self, "sha256", hash_tensors(self._arrays()))

    def predict(self, features: Tensor) -> Tensor:
        """The score of each image, ``(N,)`` float64, from its features, ``(N, 138)`` float64."""
        scores = self.linear[0].expand(len(features))
        groups = torch.split(features, list(GROUPS), dim=1)
        for weight, forest, group in zip(self.linear[1:], self.forests, groups, strict=True):
            scores = scores + weight * forest.predict(group)
        return scores

    @property
    def planes(self) -> tuple[int, Convention]:
        """Border and luma that it was trained with; those of PIRM's programs, but for the border,
        if it does not say.

        Raises:
            InvalidInput: what it says is neither.
        """
        border, luma = self.about.get("border", 0), self.about.get("luma", "y")
        check_border(border)
        check_convention(luma)
        return border, luma

    def save(self, path: Path) -> None:
        """Write ``.safetensors``, whole or not at all."""
        save_weights(
            path,
            self._arrays(),
            kind=_KIND,
            architecture=_ARCHITECTURE,
            options={},
            about=self.about,
        )

    @classmethod
    def load(cls, path: Path) -> MaModel:
        """Read the authors' ``.mat`` or a ``.safetensors`` that `save` wrote.

        Raises:
            InvalidCheckpoint: missing, damaged, or something else.
        """
        path = Path(path)
        return _read_mat(path) if path.suffix == ".mat" else _read_safetensors(path)

    @classmethod
    def published(cls) -> MaModel:
        """The authors' model, from the asset ``ma``; read once.

        A file with another content than the published one is used with a warning.

        Raises:
            MissingAsset: the file is not there.
            InvalidCheckpoint: it cannot be read.
        """
        path = find_asset(ASSET)
        with _lock:  # it takes seconds and half a gigabyte
            return _read_once(path, path.stat().st_mtime_ns)

    def _arrays(self) -> dict[str, Tensor]:
        arrays = {"linear": self.linear}
        for number, forest in enumerate(self.forests, 1):
            arrays |= {f"forest{number}.{name}": value for name, value in forest.arrays().items()}
        return arrays


@lru_cache(maxsize=4)
def file_sha256(path: Path, mtime_ns: int) -> str:
    """Of the content, in hex; remembered for as long as the file is not written again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def _read_once(path: Path, mtime_ns: int) -> MaModel:
    try:
        verify_asset(get_asset(ASSET), path)
    except InvalidCheckpoint as error:
        _logger.warning("%s; it is used, but its scores are not comparable to others'", error)
    return MaModel.load(path)


def _read_safetensors(path: Path) -> MaModel:
    weights = load_weights(path)
    if weights.kind != _KIND or weights.architecture != _ARCHITECTURE:
        known = weights.kind and f"a {weights.kind} of the architecture {weights.architecture}"
        raise InvalidCheckpoint(
            f"{path} holds {known or 'weights that do not say of what they are'}, not a Ma model",
            field=str(path),
        )
    try:
        forests = [
            Forest(inputs, *(weights.tensors[f"forest{number}.{name}"] for name in _FOREST_ARRAYS))
            for number, inputs in enumerate(GROUPS, 1)
        ]
        return MaModel(tuple(forests), weights.tensors["linear"], weights.about, weights.sha256)
    except KeyError as error:
        raise InvalidCheckpoint(f"{path} misses {error}", field=str(path)) from error
    except InvalidInput as error:
        raise InvalidCheckpoint(f"{path}: {error}", field=str(path)) from error


def _read_mat(path: Path) -> MaModel:
    """The layout of ``model.mat`` in chaoma99/sr-metric."""
    from scipy.io import loadmat  # takes a while to import, and only this needs it

    if not path.is_file():
        raise InvalidCheckpoint(f"{path}: no such file", field=str(path))
    try:
        content = loadmat(path, variable_names=["model"], chars_as_strings=False)
        model = content["model"]
        cells, linear = model["rf"][0, 0].ravel(), model["linear"][0, 0]
        structs = [cell[0, 0] for cell in cells]
        if len(structs) != len(GROUPS):
            raise InvalidInput(f"{len(GROUPS)} forests wanted, got {len(structs)}", field="rf")
        forests = [
            from_r_package({name: struct[name] for name in struct.dtype.names}, inputs)
            for struct, inputs in zip(structs, GROUPS, strict=True)
        ]
        weights = torch.from_numpy(np.asarray(linear, dtype=np.float64).ravel())
        return MaModel(tuple(forests), weights, {}, file_sha256(path, path.stat().st_mtime_ns))
    except NotImplementedError as error:  # a file of MATLAB 7.3, which is HDF5
        raise InvalidCheckpoint(
            f"{path} is in MATLAB's format 7.3: save it again with '-v7'", field=str(path)
        ) from error
    except InvalidInput as error:
        raise InvalidCheckpoint(f"{path}: {error}", field=str(path)) from error
    except Exception as error:  # a flipped byte makes SciPy raise nearly anything
        raise InvalidCheckpoint(
            f"{path} is no Ma model (a MATLAB struct 'model' with the fields rf and linear): "
            f"{error}",
            field=str(path),
        ) from error
