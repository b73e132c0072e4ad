"""Rank datasets of people's judgement: PIPAL, or a list of votes on one's own images.

Both are a folder of references and a folder of versions named ``REFERENCE_LEVEL``; the versions may
lie one folder deeper, as in PIPAL's four parts::

    Train_Ref/A0001.bmp                          reference A0001
    Train_Dist/Distortion_1/A0001_00_03.bmp      its version of level 00_03

J. Gu, H. Cai, H. Chen, X. Ye, J. S. Ren, C. Dong, "PIPAL: a large-scale image quality assessment
dataset for perceptual image restoration", ECCV 2020.

How votes become scores is in `ranksrgan.rankdata.study`. A study is extended from what its dataset
holds of it: see `ranksrgan.rankdata.study_ratings`.

People judge whole images. Crops inherit the score of their image. The references are stored as the
level ``hr``, whether people judged them or not: full-reference models learn from both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator
from torch import Tensor

from ranksrgan.contracts import ScorerInfo, cancellation
from ranksrgan.contracts.config import Config, load_config
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.metrics import read_scores
from ranksrgan.rankdata.config import SplitConfig
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.degradation import read_rgb
from ranksrgan.rankdata.duplicates import near_duplicates, phash
from ranksrgan.rankdata.folder import replacing_folder
from ranksrgan.rankdata.given_scores import (
    CropSize,
    ScoredSource,
    complete_dataset,
    crops_of,
    store_level_image,
)
from ranksrgan.rankdata.judged_versions import (
    ORIGINAL,
    Version,
    find_versions,
    read_version,
    with_originals,
)
from ranksrgan.rankdata.levels import by_stem
from ranksrgan.rankdata.manifest import Counts, LevelRecord
from ranksrgan.rankdata.study import Study, rate_study
from ranksrgan.rankdata.study_ratings import RATINGS, BradleyTerryRating, EloRating, write_ratings
from ranksrgan.rankdata.study_votes import COMPARISONS, write_comparisons

if TYPE_CHECKING:
    from ranksrgan.rankdata.building.build import Progress

# What the first number in the name of a level of PIPAL says.
_CATEGORIES = {
    "00": "traditional distortion",
    "01": "traditional super-resolution",
    "02": "PSNR-oriented super-resolution",
    "03": "super-resolution with a mismatched kernel",
    "04": "GAN-based super-resolution",
    "05": "denoising",
    "06": "super-resolution and denoising",
    "10": "GAN-based restoration or compression",
}


class _JudgedConfig(SplitConfig):
    references: Path
    distorted: Path
    crop: CropSize = "whole"
    stride: Annotated[int, Field(ge=1)] = 200


class PipalConfig(_JudgedConfig):
    """A folder of PIPAL's form. Its scores are Elo ratings; higher is better.

    Attributes:
        references: folder of the references (``Train_Ref``).
        distorted: folder of the versions (``Train_Dist``), or of folders with them.
        labels: folder of text files, or one file, with a line ``A0001_00_00.bmp,1400.5`` for each
            version (``Train_Label``). Versions without one are dropped and counted.
        crop: side of a crop in pixels, or ``whole``.
        stride: step between crops.
    """

    kind: Literal["pipal"] = "pipal"
    labels: Path


class VotesConfig(_JudgedConfig):
    """References, versions, and people's votes on pairs of versions of one reference.

    Attributes:
        references: folder of the references.
        distorted: folder of the versions, or of folders with them.
        votes: CSV file: see ``ranksrgan.metrics.votes``. Items are versions, in whatever folder;
            the bare name of a reference is the reference itself. Versions without a vote are
            dropped and counted, and so are all of a reference whose votes do not connect them,
            where the method of rating needs that.
        ratings: ``ratings.csv`` of the dataset that the same study was before, of whose votes none
            is among these. Without it the votes are all that is known. Where ``comparisons.csv``
            is beside it, all votes are rated at once.
        rating: how the votes on the versions of a reference become scores; by Bradley-Terry if it
            does not say its method.
        crop: side of a crop in pixels, or ``whole``.
        stride: step between crops.
    """

    kind: Literal["votes"] = "votes"
    votes: Path
    ratings: Path | None = None
    rating: Annotated[EloRating | BradleyTerryRating, Field(discriminator="method")] = (
        BradleyTerryRating()
    )

    @field_validator("rating", mode="before")
    @classmethod
    def _by_bradley_terry(cls, rating: object) -> object:
        if not isinstance(rating, dict) or "method" in rating:
            return rating
        return {"method": BradleyTerryRating.model_fields["method"].default, **rating}


HumanConfig = PipalConfig | VotesConfig


class _Kind(Config):
    model_config = ConfigDict(extra="ignore")

    kind: Literal["pipal", "votes"]


_KINDS: dict[str, type[PipalConfig] | type[VotesConfig]] = {
    "pipal": PipalConfig,
    "votes": VotesConfig,
}


def load_human_config(path: Path, overrides: Sequence[str] = ()) -> HumanConfig:
    """Read a YAML file whose ``kind`` is pipal or votes.

    Raises:
        InvalidConfig: see `load_config`.
    """
    return load_config(_KINDS[load_config(_Kind, path, overrides).kind], path, overrides)


def build_from_judgements(
    config: HumanConfig, *, overwrite: bool = False, progress: Progress | None = None
) -> RankDataset:
    """Make a rank dataset in ``config.output``, whole or not at all.

    Sources are the references, split so that those that look alike stay together. A content holds
    the versions that people judged, so contents may lack levels.

    Args:
        config: every parameter.
        overwrite: replace a dataset that is already there.
        progress: called with the references done, all references, and a name.

    Raises:
        InvalidInput: the output folder is taken, or a folder holds no image.
        InvalidDataset: a version without a reference, a score or vote without an image, votes
            between versions of two references or of one with itself, a version of another size than
            its reference, earlier ratings that cannot be gone on from, or nothing left. The message
            names it.
        UndefinedScore: the votes on a reference are too one-sided to be rated, or on no reference
            they connect its versions; names it.
        DiskFull: the disk is full.
    """
    references = by_stem(config.references)
    versions = find_versions(config.distorted, references)
    items = with_originals(versions, references)
    study: Study | None = None
    apart: frozenset[str] = frozenset()
    if isinstance(config, PipalConfig):
        scores = _opinion_scores(config, versions)
        metric, reason = _people("mos"), "image_without_label"
    else:
        study = rate_study(config.votes, config.ratings, config.rating, items)
        apart = study.apart
        scores = {item: rating.score for item, rating in study.ratings.items()}
        metric, reason = _people(f"votes:{config.rating.method}"), "image_without_vote"
    dropped = Counter({reason: len(versions.keys() - scores.keys() - apart)})
    dropped["image_of_votes_that_do_not_connect"] = len(apart)
    judged = _by_reference(scores, items, dropped)

    sources: list[ScoredSource] = []
    hashes: dict[str, int] = {}
    output = config.output.resolve()  # "." is another folder once this one was replaced
    with replacing_folder(output, overwrite=overwrite) as folder:
        for done, (name, levels) in enumerate(judged.items(), start=1):
            cancellation.check()
            original = read_rgb(references[name])
            source = _store(folder, name, original, levels, config)
            if source.crops:
                sources.append(source)
                hashes[name] = phash(original)
            if progress is not None:
                progress(done, len(judged), name)
        counts = Counts(
            sources=len(references),
            sources_smaller_than_crop=len(judged) - len(sources),
            sources_without_kept_crop=len(references) - len(judged),
            crops_kept=sum(len(source.crops) for source in sources),
            crops_dropped=dict(sorted((+dropped).items())),
        )
        if not sources:
            raise InvalidDataset(
                f"nothing is left of {len(references)} reference(s): {len(judged)} have two "
                f"versions or more that people judged, and these are smaller than a crop",
                field="references",
            )
        if study is not None and isinstance(config, VotesConfig):
            write_ratings(folder / RATINGS, study.ratings, config.rating)
            if study.votes:
                write_comparisons(folder / COMPARISONS, study.votes)
        duplicates = near_duplicates(hashes)
        complete_dataset(
            folder,
            config,
            sources,
            metric=metric,
            label="votes",
            levels=_level_records(config, sources),
            counts=counts,
            together=duplicates,
            duplicates=duplicates,
        )
    return RankDataset.open(output)


def _opinion_scores(config: PipalConfig, versions: Mapping[str, Version]) -> dict[str, float]:
    scores = read_scores(config.labels)
    for name in scores:
        if name not in versions:
            raise InvalidDataset(
                f"{config.labels} scores {name}, and {config.distorted} has no such image",
                field=str(config.labels),
            )
    return scores


def _by_reference(
    scores: Mapping[str, float], items: Mapping[str, Version], dropped: Counter[str]
) -> dict[str, dict[str, tuple[Path, float]]]:
    """File and score of each level by reference, in the order of their names."""
    judged: dict[str, dict[str, tuple[Path, float]]] = defaultdict(dict)
    for version, score in sorted((items[name], score) for name, score in scores.items()):
        judged[version.reference][version.level] = (version.path, score)
    alone = [reference for reference, levels in judged.items() if len(levels) < 2]
    for reference in alone:  # only PIPAL's form can do this: a vote names two
        del judged[reference]
    dropped["image_without_another"] = len(alone)
    return judged


def _store(
    folder: Path,
    name: str,
    original: Tensor,
    levels: Mapping[str, tuple[Path, float]],
    config: HumanConfig,
) -> ScoredSource:
    """Store the versions of a reference that has room for crops, and the reference beside them."""
    crops = crops_of(original, config.crop, config.stride)
    reference = None
    if crops and ORIGINAL not in levels:
        reference = store_level_image(folder, ORIGINAL, name, original)
    hashes = {
        level: store_level_image(folder, level, name, read_version(path, original))
        for level, (path, _) in levels.items()
        if crops
    }
    scores = {level: score for level, (_, score) in levels.items()}
    return ScoredSource(name, crops, scores, hashes, reference)


def _level_records(config: HumanConfig, sources: Iterable[ScoredSource]) -> list[LevelRecord]:
    records = []
    for level in sorted({level for source in sources for level in source.scores}):
        facts: dict[str, Any] = {}
        if isinstance(config, PipalConfig) and level.partition("_")[0] in _CATEGORIES:
            facts["category"] = _CATEGORIES[level.partition("_")[0]]
        original = level == ORIGINAL and isinstance(config, VotesConfig)
        records.append(
            LevelRecord(
                name=level,
                spec=str(config.references if original else config.distorted),
                kind="hr" if original else "judged",
                facts=facts,
            )
        )
    return records


def _people(name: str) -> ScorerInfo:
    """People as a scorer, whom nobody can call: higher is better."""
    return ScorerInfo(
        name=name,
        version="1",
        higher_is_better=True,
        needs_reference=False,
        differentiable=False,
        min_side=1,
    )
