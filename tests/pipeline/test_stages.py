from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
)
from ranksrgan.pipeline.config import PipelineConfig, Trained
from ranksrgan.pipeline.stages import BICUBIC, CONTROL, RANKSRGAN, SRRESNET, Outcome, run
from ranksrgan.rankdata import RankDataset
from ranksrgan.srgan import evaluate


def test_every_stage_leaves_what_the_next_one_takes(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, outcome = small_run
    out = config.output
    for stage in ("1-srresnet", "2-srgan", "5-ranksrgan", "6-control"):
        assert (out / stage / "generator.safetensors").is_file()
    assert list(outcome.scores) == [BICUBIC, SRRESNET, CONTROL, RANKSRGAN]
    dataset = RankDataset.open(out / "3-rankdata" / "training")
    assert dataset.levels == ("srresnet", "srgan", "srgan50", "hr")
    assert outcome.ranker_held_out.contents == 4  # 200 pixels hold two crops of 192 a side
    about = load_weights(outcome.ranker).about
    assert about["metric"] == "niqe"
    assert json.loads((out / "run.json").read_text())["seed"] == 0


def test_scores_are_of_the_models_on_the_held_out_images(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, outcome = small_run
    ranker = open_scorer(str(outcome.ranker))
    for name, spec in outcome.models.items():
        again = evaluate(open_upscaler(spec), config.held_out, 4, 4, {"ranker": ranker})
        assert again == outcome.scores[name]
    ours, theirs = (outcome.scores[name].mean("niqe") for name in (RANKSRGAN, CONTROL))
    assert ours is not None
    assert theirs is not None
    assert outcome.better_than_control == (ours < theirs)


def test_ranksrgan_and_its_control_start_from_the_same_srgan(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, _ = small_run
    first_rows = [
        (config.output / stage / "validation.csv").read_text().splitlines()[1].split(",")[:4]
        for stage in ("5-ranksrgan", "6-control")
    ]
    assert first_rows[0] == first_rows[1]  # step 0: psnr, ssim, niqe before anything is learnt
    weights = [
        load_weights(config.output / stage / "generator.safetensors").sha256
        for stage in ("2-srgan", "5-ranksrgan", "6-control")
    ]
    assert len(set(weights)) == 3


def test_trained_networks_are_gone_on_from(
    small_run: tuple[PipelineConfig, Outcome], tmp_path: Path
) -> None:
    config, outcome = small_run
    srresnet, srgan = (
        str(config.output / stage / "generator.safetensors") for stage in ("1-srresnet", "2-srgan")
    )
    settings = [line for line in config.ranker.settings if not line.startswith("width")]
    ranker = config.ranker.model_copy(update={"settings": tuple(settings)})
    begun = shutil.copy(outcome.ranker, tmp_path / "ranker.safetensors")
    given = Trained(srresnet=srresnet, srgan=srgan, ranker=str(begun))
    update = {"trained": given, "compare": {"before": srgan}, "ranker": ranker}
    changed = config.model_copy(update={**update, "output": tmp_path / "run"})
    again = run(changed)
    assert not (tmp_path / "run" / "1-srresnet").exists()
    assert list(again.scores) == [BICUBIC, SRRESNET, CONTROL, RANKSRGAN, "before"]
    assert again.scores[SRRESNET].mean("niqe") == outcome.scores[SRRESNET].mean("niqe")
    assert load_weights(again.ranker).options["width"] == 2
    # The discriminator is a new one, so that the generator is another.
    first, second = (load_weights(Path(one.models[CONTROL])).sha256 for one in (outcome, again))
    assert first != second
    shutil.copy(again.ranker, begun)
    with pytest.raises(InvalidCheckpoint, match="begins from"):
        run(changed)


def _srgan(config: PipelineConfig) -> Path:
    return config.output / "2-srgan" / "generator.safetensors"


@contextmanager
def replaced(path: Path, other: Path) -> Iterator[None]:
    """Within the block a file has the content of another one."""
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    try:
        yield
    finally:
        path.write_bytes(content)


def test_what_was_made_from_weights_that_were_replaced_is_not_taken(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, outcome = small_run
    generator, discriminator = "generator.safetensors", "discriminator.safetensors"
    out = config.output
    other = out / "6-control"
    with (
        replaced(out / "1-srresnet" / generator, other / generator),
        pytest.raises(InvalidConfig, match=r"2-srgan.* differs in generator\.weights"),
    ):
        run(config)
    with (
        replaced(out / "2-srgan" / generator, other / generator),
        pytest.raises(InvalidDataset, match=r"training holds another .*level srgan: other weights"),
    ):
        run(config)
    with (
        replaced(out / "2-srgan" / discriminator, other / discriminator),
        pytest.raises(InvalidConfig, match=r"5-ranksrgan.* differs in discriminator\.weights"),
    ):
        run(config)
    assert run(config) == outcome


def test_a_finished_run_is_read_not_repeated(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, outcome = small_run
    states = sorted(config.output.rglob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in states]
    assert run(config) == outcome
    assert [path.stat().st_mtime_ns for path in states] == before


def test_where_a_run_lies_does_not_count(
    small_run: tuple[PipelineConfig, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, outcome = small_run
    (tmp_path / "moved").symlink_to(config.output.parent)
    monkeypatch.chdir(tmp_path)
    places = {"training": "moved/training", "held_out": "moved/held-out", "output": "moved/run"}
    again = run(config.model_copy(update={key: Path(place) for key, place in places.items()}))
    assert again.scores == outcome.scores
    assert again.ranker_held_out == outcome.ranker_held_out


def test_rank_data_of_images_that_were_replaced_is_not_taken(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, outcome = small_run
    # The same networks as given ones: what is trained says first that its images are others.
    given = Trained(srresnet=outcome.models[SRRESNET], srgan=str(_srgan(config)))
    config = config.model_copy(update={"trained": given})
    coffee, cat = config.training / "coffee.png", config.held_out / "cat.png"
    for path, other, folder in ((coffee, cat, "training"), (cat, coffee, "held-out")):
        with (
            replaced(path, other),
            pytest.raises(
                InvalidDataset, match=rf"{folder} holds another .*other images: .*remove"
            ),
        ):
            run(config)
    added = config.held_out / "coffee.png"
    shutil.copy(coffee, added)
    try:
        with pytest.raises(InvalidDataset, match=r"held-out holds .*other images: 1 there, 2 of"):
            run(config)
    finally:
        added.unlink()


def test_rank_data_of_other_parameters_is_not_taken(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, _ = small_run
    stage = config.rankdata.model_copy(update={"stride": 4})
    with pytest.raises(InvalidDataset, match=r"another rank dataset .*(stride: 8 there, 4 now)"):
        run(config.model_copy(update={"rankdata": stage}))


def test_the_folder_of_something_else_is_left_as_it_is(
    small_run: tuple[PipelineConfig, Outcome], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("levels: {hr: hr}\n")
    with pytest.raises(InvalidInput, match=r"config\.yaml is not that of a pipeline") as caught:
        run(small_run[0].model_copy(update={"output": tmp_path}))
    assert caught.value.field == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "levels: {hr: hr}\n"


def test_a_wrong_setting_is_named(
    small_run: tuple[PipelineConfig, Outcome], tmp_path: Path
) -> None:
    config, _ = small_run
    stage = config.srresnet.model_copy(update={"settings": ("run.stepps=3",)})
    changed = config.model_copy(update={"srresnet": stage, "output": tmp_path / "other"})
    with pytest.raises(InvalidConfig, match=r"run\.stepps=3: unknown key; did you mean run\.steps"):
        run(changed)
