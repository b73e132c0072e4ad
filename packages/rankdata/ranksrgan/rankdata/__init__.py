"""Rank datasets: versions of one content, labelled by a metric."""

from ranksrgan.rankdata.build import DatasetSummary, build
from ranksrgan.rankdata.config import PUBLISHED_MIN_SHARPNESS, BuildConfig
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.inspect import DatasetReport, plot_histogram, summarise
from ranksrgan.rankdata.pairs import FolderPairSource, PairDataset, open_rank_dataset

__all__ = [
    "PUBLISHED_MIN_SHARPNESS",
    "BuildConfig",
    "Content",
    "DatasetReport",
    "DatasetSummary",
    "FolderPairSource",
    "PairDataset",
    "RankDataset",
    "build",
    "open_rank_dataset",
    "plot_histogram",
    "summarise",
]
