"""Rank datasets: versions of one content, labelled by a metric, by their order, or by people."""

from ranksrgan.rankdata.bound import UpperBound, upper_bounds
from ranksrgan.rankdata.building.build import DatasetSummary, build, difference_from
from ranksrgan.rankdata.config import PUBLISHED_MIN_SHARPNESS, BuildConfig, load_recipe
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.duplicates import leaks, near_duplicates, phash
from ranksrgan.rankdata.human import PipalConfig, VotesConfig, build_from_judgements
from ranksrgan.rankdata.inspect import DatasetReport, plot_histogram, summarise
from ranksrgan.rankdata.official_labels import ImportConfig, export_labels, import_labels
from ranksrgan.rankdata.pack import pack
from ranksrgan.rankdata.pairs import FolderPairSource, PairDataset, open_rank_dataset

__all__ = [
    "PUBLISHED_MIN_SHARPNESS",
    "BuildConfig",
    "Content",
    "DatasetReport",
    "DatasetSummary",
    "FolderPairSource",
    "ImportConfig",
    "PairDataset",
    "PipalConfig",
    "RankDataset",
    "UpperBound",
    "VotesConfig",
    "build",
    "build_from_judgements",
    "difference_from",
    "export_labels",
    "import_labels",
    "leaks",
    "load_recipe",
    "near_duplicates",
    "open_rank_dataset",
    "pack",
    "phash",
    "plot_histogram",
    "summarise",
    "upper_bounds",
]
