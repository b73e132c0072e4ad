from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.ranker.cli import main
from ranksrgan.ranker.quality.boosted_training import load_boosted_recipe, train_boosted
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


def test_unknown_settings() -> None:
    with pytest.raises(InvalidConfig, match="steps"):
        load_boosted_recipe("fusion", None, ["steps=3"])
    with pytest.raises(InvalidConfig, match="model"):
        load_boosted_recipe("iqt", None, [])


def test_backbone_weights_want_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path)
    assert main(["train", "--data", folder, "--backbone-weights", "x.pth", "-o", folder]) != 0
    assert "--backbone-weights is for a --model" in capsys.readouterr().err
