"""Several processes train as one does on the joint batch."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from ranksrgan.contracts.checkpoint import load_state, load_weights
from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.ranker import TrainConfig, train
from tests.ranker.conftest import MemorySource, blurred
from tests.two_processes import run_in_two

WORKER = """
import os, pickle, signal, sys
from contextlib import suppress
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from tests.ranker.conftest import MemorySource
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.ranker import TrainConfig, train

torch.set_num_threads(1)
contents, config, folder, stopped = pickle.loads(Path(sys.argv[2]).read_bytes())
half = len(contents) // 2

class Validation(MemorySource):
    looked = False

    def contents(self):
        if stopped == "signal" and self.looked:
            os.kill(os.getpid(), signal.SIGTERM)
        self.looked = True  # by the look that a training begins with
        return super().contents()

with suppress(*{"signal": [KeyboardInterrupt], "data": [InvalidDataset]}.get(stopped, [])):
    train(TrainConfig(**config), MemorySource(contents[half:]), Validation(contents[:half]),
          Path(folder))
    assert not stopped
"""


def train_in_two(
    config: TrainConfig,
    contents: list[RankedContent],
    folder: Path,
    *,
    stopped: str = "",
    torchrun: bool = False,
) -> None:
    """Train, or be ``stopped`` in the first validation by a ``signal`` that one process gets, or by
    ``data`` that one process cannot read."""
    given = folder.with_suffix(".pickle")
    given.write_bytes(pickle.dumps((contents, config.model_dump(), str(folder), stopped)))
    script = folder.with_suffix(".py")
    script.write_text(WORKER)
    run_in_two(script, given, torchrun=torchrun)


@pytest.fixture
def config(small: TrainConfig) -> TrainConfig:
    """Losses within the contents and over the batch. Adam divides each gradient by its own size,
    and so makes steps of rounding errors where a gradient is 0; a small lr keeps them small."""
    losses = {"margin": 1.0, "plcc": 1.0, "bradley_terry": 1.0, "magnitude": 0.01}
    given = {"losses": losses, "across": True, "lr": 1e-5, "weight_decay": 0.0}
    return small.model_copy(update=given)


@pytest.mark.parametrize("architecture", ["vgg12", pytest.param("nss", marks=pytest.mark.slow)])
def test_two_processes_give_the_weights_of_one(
    architecture: str,
    config: TrainConfig,
    training_contents: list[RankedContent],
    tmp_path: Path,
) -> None:
    contents = training_contents[:8] + training_contents[20:28]
    if architecture == "nss":
        config = config.model_copy(update={"architecture": "nss"})
        contents = blurred("astronaut.png", crops=16, side=208)
    train(config, MemorySource(contents[8:]), MemorySource(contents[:8]), tmp_path / "one")
    train_in_two(config, contents, tmp_path / "two", torchrun=architecture == "nss")
    one, two = (load_state(tmp_path / name / "last.state.pt") for name in ("one", "two"))
    assert one["network"].keys() == two["network"].keys()
    for key, value in one["network"].items():
        torch.testing.assert_close(two["network"][key], value, rtol=1e-3, atol=2e-4, msg=key)
    # A mean of the gradients of all six steps.
    for index, moments in one["optimiser"]["state"].items():
        found, wanted = two["optimiser"]["state"][index]["exp_avg"], moments["exp_avg"]
        assert (found - wanted).norm() < 1e-2 * wanted.norm() + 1e-5, index
    losses = [
        [float(row["loss"]) for row in read_curve(tmp_path / name / "curves.csv")]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert len(losses[0]) == 3
    scores = [read_curve(tmp_path / name / "validation.csv") for name in ("one", "two")]
    assert [row["step"] for row in scores[1]] == [row["step"] for row in scores[0]] == ["3", "6"]


@pytest.mark.slow
def test_two_processes_resume(
    config: TrainConfig, training_contents: list[RankedContent], tmp_path: Path
) -> None:
    contents = training_contents[:8] + training_contents[20:28]
    train_in_two(config, contents, tmp_path / "parts", stopped="signal")
    state = load_state(tmp_path / "parts" / "last.state.pt")
    assert (state["step"], state["validated"]) == (3, 0)
    train_in_two(config, contents, tmp_path / "parts")
    train_in_two(config, contents, tmp_path / "whole")
    weights = [load_weights(tmp_path / n / "ranker.safetensors") for n in ("parts", "whole")]
    assert weights[0].sha256 == weights[1].sha256
    parts, whole = (tmp_path / name / "validation.csv" for name in ("parts", "whole"))
    assert parts.read_text() == whole.read_text()


@pytest.mark.slow
def test_a_batch_that_fails_in_one_process_loses_no_step(
    config: TrainConfig, training_contents: list[RankedContent], tmp_path: Path
) -> None:
    contents = training_contents[:12] + training_contents[20:32]
    source = MemorySource(contents[12:])
    third = list(islice(source.shuffled_contents(config.seed), 2 * config.batch + 2))[-1]
    place = next(k for k, content in enumerate(contents) if content is third)
    contents[place] = third._replace(scores=third.scores * torch.nan)
    train_in_two(config, contents, tmp_path / "run", stopped="data")
    assert load_state(tmp_path / "run" / "last.state.pt")["step"] == 2


def test_a_batch_that_does_not_divide(
    small: TrainConfig,
    blur_set: PairSource,
    tmp_path: Path,
) -> None:
    from ranksrgan.ranker.batches import read_batches

    with pytest.raises(InvalidConfig, match="4 does not divide by 3"):
        read_batches(blur_set, small, start=0, processes=3)


def test_synced_norm_alone_is_batch_norm(tmp_path: Path) -> None:
    """In a group of one process: values, gradients and running statistics."""
    from torch import distributed

    from ranksrgan.metrics.synced_norm import sync_norms

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double()
    synced = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double()
    synced.load_state_dict(plain.state_dict())
    sync_norms(synced)
    assert type(synced[1]) is not nn.BatchNorm2d
    images = torch.randn(5, 3, 8, 9, dtype=torch.float64) * 3 + 7
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        outputs = [network(images) for network in (plain, synced)]
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
        for output in outputs:
            (output * torch.linspace(0, 1, output.numel()).view_as(output)).sum().backward()
    finally:
        distributed.destroy_process_group()
    for a, b in zip(plain.parameters(), synced.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-4)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    plain.eval(), synced.eval()
    torch.testing.assert_close(plain(images), synced(images), rtol=1e-5, atol=1e-6)
