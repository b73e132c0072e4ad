"""PI, the perceptual index of the PIRM2018 challenge.

Y. Blau, R. Mechrez, R. Timofte, T. Michaeli, L. Zelnik-Manor, "The 2018 PIRM challenge on
perceptual image super-resolution", ECCV Workshops 2018: ``((10 - Ma) + NIQE) / 2``; lower is
better. The challenge leaves out a border of 4 pixels and takes the luma ``y``; the value of a data
set is the mean over its images.
"""

from __future__ import annotations

import hashlib

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.luma import Convention, canonical_name, check_border, check_convention
from ranksrgan.metrics.ma.model import MaModel
from ranksrgan.metrics.ma.scorer import MIN_SIDE, ma, model_hash
from ranksrgan.metrics.niqe import BLOCK, NiqeModel, niqe


def pi(
    images: Tensor,
    border: int = 0,
    luma: Convention = "y",
    model: MaModel | None = None,
    niqe_model: NiqeModel | None = None,
) -> Tensor:
    """PI of each image; lower is better.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        border: pixels to leave out on every side (the challenge: 4).
        luma: ``"y"`` as in the challenge, or ``"gray"``.
        model: of Ma; the authors' if None.
        niqe_model: of NIQE; the published one if None.

    Returns:
        ``(N,)`` float64 on the device of ``images``.

    Raises:
        InvalidInput, ImageTooSmall: as `ma` and `niqe` do.
        UndefinedScore: the image is too flat for NIQE.
        MissingAsset: no model is given and the file of Ma's authors is not there.
    """
    model = model or MaModel.published()
    distances = niqe(images, border, luma, niqe_model)
    return ((10 - ma(images, border, luma, model)) + distances) / 2


class Pi:
    """`pi` as a `Scorer`.

    Without the file of Ma's authors it can be made and asked for its `info`, whose
    ``parameters_hash`` is then empty; scoring raises `MissingAsset`.

    Args:
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
        model: of Ma; the authors' if None.
        niqe_model: of NIQE; the published one if None.
    """

    joining = Joining("exactly")

    def __init__(
        self,
        border: int = 0,
        luma: Convention = "y",
        model: MaModel | None = None,
        niqe_model: NiqeModel | None = None,
    ) -> None:
        check_border(border)
        check_convention(luma)
        self._border = border
        self._luma = luma
        self._model = model
        self._niqe_model = niqe_model

    @property
    def info(self) -> ScorerInfo:
        of_ma = model_hash(self._model)
        both = of_ma + (self._niqe_model or NiqeModel.published()).sha256
        return ScorerInfo(
            name=canonical_name("pi", self._border, self._luma),
            version="1",
            higher_is_better=False,
            needs_reference=False,
            differentiable=False,
            min_side=max(BLOCK, MIN_SIDE) + 2 * self._border,
            parameters_hash=hashlib.sha256(both.encode()).hexdigest() if of_ma else "",
        )

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """See `Scorer.score` and `pi`."""
        if references is not None:
            raise InvalidInput("pi takes no references", field="references")
        return pi(images, self._border, self._luma, self._model, self._niqe_model)
