"""The Siamese Ranker: a differentiable stand-in for a metric."""

from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.ranker.compare import Comparison, compare
from ranksrgan.ranker.config import TrainConfig, load_recipe
from ranksrgan.ranker.ensemble import RankerEnsemble, open_ensemble
from ranksrgan.ranker.evaluate import RankEvaluation, evaluate
from ranksrgan.ranker.loss import margin_ranking
from ranksrgan.ranker.networks import load_network
from ranksrgan.ranker.nss import NSS
from ranksrgan.ranker.opening import load_ranker, open_ranker
from ranksrgan.ranker.predictions import Predictions, predict
from ranksrgan.ranker.quality.config import QualityConfig, load_quality_recipe
from ranksrgan.ranker.quality.scorer import QualityScorer
from ranksrgan.ranker.quality.train import train_quality
from ranksrgan.ranker.scorer import Ranker
from ranksrgan.ranker.train import TrainResult, train
from ranksrgan.ranker.vgg import VGG, VGG8, VGG12, VGG16

__all__ = [
    "NSS",
    "VGG",
    "VGG8",
    "VGG12",
    "VGG16",
    "Comparison",
    "Predictions",
    "QualityConfig",
    "QualityScorer",
    "RankEvaluation",
    "Ranker",
    "RankerCatalog",
    "RankerEnsemble",
    "TrainConfig",
    "TrainResult",
    "compare",
    "evaluate",
    "load_network",
    "load_quality_recipe",
    "load_ranker",
    "load_recipe",
    "margin_ranking",
    "open_ensemble",
    "open_ranker",
    "predict",
    "train",
    "train_quality",
]
