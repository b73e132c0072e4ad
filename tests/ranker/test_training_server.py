"""Trainings as operations of a real server, which is killed and started again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.discovery import open_pair_source
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
    RankSRGANError,
    RequestCancelled,
    UnknownName,
)
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.v1 import job_pb2, ranker_training_pb2
from ranksrgan.ranker import VGG12, TrainConfig, TrainResult, cli, load_ranker, train
from ranksrgan.ranker.heads import Head, heads_about
from tests.contracts.served import PATIENCE, until
from tests.contracts.trials import is_alive
from tests.ranker.training_service import RankerServing, write_dataset

pytestmark = pytest.mark.timeout(4 * PATIENCE)

CONFIG: dict[str, Any] = {
    "width": 2,
    "batch": 2,
    "steps": 12,
    "validate_every": 4,
    "save_every": 2,
    "log_every": 3,
    "precision": "float32",
    "device": "cpu",
}
REQUEST = TrainingRequest(
    dataset="datasets/noise", split="train", validation_split="val", config=CONFIG
)
LEVELS = ("low", "high")

logger = logging.getLogger(__name__)


def request(**changes: Any) -> TrainingRequest:
    return REQUEST.model_copy(update=changes)


def configured(**changes: Any) -> TrainingRequest:
    return request(config={**CONFIG, **changes})


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankerServing]:
    """A server of trainings, and of a Ranker with two heads."""
    root = tmp_path_factory.mktemp("root")
    scores = {"train": [(float(n), n + 1.0) for n in range(5)], "val": [(2.0, 1.0), (3.0, 4.0)]}
    write_dataset(root / "datasets" / "noise", scores, LEVELS)
    write_dataset(root / "datasets" / "gated", scores, LEVELS)
    tied = [(1.0, 1.0), (1.0, 1.0)]
    write_dataset(
        root / "datasets" / "ties", {"train": [(1.0, 1.0), (2.0, 2.0)], "val": tied}, LEVELS
    )
    write_dataset(root / "datasets" / "single", {"train": [(1.0,), (2.0,)]}, ("only",))
    (root / "datasets" / "empty").mkdir()
    outside = tmp_path_factory.mktemp("outside")
    write_dataset(outside / "noise", scores, LEVELS)
    (root / "datasets" / "link").symlink_to(outside / "noise")
    _write_two_heads(root / "heads.safetensors")
    named = [f"niqe={root}/heads.safetensors", f"ma={root}/heads.safetensors?head=ma&device=cpu"]
    server = RankerServing(root, "--ranker", *named)
    server.start()
    yield server
    server.end()


@pytest.fixture
def gate(serving: RankerServing) -> Iterator[Path]:
    """Lets six steps' contents of ``datasets/gated`` through, and all when it is unlinked."""
    path = serving.gate("datasets/gated")
    path.write_text(str(6 * CONFIG["batch"]))
    yield path
    path.unlink(missing_ok=True)


GATED = request(dataset="datasets/gated")


@pytest.fixture
def start_long(serving: RankerServing) -> Iterator[Callable[..., RemoteOperation]]:
    """Starts a training that does not end by itself, and returns when it is under way."""
    started: list[RemoteOperation] = []

    def start(ranker: str, **changes: Any) -> RemoteOperation:
        operation = serving.training.train(ranker, configured(steps=10**6, **changes))
        started.append(operation)
        until(lambda: operation.progress().step > 0)
        return operation

    yield start
    for operation in started:
        operation.cancel()


def trained_here(serving: RankerServing, folder: Path, wanted: TrainingRequest) -> TrainResult:
    """The same training without a service, from one end to the other."""
    learn, validate = (
        open_pair_source(str(serving.root / wanted.dataset), split=split)
        for split in (wanted.split, wanted.validation_split)
    )
    return train(TrainConfig.model_validate(wanted.config), learn, validate, folder)


def test_a_ranker_is_trained(serving: RankerServing, tmp_path: Path) -> None:
    operation = serving.training.train("first", REQUEST)
    trained = operation.result(PATIENCE)
    assert isinstance(trained, ranker_training_pb2.TrainedRanker)
    expected = trained_here(serving, tmp_path, REQUEST)
    assert expected.evaluation is not None
    assert trained.parameters_hash == load_weights(expected.weights).sha256
    weights = serving.root / "rankers" / "first" / "ranker.safetensors"
    assert load_weights(weights).sha256 == trained.parameters_hash
    assert (trained.name, trained.metric, trained.higher_is_better) == (
        "rankers/first",
        "rmse",
        False,
    )
    assert (trained.step, trained.best_step) == (12, expected.best_step)
    assert trained.validation.step == expected.best_step
    assert trained.validation.srocc == expected.evaluation.srocc
    assert trained.validation.srocc_per_content == expected.evaluation.srocc_per_content
    assert trained.validation.pair_accuracy == expected.evaluation.pair_accuracy
    last = operation.progress()
    assert isinstance(last, ranker_training_pb2.TrainRankerMetadata)
    assert (last.ranker, last.step, last.steps) == ("rankers/first", 12, 12)
    assert last.job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert last.HasField("loss")
    assert last.loss > 0
    assert last.best == trained.validation
    assert last.eta.ToNanoseconds() == 0
    # Asked for once more, it is there already; with more steps, it goes on.
    again = serving.training.train("first", REQUEST)
    assert again.result(PATIENCE) == trained
    assert (again.progress().step, again.progress().best) == (12, trained.validation)
    assert serving.training.train("first", configured(steps=14)).result(PATIENCE).step == 14


def test_without_validation_the_last_weights_stay(serving: RankerServing) -> None:
    wanted = request(split="", validation_split="", ties="keep", min_gap=0.5)
    operation = serving.training.train("unvalidated", wanted)
    trained = operation.result(PATIENCE)
    assert (trained.step, trained.best_step) == (12, 12)
    assert not trained.HasField("validation")
    assert not operation.progress().HasField("best")


@pytest.mark.slow  # the same code that generators' trainings are served by
def test_the_death_of_the_client_ends_nothing(serving: RankerServing, gate: Path) -> None:
    submit = (
        "import sys, time; from ranksrgan.contracts.ranker_training import TrainingRequest; "
        "from ranksrgan.contracts.clients.ranker_training import RankerTrainingClient; "
        "request = TrainingRequest.model_validate_json(sys.argv[2]); "
        "operation = RankerTrainingClient(sys.argv[1]).train('orphan', request); "
        "print(operation.name, flush=True); time.sleep(3600)"
    )
    command = [sys.executable, "-c", submit, serving.address, GATED.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        name = client.stdout.readline().strip()
        client.kill()
    gate.unlink()
    assert serving.operation(name).result(PATIENCE).step == 12


@pytest.mark.slow  # the same code that generators' trainings are served by
@pytest.mark.parametrize("with_its_job", [True, False])
def test_a_killed_server_costs_no_bit(
    serving: RankerServing, gate: Path, tmp_path: Path, with_its_job: bool
) -> None:
    ranker = f"killed-{with_its_job}"
    operation = serving.training.train(ranker, GATED)
    worker = serving.worker(operation)
    until(lambda: serving.saved_step(f"rankers/{ranker}") == 6)
    serving.end(signal.SIGKILL)
    assert is_alive(worker)
    if with_its_job:
        os.kill(worker, signal.SIGKILL)
        until(lambda: not is_alive(worker))
    gate.unlink()
    serving.start()
    trained = operation.result(PATIENCE)
    assert operation.progress().job.attempts == (2 if with_its_job else 1)
    expected = trained_here(serving, tmp_path, GATED)
    assert trained.parameters_hash == load_weights(expected.weights).sha256
    assert (trained.step, trained.best_step) == (expected.step, expected.best_step)


@pytest.mark.slow  # the same code that generators' trainings are served by
def test_a_server_that_is_stopped_lets_the_next_go_on(
    serving: RankerServing, start_long: Callable[..., RemoteOperation]
) -> None:
    """The work saves what it has within the grace, whatever ``save_every`` is."""
    operation = start_long("stopped", save_every=10**6)
    serving.end()
    saved = serving.saved_step("rankers/stopped")
    assert saved > 0
    serving.start()
    until(lambda: operation.progress().step > saved)
    until(lambda: operation.progress().HasField("eta"))
    progress = operation.progress()
    assert (progress.job.attempts, progress.steps) == (2, 10**6)


@pytest.mark.slow  # the same code that generators' trainings are served by
def test_what_is_cancelled_can_be_continued(
    serving: RankerServing,
    start_long: Callable[..., RemoteOperation],
    tmp_path: Path,
) -> None:
    operation = start_long("cancelled")
    began = time.monotonic()
    operation.cancel()
    assert operation.wait(PATIENCE)
    took = time.monotonic() - began
    logger.info("cancelled within %.2f s", took)
    assert took < 10
    with pytest.raises(RequestCancelled, match=operation.name):
        operation.result()
    saved = serving.saved_step("rankers/cancelled")
    assert saved > 0
    wanted = configured(steps=saved + 3)
    goes_on = serving.training.train("cancelled", wanted)
    trained = goes_on.result(PATIENCE)
    assert trained.step == saved + 3
    expected = trained_here(serving, tmp_path, wanted)
    assert trained.parameters_hash == load_weights(expected.weights).sha256


def test_one_ranker_is_trained_once_at_a_time(serving: RankerServing, gate: Path) -> None:
    operation = serving.training.train("busy", GATED, request_id="mine")
    assert serving.training.train("busy", GATED, request_id="mine").name == operation.name
    with pytest.raises(InvalidInput, match="rankers/busy already") as taken:
        serving.training.train("busy", GATED)
    assert taken.value.field == "ranker_id"
    with pytest.raises(InvalidInput, match="another request") as caught:
        serving.training.train("other", GATED, request_id="mine")
    assert caught.value.field == "request_id"
    gate.unlink()
    operation.result(PATIENCE)
    assert serving.training.train("busy", GATED, request_id="mine").name == operation.name


def test_command_line(
    serving: RankerServing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [f"{key}={value}" for key, value in CONFIG.items()]
    train_there = ["remote", "train", "--at", serving.address, "--data", "datasets/noise", *short]
    assert cli.main([*train_there, "-o", "rankers/asked"]) == 0
    name, best_step, *figures = capsys.readouterr().out.splitlines()
    assert serving.operation(name).done
    assert best_step.startswith("rankers/asked: step ")
    assert [line.split()[0] for line in figures] == ["srocc", "srocc_per_content", "pair_accuracy"]
    with monkeypatch.context() as patched:
        patched.setattr(RemoteOperation, "wait", _interrupt)
        long = [*train_there, "steps=1000000", "--val-split", "none"]
        assert cli.main([*long, "-o", "rankers/long"]) == 130
    command = capsys.readouterr().err.splitlines()[-1].split()
    assert command[:4] == ["ranksrgan-ranker", "remote", "watch|cancel", serving.address]
    assert not serving.operation(command[4]).done
    assert cli.main(["remote", "cancel", *command[3:]]) == 0
    assert capsys.readouterr().out == f"{command[4]} is cancelled\n"
    assert cli.main(["remote", "watch", *command[3:]]) == 1
    assert "was cancelled" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["-o", "runs/faces"], "rankers/NAME"),
        (["-o", "rankers"], "rankers/NAME"),
        (["-o", "rankers/faces", "stesp=1"], "did you mean steps"),
    ],
)
def test_what_is_no_request_is_not_sent(
    flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["remote", "train", "--at", "unix:/nowhere", "--data", "datasets/x"]
    assert cli.main([*ask, *flags]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "error", "field", "says"),
    [
        (request(dataset="../outside/noise"), InvalidInput, "dataset", "datasets/NAME"),
        (request(dataset="/etc/passwd"), InvalidInput, "dataset", "datasets/NAME"),
        (request(dataset="grpc://10.0.0.1:1/x"), InvalidInput, "dataset", "datasets/NAME"),
        (request(dataset="datasets/.."), InvalidInput, "dataset", "datasets/NAME"),
        (request(dataset="datasets/noise?split=val"), InvalidInput, "dataset", "datasets/NAME"),
        (request(dataset="rankers/first"), InvalidInput, "dataset", "datasets/NAME"),
        (request(dataset=""), InvalidInput, "dataset", "datasets/NAME"),
        (request(dataset="datasets/absent"), UnknownName, "dataset", "no datasets/absent"),
        (request(dataset="datasets/link"), UnknownName, "dataset", "no datasets/link"),
        (request(dataset="datasets/empty"), InvalidDataset, "dataset", "datasets/empty"),
        (request(dataset="datasets/single"), InvalidDataset, "dataset", "one version only"),
        (request(dataset="datasets/ties"), InvalidDataset, "dataset", "every pair is a tie"),
        (request(min_gap=50.0), InvalidDataset, "dataset", "every pair is a tie"),
        (request(split="test"), InvalidDataset, "split", "it has train, val"),
        (request(validation_split="x"), InvalidDataset, "validation_split", "it has train, val"),
        (
            request(validation_dataset="datasets/absent"),
            UnknownName,
            "validation_dataset",
            "no datasets/absent",
        ),
        (
            request(validation_dataset="datasets/ties", validation_split="test"),
            InvalidDataset,
            "validation_split",
            "it has train",
        ),
        (
            request(validation_dataset="datasets/ties"),
            InvalidDataset,
            "validation_dataset",
            "all values of rmse are equal",
        ),
        (
            request(validation_dataset="datasets/noise", validation_split=""),
            InvalidInput,
            "validation_split",
            "which one",
        ),
        (request(min_gap=-1.0), InvalidInput, "min_gap", "0 or more"),
        (request(min_gap=float("nan")), InvalidInput, "min_gap", "0 or more"),
        (configured(stesp=3), InvalidConfig, "stesp", "did you mean steps"),
        (configured(steps=2.5), InvalidConfig, "steps", "integer"),
        (configured(width=10**6), InvalidConfig, "width", "allows, 256"),
        (configured(steps="many"), InvalidConfig, "steps", "integer"),
        (configured(losses={"margin": -1}), InvalidConfig, "losses.margin", "greater"),
        (configured(lr=float("inf")), InvalidConfig, "config", "config"),
        (configured(further=["ma"]), InvalidDataset, "further", "no values of ma"),
        (configured(min_gap=1e3), InvalidConfig, "min_gap", "no two versions of a content differ"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    serving: RankerServing,
    wanted: TrainingRequest,
    error: type[RankSRGANError],
    field: str,
    says: str,
) -> None:
    with pytest.raises(error, match=says) as caught:
        serving.training.train("refused", wanted)
    assert type(caught.value) is error
    assert caught.value.field == field
    assert str(serving.root) not in str(caught.value)
    assert not (serving.root / "rankers" / "refused").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "x" * 101])
def test_names_of_rankers_are_checked(serving: RankerServing, name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name") as caught:
        serving.training.train(name, REQUEST)
    assert caught.value.field == "ranker_id"


@pytest.mark.slow  # the same code that generators' trainings are served by
def test_a_ranker_of_other_settings_is_not_continued(serving: RankerServing) -> None:
    serving.training.train("taken", REQUEST).result(PATIENCE)
    before = (serving.root / "rankers" / "taken" / "config.yaml").read_text()
    operation = serving.training.train("taken", configured(seed=5))
    with pytest.raises(InvalidCheckpoint, match="seed was 0 and is 5") as caught:
        operation.result(PATIENCE)
    assert caught.value.field == "ranker_id"
    assert str(serving.root) not in str(caught.value)
    assert (serving.root / "rankers" / "taken" / "config.yaml").read_text() == before


def test_the_same_server_scores(serving: RankerServing) -> None:
    images = torch.rand(2, 3, 40, 40)
    for name, head, higher in (("niqe", "niqe", False), ("ma", "ma", True)):
        scorer = connect_scorer(serving.address, name, timeout=PATIENCE)
        here = load_ranker(serving.root / "heads.safetensors", head=head, device="cpu")
        assert scorer.info.higher_is_better is higher
        assert scorer.info.parameters_hash == here.info.parameters_hash
        assert torch.equal(scorer.score(images), here.score(images))


def _interrupt(operation: RemoteOperation, timeout: float | None = None) -> bool:
    raise KeyboardInterrupt


def _write_two_heads(path: Path) -> None:
    network = VGG12(2, heads=2)
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture=network.architecture,
        options=network.options,
        about=heads_about([Head("niqe", False), Head("ma", True)]),
    )
