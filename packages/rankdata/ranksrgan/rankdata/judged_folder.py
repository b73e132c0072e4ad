"""PIPAL and TID2013 as they are unpacked: people's opinions, read without building a dataset first.

    PIPAL/Train_Ref/A0001.bmp                 tid2013/reference_images/I01.BMP
    PIPAL/Train_Dist/A0001_00_03.bmp          tid2013/distorted_images/i01_01_1.bmp
    PIPAL/Train_Label/A0001.txt               tid2013/mos_with_names.txt

In PIPAL's label files a line is ``A0001_00_03.bmp,1400.5``, in TID's ``5.51 I01_01_1.bmp``, whose
names differ from those of the files in upper and lower case. Of both a higher opinion is better.

N. Ponomarenko et al., "Image database TID2013: peculiarities, results and perspectives", Signal
Processing: Image Communication 30, 2015; for PIPAL see `ranksrgan.rankdata.human`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch

from ranksrgan.contracts import Pair, RankedContent, RankedInfo, cancellation
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import list_images
from ranksrgan.contracts.pairs import PairSelection
from ranksrgan.contracts.regular_files import open_regular
from ranksrgan.contracts.some_names import some_names
from ranksrgan.metrics import read_scores
from ranksrgan.metrics.score_table import finite_number
from ranksrgan.rankdata.config import SplitConfig
from ranksrgan.rankdata.degradation import read_rgb
from ranksrgan.rankdata.duplicates import near_duplicates, phash
from ranksrgan.rankdata.judged_versions import find_versions, read_version
from ranksrgan.rankdata.levels import by_stem
from ranksrgan.rankdata.order import check_place, order, shuffled
from ranksrgan.rankdata.split import split_sources

# Bytes of an image file at each place that are compared.
_SAMPLE = 4096

_log = logging.getLogger(__name__)

_PIPAL = ("Train_Ref", "Train_Dist", "Train_Label")
_TID = ("reference_images", "distorted_images", "mos_with_names.txt")


class Judged(NamedTuple):
    """One version of a reference, and what people think of it."""

    reference: str
    level: str
    path: Path
    score: float


def is_judged_folder(folder: Path) -> bool:
    """Whether it has the form of PIPAL's training set or of TID2013."""
    return any(all((folder / name).exists() for name in names) for names in (_PIPAL, _TID))


class JudgedFolder:
    """A `PairSource` over such a folder. A content is a whole reference; images are read when they
    are wanted. Images without an opinion are left out, with a warning that counts them.

    Args:
        folder: see the module's head.
        selection: which split, and which pairs have an order.
        val, test, seed: shares of the references and how they are drawn, see `SplitConfig`. For a
            split every reference is read, and near-duplicates are in the same one.

    Raises:
        InvalidImage: for a split: a reference is not an image.
        InvalidDataset: neither of the two forms, an opinion without an image, a version without a
            reference, all opinions equal, or too few references for the splits.
    """

    def __init__(
        self,
        folder: Path,
        selection: PairSelection | None = None,
        *,
        val: float = 0.1,
        test: float = 0.0,
        seed: int = 0,
    ) -> None:
        selection = selection or PairSelection()
        tid = (folder / _TID[2]).exists()
        references, judged = (_read_tid if tid else _read_pipal)(folder)
        if len(judged) < 2:
            raise InvalidDataset(
                f"{folder}: {len(judged)} judged image(s): to learn what is better takes two",
                field=str(folder),
            )
        if len({one.score for one in judged}) < 2:
            raise InvalidDataset(
                f"{folder}: all {len(judged)} opinions are equal; there is nothing to learn",
                field=str(folder),
            )
        members: dict[str, list[Judged]] = defaultdict(list)
        for one in sorted(judged):
            members[one.reference].append(one)
        if selection.split is not None:
            split = split_sources(
                sorted(members),
                SplitConfig(output=folder, val=val, test=test).fractions,
                seed,
                _looking_alike({name: references[name] for name in members}),
            )
            members = {name: of for name, of in members.items() if split[name] == selection.split}
        if not members:
            raise InvalidDataset(f"{folder} has no split {selection.split!r}", field="split")
        self._contents = [(name, tuple(of)) for name, of in sorted(members.items())]
        self._references = references
        self._orders = [
            (content, a, b, label)
            for content, (_, of) in enumerate(self._contents)
            for a, b in combinations(range(len(of)), 2)
            if (label := order(of[a].score, of[b].score, selection.min_gap))
            or selection.ties == "keep"
        ]
        self._ordered = sorted({content for content, *_ in self._orders})
        facts = [
            [
                name,
                _state(references[name]),
                [(one.level, one.score, _state(one.path)) for one in of],
            ]
            for name, of in self._contents
        ]
        named = json.dumps([facts, selection.ties, selection.min_gap])
        self._info = RankedInfo(
            metric="mos",
            higher_is_better=True,
            levels=tuple(sorted({one.level for _, of in self._contents for one in of})),
            contents=len(self._contents),
            pairs=len(self._orders),
            fingerprint=hashlib.sha256(named.encode()).hexdigest(),
            widest={"mos": max(map(self._width, self._ordered), default=0.0)},
        )

    @property
    def info(self) -> RankedInfo:
        return self._info

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        """See `PairSource.pairs`.

        Raises:
            InvalidInput: ``start`` is negative, or ``step`` below 1.
            InvalidDataset: there is no pair, since all are ties.
        """
        self._check(start, step)
        return self._pairs_from(seed, start, step)

    def _pairs_from(self, seed: int, start: int, step: int) -> Iterator[Pair]:
        for index, swap in shuffled(len(self._orders), seed, start, step):
            content, a, b, label = self._orders[index]
            name, of = self._contents[content]
            original = read_rgb(self._references[name])
            first, second = (read_version(of[at].path, original)[0].float() / 255 for at in (a, b))
            yield Pair(second, first, 0.0 - label) if swap else Pair(first, second, label)

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        """See `PairSource.shuffled_contents`; raises as `pairs`."""
        self._check(start, step)
        return (
            self._content(self._ordered[index])
            for index, _ in shuffled(len(self._ordered), seed, start, step)
        )

    def contents(self) -> Iterator[RankedContent]:
        """See `PairSource.contents`.

        Raises:
            InvalidDataset: a version of another size than its reference.
        """
        return (self._content(index) for index in range(len(self._contents)))

    def _content(self, index: int) -> RankedContent:
        name, of = self._contents[index]
        original = read_rgb(self._references[name])
        images = torch.cat([read_version(one.path, original) for one in of])
        return RankedContent(
            name,
            tuple(one.level for one in of),
            images.float() / 255,
            torch.tensor([one.score for one in of], dtype=torch.float64),
            reference=original[0].float() / 255,
        )

    def _width(self, index: int) -> float:
        """How far the opinions of a content's versions are apart."""
        scores = [one.score for one in self._contents[index][1]]
        return max(scores) - min(scores)

    def _check(self, start: int, step: int) -> None:
        check_place(start, step)
        if not self._orders:
            raise InvalidDataset("every pair is a tie: there is nothing to learn", field="ties")


def open_judged_folder(folder: Path, options: Mapping[str, str]) -> JudgedFolder:
    """From the options of a spec: those of `PairSelection`, and ``val``, ``test`` and ``seed``.

    Raises:
        InvalidInput: an unknown option or a value that it cannot have.
        InvalidDataset: see `JudgedFolder`.
    """
    own = {"val", "test", "seed"}
    selection = PairSelection.from_options(options, beside=own)
    numbers: dict[str, float] = {}
    for key in own & set(options):
        try:
            number = float(options[key])
        except ValueError:
            number = math.nan
        whole = key == "seed"
        if not (number >= 0 and (number.is_integer() if whole else number <= 1)):
            raise InvalidInput(
                f"{key}={options[key]}: a {'whole number' if whole else 'share, 0 to 1,'} "
                "is wanted",
                field=key,
            )
        numbers[key] = number
    shares = numbers.get("val", 0.1) + numbers.get("test", 0.0)
    if shares > 1:
        raise InvalidInput(f"val and test: {shares:g} together; at most 1 is possible", field="val")
    return JudgedFolder(
        folder,
        selection,
        val=numbers.get("val", 0.1),
        test=numbers.get("test", 0.0),
        seed=int(numbers.get("seed", 0)),
    )


def _looking_alike(references: Mapping[str, Path]) -> list[tuple[str, ...]]:
    """Groups of references that are one picture to the eye."""
    hashes = {}
    for name, path in references.items():
        cancellation.check()
        hashes[name] = phash(read_rgb(path))
    return near_duplicates(hashes)


def _state(image: Path) -> tuple[int, str]:
    """What is another one when the picture is: the file's size in bytes, and a hash of its
    beginning, middle and end. There may be tens of thousands, too many to be read whole."""
    digest = hashlib.sha256()
    try:
        with open_regular(image) as file:
            size = file.seek(0, os.SEEK_END)
            for place in (0, size // 2, max(0, size - _SAMPLE)):
                file.seek(place)
                digest.update(file.read(_SAMPLE))
    except OSError as error:
        raise InvalidDataset(f"{image}: {error.strerror}", field=str(image)) from error
    return size, digest.hexdigest()


def _by_lower_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in list_images(folder):
        if found.setdefault(path.stem.lower(), path) != path:
            raise InvalidDataset(
                f"{path}: this image is there already ({found[path.stem.lower()]}); upper and "
                "lower case do not count",
                field=str(path),
            )
    return found


def _read_pipal(folder: Path) -> tuple[dict[str, Path], list[Judged]]:
    missing = [name for name in _PIPAL if not (folder / name).is_dir()]
    if missing:
        raise InvalidDataset(
            f"{folder} has no folder {missing[0]}, which PIPAL's form has", field=str(folder)
        )
    references = by_stem(folder / _PIPAL[0])
    versions = find_versions(folder / _PIPAL[1], references)
    labels = folder / _PIPAL[2]
    judged = []
    for name, score in read_scores(labels).items():
        if name not in versions:
            raise InvalidDataset(
                f"{labels} scores {name}, and {folder / _PIPAL[1]} has no such image",
                field=str(labels),
            )
        judged.append(Judged(*versions[name], score))
    _tell_unjudged(folder, references, len(versions), judged)
    return references, judged


def _tell_unjudged(
    folder: Path, references: Mapping[str, Path], versions: int, judged: Sequence[Judged]
) -> None:
    """Warn of images that are left out. People may have judged a part; more often a file of labels
    is missing or was cut."""
    if len(judged) == versions:
        return
    without = sorted(set(references) - {one.reference for one in judged})
    none = f"; of {some_names(without)} none has one" if without else ""
    _log.warning(
        "%s: %d of %d images have no opinion and are left out%s",
        folder,
        versions - len(judged),
        versions,
        none,
    )


def _read_tid(folder: Path) -> tuple[dict[str, Path], list[Judged]]:
    references, versions = (_by_lower_stem(folder / name) for name in _TID[:2])
    labels = folder / _TID[2]
    try:
        lines = labels.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataset(
            f"{labels} cannot be read as text in UTF-8: {error}", field=str(labels)
        ) from error
    judged: dict[str, Judged] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{labels}:{number}"
        words = line.split()
        score = finite_number(words[0]) if len(words) == 2 else None
        if score is None:
            raise InvalidDataset(
                f"{where}: {line.strip()!r:.60} is not an opinion and the name of an image",
                field=where,
            )
        file = words[1]
        name = Path(file).stem.lower()
        reference, _, level = name.partition("_")
        if name not in versions:
            raise InvalidDataset(
                f"{where}: {file} is judged, and {folder / _TID[1]} has no such image", field=where
            )
        if reference not in references or not level:
            raise InvalidDataset(
                f"{where}: {file} has no reference in {folder / _TID[0]}", field=where
            )
        if name in judged:
            raise InvalidDataset(f"{where}: {file} has an opinion already", field=where)
        judged[name] = Judged(reference, level, versions[name], score)
    _tell_unjudged(folder, references, len(versions), list(judged.values()))
    return references, list(judged.values())
