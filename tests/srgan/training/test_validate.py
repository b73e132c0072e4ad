from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.errors import InvalidConfig, InvalidInput, UnknownName
from ranksrgan.metrics import create_scorer
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.training.state import Training
from ranksrgan.srgan.training.validate import Validation

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def assets(monkeypatch: pytest.MonkeyPatch, random_weights: Path) -> None:
    """LPIPS has its files, with random numbers; Ma's model is nowhere."""
    monkeypatch.setattr("ranksrgan.contracts.assets.asset_folders", lambda: [random_weights])


@pytest.mark.usefixtures("assets")
def test_metrics_whose_files_are_here(
    config: MakeConfig, hr_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = {"hr": str(hr_folder), "if_available": ["lpips", "pi"], "best": {"lpips": 10}}
    chosen = config(validation=wanted)
    validation = Validation(chosen, [], {})
    assert validation.columns == ["psnr", "ssim", "niqe", "niqe_dropped", "lpips"]
    assert [record.message for record in caplog.records if "goes without" in record.message] == [
        message for message in caplog.messages if "pi" in message
    ]
    generator = Training.start(chosen, torch.device("cpu")).generator
    scores = validation.run(generator)
    again = validation.run(generator)
    assert scores == again
    assert len([m for m in caplog.messages if "goes without" in m]) == 1  # said once
    # LPIPS without the border, of the picture as it is written.
    from ranksrgan.srgan.data.crops import read_photograph

    lpips = create_scorer("lpips", border=4)
    total = 0.0
    for path in sorted(hr_folder.iterdir()):
        photograph = read_photograph(path, 4)
        with torch.no_grad():
            sr = generator(photograph.lr[None].float() / 255)
        shown = (sr * 255).round().clamp(0, 255).byte()
        total += lpips.score(shown, photograph.hr[None]).item()
    assert scores["lpips"] == pytest.approx(total / 4, rel=1e-3)
    assert validation.best.value(scores) == pytest.approx(10 * total / 4, rel=1e-3)


@pytest.mark.usefixtures("assets")
def test_nothing_can_hang_on_a_metric_that_is_left_out(config: MakeConfig, hr_folder: Path) -> None:
    base = {"hr": str(hr_folder), "if_available": ["pi"]}
    with pytest.raises(InvalidConfig, match=r"validation\.best is pi; it is one of psnr"):
        Validation(config(validation={**base, "best": "pi"}), [], {})
    drift = {"optimised": ["niqe"], "held_out": ["pi"]}
    with pytest.raises(InvalidConfig, match=r"drift\.held_out names pi; there is psnr"):
        Validation(config(validation={**base, "drift": drift}), [], {})


@pytest.mark.usefixtures("assets")
def test_rankers_are_watched_against_what_is_not_trained_for(
    config: MakeConfig, hr_folder: Path, toy_ranker
) -> None:
    rankers = [(toy_ranker(seed, higher_is_better=seed == 1), 1.0) for seed in (0, 1)]
    fell, rose, still = [5.0, 4, 3, 2, 1], [1.0, 2, 3, 4, 5], [2.0] * 5

    def opened(
        weight: float = 1.0, available: tuple[str, ...] = ("lpips", "dists"), **losses: object
    ) -> Validation:
        chosen = config(
            validation={"hr": str(hr_folder), "if_available": available},
            losses={"rank": {"weight": weight}, "pixel": {"weight": 1.0}, **losses},
        )
        return Validation(chosen, rankers, {})

    def said(validation: Validation, **columns: list[float]) -> str | None:
        assert validation.drift is not None
        rows = zip(*(columns.get(name, still) for name in validation.columns), strict=True)
        recent = [
            (step, dict(zip(validation.columns, row, strict=True))) for step, row in enumerate(rows)
        ]
        return validation.drift.check(recent)

    usual = opened()
    assert said(usual, ranker1=fell, lpips=fell) is None
    assert said(usual, ranker2=fell, lpips=rose) is None
    for name, better in (("ranker1", fell), ("ranker2", rose)):
        for worse in ("lpips", "dists"):
            message = said(usual, **{name: better, worse: rose})
            assert message is not None
            assert f"{name} (" in message
            assert f"{worse} (1 to 5) got worse" in message
    assert opened(weight=0).drift is None  # they judge alone
    assert opened(available=("pi",)).drift is None  # no file of it is here
    lpips_too = opened(scorers=[{"spec": "lpips?border=0", "weight": 0.1}])
    assert said(lpips_too, ranker1=fell, lpips=rose) is None
    assert said(lpips_too, ranker1=fell, dists=rose) is not None


@pytest.mark.usefixtures("assets")
def test_each_column_has_one_scorer(config: MakeConfig, hr_folder: Path, toy_ranker) -> None:
    """Of two of one name the second replaced the first, and could choose the best weights."""
    wanted = {"hr": str(hr_folder), "scorers": ["rmse"], "if_available": ["lpips", "pi"]}
    chosen = config(validation=wanted)
    one, two = [(toy_ranker(0), 1.0)], [(toy_ranker(0), 1.0), (toy_ranker(1), 1.0)]
    for rankers, names in (
        ([], ("psnr", "ssim", "niqe", "rmse", "lpips", "pi", "step", "drift")),  # there is no pi
        (one, ("ranker",)),
        (two, ("ranker1", "ranker2")),
    ):
        for name in names:
            with pytest.raises(InvalidInput, match=f"toy2 is given as {name}, which") as caught:
                Validation(chosen, rankers, {"mine": toy_ranker(3), name: toy_ranker(2)})
            assert caught.value.field == "validation_scorers"
            assert name in caught.value.message.split("than ")[1].split(", ")
    with pytest.raises(InvalidInput, match=r"toy2 is given as niqe_dropped; .* end in _dropped"):
        Validation(chosen, [], {"niqe_dropped": toy_ranker(2)})
    free = Validation(chosen, two, {"ranker": toy_ranker(2), "mine": toy_ranker(3)})
    columns = ["psnr", "ssim", "niqe", "ranker1", "ranker2", "rmse", "ranker", "mine", "lpips"]
    assert [one for one in free.columns if not one.endswith("_dropped")] == columns


def test_no_such_metric(config: MakeConfig, hr_folder: Path) -> None:
    with pytest.raises(UnknownName, match="there is no metric 'lpipz'"):
        Validation(config(validation={"hr": str(hr_folder), "if_available": ["lpipz"]}), [], {})
