from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import (
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
    LimitExceeded,
    UndefinedScore,
)
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.metrics import Vote, bradley_terry, elo, patch_crops
from ranksrgan.rankdata import RankDataset
from ranksrgan.rankdata.duplicates import leaks
from ranksrgan.rankdata.human import (
    PipalConfig,
    VotesConfig,
    build_from_judgements,
    load_human_config,
)
from ranksrgan.rankdata.manifest import read_record, write_record
from ranksrgan.rankdata.pairs import open_rank_dataset
from ranksrgan.rankdata.split import split_sources
from ranksrgan.rankdata.study_ratings import RATINGS, BradleyTerryRating, EloRating

SIDE = 40
LEVELS = ("00_00", "00_01", "04_02", "10_05")


def _score(reference: int, level: int) -> float:
    return 1400.25 + 100 * level + reference


def _write(path: Path, seed: int, height: int = SIDE, width: int = SIDE) -> npt.NDArray[np.uint8]:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    write_image(path, Picture(pixels))
    return pixels


@pytest.fixture
def pipal(tmp_path: Path) -> Path:
    """Six references with four versions each, in two parts, and a label file for each."""
    root = tmp_path / "pipal"
    (root / "Train_Label").mkdir(parents=True)
    for reference in range(1, 7):
        name = f"A{reference:04d}"
        _write(root / "Train_Ref" / f"{name}.bmp", reference)
        lines = []
        for number, level in enumerate(LEVELS):
            part = f"Distortion_{1 + number % 2}"
            _write(root / "Train_Dist" / part / f"{name}_{level}.bmp", 100 * reference + number)
            lines.append(f"{name}_{level}.bmp,{_score(reference, number):.4f}\n")
        (root / "Train_Label" / f"{name}.txt").write_text("".join(lines))
    return root


def _pipal_config(root: Path, **settings: Any) -> PipalConfig:
    return PipalConfig(
        references=root / "Train_Ref",
        distorted=root / "Train_Dist",
        labels=root / "Train_Label",
        output=root.parent / "ranks",
        **settings,
    )


def test_pipal_whole_images(pipal: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    config = _pipal_config(pipal, val=0.2, test=0.2, seed=3)
    dataset = build_from_judgements(config, progress=lambda *step: steps.append(step))
    assert dataset.levels == LEVELS
    assert (dataset.metric.name, dataset.metric.higher_is_better) == ("mos", True)
    assert dataset.record.label == "votes"
    assert len(dataset.contents) == 6
    for reference, content in enumerate(dataset.contents, start=1):
        assert content.source == f"A{reference:04d}"
        assert (content.top, content.left, content.height, content.width) == (0, 0, SIDE, SIDE)
        assert content.scores == tuple(_score(reference, level) for level in range(4))
        original = read_image(pipal / "Train_Ref" / f"{content.source}.bmp").colour
        grid = patch_crops(torch.from_numpy(original.copy()).permute(2, 0, 1)[None], SIDE, 1)
        assert content.sharpness == pytest.approx(float(grid.sharpness))
        for number, level in enumerate(LEVELS):
            part = pipal / "Train_Dist" / f"Distortion_{1 + number % 2}"
            expected = read_image(part / f"{content.source}_{level}.bmp").colour
            stored = read_image(dataset.image_path(level, content.source)).colour
            np.testing.assert_array_equal(stored, expected)
    by_split = {split: len(dataset.select(split)) for split in dataset.splits}
    assert by_split == {"train": 4, "val": 1, "test": 1}
    assert [step[:2] for step in steps] == [(done, 6) for done in range(1, 7)]
    categories = [level.facts["category"] for level in dataset.record.levels]
    assert categories[0] == categories[1] == "traditional distortion"
    assert categories[2] == "GAN-based super-resolution"
    RankDataset.open(dataset.folder, check_hashes=True)
    assert not leaks(dataset)


def test_pipal_is_read_as_pairs(pipal: Path) -> None:
    dataset = build_from_judgements(_pipal_config(pipal, val=0.0))
    source = open_rank_dataset(str(dataset.folder), {})
    assert (source.info.metric, source.info.higher_is_better) == ("mos", True)
    assert source.info.pairs == 6 * 6
    content = next(source.contents())
    assert content.images.shape == (4, 3, SIDE, SIDE)
    assert content.scores.tolist() == [_score(1, level) for level in range(4)]


def test_references_are_part_of_the_dataset(pipal: Path) -> None:
    folder = build_from_judgements(_pipal_config(pipal, val=0.0)).folder
    before = open_rank_dataset(str(folder), {}).info.fingerprint
    reference = folder / "levels" / "hr" / "A0002.png"
    _write(reference, 77)
    RankDataset.open(folder)
    with pytest.raises(InvalidDataset, match="level hr: the image of A0002 was changed"):
        RankDataset.open(folder, check_hashes=True)
    reference.unlink()
    with pytest.raises(InvalidDataset, match="level hr has no image of A0002"):
        RankDataset.open(folder)
    _write(pipal / "Train_Ref" / "A0002.bmp", 77)
    folder = build_from_judgements(_pipal_config(pipal, val=0.0), overwrite=True).folder
    assert open_rank_dataset(str(folder), {}).info.fingerprint != before


def test_references_that_an_older_record_does_not_tell_of(pipal: Path) -> None:
    folder = build_from_judgements(_pipal_config(pipal, val=0.0)).folder
    record = read_record(folder)
    assert sorted(record.references) == [f"A{number:04d}" for number in range(1, 7)]
    write_record(folder, record.model_copy(update={"references": {}}))
    assert "references" not in json.loads((folder / "dataset.json").read_text())
    (folder / "levels" / "hr" / "A0002.png").unlink()
    contents = list(open_rank_dataset(str(folder), {}).contents())
    known = [content.content for content in contents if content.original is not None]
    assert known == [f"A{number:04d}@0,0" for number in (1, 3, 4, 5, 6)]


def test_crops_inherit_the_score(pipal: Path) -> None:
    dataset = build_from_judgements(_pipal_config(pipal, crop=16, stride=12))
    assert len(dataset.contents) == 6 * 3 * 3
    first = [content for content in dataset.contents if content.source == "A0001"]
    assert {(content.top, content.left) for content in first} == {
        (top, left) for top in (0, 12, 24) for left in (0, 12, 24)
    }
    assert {content.scores for content in first} == {tuple(_score(1, n) for n in range(4))}
    assert len({content.sharpness for content in first}) == 9
    assert {(content.height, content.width) for content in first} == {(16, 16)}


def test_references_that_are_too_small_are_counted(pipal: Path) -> None:
    _write(pipal / "Train_Ref" / "A0002.bmp", 2, 12, 30)
    for number, level in enumerate(LEVELS):
        part = pipal / "Train_Dist" / f"Distortion_{1 + number % 2}"
        _write(part / f"A0002_{level}.bmp", number, 12, 30)
    counts = build_from_judgements(_pipal_config(pipal, crop=16)).record.counts
    assert (counts.sources, counts.sources_smaller_than_crop, counts.crops_kept) == (6, 1, 5)
    with pytest.raises(InvalidDataset, match="nothing is left of 6 reference"):
        build_from_judgements(_pipal_config(pipal, crop=41), overwrite=True)
    whole = build_from_judgements(_pipal_config(pipal), overwrite=True)
    assert {(content.height, content.width) for content in whole.contents} == {(40, 40), (12, 30)}


def test_references_that_look_alike_stay_together(pipal: Path) -> None:
    _write(pipal / "Train_Ref" / "A0005.bmp", 2)
    config = _pipal_config(pipal, val=0.4)
    names = [f"A{reference:04d}" for reference in range(1, 7)]

    def apart(seed: int) -> bool:
        split = split_sources(names, config.fractions, seed)
        return split["A0002"] != split["A0005"]

    config = config.model_copy(update={"seed": next(seed for seed in range(99) if apart(seed))})
    dataset = build_from_judgements(config)
    split = {content.source: content.split for content in dataset.contents}
    assert split["A0002"] == split["A0005"]
    assert dataset.record.duplicates == (("A0002", "A0005"),)


def test_versions_without_a_label_are_dropped_and_counted(pipal: Path) -> None:
    label = pipal / "Train_Label"
    (label / "A0001.txt").write_text("A0001_04_02.bmp,1500\nA0001_00_01.bmp,1300.5\n")
    (label / "A0002.txt").write_text("A0002_04_02.bmp,1500\n")
    (label / "A0003.txt").unlink()
    dataset = build_from_judgements(_pipal_config(pipal))
    first = dataset.contents[0]
    assert (first.levels, first.scores) == (("00_01", "04_02"), (1300.5, 1500.0))
    assert [content.source for content in dataset.contents] == ["A0001", "A0004", "A0005", "A0006"]
    counts = dataset.record.counts
    assert counts.crops_dropped == {"image_without_label": 9, "image_without_another": 1}
    assert (counts.sources, counts.sources_without_kept_crop, counts.crops_kept) == (6, 2, 4)
    # The level images are those that people judged and their references, and no others.
    assert len(list(dataset.folder.glob("levels/*/*.png"))) == 2 + 3 * 4 + 4
    assert len(list(dataset.folder.glob("levels/hr/*.png"))) == 4


def _unlabelled_image(root: Path) -> None:
    with (root / "Train_Label" / "A0001.txt").open("a") as file:
        file.write("A0001_07_00.bmp,1400\n")


def _bad_line(root: Path) -> None:
    with (root / "Train_Label" / "A0001.txt").open("a") as file:
        file.write("A0001_07_00.bmp,good\n")


def _all_the_same(root: Path) -> None:
    for file in (root / "Train_Label").iterdir():
        names = [line.split(",")[0] for line in file.read_text().splitlines()]
        file.write_text("".join(f"{name},1400\n" for name in names))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unlabelled_image, "scores A0001_07_00, and .*Train_Dist has no such image"),
        (_bad_line, r"A0001\.txt:5: .*'good', not a finite number"),
        (_all_the_same, "every pair is a tie: no source has two versions .* their mos"),
        (
            lambda root: (root / "Train_Ref" / "A0004.bmp").unlink(),
            r"A0004_00_00\.bmp: no reference of this version",
        ),
        (
            lambda root: _write(root / "Train_Dist" / "A0004_.bmp", 0),
            r"A0004_\.bmp: no reference of this version",
        ),
        (
            lambda root: _write(root / "Train_Dist" / "Distortion_4" / "A0004_00_00.png", 0),
            r"A0004_00_00\.png: this version is there already \(.*Distortion_1/A0004_00_00\.bmp",
        ),
        (
            lambda root: _write(
                root / "Train_Dist" / "Distortion_1" / "A0004_00_00.bmp", 0, 40, 39
            ),
            r"A0004_00_00\.bmp is 39 x 40 pixels, its reference 40 x 40",
        ),
    ],
)
def test_folders_that_contradict_themselves(
    pipal: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(pipal)
    config = _pipal_config(pipal)
    with pytest.raises(InvalidDataset, match=message):
        build_from_judgements(config)
    assert [path.name for path in config.output.parent.iterdir()] == ["pipal"]


def test_folders_that_are_not_there(pipal: Path, tmp_path: Path) -> None:
    config = _pipal_config(pipal)
    for key in ("references", "distorted"):
        with pytest.raises(InvalidInput, match="none is not a folder"):
            build_from_judgements(config.model_copy(update={key: tmp_path / "none"}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="empty and its folders hold no image"):
        build_from_judgements(config.model_copy(update={"distorted": tmp_path / "empty"}))


def test_output_is_not_overwritten_unasked(pipal: Path) -> None:
    config = _pipal_config(pipal)
    first = build_from_judgements(config)
    with pytest.raises(InvalidInput, match="already holds a dataset"):
        build_from_judgements(config)
    again = build_from_judgements(config, overwrite=True)
    assert again.contents == first.contents


def test_output_is_the_current_folder(pipal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _pipal_config(pipal)
    config.output.mkdir()
    monkeypatch.chdir(config.output)
    dataset = build_from_judgements(config.model_copy(update={"output": Path()}))
    assert len(RankDataset.open(config.output, check_hashes=True).contents) == 6
    assert dataset.folder == config.output


def test_a_full_disk_leaves_what_was_there(pipal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _pipal_config(pipal)
    before = build_from_judgements(config).contents
    write, calls = atomic.write_bytes, iter(range(100))

    def fill_up(path: Path, data: bytes) -> None:
        if next(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(atomic, "write_bytes", fill_up)
    with pytest.raises(LimitExceeded, match=r"the disk of .*ranks is full; nothing was kept"):
        build_from_judgements(config, overwrite=True)
    assert RankDataset.open(config.output, check_hashes=True).contents == before
    assert {path.name for path in config.output.parent.iterdir()} == {"pipal", "ranks"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """References ``cat`` and ``cat_night``, three versions each; 40 votes on the first."""
    root = tmp_path / "study"
    for seed, reference in enumerate(("cat", "cat_night", "dog")):
        _write(root / "references" / f"{reference}.png", seed)
        for number, level in enumerate(("bicubic", "srgan", "esrgan_v2")):
            _write(root / "versions" / f"{reference}_{level}.png", 10 * seed + number + 5)
    _vote(root, _VOTES)
    return root


#: Cyclic, so that the order of the votes matters to Elo, and everybody lost once.
_VOTES = [
    ("cat_bicubic", "cat_srgan", "right"),
    ("cat_srgan", "cat_esrgan_v2", "cat_esrgan_v2"),
    ("cat_bicubic", "cat_esrgan_v2", "right"),
    ("cat_bicubic", "cat_srgan", "left"),
    ("cat_srgan", "cat_esrgan_v2", "left"),
    ("cat_night_srgan", "cat_night_bicubic", "left"),
    ("cat_night_srgan", "cat_night_bicubic", "right"),
    ("cat_night_srgan", "cat_night_bicubic", "left"),
    ("x4/dog_srgan.png", "x4/dog_bicubic.png", "x4/dog_srgan"),
    ("dog_srgan", "dog_bicubic", "tie"),
]


def _vote(root: Path, votes: list[tuple[str, str, str]]) -> None:
    lines = [",".join(vote) for vote in votes]
    (root / "votes.csv").write_text("\n".join(["left,right,winner", *lines]) + "\n")


def _votes_config(root: Path, **settings: Any) -> VotesConfig:
    return VotesConfig(
        references=root / "references",
        distorted=root / "versions",
        votes=root / "votes.csv",
        output=root.parent / "ranks",
        **settings,
    )


def _votes_of(reference: str) -> list[Vote]:
    outcomes = {"left": 1.0, "right": 0.0, "tie": 0.5}
    found = []
    for left, right, winner in _VOTES:
        if Path(left).name.rpartition("_")[0].removesuffix("_esrgan") == reference:
            left, right = (item.removesuffix(".png") for item in (left, right))
            outcome = outcomes[winner] if winner in outcomes else float(winner == left)
            found.append(Vote(Path(left).name, Path(right).name, outcome))
    return found


def test_votes_through_bradley_terry(study: Path) -> None:
    dataset = build_from_judgements(_votes_config(study))
    assert dataset.metric.name == "votes:bradley-terry"
    assert dataset.metric.higher_is_better
    assert dataset.levels == ("bicubic", "esrgan_v2", "srgan")
    assert [content.source for content in dataset.contents] == ["cat", "cat_night", "dog"]
    for content in dataset.contents:
        expected = bradley_terry(_votes_of(content.source), prior=0.5).scores()
        for level, score in zip(content.levels, content.scores, strict=True):
            assert score == pytest.approx(expected[f"{content.source}_{level}"], abs=1e-9)
    cat, night, dog = dataset.contents
    assert cat.scores[1] > cat.scores[2] > cat.scores[0]
    assert night.levels == dog.levels == ("bicubic", "srgan")
    assert dataset.record.counts.crops_dropped == {"image_without_vote": 2}
    # Two names: not night, a version of cat.
    assert not (dataset.folder / "levels" / "night_srgan").exists()


def test_votes_through_elo_in_the_order_of_the_file(study: Path) -> None:
    rating = EloRating(method="elo", k=32, initial=1000, scale=200, tail=0.5)
    config = _votes_config(study, rating=rating)
    dataset = build_from_judgements(config)
    assert dataset.metric.name == "votes:elo"
    for content in dataset.contents:
        votes = _votes_of(content.source)
        expected = elo(votes, k=32, initial=1000, scale=200, tail=0.5).scores
        for level, score in zip(content.levels, content.scores, strict=True):
            assert score == pytest.approx(expected[f"{content.source}_{level}"], abs=1e-9)
    assert read_record(dataset.folder).config["rating"]["k"] == 32
    _vote(study, _VOTES[::-1])
    again = build_from_judgements(config, overwrite=True)
    assert again.contents[0].scores != dataset.contents[0].scores


def test_options_of_bradley_terry(study: Path) -> None:
    rating = BradleyTerryRating(prior=2, initial=0, scale=100)
    dataset = build_from_judgements(_votes_config(study, rating=rating))
    expected = bradley_terry(_votes_of("cat"), prior=2).scores(0, 100)
    assert dict(zip(dataset.levels, dataset.contents[0].scores, strict=True)) == pytest.approx(
        {name.removeprefix("cat_"): score for name, score in expected.items()}
    )


def test_votes_that_cannot_be_rated(study: Path) -> None:
    _vote(study, [*_VOTES[:8], ("dog_srgan", "dog_bicubic", "left")])
    config = _votes_config(study, rating=BradleyTerryRating(prior=0))
    with pytest.raises(UndefinedScore, match="dog: dog_srgan won every vote"):
        build_from_judgements(config)


def test_people_may_prefer_the_original(study: Path) -> None:
    _vote(study, [*_VOTES, ("cat", "cat_srgan", "cat"), ("cat", "cat_esrgan_v2", "cat.png")])
    dataset = build_from_judgements(_votes_config(study))
    assert dataset.levels == ("bicubic", "esrgan_v2", "hr", "srgan")
    scores = dict(zip(dataset.contents[0].levels, dataset.contents[0].scores, strict=True))
    assert max(scores, key=lambda level: scores[level]) == "hr"
    assert [level.kind for level in dataset.record.levels] == ["judged", "judged", "hr", "judged"]
    np.testing.assert_array_equal(
        read_image(dataset.image_path("hr", "cat")).colour,
        read_image(study / "references" / "cat.png").colour,
    )
    _write(study / "versions" / "cat_hr.png", 77)
    with pytest.raises(InvalidDataset, match="cat_hr has taken that name"):
        build_from_judgements(_votes_config(study), overwrite=True)


@pytest.mark.parametrize(
    ("vote", "error", "message"),
    [
        (("cat_lanczos", "cat_srgan", "left"), InvalidDataset, "judges cat_lanczos, of which"),
        (("cat_srgan", "dog_srgan", "left"), InvalidDataset, "versions of two references"),
        (("cat_srgan", "cat_bicubic", "both"), InvalidDataset, r"votes\.csv:12: .* is no vote"),
        (("cat", "cat_hr", "left"), InvalidDataset, "judges cat_hr, of which"),
        (
            ("a/cat_srgan.png", "b/cat_srgan.png", "left"),
            InvalidDataset,
            r"votes\.csv has .* a/cat_srgan and b/cat_srgan, which are one item here, cat_srgan:",
        ),
        (("cat", "cat.png", "left"), InvalidDataset, r":12: cat,cat\.png,left is no vote"),
    ],
)
def test_impossible_votes(
    study: Path, vote: tuple[str, str, str], error: type[Exception], message: str
) -> None:
    _vote(study, [*_VOTES, vote])
    with pytest.raises(error, match=message):
        build_from_judgements(_votes_config(study))
    assert not (study.parent / "ranks").exists()


def test_references_whose_votes_do_not_connect_are_dropped(
    study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = build_from_judgements(_votes_config(study))
    _vote(study, [*_VOTES, ("dog_esrgan_v2", "dog", "tie")])
    dataset = build_from_judgements(_votes_config(study), overwrite=True)
    assert [content.source for content in dataset.contents] == ["cat", "cat_night"]
    assert [c.scores for c in dataset.contents] == [c.scores for c in whole.contents[:2]]
    counts = dataset.record.counts
    # Of cat_night nobody judged esrgan_v2; of dog four are judged, the original among them.
    assert counts.crops_dropped == {
        "image_without_vote": 1,
        "image_of_votes_that_do_not_connect": 4,
    }
    assert (counts.sources, counts.sources_without_kept_crop) == (3, 1)
    assert "dog" not in (dataset.folder / RATINGS).read_text()
    assert [record.getMessage() for record in caplog.records if "connect" in record.msg] == [
        "1 of 3 references with votes are left out, since the votes do not connect their versions "
        "(rating.method=elo rates them too): dog: no vote compares dog_srgan, dog_bicubic with "
        "dog_esrgan_v2, dog"
    ]
    config = _votes_config(study, rating=EloRating(method="elo"))
    dataset = build_from_judgements(config, overwrite=True)
    assert [content.source for content in dataset.contents] == ["cat", "cat_night", "dog"]
    assert dataset.contents[2].levels == ("bicubic", "esrgan_v2", "hr", "srgan")


def test_votes_that_connect_no_reference_are_refused(study: Path) -> None:
    _vote(study, [_VOTES[-1], ("dog_esrgan_v2", "dog", "tie")])
    with pytest.raises(UndefinedScore, match=r"dog: no vote compares .*method=elo") as told:
        build_from_judgements(_votes_config(study))
    assert told.value.field == "votes"
    assert not (study.parent / "ranks").exists()


def test_configuration_by_kind(study: Path, pipal: Path, tmp_path: Path) -> None:
    file = tmp_path / "human.yaml"
    file.write_text(
        f"kind: votes\nreferences: {study}/references\ndistorted: {study}/versions\n"
        f"votes: {study}/votes.csv\noutput: {tmp_path}/ranks\nrating: {{method: elo, k: 8}}\n"
    )
    votes = load_human_config(file, ["val=0.5"])
    assert isinstance(votes, VotesConfig)
    assert (votes.rating, votes.val) == (EloRating(method="elo", k=8), 0.5)
    # Without a method it is by Bradley-Terry.
    file.write_text(file.read_text().replace("rating: {method: elo, k: 8}\n", ""))
    votes = load_human_config(file, ["rating.prior=0"])
    assert isinstance(votes, VotesConfig)
    assert votes.rating == BradleyTerryRating(prior=0)
    file.write_text(
        f"kind: pipal\nreferences: {pipal}/Train_Ref\ndistorted: {pipal}/Train_Dist\n"
        f"labels: {pipal}/Train_Label\noutput: {tmp_path}/ranks\ncrop: 16\n"
    )
    assert load_human_config(file) == _pipal_config(pipal, crop=16)
    # The dataset's own configuration makes it again.
    dataset = build_from_judgements(load_human_config(file))
    assert load_human_config(dataset.folder / "config.yaml") == load_human_config(file)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kind=paper"], "kind=paper: Input should be 'pipal' or 'votes'"),
        (["kind=pipal", "vals=0.1"], "vals=0.1: unknown key; did you mean val"),
        (["kind=pipal", "crop=0"], "crop"),
        (["kind=pipal", "val=0.6", "test=0.6"], "at most 1 is possible"),
        (["kind=votes", "votes=v.csv", "rating.method=glicko"], "rating"),
        (["kind=votes", "votes=v.csv", "rating.method=elo", "rating.k=-1"], "greater than 0"),
        (["kind=votes", "votes=v.csv", "rating.prior=1e-7"], "a prior of 1e-07 is neither"),
        (["kind=votes", "votes=v.csv", "rating.scale=1e308"], r"rating\.scale=1e308: .* less than"),
        (["kind=votes", "votes=v.csv", "rating.initial=-1e7"], r"rating\.initial=-1e7: .* greater"),
        (["kind=votes", "votes=v.csv", "rating={method: elo, k: 1e7}"], r"rating\.k: .* less than"),
        (["kind=votes", "votes=v.csv", "rating.k=8"], r"rating\.k=8: unknown key"),
        (["kind=votes", "votes=v.csv", "rating=elo"], "rating=elo: "),
    ],
)
def test_impossible_configurations(tmp_path: Path, overrides: list[str], message: str) -> None:
    file = tmp_path / "human.yaml"
    file.write_text("references: a\ndistorted: b\noutput: c\n")
    labels = [] if "kind=votes" in overrides else ["labels=d"]
    with pytest.raises(InvalidConfig, match=message):
        load_human_config(file, [*overrides, *labels])


def test_kind_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "human.yaml"
    file.write_text("references: a\n")
    with pytest.raises(InvalidConfig, match="kind: Field required"):
        load_human_config(file)
