from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.contracts.images import Picture, list_images, read_image, write_image
from ranksrgan.pipeline import demo, plan
from ranksrgan.pipeline.config import PipelineConfig
from ranksrgan.pipeline.photographs import HELD_OUT, TRAINING, export_photographs
from ranksrgan.pipeline.stages import CONTROL, RANKSRGAN, Outcome
from ranksrgan.srgan import load_recipe

DEPLOY = Path(__file__).parents[2] / "deploy" / "local.sh"


@pytest.mark.parametrize("from_nothing", [False, True])
def test_the_packaged_configuration_is_valid_and_fair(tmp_path: Path, from_nothing: bool) -> None:
    config = demo.demo_config(tmp_path, seed=3, from_nothing=from_nothing)
    assert config.seed == 3
    assert (config.trained is None) == from_nothing
    plan.ranker_config(config)
    assert len(list_images(config.training)) == len(TRAINING)
    assert len(list_images(config.held_out)) == len(HELD_OUT)
    assert not {Path(name).stem for name in TRAINING} & {Path(name).stem for name in HELD_OUT}
    for stage in (config.srresnet, config.srgan):
        load_recipe(stage.recipe, stage.settings)
    assert config.control is not None
    # The control differs from RankSRGAN in the rank-content loss alone.
    given = [f"{key}=x.safetensors" for key in ("generator.weights", "discriminator.weights")]
    ours, theirs = (
        load_recipe(stage.recipe, [*stage.settings, *given]).model_dump()
        for stage in (config.ranksrgan, config.control)
    )
    assert ours["losses"].pop("rank")["weight"] > 0
    assert theirs["losses"].pop("rank")["weight"] == 0
    for config_of_one in (ours, theirs):
        config_of_one["run"].pop("save_every")  # the recipes differ there; no step depends on it
    assert ours == theirs


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidConfig, match=r"rankerr\.settings=\[\]: rankerr: unknown key; did you mean ranker"
    ):
        demo.demo_config(tmp_path, 0, ("rankerr.settings=[]",))


@pytest.mark.parametrize("name", ["holiday.jpg", "coffee.png"])
def test_photographs_of_somebody_else_are_left_alone(tmp_path: Path, name: str) -> None:
    """A folder of the user's may have the names of the demo's, and so may a file in it."""
    theirs = tmp_path / "photographs" / "held-out" / name
    write_image(theirs, Picture(np.zeros((8, 8, 3), np.uint8)))
    content = theirs.read_bytes()
    with pytest.raises(InvalidInput, match=f"{name} is none of the demo's photographs"):
        demo.demo_config(tmp_path, 0)
    assert theirs.read_bytes() == content


def test_photographs_that_are_there_stay(tmp_path: Path) -> None:
    folders = export_photographs(tmp_path)
    (folders[0] / "brick.png").unlink()
    (folders[0] / "notes.txt").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert export_photographs(tmp_path) == folders
    assert len(list_images(folders[0])) == len(TRAINING)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_the_end_of_a_run(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    """Table, verdict, page, pictures and the services through the deploy script."""
    config, outcome = small_run
    said: list[str] = []
    assert demo.run_demo(config, DEPLOY, said.append) == outcome
    text = "\n".join(said)
    for name, scores in outcome.scores.items():
        (row,) = [line for line in said if line.startswith(f"{name} ")]
        assert f"{scores.mean('niqe'):.3f}" in row
        assert f"{scores.mean('psnr'):.2f}" in row
    answer = "yes" if outcome.better_than_control else "no"
    assert f"without the Ranker? {answer}:" in text
    assert "cat.png upscaled over gRPC" in text
    assert text.count("equal") == 3
    page = (config.output / "report.html").read_text()
    assert page.count('<figure class="tile">') == len(outcome.models) + 1  # and the ground truth
    assert page.count('src="data:image/png;base64,') == len(outcome.models) + 1
    assert page.count('<svg class="chart lines"') == 4
    assert 'data-line="SRGAN continued"' in page
    assert f"{answer}:" in page
    originals = demo.make_findings(outcome, config).table.rows[-1]
    (cat,) = list_images(config.held_out)
    hr = torch.tensor(read_image(cat).colour).permute(2, 0, 1)[None]
    niqe = open_scorer("niqe?border=4").score(hr).item()
    assert (originals.method, originals.reference) == ("ground truth", True)
    assert [cell.mean for cell in originals.cells] == [None, None, pytest.approx(niqe), None]
    for name in (CONTROL, RANKSRGAN, "ground truth"):
        picture = read_image(config.output / "held-out" / demo.slug(name) / "cat.png")
        assert (picture.height, picture.width) == (200, 200)
    assert (picture.colour == read_image(cat).colour).all()
