"""Trainings as operations of a real server, which is killed and started again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.client import connect_upscaler
from ranksrgan.contracts.clients.generator_training import GeneratorTrainingClient
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.config import dump_yaml, make_config
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InvalidConfig,
    InvalidInput,
    RankSRGANError,
    RequestCancelled,
    UnknownName,
)
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.contracts.v1 import generator_training_pb2, job_pb2
from ranksrgan.ranker import VGG12
from ranksrgan.srgan import TrainResult, cli, open_generator, train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.discriminators import VGGDiscriminator, save_discriminator
from ranksrgan.srgan.generators.architectures import save_generator
from ranksrgan.srgan.generators.srresnet import SRResNet
from tests.contracts.served import PATIENCE, Serving, offering, until
from tests.contracts.trials import is_alive
from tests.srgan.gated_ranker import GatedRanker
from tests.srgan.pictures import write_waves

pytestmark = pytest.mark.timeout(4 * PATIENCE)

STEPS = 8
CONFIG: dict[str, Any] = {
    "generator": {"features": 4, "blocks": 1},
    "discriminator": {"width": 2},
    "data": {"hr": "images/waves", "crop": 32, "batch": 2, "workers": 1},
    "losses": {"pixel": {"weight": 0.1}, "adversarial": {"weight": 0.01}},
    "validation": {"hr": "images/held_out", "every": 3, "best": "psnr"},
    "run": {
        "steps": STEPS,
        "save_every": 2,
        "precision": "float32",
        "device": "cpu",
        "tensorboard": False,
    },
}

logger = logging.getLogger(__name__)


def joined(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Sections joined key by key; dotted keys reach into them."""
    content = json.loads(json.dumps(base))
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return content


def configured(**changes: Any) -> dict[str, Any]:
    return joined(CONFIG, {key.replace("__", "."): value for key, value in changes.items()})


def with_ranker(spec: str, **changes: Any) -> dict[str, Any]:
    rank = {"weight": 0.5, "rankers": [{"spec": spec}]}
    return configured(losses__rank=rank, **changes)


GATED = with_ranker("gated")


class GeneratorServing(Serving):
    """A server of generators' trainings, with a Ranker ``gated`` that the operator has named."""

    def __init__(self, root: Path, *flags: str) -> None:
        entry = "[ranksrgan.scorers]\ngated = gated_ranker:open_gated\n"
        self.gate = root / "gate"
        super().__init__(
            root,
            "ranksrgan.srgan.cli",
            "--ranker",
            f"gated=gated?gate={self.gate}",
            *flags,
            environment=offering(root, entry, Path(__file__).parent),
        )
        self.training = GeneratorTrainingClient(self.address, timeout=PATIENCE, retry_for=PATIENCE)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GeneratorServing]:
    """A server of trainings, and of one generator."""
    root = tmp_path_factory.mktemp("root")
    outside = tmp_path_factory.mktemp("outside")
    write_waves(root / "images" / "waves", 4)
    write_waves(root / "images" / "held_out", 2, first=4)
    write_waves(outside / "waves", 2)
    (root / "images" / "empty").mkdir()
    (root / "images" / "link").symlink_to(outside / "waves")
    torch.manual_seed(3)
    for folder in (root / "models", outside):
        save_generator(folder / "start.safetensors", SRResNet(4, 1), {})
        save_discriminator(folder / "d.safetensors", VGGDiscriminator(2), {})
    (root / "models" / "link.safetensors").symlink_to(outside / "start.safetensors")
    for ranker in (root / "rankers" / "tiny", outside / "tiny"):
        _write_ranker(ranker / "ranker.safetensors")
    (root / "rankers" / "link").symlink_to(outside / "tiny")
    (root / "rankers" / "inner").mkdir()
    inner = root / "rankers" / "inner" / "ranker.safetensors"
    inner.symlink_to(outside / "tiny" / "ranker.safetensors")
    (root / "server.yaml").write_text("upscale_stream: {max_pixels: 5000}\n", encoding="utf-8")
    server = GeneratorServing(
        root,
        *("--model", f"small={root}/models/start.safetensors"),
        *("--config", str(root / "server.yaml"), "--spool", str(outside)),
    )
    server.start()
    yield server
    server.end()


@pytest.fixture
def gate(serving: GeneratorServing) -> Iterator[Path]:
    """Lets four steps with the Ranker ``gated`` pass, and all when it is unlinked."""
    serving.gate.write_text("4")
    yield serving.gate
    serving.gate.unlink(missing_ok=True)


@pytest.fixture
def start_long(serving: GeneratorServing) -> Iterator[Callable[..., RemoteOperation]]:
    """Starts a training that does not end by itself, and returns when it is under way."""
    started: list[RemoteOperation] = []

    def start(generator: str, **changes: Any) -> RemoteOperation:
        wanted = configured(run__steps=10**6, validation__hr=None, **changes)
        operation = serving.training.train(generator, wanted)
        started.append(operation)
        until(lambda: operation.progress().step > 0)
        return operation

    yield start
    for operation in started:
        operation.cancel()


def trained_here(serving: Serving, folder: Path, wanted: dict[str, Any]) -> TrainResult:
    """The same training without a service, from one end to the other."""
    paths: dict[str, Any] = {
        f"{section}.hr": str(serving.root / wanted[section]["hr"])
        for section in ("data", "validation")
        if wanted[section]["hr"]
    }
    rankers = []
    for ranker in wanted["losses"].pop("rank", {}).get("rankers", []):
        assert ranker["spec"] == "gated"
        paths["losses.rank.weight"] = 0.5
        rankers.append((GatedRanker(folder / "none"), 1.0))
    config = make_config(TrainConfig, joined(wanted, paths))
    return train(config, folder, rankers=rankers)


def hashes(folder: Path) -> list[str]:
    names = ("generator.safetensors", "discriminator.safetensors", "best.safetensors")
    return [load_weights(folder / name).sha256 for name in names]


def test_a_generator_is_trained(serving: GeneratorServing, tmp_path: Path) -> None:
    operation = serving.training.train("first", CONFIG)
    trained = operation.result(PATIENCE)
    assert isinstance(trained, generator_training_pb2.TrainedGenerator)
    expected = trained_here(serving, tmp_path, configured())
    assert hashes(serving.root / "generators" / "first") == hashes(tmp_path)
    assert expected.best is not None
    best = load_weights(expected.best)
    assert trained.parameters_hash == load_weights(expected.generator).sha256
    assert trained.best_parameters_hash == best.sha256
    assert (trained.name, trained.architecture) == ("generators/first", "srresnet")
    assert (trained.scale, trained.step) == (4, STEPS)
    scores = {name: value for name, value in expected.scores.items() if value is not None}
    assert scores["psnr"] > 0
    assert (trained.validation.step, dict(trained.validation.scores)) == (STEPS, scores)
    assert trained.best_validation.step == best.about["step"]
    assert trained.best_validation.scores["psnr"] == best.about["scores"]["psnr"]
    last = operation.progress()
    assert isinstance(last, generator_training_pb2.TrainGeneratorMetadata)
    assert (last.generator, last.step, last.steps) == ("generators/first", STEPS, STEPS)
    assert last.job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert set(last.losses) == {"pixel", "adversarial", "generator", "discriminator"}
    assert last.losses["generator"] > 0
    assert last.validation == trained.validation
    assert last.time_per_step.ToNanoseconds() > 0
    assert last.eta.ToNanoseconds() == 0
    # Asked for once more, it is there already; with more steps, it goes on.
    again = serving.training.train("first", CONFIG)
    assert again.result(PATIENCE) == trained
    assert (again.progress().step, again.progress().validation) == (STEPS, trained.validation)
    longer = serving.training.train("first", configured(run__steps=STEPS + 2))
    assert longer.result(PATIENCE).step == STEPS + 2


def test_a_drift_alarm_ends_a_training_with_a_result(serving: GeneratorServing) -> None:
    """A new generator's pictures are dark. As they get brighter PSNR rises, and so does the score
    of the Ranker, by which lower is better."""
    alarm = {"optimised": ["psnr"], "held_out": ["ranker"], "over": 3, "stop": True}
    wanted = with_ranker(
        "gated",
        losses__rank__weight=0,
        optimiser__generator_lr=2e-3,
        validation__every=1,
        validation__drift=alarm,
        run__steps=200,
    )
    operation = serving.training.train("drifted", wanted)
    trained = operation.result(PATIENCE)
    assert trained.step == 2
    (said,) = trained.alarms
    assert "from step 0 to 2 psnr" in said
    assert operation.progress().validation == trained.validation


def test_without_validation_the_last_weights_are_all(serving: GeneratorServing) -> None:
    wanted = configured(validation__hr=None, run__steps=2)
    operation = serving.training.train("unvalidated", wanted)
    trained = operation.result(PATIENCE)
    assert trained.step == 2
    assert not trained.HasField("validation")
    assert not trained.HasField("best_validation")
    assert not trained.best_parameters_hash
    assert not operation.progress().HasField("validation")


def test_one_training_starts_from_another_and_learns_from_a_ranker_of_the_root(
    serving: GeneratorServing,
) -> None:
    serving.training.train("before", configured(run__steps=2)).result(PATIENCE)
    begun_anew = with_ranker(
        "rankers/tiny?device=cpu",
        generator__weights="generators/before",
        discriminator__weights="generators/before",
        validation__best="ranker",
        run__steps=1,
    )
    operation = serving.training.train("after", begun_anew)
    trained = operation.result(PATIENCE)
    assert trained.validation.scores["ranker"]
    assert operation.progress().losses["rank"] > 0
    before, after = (
        load_weights(serving.root / "generators" / name / "discriminator.safetensors").tensors
        for name in ("before", "after")
    )
    weight = next(iter(before))
    # One step of Adam away from where the other has ended.
    assert 0 < (after[weight] - before[weight]).abs().max() < 2e-4
    from_file = configured(
        generator__weights="models/start", discriminator__weights="models/d", run__steps=1
    )
    assert serving.training.train("from-file", from_file).result(PATIENCE).step == 1


@pytest.mark.slow  # the operations' test_servicer.py has a client that dies, and its server too
def test_the_death_of_the_client_ends_nothing(serving: GeneratorServing, gate: Path) -> None:
    submit = (
        "import json, sys, time; "
        "from ranksrgan.contracts.clients.generator_training import GeneratorTrainingClient; "
        "client = GeneratorTrainingClient(sys.argv[1]); "
        "print(client.train('orphan', json.loads(sys.argv[2])).name, flush=True); time.sleep(3600)"
    )
    command = [sys.executable, "-c", submit, serving.address, json.dumps(GATED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        name = client.stdout.readline().strip()
        client.kill()
    gate.unlink()
    assert serving.operation(name).result(PATIENCE).step == STEPS


@pytest.mark.parametrize("with_its_job", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_killed_server_costs_no_bit(
    serving: GeneratorServing, gate: Path, tmp_path: Path, with_its_job: bool
) -> None:
    generator = f"killed-{with_its_job}"
    operation = serving.training.train(generator, GATED)
    worker = serving.worker(operation)
    until(lambda: serving.saved_step(f"generators/{generator}") == 4)
    serving.end(signal.SIGKILL)
    assert is_alive(worker)
    if with_its_job:
        os.kill(worker, signal.SIGKILL)
        until(lambda: not is_alive(worker))
    gate.unlink()
    serving.start()
    trained = operation.result(PATIENCE)
    assert operation.progress().job.attempts == (2 if with_its_job else 1)
    trained_here(serving, tmp_path, json.loads(json.dumps(GATED)))
    assert hashes(serving.root / "generators" / generator) == hashes(tmp_path)
    assert trained.parameters_hash == hashes(tmp_path)[0]


@pytest.mark.slow  # as one that is killed; the operations' test_servicer.py stops one
def test_a_server_that_is_stopped_lets_the_next_go_on(
    serving: GeneratorServing, start_long: Callable[..., RemoteOperation]
) -> None:
    """The work saves what it has within the grace, whatever ``save_every`` is."""
    operation = start_long("stopped", run__save_every=10**6)
    seen = operation.progress().step
    serving.end()
    saved = serving.saved_step("generators/stopped")
    assert saved >= seen
    serving.start()
    until(lambda: operation.progress().step > saved)
    until(lambda: operation.progress().HasField("eta"))
    progress = operation.progress()
    assert (progress.job.attempts, progress.steps) == (2, 10**6)


@pytest.mark.slow  # as a cancelled build, in tests/rankdata/test_server.py
def test_what_is_cancelled_can_be_continued(
    serving: GeneratorServing, start_long: Callable[..., RemoteOperation], tmp_path: Path
) -> None:
    operation = start_long("cancelled")
    until(lambda: serving.saved_step("generators/cancelled") > 0)
    began = time.monotonic()
    operation.cancel()
    assert operation.wait(PATIENCE)
    took = time.monotonic() - began
    logger.info("cancelled within %.2f s", took)
    assert took < 10
    with pytest.raises(RequestCancelled, match=operation.name):
        operation.result()
    saved = serving.saved_step("generators/cancelled")
    assert saved > 0
    wanted = configured(run__steps=saved + 3, validation__hr=None)
    goes_on = serving.training.train("cancelled", wanted)
    trained = goes_on.result(PATIENCE)
    assert trained.step == saved + 3
    expected = trained_here(serving, tmp_path, wanted)
    assert trained.parameters_hash == load_weights(expected.generator).sha256


def test_one_generator_is_trained_once_at_a_time(serving: GeneratorServing, gate: Path) -> None:
    operation = serving.training.train("busy", GATED, request_id="mine")
    assert serving.training.train("busy", GATED, request_id="mine").name == operation.name
    with pytest.raises(InvalidInput, match="generators/busy already") as taken:
        serving.training.train("busy", GATED)
    assert taken.value.field == "generator_id"
    with pytest.raises(InvalidInput, match="another request") as caught:
        serving.training.train("other", GATED, request_id="mine")
    assert caught.value.field == "request_id"
    gate.unlink()
    operation.result(PATIENCE)
    assert serving.training.train("busy", GATED, request_id="mine").name == operation.name


@pytest.mark.slow
def test_a_second_training_waits_for_the_first(serving: GeneratorServing, gate: Path) -> None:
    first = serving.training.train("queued-first", GATED)
    until(lambda: serving.saved_step("generators/queued-first") == 4)
    second = serving.training.train("queued-second", configured(run__steps=2))
    assert second.progress().job.state == job_pb2.JOB_STATE_QUEUED
    assert not (serving.root / "generators" / "queued-second").exists()
    gate.unlink()
    assert first.result(PATIENCE).step == STEPS
    assert second.result(PATIENCE).step == 2
    ended, started = (o.progress().job for o in (first, second))
    assert ended.end_time.ToNanoseconds() <= started.start_time.ToNanoseconds()


def test_command_line(
    serving: GeneratorServing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_yaml(make_config(TrainConfig, configured(data__hr=None))))
    ask = ["remote", "train", "--at", serving.address, "--recipe", str(recipe)]
    ask += ["--hr", "images/waves", "run.steps=3"]
    assert cli.main([*ask, "-o", "generators/asked"]) == 0
    name, made, best = capsys.readouterr().out.splitlines()
    assert serving.operation(name).done
    assert made.startswith("generators/asked: step 3, niqe_dropped 2, psnr ")
    assert best.startswith("best: step 3, niqe_dropped 2, psnr ")
    with monkeypatch.context() as patched:
        patched.setattr(RemoteOperation, "wait", _interrupt)
        assert cli.main([*ask, "run.steps=1000000", "-o", "generators/long"]) == 130
    command = capsys.readouterr().err.splitlines()[-1].split()
    assert command[:3] == ["ranksrgan-srgan", "remote", "watch|cancel"]
    assert command[3] == serving.address
    operation = serving.operation(command[4])
    assert not operation.done
    assert cli.main(["remote", "cancel", *command[3:]]) == 0
    assert capsys.readouterr().out == f"{command[4]} is cancelled\n"
    assert cli.main(["remote", "watch", *command[3:]]) == 1
    assert "was cancelled" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recipe", "srrresnet"], "neither a recipe"),
        (
            ["--recipe", "srresnet", "run.stops=3"],
            "run.stops=3: unknown key; did you mean run.steps?",
        ),
        (["--recipe", "srresnet", "-o", "runs/x"], "generators/NAME"),
        (["--recipe", "srresnet", "-o", "generators"], "generators/NAME"),
    ],
)
def test_what_is_no_request_is_not_sent(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["remote", "train", "--at", "unix:/nowhere", "-o", "generators/x"]
    assert cli.main([*ask, *arguments]) == 1
    assert says in capsys.readouterr().err


ESCAPES = ["../outside/waves", "/etc", "images/..", "images/a/b", "file:///etc", "", "models/start"]


@pytest.mark.parametrize(
    ("wanted", "error", "field", "says"),
    [
        *((configured(data__hr=name), InvalidInput, "data.hr", "images/NAME") for name in ESCAPES),
        (configured(data__hr="images/absent"), UnknownName, "data.hr", "no images/absent"),
        (configured(data__hr="images/link"), UnknownName, "data.hr", "no images/link"),
        (configured(data__hr="images/empty"), InvalidInput, "data.hr", "holds no image"),
        (configured(data__hr=None), InvalidInput, "data.hr", "images/NAME"),
        (configured(data__hr=["images/waves"]), InvalidConfig, "data.hr", "path"),
        (configured(validation__hr="/etc"), InvalidInput, "validation.hr", "images/NAME"),
        *(
            (configured(**{f"{network}__weights": name}), error, f"{network}.weights", says)
            for network in ("generator", "discriminator")
            for name, error, says in (
                ("/etc/passwd", InvalidInput, "generators/NAME or models/NAME"),
                ("../outside/start.safetensors", InvalidInput, "generators/NAME or models/NAME"),
                ("models/../../outside/start", InvalidInput, "models/NAME"),
                ("models/link", UnknownName, "no models/link"),
                ("models/link.safetensors", UnknownName, "no models/link.safetensors"),
                ("models/absent", UnknownName, "no models/absent"),
                ("generators/absent", UnknownName, "no generators/absent"),
            )
        ),
        *(
            (with_ranker(spec), error, "losses.rank.rankers.0.spec", says)
            for spec, error, says in (
                ("grpc://10.0.0.1:1/niqe", InvalidInput, "rankers/NAME, ranker-niqe, gated"),
                ("unix:///tmp/s.sock/niqe", InvalidInput, "rankers/NAME, ranker-niqe, gated"),
                ("/etc/ranker.safetensors", InvalidInput, "rankers/NAME, ranker-niqe, gated"),
                ("ensemble?members=/etc/a.pth", InvalidInput, "rankers/NAME, ranker-niqe, gated"),
                ("gated?gate=/etc/passwd", InvalidInput, "rankers/NAME, ranker-niqe, gated"),
                ("rankers/../secret", InvalidInput, "rankers/NAME"),
                ("rankers/absent", UnknownName, "no rankers/absent"),
                ("rankers/link", UnknownName, "no rankers/link"),
                ("rankers/inner", UnknownName, "no rankers/inner"),
            )
        ),
        *(
            (
                configured(losses__perceptual={"weight": 1, "network": network}),
                error,
                "losses.perceptual.network",
                says,
            )
            for network, error, says in (
                ("/etc/vgg.pth", InvalidInput, "nor models/NAME"),
                ("vgg19.pth", InvalidInput, "nor models/NAME"),
                ("rankers/link", UnknownName, "no rankers/link"),
                ("models/link?layers=conv5_4", UnknownName, "no models/link"),
            )
        ),
        *(
            (configured(validation__scorers=["ssim", spec]), error, "validation.scorers.1", says)
            for spec, error, says in (
                ("nique", UnknownName, "nique"),
                ("niqe?bodrer=3", InvalidInput, "bodrer"),
                ("rankers/tiny", UnknownName, "rankers/tiny"),
                ("grpc://10.0.0.1:1/niqe", UnknownName, "grpc"),
                ("ensemble?members=/etc/a.pth", UnknownName, "ensemble"),
            )
        ),
        (configured(run__stops=3), InvalidConfig, "run.stops", "did you mean run.steps"),
        (configured(output="/tmp/x"), InvalidConfig, "output", "unknown key"),
        (configured(run__steps=2.5), InvalidConfig, "run.steps", "integer"),
        (configured(data__batch=10**9), InvalidConfig, "data.batch", "allows, 256"),
        (configured(validation__scorers=["rmse"] * 33), InvalidConfig, "validation.scorers", "33"),
        (configured(run__steps="many"), InvalidConfig, "run.steps", "integer"),
        (configured(data__crop=33), InvalidConfig, "", "multiple of the scale"),
        (
            with_ranker("rankers/tiny", losses__rank__jitter=1),
            InvalidConfig,
            "data.crop",
            "crop is 32 and losses.rank.jitter 1; .* takes 32 x 32 pixels and more",
        ),
        (configured(optimiser__generator_lr=float("inf")), InvalidConfig, "config", "config"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    serving: GeneratorServing,
    wanted: dict[str, Any],
    error: type[RankSRGANError],
    field: str,
    says: str,
) -> None:
    with pytest.raises(error, match=says) as caught:
        serving.training.train("refused", wanted)
    assert type(caught.value) is error
    assert (caught.value.field or "") == field
    assert str(serving.root) not in str(caught.value)
    assert not (serving.root / "generators" / "refused").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "x" * 101])
def test_names_of_generators_are_checked(serving: GeneratorServing, name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name") as caught:
        serving.training.train(name, CONFIG)
    assert caught.value.field == "generator_id"


def test_a_generator_of_other_settings_is_not_continued(serving: GeneratorServing) -> None:
    serving.training.train("taken", configured(run__steps=2)).result(PATIENCE)
    before = (serving.root / "generators" / "taken" / "config.yaml").read_text()
    operation = serving.training.train("taken", configured(run__steps=2, data__batch=3))
    with pytest.raises(InvalidConfig, match=r"data\.batch: 2 then, 3 now") as caught:
        operation.result(PATIENCE)
    assert caught.value.field == "generator_id"
    assert str(serving.root) not in str(caught.value)
    assert (serving.root / "generators" / "taken" / "config.yaml").read_text() == before


def test_what_only_the_work_finds_is_the_operations_error(serving: GeneratorServing) -> None:
    shutil.copytree(serving.root / "images" / "held_out", serving.root / "images" / "damaged")
    (serving.root / "images" / "damaged" / "x.png").write_bytes(b"no picture")
    operation = serving.training.train("damaged", configured(data__hr="images/damaged"))
    with pytest.raises(RankSRGANError, match=r"images/damaged/x\.png") as caught:
        operation.result(PATIENCE)
    assert str(serving.root) not in str(caught.value)


def test_the_same_server_enlarges(serving: GeneratorServing) -> None:
    image = torch.rand(1, 3, 9, 7)
    here = open_generator(str(serving.root / "models" / "start.safetensors"), {})
    there = connect_upscaler(serving.address, "small", timeout=PATIENCE)
    assert torch.equal(there.upscale(image), here.upscale(image))


def test_the_operator_bounds_what_streams_bring(serving: GeneratorServing, tmp_path: Path) -> None:
    there = connect_upscaler(serving.address, "small", timeout=PATIENCE)
    for name, width in (("small", 100), ("large", 101)):
        pixels = np.zeros((50, width, 3), np.uint8)
        write_image(tmp_path / f"{name}.png", Picture(pixels))
    there.upscale_file(tmp_path / "small.png", tmp_path / "out.png")
    assert read_image(tmp_path / "out.png").width == 400
    with pytest.raises(ImageTooLarge, match="than the 5000 that are read"):
        there.upscale_file(tmp_path / "large.png", tmp_path / "none.png")


def test_wrong_rankers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listen = ["--listen", f"unix:{tmp_path}/s.sock"]
    assert cli.main(["serve", *listen, "--ranker", "a=x"]) == 1
    assert "a Ranker is for trainings" in capsys.readouterr().err
    wrong = ["--data-root", str(tmp_path), "--ranker", "a/b=x"]
    for check, code in (([], 1), (["--check-config"], 2)):
        assert cli.main(["serve", *listen, *wrong, *check]) == code
        assert "ranker: 'a/b' is no name" in capsys.readouterr().err


def _interrupt(operation: RemoteOperation, timeout: float | None = None) -> bool:
    raise KeyboardInterrupt


def _write_ranker(path: Path) -> None:
    save_weights(
        path,
        VGG12(2, torch.Generator().manual_seed(1)).state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 2},
        about={"higher_is_better": False},
    )
