"""What two packages of the project must agree on, and nothing else."""

from ranksrgan.contracts.discovery import open_pair_source, open_scorer, open_upscaler
from ranksrgan.contracts.pairs import Pair, PairSource, RankedContent, RankedInfo
from ranksrgan.contracts.scorer import (
    DifferentiableScorer,
    FeatureExtractor,
    FeatureMaps,
    Scorer,
    ScorerInfo,
)
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo

__all__ = [
    "DifferentiableScorer",
    "FeatureExtractor",
    "FeatureMaps",
    "Pair",
    "PairSource",
    "RankedContent",
    "RankedInfo",
    "Scorer",
    "ScorerInfo",
    "Upscaler",
    "UpscalerInfo",
    "open_pair_source",
    "open_scorer",
    "open_upscaler",
]
