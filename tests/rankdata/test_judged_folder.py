from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts.discovery import open_pair_source
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import Picture, read_image, to_tensor, write_image
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.rankdata.human import PipalConfig, build_from_judgements
from ranksrgan.rankdata.judged_folder import JudgedFolder
from ranksrgan.ranker.quality.opinions import Opinions


def _image(path: Path, seed: int, side: int = 12) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    write_image(path.with_suffix(".png"), Picture(pixels))
    path.with_suffix(".png").rename(path)


@pytest.fixture
def pipal(tmp_path: Path) -> Path:
    """Four references of six versions each, in two parts as PIPAL has four."""
    root = tmp_path / "pipal"
    for reference in range(1, 5):
        name = f"A{reference:04d}"
        _image(root / "Train_Ref" / f"{name}.bmp", reference)
        lines = []
        for version in range(6):
            file = f"{name}_{version % 3:02d}_{version // 3:02d}.bmp"
            part = f"Distortion_{1 + version % 2}"
            _image(root / "Train_Dist" / part / file, 10 * reference + version)
            lines.append(f"{file},{1400 + 30.5 * version - reference}")
        (root / "Train_Label").mkdir(exist_ok=True)
        (root / "Train_Label" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def tid(tmp_path: Path) -> Path:
    """Three references of four versions each, the case of names mixed as in TID2013."""
    root = tmp_path / "tid2013"
    lines = []
    for reference in range(1, 4):
        _image(root / "reference_images" / f"I{reference:02d}.BMP", reference)
        for kind in (1, 2):
            for strength in (1, 2):
                file = f"i{reference:02d}_{kind:02d}_{strength}.bmp"
                _image(root / "distorted_images" / file, 100 * reference + 10 * kind + strength)
                lines.append(f"{7.5 - 2 * strength - kind / 7:.5f} I{file[1:]}")
    (root / "mos_with_names.txt").write_text("\n".join(lines) + "\n")
    return root


def test_pipal_is_read_as_it_is_unpacked(pipal: Path) -> None:
    source = open_pair_source(pipal)
    assert isinstance(source, PairSource)
    assert (source.info.metric, source.info.higher_is_better) == ("mos", True)
    # All pairs of the versions of a reference: 15 each.
    assert (source.info.contents, source.info.pairs) == (4, 4 * 15)
    assert source.info.widest == {"mos": 152.5}
    first = next(iter(source.contents()))
    assert first.levels == ("00_00", "00_01", "01_00", "01_01", "02_00", "02_01")
    assert first.scores.tolist() == [1399, 1490.5, 1429.5, 1521, 1460, 1551.5]
    stored = to_tensor(read_image(pipal / "Train_Dist" / "Distortion_2" / "A0001_01_00.bmp"))
    assert torch.equal(first.images[2], stored[0].float() / 255)
    reference = to_tensor(read_image(pipal / "Train_Ref" / "A0001.bmp"))
    assert first.reference is not None
    assert torch.equal(first.reference, reference[0].float() / 255)


def test_tid2013_is_read_as_it_is_unpacked(tid: Path) -> None:
    source = open_pair_source(str(tid))
    assert (source.info.contents, source.info.pairs) == (3, 3 * 6)
    second = list(source.contents())[1]
    assert second.content == "i02"
    assert second.levels == ("01_1", "01_2", "02_1", "02_2")
    assert second.scores[0].item() == pytest.approx(7.5 - 2 - 1 / 7, abs=1e-5)
    reference = to_tensor(read_image(tid / "reference_images" / "I02.BMP"))
    assert second.original is not None
    assert torch.equal(second.original, reference[0].float() / 255)


def test_the_references_of_two_splits_are_disjoint(pipal: Path) -> None:
    spec = f"{pipal}?val=0.25&test=0.25&seed=3"
    found = {
        split: {content.content for content in open_pair_source(spec, split=split).contents()}
        for split in ("train", "val", "test")
    }
    assert {split: len(names) for split, names in found.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    assert len(set.union(*found.values())) == 4


def test_references_that_look_alike_are_in_one_split(pipal: Path) -> None:
    """The third is the first again, and the fourth the second, in another file."""
    references = pipal / "Train_Ref"
    for number in (1, 2):
        pixels = read_image(references / f"A{number:04d}.bmp").colour
        again = references / f"A{number + 2:04d}.bmp"
        write_image(again.with_suffix(".png"), Picture(np.clip(pixels, 1, 254)))
        again.with_suffix(".png").rename(again)
    for seed in range(4):
        found = {
            frozenset(content.content for content in open_pair_source(spec).contents())
            for spec in (f"{pipal}?val=0.5&seed={seed}&split={split}" for split in ("train", "val"))
        }
        assert found == {frozenset({"A0001", "A0003"}), frozenset({"A0002", "A0004"})}


def test_pairs_and_contents_come_again_and_go_on(pipal: Path) -> None:
    source = open_pair_source(str(pipal))
    pairs = list(islice(source.pairs(seed=1), 6))
    later = list(islice(source.pairs(seed=1, start=3), 3))
    for one, other in zip(pairs[3:], later, strict=True):
        assert torch.equal(one.a, other.a)
        assert torch.equal(one.b, other.b)
        assert one.label == other.label
    assert {pair.label for pair in islice(source.pairs(seed=1), 60)} == {1.0, -1.0}
    names = [content.content for content in islice(source.shuffled_contents(seed=2), 4)]
    assert sorted(names) == ["A0001", "A0002", "A0003", "A0004"]
    again = [content.content for content in islice(source.shuffled_contents(seed=2, start=1), 3)]
    assert again == names[1:]


def test_a_dataset_of_opinions_has_its_references_too(pipal: Path, tmp_path: Path) -> None:
    config = PipalConfig(
        references=pipal / "Train_Ref",
        distorted=pipal / "Train_Dist",
        labels=pipal / "Train_Label",
        output=tmp_path / "ranks",
        val=0.25,
    )
    build_from_judgements(config)
    built, plain = (Opinions(open_pair_source(str(at))) for at in (config.output, pipal))
    for one, other in zip(built.sets, plain.sets, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.reference, other.reference)
        assert torch.equal(one.opinions, other.opinions)
        assert torch.equal(one.kinds, other.kinds)


def test_images_without_an_opinion_are_counted(
    pipal: Path, tid: Path, caplog: pytest.LogCaptureFixture
) -> None:
    JudgedFolder(pipal)
    JudgedFolder(tid)
    assert caplog.messages == []
    labels = pipal / "Train_Label"
    (labels / "A0002.txt").unlink()
    cut = (labels / "A0003.txt").read_text().splitlines()[:4]
    (labels / "A0003.txt").write_text("\n".join(cut))
    assert JudgedFolder(pipal).info.contents == 3
    with (tid / "mos_with_names.txt").open("r+") as file:
        kept = file.readlines()[:-1]
        file.seek(0)
        file.truncate()
        file.writelines(kept)
    assert JudgedFolder(tid).info.contents == 3
    assert caplog.messages == [
        f"{pipal}: 8 of 24 images have no opinion and are left out; of A0002 none has one",
        f"{tid}: 1 of 12 images have no opinion and are left out",
    ]


def _without_image(pipal: Path, tid: Path) -> Path:
    (pipal / "Train_Dist" / "Distortion_1" / "A0003_00_00.bmp").unlink()
    return pipal


def _without_reference(pipal: Path, tid: Path) -> Path:
    (pipal / "Train_Ref" / "A0002.bmp").unlink()
    return pipal


def _malformed(pipal: Path, tid: Path) -> Path:
    (pipal / "Train_Label" / "A0002.txt").write_text("A0002_00_00.bmp,1400\nA0002_01_00.bmp;3\n")
    return pipal


def _all_equal(pipal: Path, tid: Path) -> Path:
    for path in (pipal / "Train_Label").iterdir():
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line.partition(',')[0]},1400\n" for line in lines))
    return pipal


def _unknown_in_tid(pipal: Path, tid: Path) -> Path:
    with (tid / "mos_with_names.txt").open("a") as file:
        file.write("4.2 I09_01_1.bmp\n")
    return tid


def _no_reference_in_tid(pipal: Path, tid: Path) -> Path:
    (tid / "reference_images" / "I01.BMP").unlink()
    return tid


def _no_number_in_tid(pipal: Path, tid: Path) -> Path:
    (tid / "mos_with_names.txt").write_text("5.1 I01_01_1.bmp\nI01_01_2.bmp 4.1\n")
    return tid


def _underscored_in_tid(pipal: Path, tid: Path) -> Path:
    (tid / "mos_with_names.txt").write_text("5.1 I01_01_1.bmp\n4_1 I01_01_2.bmp\n")
    return tid


def _latin_tid(pipal: Path, tid: Path) -> Path:
    (tid / "mos_with_names.txt").write_bytes(b"5.1 I01_01_1.bmp\n5.1 \xe901_01_1.bmp\n")
    return tid


def _twice_in_tid(pipal: Path, tid: Path) -> Path:
    with (tid / "mos_with_names.txt").open("a") as file:
        file.write("4.2 i01_01_1.bmp\n")
    return tid


def _in_two_cases(pipal: Path, tid: Path) -> Path:
    _image(tid / "distorted_images" / "I01_01_1.bmp", 1)
    return tid


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_image, "scores A0003_00_00, and "),
        (_without_reference, "no reference of this version"),
        (_malformed, r"A0002\.txt:2"),
        (_all_equal, "all 24 opinions are equal"),
        (_unknown_in_tid, r"mos_with_names\.txt:13: I09_01_1\.bmp is judged"),
        (_no_reference_in_tid, r"mos_with_names\.txt:1: I01_01_1\.bmp has no reference"),
        (_no_number_in_tid, r"mos_with_names\.txt:2: .* is not an opinion"),
        (_underscored_in_tid, r"mos_with_names\.txt:2: '4_1 I01_01_2\.bmp' is not an opinion"),
        (_twice_in_tid, r"mos_with_names\.txt:13: i01_01_1\.bmp has an opinion already"),
        (_in_two_cases, r"01_01_1\.bmp: this image is there already"),
        (_latin_tid, r"mos_with_names\.txt cannot be read as text in UTF-8"),
    ],
)
def test_what_contradicts_itself_is_named(
    pipal: Path, tid: Path, spoil: Callable[[Path, Path], Path], message: str
) -> None:
    folder = spoil(pipal, tid)
    with pytest.raises(InvalidDataset, match=message) as caught:
        open_pair_source(str(folder))
    assert caught.value.field


@pytest.mark.parametrize(("place", "field"), [({"start": -1}, "start"), ({"step": 0}, "step")])
def test_places_that_are_none(pipal: Path, place: dict[str, int], field: str) -> None:
    source = open_pair_source(str(pipal))
    for begin in (source.pairs, source.shuffled_contents):
        with pytest.raises(InvalidInput, match=f"{field}=") as caught:
            begin(0, **place)
        assert caught.value.field == field


@pytest.mark.parametrize(
    "changed", ["Train_Dist/Distortion_1/A0001_00_00.bmp", "Train_Ref/A0003.bmp"]
)
def test_other_images_are_other_data(pipal: Path, changed: str) -> None:
    before = open_pair_source(str(pipal)).info.fingerprint
    assert open_pair_source(str(pipal)).info.fingerprint == before
    _image(pipal / changed, 99)
    assert open_pair_source(str(pipal)).info.fingerprint != before


def test_a_version_of_another_size_than_its_reference(pipal: Path) -> None:
    _image(pipal / "Train_Dist" / "Distortion_1" / "A0001_00_00.bmp", 1, side=14)
    with pytest.raises(InvalidDataset, match=r"A0001_00_00.* is 14 x 14 pixels"):
        list(JudgedFolder(pipal).contents())


def test_a_single_reference_fills_no_two_splits(pipal: Path) -> None:
    for number in (2, 3, 4):
        (pipal / "Train_Label" / f"A{number:04d}.txt").unlink()
    assert open_pair_source(str(pipal)).info.contents == 1
    with pytest.raises(InvalidDataset, match="cannot fill"):
        open_pair_source(str(pipal), split="train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("val=2", "val=2: a share"),
        ("seed=0.5", "seed=0.5: a whole number"),
        ("seed=inf", "seed=inf: a whole number"),
        ("split=train&val=0.7&test=0.7", "val and test: 1.4 together"),
        ("test=x", "test=x"),
        ("folds=3", "unknown option folds"),
        ("split=later", "no split 'later'"),
    ],
)
def test_options_that_cannot_be(pipal: Path, options: str, message: str) -> None:
    with pytest.raises((InvalidInput, InvalidDataset), match=message):
        open_pair_source(f"{pipal}?{options}")
