"""The native operators again, in plain PyTorch.

Each is the oracle that its operator is tested against, the fallback where nothing can be compiled,
and the source of its gradient. They use elementwise arithmetic only, in a fixed order, so that a
result depends neither on the batch it came in nor on the number of threads.
"""

from ranksrgan.metrics.reference.imresize import imresize
from ranksrgan.metrics.reference.ma_dct import ma_dct
from ranksrgan.metrics.reference.ma_normalise import ma_normalise
from ranksrgan.metrics.reference.ma_structure import ma_structure
from ranksrgan.metrics.reference.mscn import local_statistics, mscn
from ranksrgan.metrics.reference.mvg_distance import mvg_distance
from ranksrgan.metrics.reference.nss_features import nss_features
from ranksrgan.metrics.reference.patch_crops import crops, patch_crops, sharpness

__all__ = [
    "crops",
    "imresize",
    "local_statistics",
    "ma_dct",
    "ma_normalise",
    "ma_structure",
    "mscn",
    "mvg_distance",
    "nss_features",
    "patch_crops",
    "sharpness",
]
