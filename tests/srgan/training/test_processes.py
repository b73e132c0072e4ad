"""Several processes train as one does on the joint batch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_state, load_weights
from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.training.state import Training
from tests.two_processes import run_in_two

MakeConfig = Callable[..., TrainConfig]

# Both processes report how it ended: step and finished, or the error.
WORKER = """
import os, pickle, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from ranksrgan.contracts.curves import Curves
from ranksrgan.contracts.errors import (
    DiskFull, InvalidImage, RankSRGANError, ServiceUnavailable
)
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import CropSource
from tests.srgan.conftest import ToyRanker

torch.set_num_threads(1)
config, folder, seeds, trouble = pickle.loads(Path(sys.argv[2]).read_bytes())
last = os.environ["RANK"] == "1"

class Failing(ToyRanker):
    validated = 0

    def score(self, images, references=None):
        scores = super().score(images)
        self.validated += images.dtype == torch.uint8
        if trouble == "signal in a validation" and self.validated == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        if len(self.seen) == 3 and last:
            if trouble == "gone":
                raise ServiceUnavailable("nobody answers at unix:/gone.sock")
            if trouble == "nan":
                scores = scores * float("nan")
        return scores

def on_step(step, values):
    if trouble == "signal" and step == 2 and last:
        os.kill(os.getpid(), signal.SIGTERM)

batch, losses = CropSource.batch, Curves.losses

def unreadable(self, step):
    if step == 3 and last:
        raise InvalidImage("2.png is no image any more")
    return batch(self, step)

def no_room(self, step, values):
    if step == 3:
        raise DiskFull("curves.csv cannot be written")
    losses(self, step, values)

if trouble == "image":
    CropSource.batch = unreadable
if trouble == "disk":
    Curves.losses = no_room

rankers = [(Failing(seed, higher_is_better=seed == 1), 1.0 + seed) for seed in seeds]
try:
    result = train(TrainConfig.model_validate(config), Path(folder), rankers=rankers,
                   on_step=on_step)
    outcome = (result.step, result.finished, result.scores)
except RankSRGANError as error:
    outcome = (type(error).__name__, str(error))
Path(f"{folder}.{os.environ['RANK']}").write_bytes(pickle.dumps(outcome))
"""


def train_in_two(
    config: TrainConfig,
    folder: Path,
    seeds: list[int] | None = None,
    trouble: str = "",
    *,
    torchrun: bool = False,
) -> list[tuple[object, ...]]:
    """What each of the two processes says at the end."""
    given, script = folder.with_suffix(".pickle"), folder.with_suffix(".py")
    given.write_bytes(pickle.dumps((config.model_dump(), str(folder), seeds or [], trouble)))
    script.write_text(WORKER)
    run_in_two(script, given, torchrun=torchrun)
    return [pickle.loads(Path(f"{folder}.{rank}").read_bytes()) for rank in range(2)]


def compare(one: Path, two: Path, config: TrainConfig) -> None:
    """What the networks have learnt, the optimisers' means of the gradients, and curves.

    Weights are compared by the way that they have gone from where ``config`` starts: a few steps of
    Adam change them less than any tolerance in units of the weights themselves would notice.
    """
    start = Training.start(config, torch.device("cpu"))
    starts = {"generator": start.generator, "discriminator": start.discriminator}
    starts["average"] = start.average
    states = [load_state(folder / "last.state.pt") for folder in (one, two)]
    assert states[0]["networks"].keys() == states[1]["networks"].keys()
    for name in states[0]["networks"]:
        begun = starts[name]
        assert begun is not None
        learnt = [
            torch.cat(
                [
                    (state["networks"][name][key] - value).flatten().double()
                    for key, value in begun.named_parameters()
                ]
            )
            for state in states
        ]
        assert learnt[0].norm() > 0
        assert (learnt[1] - learnt[0]).norm() < 0.01 * learnt[0].norm(), name
        for key, value in begun.named_buffers():
            wanted, found = (state["networks"][name][key] for state in states)
            assert name == "average" or not torch.equal(wanted, value)
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5, msg=f"{name} {key}")
    for name, optimiser in states[0]["optimisers"].items():
        for index, moments in optimiser["state"].items():
            wanted = moments["exp_avg"]
            found = states[1]["optimisers"][name]["state"][index]["exp_avg"]
            assert (found - wanted).norm() < 1e-2 * wanted.norm() + 1e-6, f"{name} {index}"
    curves = [read_curve(folder / "curves.csv") for folder in (one, two)]
    assert [row["step"] for row in curves[1]] == [row["step"] for row in curves[0]] != []
    for found, wanted in zip(curves[1], curves[0], strict=True):
        for column in wanted.keys() - {"seconds"}:
            assert float(found[column]) == pytest.approx(float(wanted[column]), rel=2e-3), column


@pytest.fixture
def joint(gan: MakeConfig, hr_folder: Path) -> MakeConfig:
    """Adam divides each gradient by its own size, and so makes steps of rounding errors where a
    gradient is 0; a small learning rate keeps them small."""

    def make(**sections: dict[str, object]) -> TrainConfig:
        small = {"generator_lr": 1e-5, "discriminator_lr": 1e-5}
        return gan(
            data={"batch": 4},
            run={"steps": 4, "log_every": 1, **sections.pop("run", {})},
            validation={"hr": str(hr_folder), "every": 2},
            optimiser={**small, **sections.pop("optimiser", {})},
            **sections,
        )

    return make


@pytest.mark.parametrize(
    "criterion", [pytest.param("vanilla", marks=pytest.mark.slow), "relativistic"]
)
def test_srgan_in_two_processes_is_srgan_in_one(
    joint: MakeConfig, tmp_path: Path, criterion: str
) -> None:
    """The discriminator's BatchNorm normalises over the joint batch; so does the relative mean."""
    config = joint(
        losses={"adversarial": {"weight": 0.1, "criterion": criterion}}, optimiser={"ema": 0.5}
    )
    result = train(config, tmp_path / "one")
    outcomes = train_in_two(config, tmp_path / "two", torchrun=criterion == "vanilla")
    assert [outcome[:2] for outcome in outcomes] == [(4, True)] * 2
    compare(tmp_path / "one", tmp_path / "two", config)
    # The first process validates and both know what it found.
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2]["psnr"] == pytest.approx(result.scores["psnr"], rel=1e-4)
    found, wanted = (read_curve(tmp_path / name / "validation.csv") for name in ("two", "one"))
    assert [row["step"] for row in found] == [row["step"] for row in wanted] == ["0", "2", "4"]
    assert (tmp_path / "two" / "best.safetensors").is_file()


def test_ranksrgan_with_two_rankers_in_two_processes(
    joint: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    config = joint(losses={"rank": {"weight": 0.5}})
    rankers = [(toy_ranker(seed, higher_is_better=seed == 1), 1.0 + seed) for seed in (0, 1)]
    train(config, tmp_path / "one", rankers=rankers)
    train_in_two(config, tmp_path / "two", [0, 1])
    compare(tmp_path / "one", tmp_path / "two", config)


def test_two_processes_that_accumulate(config: MakeConfig, tmp_path: Path, toy_ranker) -> None:
    """Four quarters of a batch, two in each process; there is nothing that normalises over one."""
    chosen = config(
        data={"batch": 4},
        losses={"pixel": {"weight": 1.0}, "rank": {"weight": 0.5, "reduction": "sum"}},
        optimiser={"generator_lr": 1e-5},
        run={"steps": 3, "log_every": 1},
    )
    train(chosen, tmp_path / "one", rankers=[(toy_ranker(0), 1.0)])
    divided = chosen.model_copy(
        update={"optimiser": chosen.optimiser.model_copy(update={"accumulate": 2})}
    )
    train_in_two(divided, tmp_path / "two", [0])
    compare(tmp_path / "one", tmp_path / "two", chosen)


def test_a_signal_to_one_stops_both_after_the_same_step(joint: MakeConfig, tmp_path: Path) -> None:
    config = joint()
    outcomes = train_in_two(config, tmp_path / "parts", trouble="signal")
    assert [outcome[:2] for outcome in outcomes] == [(2, False)] * 2
    train_in_two(config, tmp_path / "parts")
    train_in_two(config, tmp_path / "whole")
    for name in ("generator", "discriminator"):
        files = [tmp_path / run / f"{name}.safetensors" for run in ("parts", "whole")]
        assert load_weights(files[0]).sha256 == load_weights(files[1]).sha256


@pytest.mark.slow
def test_a_signal_in_the_validation_of_the_first_stops_both(
    joint: MakeConfig, tmp_path: Path
) -> None:
    """There are four images, and the signal arrives in the second one of step 2."""
    outcomes = train_in_two(joint(), tmp_path / "run", [0], "signal in a validation")
    assert [outcome[:2] for outcome in outcomes] == [(2, False)] * 2
    state = load_state(tmp_path / "run" / "last.state.pt")
    assert (state["step"], state["validated"]) == (2, 0)


@pytest.mark.slow
def test_a_ranker_that_leaves_one_stops_both(joint: MakeConfig, tmp_path: Path) -> None:
    outcomes = train_in_two(joint(losses={"rank": {"weight": 0.5}}), tmp_path / "run", [0], "gone")
    for kind, message in outcomes:
        assert kind == "ServiceUnavailable"
        assert "gone.sock" in str(message)
        assert "saved at step 2" in str(message)
    assert load_state(tmp_path / "run" / "last.state.pt")["step"] == 2


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        pytest.param(
            "image",
            "InvalidImage",
            "2.png is no image any more; the training is saved at step 2",
            marks=pytest.mark.slow,
        ),
        ("disk", "DiskFull", "curves.csv cannot be written; the state of step 2 is kept"),
    ],
)
def test_what_one_cannot_read_or_write_stops_both(
    joint: MakeConfig, tmp_path: Path, trouble: str, kind: str, said: str
) -> None:
    """One has the damaged image, the other one writes the curves."""
    outcomes = train_in_two(joint(run={"save_every": 2}), tmp_path / "run", trouble=trouble)
    for outcome in outcomes:
        assert outcome[0] == kind
        assert said in str(outcome[1])
    assert load_state(tmp_path / "run" / "last.state.pt")["step"] == 2


def test_what_diverges_in_one_is_kept_whole(joint: MakeConfig, tmp_path: Path) -> None:
    from ranksrgan.srgan.data.crops import open_crops

    config = joint(losses={"rank": {"weight": 0.5}})
    outcomes = train_in_two(config, tmp_path / "run", [0], "nan")
    for kind, message in outcomes:
        assert kind == "TrainingDiverged"
        assert "diverged-step-3.pt" in str(message)
    kept = torch.load(tmp_path / "run" / "diverged-step-3.pt", weights_only=True)
    assert torch.equal(kept["hr"], open_crops(config).batch(3).hr)


def test_a_batch_that_two_cannot_share(config: MakeConfig, tmp_path: Path) -> None:
    chosen = config(data={"batch": 3})
    outcomes = train_in_two(chosen, tmp_path / "run")
    for kind, message in outcomes:
        assert kind == InvalidConfig.__name__
        assert "data.batch is 3; 2 processes" in str(message)
