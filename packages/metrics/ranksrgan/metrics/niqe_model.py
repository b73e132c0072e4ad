"""What NIQE measures distances from: the Gaussian of the features of natural images."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics.nss_features import BLOCK, FEATURES

# Of the largest entry: what a computation in another order may leave between a matrix and its
# transpose.
_ASYMMETRY = 1e-9


@dataclass(frozen=True, eq=False)
class NiqeModel:
    """A multivariate Gaussian of the features of natural images.

    Attributes:
        mean: ``(36,)`` float64.
        covariance: ``(36, 36)`` float64, symmetric and positive definite.

    Raises:
        InvalidInput: other shapes or types, numbers that are not finite, or a matrix that is not a
            covariance.
    """

    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        _check(self.mean, self.covariance)

    @cached_property
    def sha256(self) -> str:
        """Of the numbers, little-endian float64, mean first."""
        numbers = torch.cat([self.mean, self.covariance.flatten()]).cpu().numpy()
        return hashlib.sha256(numbers.astype("<f8").tobytes()).hexdigest()

    @classmethod
    @lru_cache(maxsize=1)
    def published(cls) -> NiqeModel:
        """The model of the NIQE software release (LIVE, The University of Texas at Austin)."""
        source = resources.files("ranksrgan.metrics") / "params" / "niqe_pristine.json"
        return _parse(source.read_text(), "niqe_pristine.json")

    @classmethod
    def load(cls, path: Path) -> NiqeModel:
        """Read what `save` wrote.

        Raises:
            InvalidInput: the file is missing, or what is in it is no NIQE model; says why.
        """
        path = Path(path)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise InvalidInput(f"{path}: {reason}", field=str(path)) from error
        return _parse(text, str(path))

    def save(self, path: Path, source: str = "") -> None:
        """Write the model as JSON: ``block``, ``mu`` and ``cov``, every bit of the numbers.

        Args:
            path: of the file, replaced whole or not at all.
            source: in words, where the model comes from; kept in the file.
        """
        document = {
            "what": "NIQE natural-image model: mean and covariance of the 36 features of pristine "
            "patches (block 96, two scales)",
            "source": source,
            "block": BLOCK,
            "mu": self.mean.tolist(),
            "cov": self.covariance.tolist(),
        }
        atomic.write_text(path, json.dumps(document) + "\n")


def _check(mean: Tensor, covariance: Tensor) -> None:
    if mean.shape != (FEATURES,) or covariance.shape != (FEATURES, FEATURES):
        raise InvalidInput(
            f"a NIQE model has a mean of {FEATURES} and a covariance of {FEATURES} x {FEATURES}, "
            f"not {tuple(mean.shape)} and {tuple(covariance.shape)}",
            field="model",
        )
    if mean.dtype != torch.float64 or covariance.dtype != torch.float64:
        raise InvalidInput(
            f"a NIQE model is float64, not {mean.dtype} and {covariance.dtype}", field="model"
        )
    if not bool(mean.isfinite().all()) or not bool(covariance.isfinite().all()):
        raise InvalidInput("a NIQE model holds finite numbers only", field="model")
    difference = float((covariance - covariance.T).abs().max())
    if difference > _ASYMMETRY * float(covariance.abs().max()):
        raise InvalidInput(
            f"the covariance of a NIQE model is symmetric; this one differs from its transpose by "
            f"{difference:g}",
            field="model",
        )
    if int(torch.linalg.cholesky_ex(covariance).info) != 0:
        lowest = float(torch.linalg.eigvalsh(covariance)[0])
        raise InvalidInput(
            "the covariance of a NIQE model is positive definite; the smallest eigenvalue of this "
            f"one is {lowest:g}",
            field="model",
        )


def _parse(text: str, name: str) -> NiqeModel:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{name} is not JSON: {error}", field=name) from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{name} is no NIQE model: an object with mu and cov is", field=name)
    block = document.get("block")
    if block != BLOCK:
        raise InvalidInput(
            f"{name}: block is {block!r}; the features are of blocks of {BLOCK}", field=name
        )
    try:
        return NiqeModel(_numbers(document, "mu"), _numbers(document, "cov"))
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}", field=name) from error


def _numbers(document: dict[str, Any], key: str) -> Tensor:
    try:
        return torch.tensor(document[key], dtype=torch.float64)
    except KeyError as error:
        raise InvalidInput(f"there is no {key}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"{key} is no array of numbers") from error
