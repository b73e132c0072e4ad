"""``deploy/local.sh`` as an operator uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.clients.generator_training import GeneratorTrainingClient
from ranksrgan.contracts.clients.rank_data import RankDataClient
from ranksrgan.contracts.clients.ranker_training import RankerTrainingClient
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.images import Picture, to_tensor, write_image
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.rpc import check_health, start_server, wait_until_healthy
from ranksrgan.contracts.specs import parse_remote
from ranksrgan.pipeline.services import Addresses
from ranksrgan.ranker import VGG12
from ranksrgan.srgan import SRResNet, save_generator

SCRIPT = Path(__file__).parents[2] / "deploy" / "local.sh"
SERVICES = ("metrics", "ranker", "srgan", "rankdata")
Local = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def addresses() -> Addresses:
    from ranksrgan.pipeline.services import free_ports

    return Addresses(*(f"127.0.0.1:{port}" for port in free_ports(3)))


@pytest.fixture
def rankdata_address() -> str:
    from ranksrgan.pipeline.services import free_ports

    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def local(addresses: Addresses, rankdata_address: str, tmp_path: Path) -> Iterator[Local]:
    """Runs the script with ports and a state folder of its own; takes all down at the end."""
    environment = os.environ | {
        "RANKSRGAN_STATE": str(tmp_path / "state"),
        "METRICS_ADDRESS": addresses.metrics,
        "RANKER_ADDRESS": addresses.ranker,
        "SRGAN_ADDRESS": addresses.srgan,
        "RANKDATA_ADDRESS": rankdata_address,
        "BIN": str(Path(sys.executable).parent),
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False
        )

    yield call
    call("down")


def write_ranker(path: Path) -> None:
    save_weights(
        path,
        VGG12(2).state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 2},
        about={"higher_is_better": False},
    )


def process_of(name: str, folder: Path) -> int:
    return int((folder / "state" / f"{name}.pid").read_text())


def test_up_status_logs_down(local: Local, addresses: Addresses, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_generator(tmp_path / "g.safetensors", SRResNet(4, 1), {})
    write_ranker(tmp_path / "r.safetensors")
    assert local("status").returncode == 1
    arguments = ["--ranker", f"nice={tmp_path}/r.safetensors"]
    arguments += ["--model", f"tiny={tmp_path}/g.safetensors"]
    up = local("up", *arguments)
    assert up.returncode == 0, up.stderr
    assert local("status").returncode == 0

    image = torch.rand(1, 3, 96, 192)
    niqe = open_scorer(f"grpc://{addresses.metrics}/niqe").score(image)
    assert torch.equal(niqe, open_scorer("niqe").score(image))
    ranker = open_scorer(f"grpc://{addresses.ranker}/nice")
    assert torch.equal(ranker.score(image), open_scorer(f"{tmp_path}/r.safetensors").score(image))
    small = image[..., :16, :16]
    assert torch.equal(
        open_upscaler(f"grpc://{addresses.srgan}/tiny").upscale(small),
        open_upscaler(f"{tmp_path}/g.safetensors").upscale(small),
    )

    first = process_of("srgan", tmp_path)
    again = local("up", *arguments)
    assert again.returncode == 0
    assert again.stdout.count("already up") == 3
    assert process_of("srgan", tmp_path) == first
    assert "listening on" in local("logs", "metrics").stdout

    down = local("down")
    assert down.returncode == 0
    assert down.stdout.count("stopped") == 3
    assert not check_health(addresses.metrics, timeout=0.5)
    assert local("down").stdout == ""


STUB = """#!/bin/bash
name=${0##*/}
place="$RANKSRGAN_STATE/at ${3//\\//_}"
if [ "$name" = python ]; then exec test -f "$place"; fi  # the health check
if [ "${*: -1}" = --check-config ]; then [[ $* != *refused* ]]; exit; fi
if [[ $* == *dies* ]]; then exit 3; fi
trap 'rm "$place"; kill $!; exit' TERM
sleep 1000 &
echo "$*" >"$place"
wait
"""


@pytest.fixture
def stubbed(addresses: Addresses, rankdata_address: str, tmp_path: Path) -> Iterator[Local]:
    """The script with commands that serve nothing, and so are up at once; see `local`."""
    for name in ("python", *(f"ranksrgan-{one}" for one in SERVICES)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(STUB)
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {
        "RANKSRGAN_STATE": str(tmp_path / "state"),
        "METRICS_ADDRESS": addresses.metrics,
        "RANKER_ADDRESS": addresses.ranker,
        "SRGAN_ADDRESS": addresses.srgan,
        "RANKDATA_ADDRESS": rankdata_address,
        "BIN": str(tmp_path / "bin"),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }

    def call(
        *arguments: str, script: Path = SCRIPT, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(script), *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    yield call
    call("down")


def test_up_compares_files_and_not_their_names(
    stubbed: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same word in another folder is another file, and so is what has replaced it."""
    folders = [tmp_path / name for name in ("a", "b b")]
    for folder in folders:
        folder.mkdir()
        (folder / "g.safetensors").write_text(folder.name)
        monkeypatch.chdir(folder)
        up = stubbed("up", "--model", "tiny=g.safetensors", "--ranker", "nice=ranker-niqe")
        assert up.returncode == 0, up.stderr
        assert "srgan: already up" not in up.stdout
        command = (tmp_path / "state" / "srgan.command").read_text()
        assert f"--model tiny={folder}/g.safetensors" in command
        command = (tmp_path / "state" / "ranker.command").read_text()
        assert "--ranker nice=ranker-niqe" in command  # no file here
    arguments = [
        "up",
        "--model",
        f"tiny={folders[1]}/g.safetensors",
        "--ranker",
        "nice=ranker-niqe",
    ]
    assert stubbed(*arguments).stdout.count("already up") == 3
    (folders[0] / "g.safetensors").replace(folders[1] / "g.safetensors")
    up = stubbed(*arguments)
    assert up.stdout.count("already up") == 2
    assert "srgan: stopped" in up.stdout
    assert stubbed(*arguments).stdout.count("already up") == 3


def test_what_did_not_come_up_is_missed(stubbed: Local, tmp_path: Path) -> None:
    up = stubbed("up", "--model", "dies=x")
    assert up.returncode == 1
    assert "srgan did not come up" in up.stderr
    status = stubbed("status")
    assert status.returncode == 1
    assert "ranker: up" in status.stdout
    assert "srgan: down; died" in status.stdout
    assert stubbed("up").returncode == 0
    assert stubbed("status").returncode == 0


def test_what_would_not_start_leaves_the_one_that_serves(stubbed: Local, tmp_path: Path) -> None:
    assert stubbed("up").returncode == 0
    srgan = process_of("srgan", tmp_path)
    up = stubbed("up", "--model", "refused=x")
    assert up.returncode == 1
    assert "srgan: goes on with what it serves" in up.stderr
    assert process_of("srgan", tmp_path) == srgan
    assert stubbed("status").returncode == 0


def test_through_a_link_it_is_the_same(stubbed: Local, tmp_path: Path) -> None:
    link = tmp_path / "services"
    link.symlink_to(SCRIPT)
    assert stubbed("up", script=link).returncode == 0
    processes = [process_of(name, tmp_path) for name in ("metrics", "ranker", "srgan")]
    assert stubbed("up").stdout.count("already up") == 3
    assert stubbed("down", script=link).stdout.count("stopped") == 3
    assert not any(map(exists, processes))
    assert "unknown is none of metrics" in stubbed("logs", "unknown", script=link).stderr


def test_logs_of_what_has_not_run_are_missed(stubbed: Local, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for names in ([], ["rankdata"]):
        logs = stubbed("logs", *names)
        assert logs.returncode == 1
        assert logs.stdout == ""
        missed = " ".join(names) or "metrics ranker srgan rankdata"
        assert logs.stderr == f"error: no log of {missed} in {state}: nothing of it has run there\n"
    state.mkdir()
    (state / "srgan.log").write_text("ready\n")
    logs = stubbed("logs")
    assert (logs.returncode, logs.stdout) == (0, f"== srgan ({state}/srgan.log)\nready\n")


def test_a_ranker_at_a_socket_is_named_by_its_path(stubbed: Local, tmp_path: Path) -> None:
    socket = f"unix:{tmp_path}/ranker.sock"
    assert stubbed("up", "--data-root", str(tmp_path), RANKER_ADDRESS=socket).returncode == 0
    command = (tmp_path / "state" / "srgan.command").read_text()
    assert f"--ranker ranker-niqe={socket}/ranker-niqe\n" in command
    spec = command.partition("--ranker ranker-niqe=")[2].splitlines()[0]
    assert parse_remote(spec) == (socket, "ranker-niqe")


def test_up_without_a_data_root_stops_the_service_that_had_one(
    stubbed: Local, tmp_path: Path
) -> None:
    assert "rankdata: up" in stubbed("up", "--data-root", str(tmp_path)).stdout
    rankdata = process_of("rankdata", tmp_path)
    up = stubbed("up")
    assert "rankdata: stopped\nrankdata: not started" in up.stdout
    assert not exists(rankdata)
    status = stubbed("status")
    assert status.returncode == 0
    assert "rankdata: down" in status.stdout


def wait_for(found: Callable[[], bool]) -> None:
    """Until it is true; half a minute is for a busy machine."""
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def exists(pid: int) -> bool:
    """Whether a process runs: one that nobody has waited for yet does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "\nState:\tZ" not in status


def test_a_service_that_is_killed_comes_back(
    local: Local, addresses: Addresses, tmp_path: Path
) -> None:
    up = local("up")
    assert up.returncode == 0, up.stderr
    assert "rankdata: not started" in up.stdout
    write_image(tmp_path / "dark.png", Picture(torch.zeros(16, 20, 3, dtype=torch.uint8).numpy()))
    demo = local("demo", str(tmp_path / "dark.png")).stdout
    assert "ranksrgan: 20 x 16 enlarged to 80 x 64" in demo  # what came with the packages
    assert "srresnet: 20 x 16 enlarged to 80 x 64" in demo
    assert "  ranker-niqe: " in demo  # too small for it, as it says
    killed = process_of("metrics", tmp_path)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: process_of("metrics", tmp_path) != killed)
    assert wait_until_healthy(addresses.metrics)
    status = local("status")
    assert status.returncode == 0
    assert f"metrics: up at {addresses.metrics}" in status.stdout
    assert "died 1 time(s), last at " in status.stdout
    assert "with code 137" in status.stdout
    assert "metrics ended with code 137 (death 1); started again in " in local("logs").stdout
    again = local("up")
    assert again.returncode == 0
    assert "metrics: already up" in again.stdout
    last = process_of("metrics", tmp_path)
    assert last != killed
    supervisor = int((tmp_path / "state" / "metrics.supervisor").read_text())
    assert local("down").returncode == 0
    assert not exists(last)
    assert not exists(supervisor)


@pytest.mark.slow  # half a minute
def test_a_service_whose_supervisor_was_killed_is_taken_over_or_down(
    local: Local, addresses: Addresses, tmp_path: Path
) -> None:
    assert local("up").returncode == 0
    orphan = process_of("metrics", tmp_path)
    os.kill(int((tmp_path / "state" / "metrics.supervisor").read_text()), signal.SIGKILL)
    wait_for(lambda: "nobody would start it again" in local("status").stdout)
    assert check_health(addresses.metrics)  # the service itself serves on
    assert local("up").returncode == 0
    assert not exists(orphan)
    assert local("status").returncode == 0
    last = process_of("metrics", tmp_path)
    os.kill(int((tmp_path / "state" / "metrics.supervisor").read_text()), signal.SIGKILL)
    assert "metrics: stopped" in local("down").stdout
    assert not exists(last)


@pytest.mark.slow  # half a minute
def test_down_ends_the_work_of_a_service_that_was_killed(
    local: Local, rankdata_address: str, tmp_path: Path
) -> None:
    """A build goes on without its service; nothing is to run after `down`."""
    root = tmp_path / "root"
    image = Picture(torch.randint(0, 256, (400, 400, 3), dtype=torch.uint8).numpy())
    for index in range(40):
        write_image(root / "images" / "noise" / f"{index}.png", image)
    assert local("up", "--data-root", str(root)).returncode == 0
    wanted = {"hr": "images/noise", "levels": ["low=blur:2", "hr=hr"], "crop": 192, "stride": 8}
    operation = RankDataClient(rankdata_address).build("slow", {**wanted, "metric": "niqe"})
    lock = root / operation.name / "lock"
    wait_for(lambda: lock.is_file() and lock.read_text() != "")
    worker = int(lock.read_text().partition(" ")[0])
    os.kill(int((tmp_path / "state" / "rankdata.supervisor").read_text()), signal.SIGKILL)
    os.kill(process_of("rankdata", tmp_path), signal.SIGKILL)
    assert exists(worker)
    down = local("down")
    assert down.returncode == 0
    assert f"rankdata: ending {operation.name}" in down.stdout
    assert not exists(worker)


def test_without_a_home_in_the_environment() -> None:
    """As a service's or a container's may be; the user's own is looked up."""
    lost = {"HOME", "RANKSRGAN_STATE", "XDG_STATE_HOME"}
    there = {key: value for key, value in os.environ.items() if key not in lost}
    status = subprocess.run(
        [str(SCRIPT), "status"], env=there, capture_output=True, text=True, check=False
    )
    assert status.stderr == ""
    assert [line.partition(":")[0] for line in status.stdout.splitlines()] == list(SERVICES)


@pytest.mark.slow  # the one of the services that come back asks too
def test_demo_asks_what_is_served(local: Local, tmp_path: Path) -> None:
    assert "no service runs" in local("demo").stderr
    torch.manual_seed(0)
    save_generator(tmp_path / "g.safetensors", SRResNet(4, 1), {})
    write_ranker(tmp_path / "r.safetensors")
    pixels = torch.randint(0, 256, (100, 200, 3), dtype=torch.uint8).numpy()
    write_image(tmp_path / "noise.png", Picture(pixels))
    arguments = ["--ranker", f"nice={tmp_path}/r.safetensors"]
    arguments += ["--model", f"tiny={tmp_path}/g.safetensors"]
    assert local("up", *arguments).returncode == 0
    demo = local("demo", str(tmp_path / "noise.png"))
    assert demo.returncode == 0, demo.stderr
    niqe = open_scorer("niqe").score(to_tensor(Picture(pixels))).item()
    assert "noise.png: 200 x 100 pixels" in demo.stdout
    assert f"niqe {niqe:.4f} (lower is better)" in demo.stdout
    assert "nice " in demo.stdout
    assert "tiny: 200 x 100 enlarged to 800 x 400" in demo.stdout
    missing = local("demo", str(tmp_path / "none.png"))
    assert missing.returncode == 1
    assert "none.png" in missing.stderr


def test_with_a_data_root_rank_data_is_served_and_networks_are_trained(
    local: Local, addresses: Addresses, rankdata_address: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_ranker(tmp_path / "r.safetensors")
    up = local("up", "--data-root", str(root), "--ranker", f"nice={tmp_path}/r.safetensors")
    assert up.returncode == 0, up.stderr
    assert local("status").returncode == 0
    assert list(RankDataClient(rankdata_address).infos()) == []
    nothing = TrainingRequest(dataset="datasets/none")
    with pytest.raises(UnknownName, match="none"):
        RankerTrainingClient(addresses.ranker).train("r", nothing)
    # The Rankers that are served here may be named, and no others; what to learn from is missing.
    generators = GeneratorTrainingClient(addresses.srgan)
    address = f"grpc://{addresses.ranker}/nice"
    for spec, field in (("nice", "data.hr"), (address, "losses.rank.rankers.0.spec")):
        rank = {"weight": 1, "rankers": [{"spec": spec}]}
        with pytest.raises(InvalidInput) as caught:
            generators.train("g", {"losses": {"rank": rank}})
        assert caught.value.field == field


@pytest.mark.slow
def test_weights_that_do_not_load_are_reported_with_the_log(local: Local, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    up = local("up", "--model", f"bad={tmp_path}/bad.safetensors")
    assert up.returncode == 1
    assert "srgan did not come up" in up.stderr
    assert "bad.safetensors is damaged" in up.stderr


def test_a_port_that_somebody_else_serves_on_is_refused(local: Local, addresses: Addresses) -> None:
    stranger = start_server(addresses.metrics, [])
    try:
        up = local("up")
        assert up.returncode == 1
        assert f"another server listens on {addresses.metrics}" in up.stderr
    finally:
        stranger.stop()


def test_commands_that_are_not_installed(tmp_path: Path) -> None:
    environment = os.environ | {"BIN": str(tmp_path), "RANKSRGAN_STATE": str(tmp_path / "state")}
    command = [str(SCRIPT), "up"]
    up = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert up.returncode == 1
    assert up.stderr == f"error: python is not installed in {tmp_path}\n"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("arguments", [["up", "--wrong"], ["up", "--model"], ["sideways"], []])
def test_wrong_usage(local: Local, arguments: list[str]) -> None:
    assert local(*arguments).returncode in (1, 2)
