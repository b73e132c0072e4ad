"""A quality model that looks through a recognition network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.ranker.quality.backbones.backbone import Backbone
from ranksrgan.ranker.quality.model import QualityModel

#: Of a transformer. A file of some bytes could ask for more than is ever built; published are two.
MAX_LAYERS = 64

_logger = logging.getLogger(__name__)


class BackboneModel(QualityModel):
    """Base of the quality models with a `Backbone`.

    Args:
        backbone: its name, see `quality.backbones.backbone`.
        backbone_width: see `Backbone`; 0 is the full width.
        frozen: training leaves the backbone alone if it has published weights.
        options: the other arguments of the subclass's constructor; whole numbers are 1 or more,
            ``layers`` at most `MAX_LAYERS`, and ``dropout`` is in [0, 1).

    Attributes:
        published: whether the backbone has published weights.

    Raises:
        InvalidInput: no such backbone, or not of that width; another option below 1, ``layers``
            beyond `MAX_LAYERS`, ``dropout`` outside [0, 1).
    """

    def __init__(self, *, backbone: str, backbone_width: int, **options: Any) -> None:
        super().__init__(backbone=backbone, backbone_width=backbone_width, **options)
        for name, value in options.items():
            if type(value) is int and value < 1:
                raise InvalidInput(f"{name} is {value}; at least 1 is wanted", field=name)
        if (layers := options.get("layers", 1)) > MAX_LAYERS:
            raise InvalidInput(
                f"layers is {layers}; at most {MAX_LAYERS} are wanted", field="layers"
            )
        if not 0 <= (dropout := options.get("dropout", 0.0)) < 1:  # true for NaN as well
            raise InvalidInput(f"dropout is {dropout}; 0 to below 1 is wanted", field="dropout")
        self.backbone = Backbone(backbone, backbone_width)
        self.min_side = self.backbone.min_side
        self.published = False

    def load_backbone(self, path: Path) -> None:
        """Start from published weights of the backbone.

        Raises:
            InvalidCheckpoint: as `Backbone.load`.
        """
        self.backbone.load(path)
        self.published = True
        self.backbone.freeze(bool(self.options.get("frozen")))
        _logger.info("the backbone %s has the weights of %s", self.backbone.name, path)

    def begin(self, progress: float) -> None:
        """See `QualityModel.begin`; a training that begins with random numbers says so."""
        if progress == 0 and not self.published:
            _logger.warning(
                "the backbone %s starts from random numbers; --backbone-weights FILE begins with "
                "published ones",
                self.backbone.name,
            )

    def check_size(self, images: Tensor) -> tuple[int, int]:
        """Height and width of ``(N, 3, H, W)``.

        Raises:
            ImageTooSmall: a side is below ``min_side``.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.min_side:
            raise ImageTooSmall(
                f"an image of {width} x {height} pixels is too small: this {self.architecture} "
                f"needs {self.min_side} x {self.min_side}",
                field="images",
            )
        return height, width


def pool_to_coarsest(maps: list[Tensor]) -> list[Tensor]:
    """Maps ``(N, C, h, w)``, each averaged over the cells of the last one's grid."""
    height, width = maps[-1].shape[-2:]
    return [F.adaptive_avg_pool2d(found, (height, width)) for found in maps]
