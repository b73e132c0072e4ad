from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import load_state, load_weights, save_state
from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
    RequestCancelled,
    TrainingDiverged,
)
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.contracts.training_folder import alone_in
from ranksrgan.metrics import srocc
from ranksrgan.ranker.quality.config import QualityConfig, load_quality_recipe
from ranksrgan.ranker.quality.opinions import Opinions
from ranksrgan.ranker.quality.run import QualityRun, agreement
from ranksrgan.ranker.quality.sensitivity import Sensitivity
from ranksrgan.ranker.quality.train import train_quality

Tiny = Callable[..., QualityConfig]


@pytest.mark.parametrize("model", ["wresnet", "radn", "sensitivity", "macs"])
def test_a_training_that_was_stopped_goes_on_to_the_bit(
    tmp_path: Path, learn: PairSource, judge: PairSource, tiny: Tiny, model: str
) -> None:
    whole = train_quality(tiny(model), learn, judge, str(tmp_path / "whole"))
    assert whole.weights == tmp_path / "whole" / "quality.safetensors"

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_quality(tiny(model), learn, judge, tmp_path / "parts", on_step=stop)
    parts = train_quality(tiny(model), learn, judge, tmp_path / "parts")
    assert (parts.step, parts.best_step) == (4, whole.best_step)
    assert parts.evaluation == whole.evaluation
    assert load_weights(parts.weights).sha256 == load_weights(whole.weights).sha256
    curves = [(folder / "curves.csv").read_text() for folder in tmp_path.iterdir()]
    assert curves[0] == curves[1]
    with (tmp_path / "parts" / "validation.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]


def test_several_processes_are_refused(
    tmp_path: Path,
    learn: PairSource,
    judge: PairSource,
    tiny: Tiny,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidConfig, match="without torchrun"):
        train_quality(tiny("sensitivity"), learn, judge, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_that_starts_anew_leaves_nothing_of_the_one_before(
    tmp_path: Path, learn: PairSource, judge: PairSource, tiny: Tiny
) -> None:
    def stop(step: int, loss: float) -> None:
        raise KeyboardInterrupt

    train_quality(tiny("sensitivity"), learn, judge, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_quality(tiny("macs"), learn, judge, tmp_path, resume=False, on_step=stop)
    assert not (tmp_path / "quality.safetensors").exists()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    assert read_curve(tmp_path / "validation.csv") == []


class Batches:
    """Counts the batches of validations, six each, and does something in the ``at``-th."""

    def __init__(self) -> None:
        self.seen = 0
        self.at = -1
        self.act: Callable[[], object] = int

    def count(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.act()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    found, forward = Batches(), Sensitivity.forward

    def counted(self: Sensitivity, images: Tensor, references: Tensor) -> Tensor:
        if not self.training:
            found.count()
        return forward(self, images, references)

    monkeypatch.setattr(Sensitivity, "forward", counted)
    return found


def kill() -> None:
    raise KeyError("as if the process had been killed")


def progress(folder: Path) -> tuple[int, int, list[str]]:
    """The step of a state, that of its last validation, and those with a row."""
    state = load_state(folder / "last.state.pt")
    rows = read_curve(folder / "validation.csv")
    return state["step"], state["validated"], [row["step"] for row in rows]


def assert_same_run(one: Path, other: Path) -> None:
    """The same curves, best weights, and training state with its tensors."""
    for name in ("curves.csv", "validation.csv"):
        assert (one / name).read_text() == (other / name).read_text()
    first, second = (load_weights(folder / "quality.safetensors") for folder in (one, other))
    assert (first.sha256, first.about) == (second.sha256, second.about)
    states = [load_state(folder / "last.state.pt") for folder in (one, other)]
    tensors = [[s["model"], s["preference"], s["optimiser"]["state"]] for s in states]
    torch.testing.assert_close(*tensors, rtol=0, atol=0)
    facts = ("step", "pending", "best", "best_step", "validated")
    assert [states[0][key] for key in facts] == [states[1][key] for key in facts]


@pytest.mark.parametrize(("step", "save_every"), [(2, 1000), (2, 1), (4, 1000)])
def test_a_signal_stops_in_a_validation_that_is_made_up_for(
    step: int,
    save_every: int,
    tmp_path: Path,
    learn: PairSource,
    judge: PairSource,
    tiny: Tiny,
    batches: Batches,
) -> None:
    config = tiny("sensitivity", f"save_every={save_every}")
    batches.at = 2 if step == 2 else 8
    batches.act = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train_quality(config, learn, judge, tmp_path / "parts")
    assert batches.seen == batches.at
    assert progress(tmp_path / "parts") == (step, step - 2, ["2"] if step == 4 else [])

    parts = train_quality(config, learn, judge, tmp_path / "parts")
    whole = train_quality(config, learn, judge, tmp_path / "whole")
    assert (parts.evaluation, parts.best_step) == (whole.evaluation, whole.best_step)
    assert progress(tmp_path / "parts") == (4, 4, ["2", "4"])
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    # Nothing is left to do, the validation included.
    batches.seen = 0
    train_quality(config, learn, judge, tmp_path / "parts")
    assert batches.seen == 0


def test_cancellation_in_a_validation_saves_too(
    tmp_path: Path, learn: PairSource, judge: PairSource, tiny: Tiny, batches: Batches
) -> None:
    config = tiny("sensitivity", "save_every=1000")
    with cancellation.scope(lambda: batches.seen < 2), pytest.raises(RequestCancelled):
        train_quality(config, learn, judge, tmp_path)
    assert batches.seen == 2
    assert progress(tmp_path) == (2, 0, [])


def test_a_due_save_does_not_wait_for_the_validation(
    tmp_path: Path,
    learn: PairSource,
    judge: PairSource,
    tiny: Tiny,
    batches: Batches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, save = tiny("sensitivity"), QualityRun.save
    batches.at, batches.act = 2, kill
    with pytest.raises(KeyError):
        train_quality(config, learn, judge, tmp_path / "parts")
    assert progress(tmp_path / "parts") == (2, 0, [])
    # Between the validation and what is saved after it: the row is there, and is repeated.
    monkeypatch.setattr(QualityRun, "save", lambda run: kill() if run.validated else save(run))
    with pytest.raises(KeyError):
        train_quality(config, learn, judge, tmp_path / "parts")
    assert progress(tmp_path / "parts") == (2, 0, ["2"])
    monkeypatch.setattr(QualityRun, "save", save)
    for name in ("parts", "whole"):
        train_quality(config, learn, judge, tmp_path / name)
    assert progress(tmp_path / "parts") == (4, 4, ["2", "4"])
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_state_that_does_not_say_what_is_validated_is(
    tmp_path: Path, learn: PairSource, judge: PairSource, tiny: Tiny, batches: Batches
) -> None:
    config = tiny("sensitivity")

    def stop(step: int, loss: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_quality(config, learn, judge, tmp_path / "old", on_step=stop)
    path = tmp_path / "old" / "last.state.pt"
    state = load_state(path)
    del state["validated"]
    save_state(path, state)
    batches.seen = 0
    train_quality(config, learn, judge, tmp_path / "old")
    assert batches.seen == 6
    train_quality(config, learn, judge, tmp_path / "whole")
    assert_same_run(tmp_path / "old", tmp_path / "whole")


def test_weights_that_are_not_finite_replace_no_state(
    tmp_path: Path,
    learn: PairSource,
    judge: PairSource,
    tiny: Tiny,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    update = QualityRun.update

    def diverging(run: QualityRun) -> float:
        loss = update(run)
        if run.step == 4:
            for weight in run._model.parameters():
                weight.data.fill_(torch.nan)
        return loss

    monkeypatch.setattr(QualityRun, "update", diverging)
    with pytest.raises(TrainingDiverged, match=r"after step 4; the last good state is kept"):
        train_quality(tiny("sensitivity"), learn, judge, tmp_path)
    assert progress(tmp_path) == (2, 2, ["2"])


def test_a_trained_model_opens_as_a_scorer(
    tmp_path: Path, learn: PairSource, judge: PairSource, tiny: Tiny
) -> None:
    result = train_quality(tiny("sensitivity", "validate_every=4"), learn, judge, tmp_path)
    scorer = open_scorer(f"{result.weights}?device=cpu")
    assert (scorer.info.name, scorer.info.needs_reference) == ("sensitivity", True)
    # The opinions are severities; a quality model's own score rises with quality all the same.
    assert scorer.info.higher_is_better
    opinions = Opinions(judge)
    scores = torch.cat(
        [scorer.score(one.images, one.reference.expand_as(one.images)) for one in opinions.sets]
    )
    assert result.evaluation is not None
    assert -srocc(scores.tolist(), opinions.every.tolist()) == pytest.approx(
        result.evaluation.srcc, abs=1e-3
    )
    about = load_weights(result.weights).about
    assert about["scores"]["mean"] == pytest.approx(float(scores.mean()), abs=1e-4)
    assert about["opinions"]["mean"] == pytest.approx(float(Opinions(learn).every.mean()))


def test_si_analytics_beats_the_pixels_on_unseen_references(
    tmp_path: Path, learn: PairSource, judge: PairSource
) -> None:
    """SRCC above .7 after 25 steps; PSNR's is about that, and the direction has to be found."""
    config = load_quality_recipe(
        "sensitivity",
        "small",
        ["options={width: 4}", "steps=25", "validate_every=25", "device=cpu", "lr=3e-3"],
    )
    result = train_quality(config, learn, judge, tmp_path)
    assert result.evaluation is not None
    assert result.evaluation.srcc > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("wresnet", ("options={width: 8, patches: 2, dropout: 0.1}",)),
        ("radn", ("options={width: 8, patches: 2, dropout: 0.1}",)),
        ("macs", ("options={width: 16, grid: 8}",)),
    ],
)
def test_radn_wresnet_and_macs_reach_srcc_on_unseen_references(
    tmp_path: Path, source_of: Callable[..., PairSource], model: str, overrides: tuple[str, ...]
) -> None:
    from graded import graded

    config = load_quality_recipe(
        model,
        "small",
        [*overrides, "steps=300", "validate_every=100", "save_every=300", "device=cpu"],
    )
    result = train_quality(
        config, source_of(graded(40, seed=0)), source_of(graded(8, seed=1)), tmp_path
    )
    assert result.evaluation is not None
    assert result.evaluation.srcc > 0.8


def test_radn_contrastive_pretraining_comes_first(
    tmp_path: Path, learn: PairSource, tiny: Tiny
) -> None:
    """Its steps are those of another loss; what follows is the objective."""
    losses: dict[str, list[float]] = {"with": [], "without": []}
    for name, pretrain in (("with", 2), ("without", 0)):
        train_quality(
            tiny("radn", f"pretrain={pretrain}"),
            learn,
            None,
            tmp_path / name,
            on_step=lambda step, loss, name=name: losses[name].append(loss),
        )
    # Before anything is learnt: the cross-entropy of a coin, about, is no squared error of 1.
    assert losses["with"][0] == pytest.approx(0.69, abs=0.2)
    assert losses["with"][0] != losses["without"][0]


def test_a_second_training_in_a_folder_is_refused(
    tmp_path: Path, learn: PairSource, tiny: Tiny
) -> None:
    with (
        alone_in(tmp_path, []),
        pytest.raises(InvalidInput, match="another training is at work"),
    ):
        train_quality(tiny("wresnet"), learn, None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_radn_starts_from_a_wresnet(tmp_path: Path, learn: PairSource, tiny: Tiny) -> None:
    start = train_quality(tiny("wresnet"), learn, None, tmp_path / "wresnet").weights
    config = tiny("radn", f"start={start}", "lr=1e-12")
    found = load_weights(train_quality(config, learn, None, tmp_path / "radn").weights).tensors
    wanted = load_weights(start).tensors
    for key in ("blocks.0.first.weight", "blocks.4.rest.2.weight", "score.0.weight"):
        assert torch.allclose(found[key], wanted[key], atol=1e-6)
    other = train_quality(tiny("sensitivity"), learn, None, tmp_path / "other").weights
    with pytest.raises(InvalidCheckpoint, match="no tensor of the name"):
        train_quality(tiny("radn", f"start={other}"), learn, None, tmp_path / "wrong")


@pytest.mark.parametrize("model", ["wresnet", "radn"])
def test_a_start_of_another_size_is_refused(
    tmp_path: Path, learn: PairSource, tiny: Tiny, model: str
) -> None:
    """Of a wider one next to nothing would fit: a few biases of one number."""
    wider = tiny("wresnet", "options={width: 3, patches: 1}", "steps=1")
    start = train_quality(wider, learn, None, tmp_path / "wider").weights
    with pytest.raises(InvalidCheckpoint, match=r"another size .*weight is \(") as caught:
        train_quality(tiny(model, f"start={start}"), learn, None, tmp_path / "wrong")
    assert caught.value.field == "start"
    assert not (tmp_path / "wrong").exists()


def test_a_part_of_another_model_is_a_start(tmp_path: Path, learn: PairSource, tiny: Tiny) -> None:
    """Their backbones are the same; their heads share names and not sizes."""
    plain = "options={backbone: plain, backbone_width: 4, "
    pieapp = tiny("pieapp", plain + "hidden: 4, patches: 1}", "steps=1")
    start = train_quality(pieapp, learn, None, tmp_path / "pieapp").weights
    yahaha = tiny(
        *("yahaha", plain + "grid: 2, width: 8, layers: 1, heads: 2}", "steps=1"),
        *(f"start={start}", "lr=1e-12"),
    )
    found = load_weights(train_quality(yahaha, learn, None, tmp_path / "yahaha").weights).tensors
    wanted = load_weights(start).tensors
    shared = [key for key in wanted if key.startswith("backbone.") and key.endswith("weight")]
    assert shared
    for key in shared:
        assert torch.allclose(found[key], wanted[key], atol=1e-6)
    assert found["score_head.0.weight"].shape != wanted["score_head.0.weight"].shape


def test_a_learned_sorter_ranks_the_batch(tmp_path: Path, learn: PairSource, tiny: Tiny) -> None:
    losses: dict[str, float] = {}
    for sorter in ("soft", "learned"):
        train_quality(
            tiny("macs", "losses={ranks: 1}", f"sorter={sorter}", "steps=1"),
            learn,
            None,
            tmp_path / sorter,
            on_step=lambda step, loss, sorter=sorter: losses.update({sorter: loss}),
        )
    assert losses["soft"] != losses["learned"]
    assert losses["learned"] == pytest.approx(losses["soft"], rel=0.5)


def test_what_cannot_be_trained(
    tmp_path: Path,
    learn: PairSource,
    source_of: Callable[..., PairSource],
    graded_contents: list[RankedContent],
    tiny: Tiny,
) -> None:
    train_quality(tiny("sensitivity"), learn, None, tmp_path)
    with pytest.raises(InvalidCheckpoint, match=r"lr was 0\.001 and is 0\.002"):
        train_quality(tiny("sensitivity", "lr=2e-3"), learn, None, tmp_path)
    fewer = source_of(graded_contents[:4])
    with pytest.raises(InvalidCheckpoint, match="training data was"):
        train_quality(tiny("sensitivity"), fewer, None, tmp_path)
    with pytest.raises(InvalidDataset, match="a side of 64 pixels; 65 are wanted"):
        train_quality(tiny("wresnet", "crop=65"), learn, None, tmp_path / "large")
    with pytest.raises(InvalidInput, match="no option depth"):
        train_quality(tiny("wresnet", "options={depth: 3}"), learn, None, tmp_path / "deep")


def test_the_main_score_knows_its_direction() -> None:
    opinions = torch.arange(20.0)
    for rising in (True, False):
        right = opinions if rising else -opinions
        assert agreement(right, opinions, rising=rising).main == pytest.approx(2)
        assert agreement(-right, opinions, rising=rising).main == pytest.approx(-2)
    assert agreement(torch.zeros(20), opinions, rising=True).main == 0


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("wresnet", ["crop=16"], "crop=16: wresnet .* 32 pixels or more"),
        ("macs", ["crop=8"], "crop=8: macs .* 64 pixels or more"),
        ("sensitivity", ["crop=3"], "crop=3: sensitivity .* 8 pixels or more"),
        ("iqt", ["options.crop=128"], "crop=64: iqt with these options .* 128 pixels or more"),
    ],
)
def test_a_crop_smaller_than_the_model_takes(
    tmp_path: Path, learn: PairSource, tiny: Tiny, model: str, settings: list[str], message: str
) -> None:
    with pytest.raises(InvalidConfig, match=message) as caught:
        train_quality(tiny(model, *settings), learn, None, tmp_path / "run")
    assert caught.value.field == "crop"
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_with_a_split_says_which(
    tmp_path: Path,
    learn: PairSource,
    graded_contents: list[RankedContent],
    source_of: Callable[..., PairSource],
    tiny: Tiny,
) -> None:
    equal = graded_contents[0]._replace(scores=torch.ones(12, dtype=torch.float64))
    with pytest.raises(InvalidDataset, match=r"^val: all 12 opinions are 1"):
        train_quality(tiny("sensitivity"), learn, source_of([equal]), tmp_path)
    first = graded_contents[0]
    single = first._replace(
        levels=first.levels[:1], images=first.images[:1], scores=first.scores[:1]
    )
    with pytest.raises(InvalidDataset, match=r"^train: 1 judged image\(s\)"):
        train_quality(tiny("sensitivity"), source_of([single]), learn, tmp_path)
