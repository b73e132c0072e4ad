"""A study: results of several methods on the same contents, of which people compare two at a time.

    STUDY/baboon/srgan.png
    STUDY/baboon/ranksrgan.png
    STUDY/comic/srgan.png ...

Which pair a rater sees when, and which of the two is on the left, is drawn by hash from the names
of the study, the rater and the pair: another order for every rater, the same one whenever that
rater comes back, however the name is spelt, and images that are added later change nothing about
the others.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InvalidDataset,
    InvalidImage,
    InvalidInput,
    UnknownName,
)
from ranksrgan.contracts.images import decode_image, image_bytes
from ranksrgan.contracts.some_names import some_names
from ranksrgan.metrics.score_table import image_name

log = logging.getLogger(__name__)

#: What every browser shows.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})

# What they are to hold, whatever their suffix says.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

#: A method of that name is the reference itself, as rank data calls it.
REFERENCE = "hr"

# No space at the end, which reading cells of a table takes away.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+()-]{0,98}[A-Za-z0-9._+()-])?")

# Tag of the orientation in EXIF, and the values that lay a picture on its side.
_ORIENTATION, _ON_ITS_SIDE = 0x0112, frozenset({5, 6, 7, 8})


class Pair(NamedTuple):
    """Two methods on one content, in the order of their names."""

    content: str
    first: str
    second: str


class Showing(NamedTuple):
    """A pair as a rater sees it."""

    pair: Pair
    left: str
    right: str


@dataclass(frozen=True)
class Study:
    """The images of a study.

    Attributes:
        name: of the study.
        images: file by content and method; at least two methods a content, all of one size.
        sizes: width and height by content.
        hashes: SHA-256 of the files, by content and method.
    """

    name: str
    images: Mapping[str, Mapping[str, Path]]
    sizes: Mapping[str, tuple[int, int]]
    hashes: Mapping[str, Mapping[str, str]]

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """All that there is to compare."""
        return tuple(
            Pair(content, first, second)
            for content, methods in self.images.items()
            for first, second in combinations(sorted(methods), 2)
        )

    @cached_property
    def _by_token(self) -> dict[str, Pair]:
        return {self.token(pair): pair for pair in self.pairs}

    def token(self, pair: Pair) -> str:
        """What the browser calls a pair: it says nothing about the methods.

        It changes with the rule by which sides are drawn, so that no page that was open meanwhile
        votes for the other side.
        """
        return _draw("pair of a person", self.name, *pair).hex()[:20]

    def pair(self, token: str) -> Pair:
        """The pair of that token.

        Raises:
            UnknownName: there is none.
        """
        if token not in self._by_token:
            raise UnknownName(f"the study {self.name} has no pair {token[:40]!r}", field="pair")
        return self._by_token[token]

    def files(self, pair: Pair) -> tuple[Path, Path]:
        """The two images of a pair."""
        methods = self.images[pair.content]
        return methods[pair.first], methods[pair.second]

    def showing(self, rater: str, pair: Pair) -> Showing:
        """How a rater sees a pair."""
        swapped = _draw("side", self.name, person(rater), *pair)[0] & 1
        return Showing(pair, *((pair.second, pair.first) if swapped else (pair.first, pair.second)))

    def ahead(self, rater: str, done: Collection[Pair]) -> list[Showing]:
        """What a rater has yet to see, in the rater's order."""
        left = [pair for pair in self.pairs if pair not in done]
        whose = person(rater)
        left.sort(key=lambda pair: _draw("order", self.name, whose, *pair))
        return [self.showing(rater, pair) for pair in left]


def open_study(name: str, folder: Path) -> Study:
    """Read which images a study has, and each of them once: people are to vote on no damaged one.

    The log says which files and contents are left out.

    Args:
        name: of the study, for addresses and votes.
        folder: see the module's head.

    Raises:
        InvalidInput: ``folder`` is none, or ``name`` is no name.
        InvalidDataset: no content with two methods, images of one content that differ in size,
            something that is no image, damaged, or of a kind that is not read, a link that leads
            out of the folder, or names that the votes could not tell apart; names it.
    """
    _check_name(name, "study")
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", field=str(folder))
    images: dict[str, dict[str, Path]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    hashes: dict[str, dict[str, str]] = {}
    others: list[str] = []  # whose suffix is none of ours
    alone: list[str] = []
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            continue
        if not place.is_dir():
            others.append(place.name)
            continue
        methods = _methods(place, folder, others)
        if len(methods) > 1:
            content = _check_name(place.name, str(place))
            images[content] = methods
            sizes[content], hashes[content] = _read(methods)
        else:
            alone.append(place.name)
    _tell_left_out(folder, others, alone)
    if not images:
        raise InvalidDataset(
            f"{folder} has nothing to compare: folders of contents with two images or more are "
            "wanted, CONTENT/METHOD.png",
            field=str(folder),
        )
    _check_items(images, folder)
    return Study(name, images, sizes, hashes)


def item_name(content: str, method: str) -> str:
    """What votes call an image, as rank data expects.

    ``CONTENT_METHOD``, and ``CONTENT`` alone for the reference itself.
    """
    return content if method == REFERENCE else f"{content}_{method}"


def check_rater(rater: str) -> str:
    """The name of a rater with single spaces within and none around, in Unicode's composed form.

    Raises:
        InvalidInput: it cannot be one.
    """
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in rater)
    rater = unicodedata.normalize("NFC", re.sub(" +", " ", spaced)).strip()
    if not (0 < len(rater) <= 64 and _begins(rater[0]) and all(map(_goes_on, rater))):
        raise InvalidInput(
            "a rater's name has 1 to 64 letters, digits, spaces or . ' @ - _ and begins with a "
            "letter or digit",
            field="rater",
        )
    return rater


def person(rater: str) -> str:
    """What all spellings of a rater's name have in common, in capitals or not."""
    return unicodedata.normalize("NFC", " ".join(rater.split()).casefold())


def _begins(character: str) -> bool:
    return character.isalnum() or character == "_"


def _goes_on(character: str) -> bool:
    # Many scripts write vowels as marks upon letters.
    return (
        _begins(character)
        or character in " .'@-"
        or unicodedata.category(character) in ("Mn", "Mc")
    )


def _draw(*names: str) -> bytes:
    return hashlib.sha256("\0".join(names).encode()).digest()


def _methods(place: Path, folder: Path, others: list[str]) -> dict[str, Path]:
    """The images of a content by method; what else is there is added to ``others``."""
    methods: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() not in SUFFIXES:
            others.append(f"{place.name}/{path.name}")
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidDataset(f"{path} is a link that leads out of {folder}", field=str(path))
        method = _check_name(path.stem, str(path))
        if method in methods:
            raise InvalidDataset(f"{path}: {method} is there already", field=str(path))
        methods[method] = path
    return methods


def _tell_left_out(folder: Path, others: Sequence[str], alone: Sequence[str]) -> None:
    if others:
        log.warning(
            "%s: left out %d that are no CONTENT/METHOD of %s: %s",
            *(folder, len(others), " ".join(sorted(SUFFIXES)), some_names(others)),
        )
    if alone:
        log.warning(
            "%s: left out %d with fewer than two images: %s",
            *(folder, len(alone), some_names(alone)),
        )


def _read(methods: Mapping[str, Path]) -> tuple[tuple[int, int], dict[str, str]]:
    """The size that all images of a content have, and their hashes."""
    sizes: dict[tuple[int, int], Path] = {}
    hashes: dict[str, str] = {}
    for method, path in methods.items():
        size, hashes[method] = _read_one(path)
        sizes[size] = path
    if len(sizes) > 1:
        told = ", ".join(f"{path} is {w} x {h}" for (w, h), path in sizes.items())
        raise InvalidDataset(f"images of one content differ in size: {told}", field=told)
    return next(iter(sizes)), hashes


def _read_one(path: Path) -> tuple[tuple[int, int], str]:
    """Size and hash of an image that can be read to its end."""
    try:
        data = image_bytes(path)
        decode_image(data, name=str(path))  # it refuses what would cost too much, so it comes first
    except (InvalidImage, ImageTooLarge) as error:
        raise InvalidDataset(f"people cannot vote on it: {error}", field=str(path)) from error
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            size = _upright(image)
    except UnidentifiedImageError as error:
        raise InvalidDataset(
            f"{path} is no image that every browser shows, whatever its suffix says; convert it "
            "to PNG",
            field=str(path),
        ) from error
    return size, hashlib.sha256(data).hexdigest()


def _upright(image: Image.Image) -> tuple[int, int]:
    """Width and height as browsers, and rank data, show an image."""
    width, height = image.size
    if image.format == "PNG" and "exif" not in image.info:
        return width, height  # to look for more Pillow would decode all of it
    turned = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    return (height, width) if turned else (width, height)


def _check_items(images: Mapping[str, Mapping[str, Path]], folder: Path) -> None:
    """Who reads ``a_b_c`` takes the longest content that it begins with, or is."""
    items = Counter(
        item_name(content, method) for content, methods in images.items() for method in methods
    )
    for content, methods in images.items():
        for method in methods:
            item = item_name(content, method)
            others = [other for other in images if f"{item}_".startswith(f"{other}_")]
            if max(others, key=len) != content or items[item] > 1 or image_name(item) != item:
                raise InvalidDataset(
                    f"{folder / content}: the votes would call {method} {item}, which reads as an "
                    "image of another content, or of another name; rename one",
                    field=str(folder / content),
                )


def _check_name(name: str, field: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{field}: {name[:100]!r} is no name: letters, digits, spaces and . _ + ( ) - are, at "
            "most 100, a letter or digit first and no space last",
            field=field,
        )
    return name
