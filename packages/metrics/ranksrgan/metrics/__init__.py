"""Image quality metrics, exact to the published software.

Functions and the modules that hold them share their names (`niqe` is in ``niqe.py``). Importing a
module binds its name here first, and the ``from`` imports below then put the function in its place
for good: ``from ranksrgan.metrics import niqe`` is always the function, and
``from ranksrgan.metrics.niqe import Niqe`` always reaches the module.
"""

from ranksrgan.metrics.bicubic import Bicubic
from ranksrgan.metrics.bradley_terry import BradleyTerry, bradley_terry
from ranksrgan.metrics.catalog import METRICS, MetricCatalog, create_scorer
from ranksrgan.metrics.correlation import krocc, main_score, pair_accuracy, plcc, srocc
from ranksrgan.metrics.differentiable_niqe import DifferentiableNiqe, differentiable_niqe
from ranksrgan.metrics.dists import Dists, dists
from ranksrgan.metrics.elo import EloRatings, elo
from ranksrgan.metrics.fit_niqe import fit_niqe
from ranksrgan.metrics.fsim import Fsim, Fsimc, fsim, fsimc
from ranksrgan.metrics.full_reference import Channels
from ranksrgan.metrics.fused import Fused
from ranksrgan.metrics.gmsd import Gmsd, gmsd
from ranksrgan.metrics.imresize import imresize, imresize_uint8
from ranksrgan.metrics.lpips import Lpips, lpips
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.ma.fit import fit_ma
from ranksrgan.metrics.ma.model import MaModel
from ranksrgan.metrics.ma.scorer import Ma, ma, ma_features
from ranksrgan.metrics.ms_ssim import MsSsim, ms_ssim
from ranksrgan.metrics.mscn import Mscn, mscn
from ranksrgan.metrics.niqe import Niqe, niqe, niqe_features
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.nss_features import nss_features
from ranksrgan.metrics.patch_crops import PatchCrops, patch_crops
from ranksrgan.metrics.pi import Pi, pi
from ranksrgan.metrics.pieapp import Pieapp, pieapp
from ranksrgan.metrics.protocol import Evaluation, evaluate, evaluate_files
from ranksrgan.metrics.psnr import Psnr, psnr
from ranksrgan.metrics.rmse import Rmse, dataset_rmse, pirm_region, rmse
from ranksrgan.metrics.score_table import read_scores
from ranksrgan.metrics.ssim import Ssim, ssim
from ranksrgan.metrics.views import random_views
from ranksrgan.metrics.vif import Vif, vif
from ranksrgan.metrics.vifp import Vifp, vifp
from ranksrgan.metrics.votes import Vote, read_votes

__all__ = [
    "METRICS",
    "Bicubic",
    "BradleyTerry",
    "Channels",
    "Convention",
    "DifferentiableNiqe",
    "Dists",
    "EloRatings",
    "Evaluation",
    "Fsim",
    "Fsimc",
    "Fused",
    "Gmsd",
    "Lpips",
    "Ma",
    "MaModel",
    "MetricCatalog",
    "MsSsim",
    "Mscn",
    "Niqe",
    "NiqeModel",
    "PatchCrops",
    "Pi",
    "Pieapp",
    "Psnr",
    "Rmse",
    "Ssim",
    "Vif",
    "Vifp",
    "Vote",
    "bradley_terry",
    "create_scorer",
    "dataset_rmse",
    "differentiable_niqe",
    "dists",
    "elo",
    "evaluate",
    "evaluate_files",
    "fit_ma",
    "fit_niqe",
    "fsim",
    "fsimc",
    "gmsd",
    "imresize",
    "imresize_uint8",
    "krocc",
    "lpips",
    "ma",
    "ma_features",
    "main_score",
    "ms_ssim",
    "mscn",
    "niqe",
    "niqe_features",
    "nss_features",
    "pair_accuracy",
    "patch_crops",
    "pi",
    "pieapp",
    "pirm_region",
    "plcc",
    "psnr",
    "random_views",
    "read_scores",
    "read_votes",
    "rmse",
    "srocc",
    "ssim",
    "vif",
    "vifp",
]
