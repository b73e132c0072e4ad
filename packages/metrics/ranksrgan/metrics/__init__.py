"""Image quality metrics, exact to the published software.

Functions and the modules that hold them share their names (`niqe` is in ``niqe.py``). Importing a
module binds its name here first, and the ``from`` imports below then put the function in its place
for good: ``from ranksrgan.metrics import niqe`` is always the function, and
``from ranksrgan.metrics.niqe import Niqe`` always reaches the module.
"""

from ranksrgan.metrics.bicubic import Bicubic
from ranksrgan.metrics.catalog import METRICS, MetricCatalog, create_scorer
from ranksrgan.metrics.correlation import pair_accuracy, srocc
from ranksrgan.metrics.imresize import imresize, imresize_uint8
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.mscn import Mscn, mscn
from ranksrgan.metrics.niqe import Niqe, NiqeModel, niqe, niqe_features
from ranksrgan.metrics.patch_crops import PatchCrops, patch_crops
from ranksrgan.metrics.psnr import Psnr, psnr
from ranksrgan.metrics.rmse import Rmse, rmse
from ranksrgan.metrics.ssim import Ssim, ssim
from ranksrgan.metrics.views import random_views

__all__ = [
    "METRICS",
    "Bicubic",
    "Convention",
    "MetricCatalog",
    "Mscn",
    "Niqe",
    "NiqeModel",
    "PatchCrops",
    "Psnr",
    "Rmse",
    "Ssim",
    "create_scorer",
    "imresize",
    "imresize_uint8",
    "mscn",
    "niqe",
    "niqe_features",
    "pair_accuracy",
    "patch_crops",
    "psnr",
    "random_views",
    "rmse",
    "srocc",
    "ssim",
]
