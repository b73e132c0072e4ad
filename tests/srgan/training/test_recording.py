"""Steps as CUDA graphs: which are recorded, and that a recorded one is the step itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ranksrgan.contracts.checkpoint import load_state, load_weights, save_state
from ranksrgan.contracts.client import Connection, RemoteScorer, connect_scorer
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.errors import ServiceUnavailable, TrainingDiverged
from ranksrgan.contracts.processes import Processes
from ranksrgan.contracts.recording import recording
from ranksrgan.ranker import VGG, Ranker
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import Batch
from ranksrgan.srgan.training import step as step_module
from ranksrgan.srgan.training.features import RankerTrunk
from ranksrgan.srgan.training.objective import Objective, Rankers
from ranksrgan.srgan.training.state import STATE_FILE, Training
from ranksrgan.srgan.training.step import Step, unrecordable
from tests.srgan.training.one_scorer import serving

MakeConfig = Callable[..., TrainConfig]

ON_A_GPU = {"device": "cuda", "precision": "bfloat16", "steps": 10, "save_every": 100}


def vgg_ranker(device: str = "cuda") -> Ranker:
    network = VGG(8, 4, torch.Generator().manual_seed(1))
    return Ranker(network, higher_is_better=False, name="small", device=device)


class Recordable(Ranker):
    """Says on a CPU what a Ranker says on a GPU."""

    recordable = True


def cpu_ranker() -> Recordable:
    return Recordable(
        VGG(8, 4, torch.Generator().manual_seed(1)), higher_is_better=False, device="cpu"
    )


def remote_ranker() -> RemoteScorer:
    """Nobody is there, which deciding does not take."""
    connection = Connection("unix:/nowhere/ranker.sock", timeout=1.0, retry_for=0.0)
    return RemoteScorer(connection, OpenedModel("small"), vgg_ranker("cpu").info)


def obstacle_of(config: TrainConfig, rankers: Rankers, count: int = 1) -> str | None:
    """On a GPU, which deciding it does not take."""
    here = Processes(0, count, torch.device("cuda"))
    training = Training.start(config, torch.device("cpu"))
    return unrecordable(training, Objective(config, rankers, None), here)


def test_steps_that_are_the_same_work_each_time_are_recorded(
    config: MakeConfig, gan: MakeConfig
) -> None:
    ranked = gan(losses={"rank": {"weight": 0.1}}, optimiser={"accumulate": 2, "ema": 0.5})
    assert obstacle_of(config(), []) is None
    assert obstacle_of(ranked, [(cpu_ranker(), 1.0)]) is None
    assert obstacle_of(config(run={"compile": True}), []) is None
    elsewhere = gan(losses={"rank": {"weight": 0.1}})
    assert obstacle_of(elsewhere, [(cpu_ranker(), 1.0), (remote_ranker(), 0.5)]) is None


def test_what_keeps_a_step_from_being_recorded(
    config: MakeConfig, gan: MakeConfig, toy_ranker
) -> None:
    ranked = {"rank": {"weight": 0.1}}
    cases: list[tuple[TrainConfig, Rankers, int, str]] = [
        (config(run={"graph": False}), [], 1, "run.graph is false"),
        (config(), [], 2, "several processes share a step"),
        (
            gan(losses={"rank": {"weight": 0.1, "jitter": 4}}),
            [(cpu_ranker(), 1.0)],
            1,
            "losses.rank.jitter draws other windows for each step",
        ),
        # It says nothing of itself.
        (gan(losses=ranked), [(toy_ranker(3), 1.0)], 1, "toy3 may do other work"),
        (
            gan(losses=ranked, optimiser={"accumulate": 2}),
            [(remote_ranker(), 1.0)],
            1,
            "between the parts of a step a service is asked",
        ),
        (
            gan(losses=ranked),
            [(cpu_ranker(), 1.0), (vgg_ranker("cpu"), 1.0)],
            1,
            "small may do other work",
        ),
    ]
    for chosen, rankers, count, expected in cases:
        assert (obstacle_of(chosen, rankers, count) or "").startswith(expected)
    objective = Objective(config(), [], None, [(toy_ranker(), 1.0)])
    assert objective.changes == "losses.scorers may do other work for other images"
    assert RankerTrunk(cpu_ranker()).recordable
    assert not RankerTrunk(vgg_ranker("cpu")).recordable
    on_a_cpu = Processes(0, 1, torch.device("cpu"))
    training = Training.start(config(), torch.device("cpu"))
    assert unrecordable(training, Objective(config(), [], None), on_a_cpu) == "that takes a GPU"
    assert not recording()


def test_pixels_that_are_not_finite_are_seen_afterwards_in_a_recorded_step(
    gan: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Infinite pixels, clamped, are white to a Ranker: no loss would tell."""
    chosen = gan(
        discriminator=None,
        losses={
            "pixel": {"weight": 0.0},
            "adversarial": {"weight": 0.0},
            "rank": {"weight": 0.1},
        },
    )
    batch = random_batch(2, 64)
    for recorded, message in (
        (False, "step 1: the generator makes pixels that are not finite"),
        (True, r"step 1: .*the sum of the generator's pixels is inf"),
    ):
        monkeypatch.setattr(step_module, "recording", lambda recorded=recorded: recorded)
        training = Training.start(chosen, torch.device("cpu"))
        torch.nn.init.constant_(training.generator.get_parameter("conv_last.bias"), math.inf)
        ranker = White()
        objective = Objective(chosen, [(ranker, 1.0)], None)
        step = Step(training, objective, Processes(0, 1, torch.device("cpu")), False)
        with pytest.raises(TrainingDiverged, match=message):
            step(batch)


class White(Recordable):
    """Any image is as good as a white one."""

    def __init__(self) -> None:
        super().__init__(VGG(8, 4), higher_is_better=False, device="cpu")

    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        return images.clamp(1, 1).mean((1, 2, 3)).double()


def random_batch(count: int, side: int) -> Batch:
    random = torch.Generator().manual_seed(0)
    hr = torch.randint(256, (count, 3, side, side), generator=random).byte()
    return Batch(hr[:, :, ::4, ::4].contiguous(), hr)


def test_the_average_follows_as_torch_has_it(config: MakeConfig) -> None:
    training = Training.start(config(optimiser={"ema": 0.9}), torch.device("cpu"))
    assert training.average is not None
    ema = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
    expected = AveragedModel(training.generator, multi_avg_fn=ema)
    expected.update_parameters(training.generator)
    for seed in (1, 2):
        with torch.no_grad():
            for parameter in training.generator.parameters():
                parameter.add_(torch.randn(parameter.shape).mul_(seed))
        training.follow()
        expected.update_parameters(training.generator)
    for key, value in expected.module.state_dict().items():
        assert torch.equal(training.average.module.state_dict()[key], value)


def test_a_step_counts_what_the_average_has_seen(config: MakeConfig, tmp_path: Path) -> None:
    train(config(optimiser={"ema": 0.9}, run={"steps": 3}), tmp_path)
    assert load_state(tmp_path / STATE_FILE)["networks"]["average"]["n_averaged"] == 4


def test_a_state_from_a_gpu_goes_on_on_a_cpu(gan: MakeConfig, tmp_path: Path) -> None:
    """There the optimiser was another kernel, with its rate in a tensor."""
    train(gan(run={"steps": 4}), tmp_path / "straight")
    train(gan(run={"steps": 2}), tmp_path / "moved")
    state = load_state(tmp_path / "moved" / STATE_FILE)
    for optimiser in state["optimisers"].values():
        rate = torch.tensor(9.0)
        optimiser["param_groups"][0].update(lr=rate, fused=True, capturable=True)
    save_state(tmp_path / "moved" / STATE_FILE, state)
    train(gan(run={"steps": 4}), tmp_path / "moved")
    found, expected = (
        load_state(tmp_path / name / STATE_FILE)["networks"] for name in ("moved", "straight")
    )
    for name, network in expected.items():
        for key, value in network.items():
            assert torch.equal(found[name][key], value)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN takes the same kernels each time, and none that adds in any order."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def losses_of(
    config: TrainConfig, folder: Path, rankers: Rankers = ()
) -> list[Mapping[str, float]]:
    found: list[Mapping[str, float]] = []
    train(config, folder, rankers=rankers, on_step=lambda _, values: found.append(dict(values)))
    return found


@pytest.mark.cuda
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("kind", ["srresnet", "srgan", "ranksrgan", "relativistic"])
def test_recorded_steps_are_the_steps_to_the_bit(
    config: MakeConfig, gan: MakeConfig, tmp_path: Path, kind: str
) -> None:
    found = {}
    for graph in (True, False):
        run = {**ON_A_GPU, "graph": graph}
        rankers: Rankers = []
        if kind == "srresnet":
            chosen = config(run=run, optimiser={"ema": 0.9, "warmup": 7})
        elif kind == "srgan":
            chosen = gan(run=run, optimiser={"accumulate": 2})
        elif kind == "ranksrgan":
            chosen, rankers = gan(run=run, losses={"rank": {"weight": 0.1}}), [(vgg_ranker(), 1.0)]
        else:
            relativistic = {"weight": 0.01, "criterion": "relativistic"}
            chosen = gan(run=run, losses={"adversarial": relativistic})
        folder = tmp_path / str(graph)
        losses = losses_of(chosen, folder, rankers)
        found[graph] = losses, load_state(folder / STATE_FILE)["networks"]
    assert len(found[True][0]) == 10
    assert found[True][0] == found[False][0]
    for name, network in found[False][1].items():
        for key, value in network.items():
            assert torch.equal(found[True][1][name][key], value), f"{name}.{key}"


@pytest.mark.cuda
@pytest.mark.usefixtures("deterministic")
def test_a_recorded_training_continues_as_if_nothing_had_been(
    gan: MakeConfig, tmp_path: Path
) -> None:
    chosen = {"losses": {"rank": {"weight": 0.1}}, "optimiser": {"ema": 0.9}}
    rankers: Rankers = [(vgg_ranker(), 1.0)]
    straight = losses_of(gan(run=ON_A_GPU, **chosen), tmp_path / "straight", rankers)
    first = losses_of(gan(run={**ON_A_GPU, "steps": 5}, **chosen), tmp_path / "run", rankers)
    second = losses_of(gan(run=ON_A_GPU, **chosen), tmp_path / "run", rankers)
    assert first + second == straight
    files = [tmp_path / name / "generator.safetensors" for name in ("run", "straight")]
    found, expected = (load_weights(file).tensors for file in files)
    for key, value in expected.items():
        assert torch.equal(found[key], value)


@pytest.mark.cuda
def test_a_recorded_step_that_breaks_down_stops_with_its_batch(
    gan: MakeConfig, tmp_path: Path
) -> None:
    steps: list[int] = []
    bursting = {"kind": "multistep", "milestones": [6], "factor": 1e30}
    with pytest.raises(TrainingDiverged, match=r"step 7: .*are in .*diverged-step-7\.pt"):
        train(
            gan(run=ON_A_GPU, optimiser={"schedule": bursting}),
            tmp_path,
            on_step=lambda step, _: steps.append(step),
        )
    assert steps == [1, 2, 3, 4, 5, 6]
    kept = torch.load(tmp_path / "diverged-step-7.pt", weights_only=True)
    assert kept["step"] == 7
    assert kept["hr"].shape == (2, 3, 64, 64)


@pytest.mark.cuda
@pytest.mark.usefixtures("deterministic")
def test_a_step_that_asks_a_service_is_recorded_around_it(gan: MakeConfig, tmp_path: Path) -> None:
    """To the bit the steps that are launched one by one, the Ranker's recorded gradient too."""
    address = f"unix:{tmp_path}/ranker.sock"
    found = {}
    # In bfloat16 a training allows TF32 in its process, which here is the service's too.
    run = {**ON_A_GPU, "precision": "float32"}
    with serving(vgg_ranker(), address):
        for graph in (True, False):
            chosen = gan(run={**run, "graph": graph}, losses={"rank": {"weight": 0.1}})
            folder = tmp_path / str(graph)
            losses = losses_of(chosen, folder, [(connect_scorer(address, "small"), 1.0)])
            found[graph] = losses, load_weights(folder / "generator.safetensors").tensors
    assert found[True][0] == found[False][0]
    assert len({step["rank"] for step in found[True][0]}) == 10
    for key, value in found[False][1].items():
        assert torch.equal(found[True][1][key], value), key


def state_of(training: Training) -> dict[str, torch.Tensor]:
    assert training.discriminator is not None
    networks = (training.generator, training.discriminator)
    return {
        f"{number}.{key}": value.clone()
        for number, network in enumerate(networks)
        for key, value in network.state_dict().items()
    }


@pytest.mark.cuda
def test_a_recorded_step_whose_service_goes_changes_nothing(
    gan: MakeConfig, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/ranker.sock"
    chosen = gan(run=ON_A_GPU, losses={"rank": {"weight": 0.1}})
    device, batch = torch.device("cuda"), random_batch(2, 64)
    with serving(vgg_ranker(), address) as server:
        ranker = connect_scorer(address, "small", retry_for=0.3)
        training = Training.start(chosen, device)
        objective = Objective(chosen, [(ranker, 1.0)], None)
        step = Step(training, objective, Processes(0, 1, device), True)
        for _ in range(6):
            step(batch)
        before = state_of(training)
        server.stop()
        with pytest.raises(ServiceUnavailable):
            step(batch)
    for key, value in state_of(training).items():
        assert torch.equal(value, before[key]), key
    with serving(vgg_ranker(), address):
        assert math.isfinite(step(batch)["rank"])
        torch.nn.init.constant_(training.generator.get_parameter("conv_last.bias"), math.nan)
        with pytest.raises(TrainingDiverged, match="the generator makes pixels that are not"):
            step(batch)


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_compiled_steps_are_recorded_too(
    gan: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    compiled, plain = (
        losses_of(gan(run={**ON_A_GPU, "compile": compile_}), tmp_path / str(compile_))
        for compile_ in (True, False)
    )
    assert caplog.text.count("a step is recorded as a CUDA graph") == 2
    for ours, theirs in zip(compiled, plain, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-2)
