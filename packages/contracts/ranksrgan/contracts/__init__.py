"""What two packages of the project must agree on, and nothing else.

Names are looked up when they are first asked for: what tells of a server's health, or watches over
a training, is a process of its own that needs no torch, whose import takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "discovery": ("open_pair_source", "open_scorer", "open_upscaler"),
    "pairs": ("Pair", "PairSource", "RankedContent", "RankedInfo"),
    "scorer": ("DifferentiableScorer", "FeatureExtractor", "FeatureMaps", "Scorer", "ScorerInfo"),
    "upscaler": ("Upscaler", "UpscalerInfo"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            found = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
