"""A pipeline at the services of ``deploy/local.sh``: as in this process, and resumable."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput, RequestCancelled, UnknownName
from ranksrgan.pipeline.cli import main
from ranksrgan.pipeline.config import PipelineConfig, Trained
from ranksrgan.pipeline.remote import Made, ServiceAddresses, _digest, run_remotely
from ranksrgan.pipeline.services import free_ports
from ranksrgan.pipeline.stages import RANKSRGAN, Outcome
from ranksrgan.rankdata import RankDataset

SCRIPT = Path(__file__).parents[2] / "deploy" / "local.sh"
STAGES = ["1-srresnet", "2-srgan", "3-rankdata", "4-ranker", "5-ranksrgan", "6-control"]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def root(
    small_run: tuple[PipelineConfig, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A data root with the images of the run in this process."""
    config, _ = small_run
    folder = tmp_path_factory.mktemp("root")
    shutil.copytree(config.training, folder / "images" / "training")
    shutil.copytree(config.held_out, folder / "images" / "held-out")
    return folder


@pytest.fixture(scope="module")
def addresses(root: Path) -> Iterator[ServiceAddresses]:
    """Of services over that root; the other two of the four come up with them."""
    metrics, ranker, srgan, rankdata = (f"127.0.0.1:{port}" for port in free_ports(4))
    environment = os.environ | {
        "RANKSRGAN_STATE": str(root / "state"),
        "METRICS_ADDRESS": metrics,
        "RANKER_ADDRESS": ranker,
        "SRGAN_ADDRESS": srgan,
        "RANKDATA_ADDRESS": rankdata,
        "BIN": str(Path(sys.executable).parent),
    }

    def call(*arguments: str) -> None:
        subprocess.run([str(SCRIPT), *arguments], env=environment, check=True)

    call("up", "--data-root", str(root))
    yield ServiceAddresses(rankdata=rankdata, ranker=ranker, srgan=srgan)
    call("down")


@pytest.fixture
def wanted(small_run: tuple[PipelineConfig, Outcome]) -> PipelineConfig:
    """The configuration of that run, with names for folders."""
    config, _ = small_run
    names = {"training": "images/training", "held_out": "images/held-out", "output": "runs/tiny"}
    return PipelineConfig.model_validate({**config.model_dump(), **names})


def test_services_train_every_network(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, _ = small_run
    given = config.model_copy(update={"trained": Trained(srresnet="srresnet", srgan="srgan")})
    nowhere = ServiceAddresses(rankdata="h:1", ranker="h:2", srgan="h:3")
    with pytest.raises(InvalidInput, match="trained: networks to begin from are for a run in this"):
        run_remotely(given, nowhere)


def test_services_compare_with_nothing_else(
    small_run: tuple[PipelineConfig, Outcome],
) -> None:
    config, _ = small_run
    nowhere = ServiceAddresses(rankdata="h:1", ranker="h:2", srgan="h:3")
    with pytest.raises(InvalidInput, match="compare: upscalers to judge beside are for a run in"):
        run_remotely(config.model_copy(update={"compare": {"ours": "ranksrgan"}}), nowhere)


def test_a_request_is_another_one_when_what_it_begins_from_is() -> None:
    content = {"generator": {"weights": "generators/tiny-srresnet"}}

    def made(parameters_hash: str, operation: str = "operations/a") -> Made:
        return Made("generators/tiny-srresnet", operation, parameters_hash)

    assert _digest(content, [made("1f")]) == _digest(content, [made("1f", "operations/b")])
    assert _digest(content, [made("1f")]) != _digest(content, [made("2e")])
    assert _digest(content, [made("1f")]) != _digest(content, [])
    datasets = [made("", f"operations/{one}") for one in "ab"]  # they have no hash
    assert _digest(content, datasets[:1]) != _digest(content, datasets[1:])


class Interrupted(Exception):
    pass


def test_the_result_is_that_of_a_run_in_this_process(
    small_run: tuple[PipelineConfig, Outcome],
    wanted: PipelineConfig,
    addresses: ServiceAddresses,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is interrupted, a service is killed, and the run that continues it repeats nothing."""
    seen: list[str] = []

    def interrupt(service: str, operation: RemoteOperation) -> None:
        seen.append(operation.name)
        if len(seen) == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_remotely(wanted, addresses, interrupt)
    killed: list[int] = []

    def kill(service: str, operation: RemoteOperation) -> None:
        seen.append(operation.name)
        if service == "ranker":
            killed.append(int((root / "state" / "ranker.pid").read_text()))
            os.kill(killed[0], signal.SIGKILL)
        operation.wait()

    made = run_remotely(wanted, addresses, kill)
    assert seen[:3] == seen[3:6]
    assert len(set(seen)) == len(list((root / "operations").glob("*-*-*"))) == 6
    assert list(made) == STAGES

    config, outcome = small_run
    assert list(outcome.weights) == [stage for stage in STAGES if stage != "3-rankdata"]
    for stage, file in outcome.weights.items():
        assert made[stage].parameters_hash == load_weights(file).sha256, stage
        assert (root / made[stage].name / file.name).read_bytes() == file.read_bytes(), stage
    ours, theirs = (
        RankDataset.open(folder)
        for folder in (config.output / "3-rankdata" / "training", root / "datasets" / "tiny")
    )
    assert [c.scores for c in ours.contents] == [c.scores for c in theirs.contents]
    assert made["5-ranksrgan"].scores["niqe"] == outcome.scores[RANKSRGAN].mean("niqe")

    # The command says the same and asks for nothing new.
    path = tmp_path / "pipeline.yaml"
    path.write_text(dump_yaml(wanted))
    places = ["--rankdata", addresses.rankdata, "--ranker", addresses.ranker]
    places += ["--srgan", addresses.srgan]
    assert main(["pipeline", str(path), "--remote", *places]) == 0
    printed = capsys.readouterr().out
    assert f"parameters_hash {made['5-ranksrgan'].parameters_hash}" in printed
    for name in set(seen):
        assert name in printed
    assert len(list((root / "operations").glob("*-*-*"))) == 6


def test_an_operation_that_was_cancelled_is_asked_for_anew(
    wanted: PipelineConfig, addresses: ServiceAddresses
) -> None:
    long = wanted.srresnet.model_copy(
        update={"settings": (*wanted.srresnet.settings, "run.steps=1000000")}
    )
    config = wanted.model_copy(update={"srresnet": long, "output": Path("runs/cancelled")})
    seen: list[str] = []

    def cancel(service: str, operation: RemoteOperation) -> None:
        seen.append(operation.name)
        operation.cancel()
        operation.wait()

    for _ in range(2):
        with pytest.raises(RequestCancelled):
            run_remotely(config, addresses, cancel)
    assert len(set(seen)) == 2


@pytest.mark.slow
def test_what_was_made_from_weights_that_were_replaced_is_not_taken(
    wanted: PipelineConfig, addresses: ServiceAddresses, root: Path
) -> None:
    """SRGAN keeps its name and its settings, and SRResNet keeps its name."""
    config = wanted.model_copy(update={"output": Path("runs/replaced")})
    seen: list[str] = []

    def interrupt(service: str, operation: RemoteOperation) -> None:
        operation.wait()
        seen.append(operation.name)
        if len(seen) % 2 == 0:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_remotely(config, addresses, interrupt)
    with pytest.raises(Interrupted):
        run_remotely(config, addresses, interrupt)
    assert seen[:2] == seen[2:]

    shutil.rmtree(root / "generators" / "replaced-srresnet")
    stage = wanted.srresnet.model_copy(
        update={"settings": (*wanted.srresnet.settings, "optimiser.generator_lr=1e-2")}
    )
    with pytest.raises(InvalidConfig, match="replaced-srgan is there and cannot be continued: gen"):
        run_remotely(config.model_copy(update={"srresnet": stage}), addresses)


def test_images_that_are_not_there(wanted: PipelineConfig, addresses: ServiceAddresses) -> None:
    config = wanted.model_copy(update={"training": Path("images/none")})
    with pytest.raises(UnknownName, match="there is no images/none") as caught:
        run_remotely(config, addresses)
    assert caught.value.field == "data.hr"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training", "photos/training", "training: a service learns from images/NAME"),
        ("held_out", "/images/held-out", "held_out: a service learns from images/NAME"),
        ("training", "images/../secrets", "training: '../secrets' is no name"),
        ("output", "runs/with blank", "output: 'with blank' is no name"),
    ],
)
def test_what_cannot_be_a_name_of_the_services(
    wanted: PipelineConfig, key: str, value: str, message: str
) -> None:
    nobody = ServiceAddresses(*3 * ["unix:/nowhere.sock"])
    with pytest.raises(InvalidInput, match=message) as caught:
        run_remotely(wanted.model_copy(update={key: Path(value)}), nobody)
    assert caught.value.field == key


def test_a_wrong_setting_is_named_before_anything_is_asked(wanted: PipelineConfig) -> None:
    stage = wanted.srresnet.model_copy(update={"settings": ("run.stepps=3",)})
    nobody = ServiceAddresses(*3 * ["unix:/nowhere.sock"])
    with pytest.raises(InvalidConfig, match=r"run\.stepps=3: unknown key"):
        run_remotely(wanted.model_copy(update={"srresnet": stage}), nobody)
