"""A quality model that looks through a recognition network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ranksrgan.ranker.quality.backbones.backbone import Backbone, start_backbone
from ranksrgan.ranker.quality.model import QualityModel


class BackboneModel(QualityModel):
    """Base of the quality models with a `Backbone`.

    Args:
        backbone: its name, see `quality.backbones.backbone`.
        backbone_width: see `Backbone`; 0 is the full width.
        frozen: training leaves the backbone alone.
        options: the other arguments of the subclass's constructor.

    Raises:
        InvalidInput: no such backbone, or not of that width.
    """

    def __init__(
        self, *, backbone: str, backbone_width: int, frozen: bool, **options: Any
    ) -> None:
        super().__init__(
            backbone=backbone, backbone_width=backbone_width, frozen=frozen, **options
        )
        self.backbone = Backbone(backbone, backbone_width)
        self.backbone.freeze(frozen)
        self.min_side = self.backbone.min_side

    def start_backbone(self, path: Path | None) -> None:
        """Begin a training: with published weights, or with a line in the log that there are none.

        Raises:
            InvalidCheckpoint: as `Backbone.load`.
        """
        start_backbone(self.backbone, path)


def pool_to_coarsest(maps: list[Tensor]) -> list[Tensor]:
    """Maps ``(N, C, h, w)``, each averaged over the cells of the last one's grid."""
    grid = maps[-1].shape[-2:]
    return [F.adaptive_avg_pool2d(found, grid) for found in maps]
