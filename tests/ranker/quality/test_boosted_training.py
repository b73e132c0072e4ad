from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_state, load_weights, save_state
from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
    UndefinedScore,
)
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.contracts.training_folder import alone_in
from ranksrgan.ranker.cli import main
from ranksrgan.ranker.quality.boosted_training import load_boosted_recipe, train_boosted
from ranksrgan.ranker.quality.config import load_quality_recipe
from ranksrgan.ranker.quality.train import train_quality
from tests.ranker.quality.distorted import DEGREES, DISTORTIONS, distorted

SETTINGS = {
    "fusion": ("metrics=[ssim, gmsd, rmse]", "trees=0.03"),
    "egb": ("network=plain", "network_width=4", "side=32", "trees=0.1", "device=cpu"),
}


@pytest.fixture(scope="module")
def contents() -> list[RankedContent]:
    """Opinions that fall as quality rises, as the sources of the tests have them."""
    data = distorted(6, 1)
    size = len(DISTORTIONS) * DEGREES
    levels = tuple(f"{kind}_{degree}" for kind in range(5) for degree in range(DEGREES))
    return [
        RankedContent(f"made@{start},0", levels, images, -opinions, reference=references[0])
        for start, images, references, opinions in zip(
            range(6),
            data.images.split(size),
            data.references.split(size),
            data.opinions.split(size),
            strict=True,
        )
    ]


def named(contents: list[RankedContent], part: slice) -> list[RankedContent]:
    return [content._replace(content=f"{content.content[5]}.png@0,0") for content in contents[part]]


def cut(content: RankedContent, versions: int) -> RankedContent:
    return content._replace(
        levels=content.levels[:versions],
        images=content.images[:versions],
        scores=content.scores[:versions],
    )


@pytest.mark.parametrize("model", ["fusion", "egb"])
def test_training_leaves_a_scorer(
    model: str,
    contents: list[RankedContent],
    source_of: Callable[..., PairSource],
    tmp_path: Path,
) -> None:
    config = load_boosted_recipe(model, None, SETTINGS[model])
    learn, judge = named(contents, slice(4)), named(contents, slice(4, 6))
    result = train_boosted(config, source_of(learn), source_of(judge), tmp_path)
    assert result.evaluation is not None
    assert result.evaluation.images == 40
    assert result.evaluation.srcc > 0.5
    scorer = open_scorer(str(result.weights))
    shown = judge[0]
    assert shown.reference is not None
    scores = scorer.score(shown.images, shown.reference.expand_as(shown.images))
    order = torch.corrcoef(torch.stack([scores, -shown.scores]))[0, 1]
    assert scorer.info.higher_is_better
    assert float(order) > 0.3
    assert (tmp_path / "config.yaml").is_file()


def test_crops_of_one_image_are_one_reference(
    contents: list[RankedContent], source_of: Callable[..., PairSource], tmp_path: Path
) -> None:
    config = load_boosted_recipe("fusion", None, SETTINGS["fusion"])
    with pytest.raises(InvalidDataset, match="one reference"):
        train_boosted(config, source_of(contents), None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_leaves_the_folder_as_it_was(
    contents: list[RankedContent], source_of: Callable[..., PairSource], tmp_path: Path
) -> None:
    """Here one that would leave a single image to a regressor; also where it starts anew."""
    config = load_boosted_recipe("fusion", None, ["metrics=[rmse]", "trees=0.003"])
    first, second = named(contents, slice(2))
    uneven = source_of([first, cut(second, 1)])
    with pytest.raises(InvalidDataset, match="a fold holds out 20 of 21 images"):
        train_boosted(config, uneven, None, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train_boosted(config, source_of([first, second]), None, tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InvalidDataset, match="a fold holds out"):
        train_boosted(config, uneven, None, tmp_path, resume=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_folder_of_another_run_is_left_as_it_is(
    contents: list[RankedContent], source_of: Callable[..., PairSource], tmp_path: Path
) -> None:
    """Also if the other one is a network's; without resuming it is replaced."""
    quick = ["metrics=[rmse]", "trees=0.003"]
    config, other = (load_boosted_recipe("fusion", None, [*quick, f"seed={k}"]) for k in (0, 1))
    source = source_of(named(contents, slice(6)))
    first = train_boosted(config, source, None, tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for settings, learn, message in (
        (other, source, "seed was 0 and is 1"),
        (config, source_of(named(contents, slice(5))), "training data was"),
    ):
        with pytest.raises(InvalidCheckpoint, match=message):
            train_boosted(settings, learn, None, tmp_path)
    network = load_quality_recipe("sensitivity", None, ["steps=1", "crop=64", "device=cpu"])
    with pytest.raises(InvalidCheckpoint, match="model was fusion and is sensitivity"):
        train_quality(network, source, None, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept
    again = train_boosted(config, source, None, tmp_path)
    assert again.weights.read_bytes() == kept[first.weights]
    train_boosted(other, source, None, tmp_path, resume=False)
    assert first.weights.read_bytes() != kept[first.weights]
    (tmp_path / "last.state.pt").unlink()
    with pytest.raises(InvalidCheckpoint, match="nothing says what it was trained with"):
        train_boosted(other, source, None, tmp_path)


@pytest.mark.parametrize("resume", [True, False])
def test_a_training_at_work_in_the_folder_is_let_be(
    contents: list[RankedContent],
    source_of: Callable[..., PairSource],
    tmp_path: Path,
    resume: bool,
) -> None:
    config = load_boosted_recipe("fusion", None, ["metrics=[rmse]", "trees=0.003"])
    source = source_of(named(contents, slice(6)))
    (tmp_path / "last.state.pt").write_text("of the other training")
    with (
        alone_in(tmp_path, []),
        pytest.raises(InvalidInput, match="another training is at work"),
    ):
        train_boosted(config, source, None, tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["last.state.pt"]
    assert (tmp_path / "last.state.pt").read_text() == "of the other training"


def test_nothing_of_an_earlier_training_stands_beside_a_new_one(
    contents: list[RankedContent], source_of: Callable[..., PairSource], tmp_path: Path
) -> None:
    config = load_boosted_recipe("fusion", None, ["metrics=[rmse]", "trees=0.003"])
    source = source_of(named(contents, slice(6)))
    train_boosted(config, source, None, tmp_path)
    own = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "curves.csv").write_text("step,lr,loss\n")
    (tmp_path / "validation.csv").write_text("step,main\n")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.1").write_text("of a network")
    (tmp_path / "notes.txt").write_text("mine")
    train_boosted(config, source, None, tmp_path, resume=False)
    assert {path.name for path in tmp_path.iterdir()} == {*own, "notes.txt"}


@pytest.mark.parametrize("resume", [True, False])
def test_a_rankers_training_is_not_trained_over(
    contents: list[RankedContent],
    source_of: Callable[..., PairSource],
    tmp_path: Path,
    resume: bool,
) -> None:
    (tmp_path / "config.yaml").write_text("width: 64\n")
    (tmp_path / "ranker.safetensors").write_text("weeks of work")
    source = source_of(named(contents, slice(6)))
    trees = load_boosted_recipe("fusion", None, ["metrics=[rmse]", "trees=0.003"])
    network = load_quality_recipe("sensitivity", None, ["steps=1", "crop=64", "device=cpu"])
    refusal = r"than the training of a quality model: ranker\.safetensors, config\.yaml; train into"
    with pytest.raises(InvalidInput, match=refusal):
        train_boosted(trees, source, None, tmp_path, resume=resume)
    with pytest.raises(InvalidInput, match=refusal):
        train_quality(network, source, None, tmp_path, resume=resume)
    assert (tmp_path / "config.yaml").read_text() == "width: 64\n"
    assert (tmp_path / "ranker.safetensors").read_text() == "weeks of work"
    assert len(list(tmp_path.iterdir())) == 2


def test_flags_that_are_not_for_a_quality_model(
    contents: list[RankedContent], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidConfig, match="recipes are for the models that are networks") as no:
        load_boosted_recipe("egb", "small")
    assert no.value.field == "recipe"
    (tmp_path / "own.yaml").write_text("trees: 0.5\n")
    assert load_boosted_recipe("egb", tmp_path / "own.yaml").trees == 0.5
    begin = ["--begin-from", "old.safetensors", "-o", str(tmp_path)]
    assert main(["train", "--model", "radn", "--data", str(tmp_path), *begin]) != 0
    assert "start=old.safetensors" in capsys.readouterr().err


def test_unknown_settings() -> None:
    with pytest.raises(InvalidConfig, match="steps"):
        load_boosted_recipe("fusion", None, ["steps=3"])
    with pytest.raises(InvalidConfig, match="model"):
        load_boosted_recipe("iqt", None, [])
    with pytest.raises(InvalidConfig, match="trees") as caught:
        load_boosted_recipe("fusion", None, ["trees=1e9"])
    assert caught.value.field == "trees"


def test_an_image_without_features_is_named(
    contents: list[RankedContent], source_of: Callable[..., PairSource], tmp_path: Path
) -> None:
    """A version that is its reference has no finite PSNR."""
    learn = named(contents, slice(6))
    images = learn[2].images.clone()
    assert learn[2].reference is not None
    images[5] = learn[2].reference
    learn[2] = learn[2]._replace(images=images)
    config = load_boosted_recipe("fusion", None, ["metrics=[psnr]", "trees=0.003"])
    wanted = rf"2\.png@0,0 at level {learn[2].levels[5]}: psnr of image 0 is inf"
    with pytest.raises(UndefinedScore, match=wanted) as caught:
        train_boosted(config, source_of(learn), None, tmp_path)
    assert caught.value.field == "2.png@0,0"


def test_backbone_weights_want_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path)
    assert main(["train", "--data", folder, "--backbone-weights", "x.pth", "-o", folder]) != 0
    assert "--backbone-weights is for a --model" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["fusion", "egb"])
def test_scores_are_in_standard_deviations_of_the_opinions(
    model: str,
    contents: list[RankedContent],
    source_of: Callable[..., PairSource],
    tmp_path: Path,
) -> None:
    """Opinions of PIPAL are Elo ratings about 1450; the networks say 0.3 where trees said 1486."""
    learn = [
        content._replace(scores=1450 + 121 * content.scores)
        for content in named(contents, slice(4))
    ]
    opinions = torch.cat([content.scores for content in learn])
    mean, deviation = float(opinions.mean()), float(opinions.std())
    settings = (*SETTINGS[model][:-1], "trees=0.1") if model == "fusion" else SETTINGS[model]
    result = train_boosted(
        load_boosted_recipe(model, None, settings), source_of(learn), None, tmp_path
    )
    scorer = open_scorer(str(result.weights))
    found = []
    for content in learn:
        assert content.reference is not None
        found.append(
            scorer.score(content.images, content.reference.expand_as(content.images)).double()
        )
    scores = torch.cat(found)
    # The sources of the tests count the other way.
    wanted = -(opinions - mean) / deviation
    assert float(scores.mean()) == pytest.approx(0, abs=0.1)
    slope = float((scores * wanted).mean() / (wanted * wanted).mean())
    assert 0.3 < slope < 1.05
    about = load_weights(result.weights).about
    assert about["opinions"] == pytest.approx({"mean": mean, "deviation": deviation})


def test_a_run_with_scores_in_the_opinions_own_unit_is_not_trained_over(
    contents: list[RankedContent], source_of: Callable[..., PairSource], tmp_path: Path
) -> None:
    config = load_boosted_recipe("fusion", None, ["metrics=[rmse]", "trees=0.003"])
    source = source_of(named(contents, slice(6)))
    result = train_boosted(config, source, None, tmp_path)
    before = load_state(tmp_path / "last.state.pt")
    del before["identity"]["unit of the scores"]  # as it was written then
    save_state(tmp_path / "last.state.pt", before)
    kept = result.weights.read_bytes()
    with pytest.raises(InvalidCheckpoint, match="unit of the scores was None and is standard dev"):
        train_boosted(config, source, None, tmp_path)
    assert result.weights.read_bytes() == kept
