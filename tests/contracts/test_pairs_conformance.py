"""One suite for a rank dataset's folder and for services over it: equal to the bit, same errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import skimage.data
import torch

from ranksrgan.contracts import Pair, PairSource, RankedContent, open_pair_source
from ranksrgan.contracts.clients.pairs import RemotePairSource
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import (
    InvalidDataset,
    InvalidImage,
    InvalidInput,
    RankSRGANError,
    UnknownName,
)
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.rpc import start_server
from ranksrgan.rankdata import BuildConfig, build
from ranksrgan.rankdata.catalog import DatasetCatalog
from tests.contracts.rank_data import serving

# Opens a dataset by name, with options.
Open = Callable[..., PairSource]

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
LEVELS = {"blurred": "blur:1.5", "noisy": "noise:8", "hr": "hr", "same": "hr"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs; two levels are equal, so that there are ties."""
    folder = tmp_path_factory.mktemp("root")
    for place, name in enumerate(NAMES):
        pixels = getattr(skimage.data, name)()[100:176, 120 + place : 208]
        write_image(folder / "images" / "photographs" / f"{name}.png", Picture(pixels))
    config = {
        "hr": folder / "images" / "photographs",
        "output": folder / "datasets" / "ranked",
        "levels": LEVELS,
        "metric": "rmse",
        "further": ["gmsd", "ssim"],
        "crop": 32,
        "stride": 20,
        "val": 0.25,
    }
    build(BuildConfig.model_validate(config))
    alike = {"levels": {"one": "hr", "two": "hr"}, "output": folder / "datasets" / "alike"}
    with pytest.raises(InvalidDataset):
        build(BuildConfig.model_validate({**config, **alike}))
    (folder / "datasets" / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def folder(root: Path) -> Open:
    return lambda name, **options: open_pair_source(str(root / "datasets" / name), **options)


@pytest.fixture(scope="module", params=["folder", "grpc", "unix"])
def opened(
    request: pytest.FixtureRequest,
    root: Path,
    folder: Open,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Open]:
    if request.param == "folder":
        yield folder
        return
    listen = "127.0.0.1:0"
    if request.param == "unix":
        listen = f"unix:{tmp_path_factory.mktemp('sockets')}/rankdata.sock"
    server = start_server(listen, [serving(DatasetCatalog(DataRoot(root)))])
    address = f"grpc://{server.address}"
    if request.param == "unix":
        address = f"unix://{server.address.removeprefix('unix:')}"
    yield lambda name, **options: open_pair_source(f"{address}/{name}", **options)
    server.stop()


SELECTIONS: list[dict[str, str]] = [
    {},
    {"split": "train"},
    {"split": "val", "ties": "keep"},
    {"min_gap": "2.5"},
    {"split": "train", "min_gap": "0.3", "ties": "keep"},
]


def same_pairs(ours: Iterable[Pair], theirs: Iterable[Pair]) -> bool:
    return all(
        torch.equal(one.a, other.a)
        and torch.equal(one.b, other.b)
        and (one.label, one.a.dtype, one.a.shape) == (other.label, other.a.dtype, other.a.shape)
        for one, other in zip(ours, theirs, strict=True)
    )


def same_contents(ours: Iterable[RankedContent], theirs: Iterable[RankedContent]) -> bool:
    return all(
        (one.content, one.levels) == (other.content, other.levels)
        and torch.equal(one.images, other.images)
        and torch.equal(one.scores, other.scores)
        and one.further.keys() == other.further.keys()
        and all(torch.equal(one.further[key], other.further[key]) for key in one.further)
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("selection", SELECTIONS)
def test_infos_are_the_folders(opened: Open, folder: Open, selection: dict[str, str]) -> None:
    source, local = opened("ranked", **selection), folder("ranked", **selection)
    assert isinstance(source, PairSource)
    assert source.info == local.info
    assert source.info.levels == tuple(LEVELS)
    assert source.info.further == {"gmsd": False, "ssim": True}
    assert 0 < source.info.pairs <= 6 * source.info.contents


def test_selections_differ(opened: Open) -> None:
    infos = [opened("ranked", **selection).info for selection in SELECTIONS]
    assert len({info.fingerprint for info in infos}) == len(SELECTIONS)
    assert len({info.pairs for info in infos}) == len(SELECTIONS)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_pairs_are_the_folders_to_the_bit(
    opened: Open, folder: Open, selection: dict[str, str]
) -> None:
    source, local = opened("ranked", **selection), folder("ranked", **selection)
    number = local.info.pairs + 5  # into the second epoch
    assert same_pairs(islice(source.pairs(3), number), islice(local.pairs(3), number))


@pytest.mark.parametrize("selection", SELECTIONS)
def test_contents_are_the_folders_to_the_bit(
    opened: Open, folder: Open, selection: dict[str, str]
) -> None:
    source, local = opened("ranked", **selection), folder("ranked", **selection)
    assert same_contents(source.contents(), local.contents())
    number = local.info.contents + 3
    assert same_contents(
        islice(source.shuffled_contents(4), number), islice(local.shuffled_contents(4), number)
    )


@pytest.mark.parametrize(("seed", "start", "step"), [(0, 7, 1), (-5, 100, 3), (2**40, 10**9, 64)])
def test_a_stream_begins_anywhere(
    opened: Open, folder: Open, seed: int, start: int, step: int
) -> None:
    source, local = opened("ranked"), folder("ranked")
    assert same_pairs(
        islice(source.pairs(seed, start, step), 9), islice(local.pairs(seed, start, step), 9)
    )
    assert same_contents(
        islice(source.shuffled_contents(seed, start, step), 5),
        islice(local.shuffled_contents(seed, start, step), 5),
    )


def test_streams_of_one_dataset_do_not_meet(opened: Open, folder: Open) -> None:
    source, local = opened("ranked"), folder("ranked")
    one, two, contents = source.pairs(0), source.pairs(1), source.contents()
    ours = [pair for _ in range(20) for pair in (next(one), next(two))]
    assert next(contents).content == next(local.contents()).content
    zero, first = islice(local.pairs(0), 20), islice(local.pairs(1), 20)
    assert same_pairs(ours, (pair for both in zip(zero, first, strict=True) for pair in both))


@pytest.mark.parametrize(
    ("name", "options", "error", "field"),
    [
        ("missing", {}, UnknownName, None),
        ("empty", {}, InvalidDataset, None),
        ("alike", {}, UnknownName, None),
        ("ranked", {"split": "test"}, InvalidDataset, "split"),
        ("ranked", {"split": "training"}, InvalidDataset, "split"),
        ("ranked", {"split": ""}, InvalidInput, "split"),
        ("ranked", {"splitt": "train"}, InvalidInput, "splitt"),
        ("ranked", {"ties": "guess"}, InvalidInput, "ties"),
        ("ranked", {"min_gap": "wide"}, InvalidInput, "min_gap"),
        ("ranked", {"min_gap": "-1"}, InvalidInput, "min_gap"),
        ("ranked", {"min_gap": "nan"}, InvalidInput, "min_gap"),
        ("ranked?split=train", {"split": "val"}, InvalidInput, "split"),
        ("ranked?split=train&split=val", {}, InvalidInput, None),
    ],
)
def test_what_cannot_be_opened(
    opened: Open, name: str, options: dict[str, str], error: type[RankSRGANError], field: str | None
) -> None:
    with pytest.raises(RankSRGANError) as caught:
        opened(name, **options)
    assert type(caught.value) is error
    assert field in (None, caught.value.field)


def test_a_folder_that_is_there_goes_before_options(root: Path, folder: Open) -> None:
    odd = root / "datasets" / "ranked?split=val"
    shutil.copytree(root / "datasets" / "ranked", odd)
    assert open_pair_source(str(odd)).info == folder("ranked").info
    assert open_pair_source(str(odd), split="val").info == folder("ranked", split="val").info
    shutil.rmtree(odd)
    assert open_pair_source(str(odd)).info == folder("ranked", split="val").info


@pytest.mark.parametrize(
    ("place", "field"), [({"start": -1}, "start"), ({"step": 0}, "step"), ({"step": -3}, "step")]
)
def test_places_that_are_none(opened: Open, place: dict[str, int], field: str) -> None:
    source = opened("ranked")
    for stream in (source.pairs, source.shuffled_contents):
        with pytest.raises(InvalidInput) as caught:
            stream(0, **place)
        assert type(caught.value) is InvalidInput
        assert caught.value.field == field


def test_no_order_to_learn(opened: Open) -> None:
    source = opened("ranked", min_gap="1000")
    assert source.info.pairs == 0
    for stream in (source.pairs, source.shuffled_contents):
        with pytest.raises(InvalidDataset) as caught:
            stream(0)
        assert caught.value.field == "ties"
    assert len(list(source.contents())) == source.info.contents


def test_a_level_image_that_goes_while_it_is_read(opened: Open, root: Path) -> None:
    image = root / "datasets" / "ranked" / "levels" / "noisy" / "rocket.png"
    kept = image.read_bytes()
    source = opened("ranked", min_gap="0.001")  # a selection of which nothing is in memory
    image.unlink()
    try:
        with pytest.raises(
            InvalidImage, match=r"datasets/ranked/levels/noisy/rocket\.png"
        ) as caught:
            list(source.contents())
    finally:
        image.write_bytes(kept)
    if isinstance(source, RemotePairSource):
        assert str(root) not in str(caught.value)


def test_a_dataset_that_is_replaced_while_it_is_read(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "datasets" / "changing"
    shutil.copytree(root / "datasets" / "ranked", place)
    server = start_server(f"unix:{tmp_path}/s", [serving(DatasetCatalog(DataRoot(tmp_path)))])
    try:
        source = open_pair_source(f"unix://{tmp_path}/s/changing")
        pairs, ours = source.pairs(0), open_pair_source(str(place)).pairs(0)
        number = 300  # more than are on their way at a time
        assert same_pairs(islice(pairs, 2), islice(ours, 2))
        place.rename(tmp_path / "before")
        shutil.copytree(tmp_path / "before", place)
        assert same_pairs(islice(pairs, number), islice(ours, number))  # the same data
        place.rename(tmp_path / "again")
        build(
            BuildConfig.model_validate(
                {"hr": root / "images" / "photographs", "output": place, "levels": LEVELS}
                | {"metric": "rmse", "crop": 32, "seed": 1}
            )
        )
        with pytest.raises(InvalidDataset, match="datasets/changing is another dataset"):
            list(pairs)
        contents = open_pair_source(f"unix://{tmp_path}/s/changing").shuffled_contents(0)
        shutil.rmtree(place)
        with pytest.raises(UnknownName, match="no datasets/changing"):
            list(contents)
    finally:
        server.stop()
