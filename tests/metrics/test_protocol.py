from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, UndefinedScore
from ranksrgan.metrics.protocol import (
    FORMATS,
    Evaluation,
    agreement,
    as_csv,
    as_json,
    as_table,
    evaluate,
    evaluate_files,
    ntire2021,
    pipal_algorithm,
)


def pipal_like(seed: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    """Predictions and MOS of 10 references by 40 algorithms, named as in PIPAL.

    What an algorithm is worth counts the same in both; each image adds noise of its own, as much.
    """
    rng = np.random.default_rng(seed)
    worth = rng.permutation(np.linspace(-1, 1, 40)) * np.sqrt(3)  # variance 1, as the noise has
    predictions, mos = {}, {}
    for reference in range(10):
        for algorithm in range(40):
            name = f"A{reference:04d}_10_{algorithm:02d}"
            predictions[name] = float(worth[algorithm] + rng.normal())
            mos[name] = float(1450 + 120 * (worth[algorithm] + rng.normal()))
    return predictions, mos


def test_figures_against_scipy_and_numpy() -> None:
    predictions, mos = pipal_like()
    found = evaluate(predictions, mos).images
    x, y = np.array(list(predictions.values())), np.array(list(mos.values()))
    fitted = np.polyval(np.polyfit(x, y, 3), x)
    assert found.count == 400
    assert found.srcc == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.plcc == pytest.approx(np.corrcoef(fitted, y)[0, 1], abs=1e-10)
    assert found.krcc == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert found.main == found.srcc + found.plcc
    assert found.pair_accuracy == pytest.approx((found.krcc + 1) / 2, abs=1e-12)  # no ties
    assert not found.inverse


def test_a_metric_that_falls_with_quality_is_as_good() -> None:
    predictions, mos = pipal_like()
    rising = evaluate(predictions, mos)
    falling = evaluate({name: -value for name, value in predictions.items()}, mos)
    assert falling.images.inverse
    for name in ("srcc", "plcc", "krcc", "pair_accuracy", "main"):
        assert getattr(falling.images, name) == pytest.approx(
            getattr(rising.images, name), abs=1e-12
        )


def test_algorithms_are_represented_by_their_means() -> None:
    predictions, mos = pipal_like()
    found = evaluate(predictions, mos)
    assert [one.name for one in found.algorithms] == [f"10_{k:02d}" for k in range(40)]
    assert {one.images for one in found.algorithms} == {10}
    x = np.array(list(predictions.values())).reshape(10, 40).mean(axis=0)
    y = np.array(list(mos.values())).reshape(10, 40).mean(axis=0)
    assert np.allclose([one.predicted for one in found.algorithms], x, rtol=0, atol=1e-12)
    assert np.allclose([one.mos for one in found.algorithms], y, rtol=0, atol=1e-9)
    assert found.per_algorithm is not None
    assert found.per_algorithm.count == 40
    assert found.per_algorithm.srcc == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    # Averaging ten images leaves a tenth of the variance of the noise: 1/2 becomes 10/11.
    assert found.images.plcc == pytest.approx(1 / 2, abs=0.1)
    assert found.per_algorithm.plcc == pytest.approx(10 / 11, abs=0.05)


def test_the_order_of_lines_does_not_matter() -> None:
    predictions, mos = pipal_like()
    shuffled = dict(sorted(mos.items(), key=lambda item: item[1]))
    again, first = evaluate(predictions, shuffled), evaluate(predictions, mos)
    assert again.algorithms == first.algorithms
    assert again.per_algorithm == first.per_algorithm
    assert again.images.main == pytest.approx(first.images.main, abs=1e-12)


def test_the_truth_itself_scores_two() -> None:
    _, mos = pipal_like()
    found = evaluate(mos, mos)
    assert found.images.main == pytest.approx(2, abs=1e-12)
    assert found.images.pair_accuracy == found.images.krcc == 1


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("A0001_00_00", "00_00"),
        ("A0248_06_26", "06_26"),
        ("A0001", None),
        ("baboon_00_00", None),
        ("A0001_00_00_x", None),
    ],
)
def test_the_algorithm_in_the_names_of_pipal(name: str, algorithm: str | None) -> None:
    assert pipal_algorithm(name) == algorithm


def test_without_algorithms_there_is_no_second_analysis() -> None:
    found = evaluate({"a": 1, "b": 2, "c": 4}, {"a": 1, "b": 2, "c": 3})
    assert (found.algorithms, found.per_algorithm) == ((), None)
    one = evaluate({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": "SRGAN", "b": "SRGAN"})
    assert [algorithm.name for algorithm in one.algorithms] == ["SRGAN"]
    assert one.per_algorithm is None


@pytest.mark.parametrize("tied", ["predictions", "opinions"])
def test_algorithms_of_one_mean_cost_nothing_of_the_images(tied: str) -> None:
    apart = {"a1": 1.0, "a2": 2.0, "b1": 4.0, "b2": 5.0}
    equal = {"a1": 1.0, "a2": 4.0, "b1": 2.0, "b2": 3.0}  # both means are 2.5
    pair = (equal, apart) if tied == "predictions" else (apart, equal)
    found = evaluate(*pair, {"a1": "A", "a2": "A", "b1": "B", "b2": "B"})
    assert found.images == agreement(*(list(values.values()) for values in pair))
    assert [one.name for one in found.algorithms] == ["A", "B"]
    assert found.per_algorithm is None
    assert found.note.startswith("nothing can be said over the means of 2 algorithms: a rank corr")
    assert as_table(found).splitlines()[-1] == found.note
    document = json.loads(as_json(found))
    assert (document["per_algorithm"], document["note"]) == (None, found.note)
    assert len(as_csv(found).splitlines()) == 2


def test_equal_values_are_told_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "flat.csv").write_text("image,ssim,niqe\na,1,5\nb,1,6\n")
    (tmp_path / "mos.csv").write_text("a,1\nb,2\n")
    flat, mos = tmp_path / "flat.csv", tmp_path / "mos.csv"
    with pytest.raises(UndefinedScore, match=r"flat\.csv: all 2 values of the column 'ssim' are 1"):
        evaluate_files(flat, mos, column="ssim")
    with pytest.raises(UndefinedScore, match=r"flat\.csv: all 2 values of the column 'ssim' are 1"):
        evaluate_files(mos, flat, mos_column="ssim")


def test_a_prediction_without_mos_and_the_reverse_are_named() -> None:
    mos = {f"A{k:04d}": float(k) for k in range(6)}
    with pytest.raises(
        InvalidDataset,
        match="5 of 6 images have a MOS but no prediction: A0001, A0002, A0003 and 2 more",
    ):
        evaluate({"A0000": 1.0}, mos)
    with pytest.raises(InvalidDataset, match="1 of 7 images have a prediction but no MOS: x"):
        evaluate({**mos, "x": 1.0}, mos)
    with pytest.raises(InvalidDataset, match="1 of 6 images have a MOS but no algorithm: A0005"):
        evaluate(mos, mos, {name: "a" for name in mos if name != "A0005"})


def test_means_of_the_largest_numbers_are_numbers() -> None:
    predictions = {"a": 1.5e308, "b": 1.7e308, "c": 1.0, "d": 2.0}
    algorithms = {"a": "p", "b": "p", "c": "q", "d": "q"}
    found = evaluate(predictions, {"a": 4.0, "b": 5.0, "c": 2.0, "d": 3.0}, algorithms)
    assert [one.predicted for one in found.algorithms] == [1.6e308, 1.5]
    assert found.per_algorithm is not None
    assert found.per_algorithm.srcc == pytest.approx(1)


def test_too_little_and_nothing_to_compare() -> None:
    with pytest.raises(InvalidInput, match="two vectors"):
        evaluate({"a": 1}, {"a": 1})
    with pytest.raises(UndefinedScore, match="all values are equal"):
        agreement([1, 1, 1], [1, 2, 3])


def test_table_1_adds_up() -> None:
    entries = ntire2021()
    assert [entry.rank for entry in entries] == [*range(1, 14), *[None] * 8]
    for entry in entries:
        # The columns are rounded each for itself.
        assert entry.pipal_srcc + entry.pipal_plcc == pytest.approx(entry.main, abs=2e-4)
    mains = [entry.main for entry in entries if entry.rank]
    assert mains == sorted(mains, reverse=True)
    by_team = {entry.team: entry for entry in entries}
    assert by_team["LIPT"].live_plcc == 0.8970
    assert by_team["Yahaha!"].tid2013_srcc is None
    assert (by_team["PSNR"].main, by_team["DISTS"].main) == (0.5263, 1.3422)


def files(folder: Path) -> tuple[Path, Path]:
    predictions, mos = pipal_like()
    lines = [f"out/{name}.png,{value!r},0" for name, value in predictions.items()]
    (folder / "scores.csv").write_text("\n".join(["image,iqt,other", *lines]))
    (folder / "labels").mkdir()
    for reference in range(10):
        stem = f"A{reference:04d}"
        labels = [f"{name}.bmp,{mos[name]!r}\n" for name in mos if name.startswith(stem)]
        (folder / "labels" / f"{stem}.txt").write_text("".join(labels))
    return folder / "scores.csv", folder / "labels"


def test_files_give_what_the_numbers_give(tmp_path: Path) -> None:
    predictions, mos = files(tmp_path)
    assert evaluate_files(predictions, mos, column="iqt") == evaluate(*pipal_like())
    with pytest.raises(InvalidDataset, match="say which one is meant"):
        evaluate_files(predictions, mos)


def test_the_opinions_of_tid2013_are_matched_whatever_the_case(tmp_path: Path) -> None:
    mos = tmp_path / "mos_with_names.txt"
    mos.write_text("5.5 I01_01_1.bmp\n4.5 I01_01_2.bmp\n3.0 i02_01_1.bmp\n")
    predictions = tmp_path / "p.csv"
    predictions.write_text("image,ranker\ntid/i01_01_1.bmp,3\nI01_01_2.BMP,2\ni02_01_1.bmp,1\n")
    found = evaluate_files(predictions, mos)
    assert (found.images.count, found.images.srcc, found.algorithms) == (3, 1.0, ())
    predictions.write_text("I01_01_1.bmp,3\ni01_01_1.bmp,2\n")
    with pytest.raises(InvalidDataset, match="differ in upper and lower case only"):
        evaluate_files(predictions, mos)


def test_the_algorithm_from_a_column(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,niqe\na1,3\na2,4\nb1,6\nb2,5\n")
    (tmp_path / "m.csv").write_text("image,by,mos,n\na1,A,9,1\na2,A,7,1\nb1,B,5,1\nb2,B,6,1\n")
    found = evaluate_files(
        tmp_path / "p.csv", tmp_path / "m.csv", mos_column="mos", algorithm_column="by"
    )
    assert [(one.name, one.predicted, one.mos) for one in found.algorithms] == [
        ("A", 3.5, 8.0),
        ("B", 5.5, 5.5),
    ]
    assert found.per_algorithm is not None
    assert found.per_algorithm.inverse


def found() -> Evaluation:
    return evaluate(*pipal_like())


def test_table() -> None:
    header, images, algorithms = as_table(found()).splitlines()
    assert header.split() == ["count", "SRCC", "PLCC", "KRCC", "pairs", "main"]
    assert images.split()[:2] == ["images", "400"]
    assert images.split()[-1] == f"{found().images.main:.4f}"
    assert algorithms.split()[:2] == ["algorithms", "40"]


def test_table_of_a_falling_prediction_says_so() -> None:
    predictions, mos = pipal_like()
    turned = evaluate({name: -value for name, value in predictions.items()}, mos)
    assert "the prediction falls as the MOS rises" in as_table(turned)


def test_where_the_main_score_stands_among_the_challenge() -> None:
    mos = {f"x{k}": float(k) for k in range(1650)}
    sentence = "in table 1 of NTIRE 2021, if these are its test images: "
    assert as_table(evaluate(mos, mos)).endswith(f"{sentence}above LIPT (1.5885)\n")
    rng = np.random.default_rng(0)
    for spread, neighbours in (
        (1e6, "below PSNR (0.5263)"),
        (800, "below FSIM (1.0748), above SSIM (0.7549)"),
    ):
        predictions = {name: value + float(rng.normal()) * spread for name, value in mos.items()}
        found = evaluate(predictions, mos)
        assert as_table(found).endswith(f"{sentence}{neighbours}\n"), found.images.main
    del mos["x0"]
    assert "NTIRE" not in as_table(evaluate(mos, mos))


def test_json_and_csv_hold_the_figures_in_full() -> None:
    document = json.loads(as_json(found()))
    assert list(document) == ["images", "per_algorithm", "algorithms", "note"]
    assert document["images"]["main"] == found().images.main
    assert document["per_algorithm"]["count"] == len(document["algorithms"]) == 40
    rows = list(csv.DictReader(io.StringIO(as_csv(found()))))
    assert [row["over"] for row in rows] == ["images", "algorithms"]
    assert float(rows[0]["main"]) == found().images.main
    without = evaluate({"a": 1, "b": 2}, {"a": 1, "b": 2})
    assert json.loads(as_json(without))["per_algorithm"] is None
    assert set(FORMATS) == {"table", "json", "csv"}
