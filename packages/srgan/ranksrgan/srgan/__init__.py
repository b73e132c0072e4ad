"""Generators trained with content, adversarial and rank-content losses.

`train` and `evaluate` are functions that share their names with the modules that hold them. The
``from`` imports below run after those modules are bound here, so ``from ranksrgan.srgan import
train`` is always the function and ``from ranksrgan.srgan.train import TrainResult`` works too.
"""

from ranksrgan.srgan.architectures import ARCHITECTURES, load_generator, save_generator
from ranksrgan.srgan.config import TrainConfig, load_recipe
from ranksrgan.srgan.discriminators import (
    DISCRIMINATORS,
    Discriminator,
    VGGDiscriminator,
    load_discriminator,
    save_discriminator,
)
from ranksrgan.srgan.encoders import AlexNetFeatures, DistilledVGG19Features, VGG19Features
from ranksrgan.srgan.evaluate import Evaluation, ImageScores, evaluate, evaluate_photographs
from ranksrgan.srgan.features import FeatureNetwork, open_feature_network
from ranksrgan.srgan.generator import Generator, WholeImageGenerator
from ranksrgan.srgan.losses import RankLoss, ScorerLoss
from ranksrgan.srgan.srresnet import SRResNet
from ranksrgan.srgan.train import TrainResult, train
from ranksrgan.srgan.upscaler import GeneratorUpscaler, open_generator

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
