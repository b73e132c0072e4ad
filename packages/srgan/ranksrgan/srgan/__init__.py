"""Generators trained with content, adversarial and rank-content losses.

`evaluate` is a function that shares its name with the module that holds it. The ``from`` imports
below run after that module is bound here, so ``from ranksrgan.srgan import evaluate`` is always the
function and ``from ranksrgan.srgan.evaluate import Evaluation`` works too.
"""

from ranksrgan.srgan.config import TrainConfig, load_recipe
from ranksrgan.srgan.discriminators import (
    DISCRIMINATORS,
    Discriminator,
    VGGDiscriminator,
    load_discriminator,
    save_discriminator,
)
from ranksrgan.srgan.evaluate import Evaluation, ImageScores, evaluate, evaluate_photographs
from ranksrgan.srgan.generators.architectures import ARCHITECTURES, load_generator, save_generator
from ranksrgan.srgan.generators.generator import Generator, WholeImageGenerator
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.losses import RankLoss, ScorerLoss
from ranksrgan.srgan.training.encoders import AlexNetFeatures, DistilledVGG19Features, VGG19Features
from ranksrgan.srgan.training.features import FeatureNetwork, open_feature_network
from ranksrgan.srgan.training.train import TrainResult, train
from ranksrgan.srgan.upscaling.opening import open_generator
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

__all__ = [
    "ARCHITECTURES",
    "DISCRIMINATORS",
    "AlexNetFeatures",
    "Discriminator",
    "DistilledVGG19Features",
    "Evaluation",
    "FeatureNetwork",
    "Generator",
    "GeneratorUpscaler",
    "ImageScores",
    "RankLoss",
    "SRResNet",
    "ScorerLoss",
    "TrainConfig",
    "TrainResult",
    "VGG19Features",
    "VGGDiscriminator",
    "WholeImageGenerator",
    "evaluate",
    "evaluate_photographs",
    "load_discriminator",
    "load_generator",
    "load_recipe",
    "open_feature_network",
    "open_generator",
    "save_discriminator",
    "save_generator",
    "train",
]
