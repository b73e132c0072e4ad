"""Rank datasets of people's judgement: PIPAL, or a list of votes on one's own images.

Both are a folder of references and a folder of versions named ``REFERENCE_LEVEL``; the versions may
lie one folder deeper, as in PIPAL's four parts::

    Train_Ref/A0001.bmp                          reference A0001
    Train_Dist/Distortion_1/A0001_00_03.bmp      its version of level 00_03

J. Gu, H. Cai, H. Chen, X. Ye, J. S. Ren, C. Dong, "PIPAL: a large-scale image quality assessment
dataset for perceptual image restoration", ECCV 2020.

A study of votes is extended from what its dataset holds of it: see
`ranksrgan.rankdata.study_ratings`.

People judge whole images. Crops inherit the score of their image. The references are stored as the
level ``hr``, whether people judged them or not: full-reference models learn from both.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, field_validator
from torch import Tensor

from ranksrgan.contracts import ScorerInfo, cancellation
from ranksrgan.contracts.config import Config, load_config
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, UndefinedScore
from ranksrgan.contracts.images import SUFFIXES
from ranksrgan.contracts.some_names import some_names
from ranksrgan.metrics import Vote, read_scores, read_votes
from ranksrgan.metrics.bradley_terry import Incomparable
from ranksrgan.metrics.score_table import without_folder
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
from ranksrgan.rankdata.levels import by_stem
from ranksrgan.rankdata.manifest import Counts, LevelRecord
from ranksrgan.rankdata.study_ratings import (
    RATINGS,
    BradleyTerryRating,
    EloRating,
    StudyRating,
    read_ratings,
    write_ratings,
)
from ranksrgan.rankdata.study_votes import COMPARISONS, read_comparisons, write_comparisons

if TYPE_CHECKING:
    from ranksrgan.rankdata.build import Progress

_log = logging.getLogger(__name__)

#: The level of the reference itself, where people judged it too.
ORIGINAL = "hr"

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
    study: Study | None = None
    apart: frozenset[str] = frozenset()
    if isinstance(config, PipalConfig):
        scores = _opinion_scores(config, versions)
        metric, reason = _people("mos"), "image_without_label"
    else:
        study = _rated(config, versions, references)
        apart = study.apart
        scores = {item: rating.score for item, rating in study.ratings.items()}
        metric, reason = _people(f"votes:{config.rating.method}"), "image_without_vote"
    dropped = Counter({reason: len(versions.keys() - scores.keys() - apart)})
    dropped["image_of_votes_that_do_not_connect"] = len(apart)
    judged = _by_reference(scores, versions, dropped)

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


class Version(NamedTuple):
    reference: str
    level: str
    path: Path


def find_versions(folder: Path, references: Mapping[str, Path]) -> dict[str, Version]:
    """The versions by their names without suffix."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", field="distorted")
    versions: dict[str, Version] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or path.is_dir():
            continue
        parts = path.stem.split("_")
        # The longest reference goes first: the name of another one may be its beginning.
        cuts = range(len(parts) - 1, 0, -1)
        cut = next((cut for cut in cuts if "_".join(parts[:cut]) in references), None)
        if cut is None or not parts[-1]:
            raise InvalidDataset(
                f"{path}: no reference of this version; the name should begin with that of an "
                "image among the references, and go on with _ and a level",
                field=str(path),
            )
        if parts[cut:] == [ORIGINAL]:
            raise InvalidDataset(
                f"{path}: the level {ORIGINAL} is the reference itself; {path.stem} has taken that "
                "name, so give it another",
                field=str(path),
            )
        if path.stem in versions:
            raise InvalidDataset(
                f"{path}: this version is there already ({versions[path.stem].path})",
                field=str(path),
            )
        versions[path.stem] = Version("_".join(parts[:cut]), "_".join(parts[cut:]), path)
    if not versions:
        raise InvalidInput(f"{folder} and its folders hold no image", field="distorted")
    return versions


def _opinion_scores(config: PipalConfig, versions: Mapping[str, Version]) -> dict[str, float]:
    scores = read_scores(config.labels)
    for name in scores:
        if name not in versions:
            raise InvalidDataset(
                f"{config.labels} scores {name}, and {config.distorted} has no such image",
                field=str(config.labels),
            )
    return scores


class Study(NamedTuple):
    """What is known of the versions after a run.

    Attributes:
        ratings: of what votes or earlier ratings name.
        apart: items without one although they are named: of references whose votes do not connect
            their versions, as is common while a study is under way.
        votes: all that the ratings are of; empty if some are not known any more, or their order
            mattered.
    """

    ratings: dict[str, StudyRating]
    apart: frozenset[str]
    votes: tuple[Vote, ...]


def _rated(
    config: VotesConfig, versions: dict[str, Version], references: Mapping[str, Path]
) -> Study:
    """Rate versions; adds originals that are named to ``versions``. The log names what is apart."""
    earlier: dict[str, dict[str, StudyRating]] = defaultdict(dict)
    before: dict[str, list[Vote]] = defaultdict(list)
    summed = config.rating.method == "bradley-terry"  # by Elo the order of votes matters
    if config.ratings is not None:
        for item, rating in read_ratings(config.ratings, config.rating).items():
            version = _judged(item, config.ratings, versions, references)
            earlier[version.reference][item] = rating
        summed = summed and config.ratings.with_name(COMPARISONS).is_file()
        for vote in _comparisons(config.ratings, earlier) if summed else ():
            before[versions[vote.left].reference].append(vote)
    votes: dict[str, list[Vote]] = defaultdict(list)
    for vote in read_votes(config.votes):
        items = (without_folder(vote.left), without_folder(vote.right))
        if items[0] == items[1]:
            raise InvalidDataset(
                f"{config.votes} has a vote between {vote.left} and {vote.right}, which are one "
                f"item here, {items[0]}: versions are known by their names without folder",
                field=str(config.votes),
            )
        of = {_judged(item, config.votes, versions, references).reference for item in items}
        if len(of) > 1:
            raise InvalidDataset(
                f"{config.votes} has a vote between {items[0]} and {items[1]}, which are "
                "versions of two references",
                field=str(config.votes),
            )
        votes[of.pop()].append(Vote(*items, vote.outcome))
    ratings = {item: rating for known in earlier.values() for item, rating in known.items()}
    apart: set[str] = set()
    gaps: dict[str, str] = {}
    for reference, cast in votes.items():
        try:
            if before[reference]:
                ratings |= config.rating.rate([*before[reference], *cast], {})
            else:
                ratings |= config.rating.rate(cast, earlier[reference])
        except Incomparable as error:
            gaps[reference] = str(error)
            apart |= {item for vote in cast for item in (vote.left, vote.right)}
            apart |= earlier[reference].keys()
        except UndefinedScore as error:
            raise UndefinedScore(f"{reference}: {error}", field="votes") from error
    ratings = {item: rating for item, rating in ratings.items() if item not in apart}
    if gaps:
        told = [f"{reference}: {gap}" for reference, gap in gaps.items()]
        if not ratings:
            raise UndefinedScore(
                f"no reference has votes that connect its versions ({some_names(told)}): more "
                "votes would, and rating.method=elo rates those that there are",
                field="votes",
            )
        _log.warning(
            "%d of %d references with votes are left out, since the votes do not connect their "
            "versions (rating.method=elo rates them too): %s",
            *(len(gaps), len(votes), some_names(told)),
        )
    known = [vote for of in (before, votes) for cast in of.values() for vote in cast]
    return Study(
        ratings,
        frozenset(apart),
        tuple(vote for vote in known if vote.left in ratings) if summed else (),
    )


def _comparisons(ratings: Path, earlier: Mapping[str, Mapping[str, StudyRating]]) -> list[Vote]:
    """The votes that earlier ratings are of, which lie beside them.

    Raises:
        InvalidDataset: they are those of other ratings, or no such file.
    """
    path = ratings.with_name(COMPARISONS)
    votes = read_comparisons(path)
    rated = {item: reference for reference, of in earlier.items() for item in of}
    compared = {item for vote in votes for item in (vote.left, vote.right)}
    if compared != rated.keys() or any(rated[vote.left] != rated[vote.right] for vote in votes):
        raise InvalidDataset(
            f"{path} holds votes on other versions than {ratings} rates; the two are of one "
            "dataset, and without the first its votes are taken from the intervals of the second",
            field=str(path),
        )
    return votes


def _judged(
    item: str, file: Path, versions: dict[str, Version], references: Mapping[str, Path]
) -> Version:
    """The version of that name; an original is added to ``versions``."""
    if item not in versions:
        if item not in references:
            raise InvalidDataset(
                f"{file} judges {item}, of which there is no image", field=str(file)
            )
        versions[item] = Version(item, ORIGINAL, references[item])
    return versions[item]


def _by_reference(
    scores: Mapping[str, float], versions: Mapping[str, Version], dropped: Counter[str]
) -> dict[str, dict[str, tuple[Path, float]]]:
    """File and score of each level by reference, in the order of their names."""
    judged: dict[str, dict[str, tuple[Path, float]]] = defaultdict(dict)
    for version, score in sorted((versions[name], score) for name, score in scores.items()):
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


def read_version(path: Path, original: Tensor) -> Tensor:
    image = read_rgb(path)
    if image.shape != original.shape:
        raise InvalidDataset(
            f"{path} is {image.shape[-1]} x {image.shape[-2]} pixels, its reference "
            f"{original.shape[-1]} x {original.shape[-2]}",
            field=str(path),
        )
    return image


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
