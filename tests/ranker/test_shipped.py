"""The Ranker that comes with the package, and where it stands in for one of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, MissingAsset
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.v1 import scoring_pb2
from ranksrgan.ranker import TrainConfig, cli, load_ranker, server, train
from ranksrgan.ranker.networks import convert, load_network
from ranksrgan.ranker.settings import RankerServerSettings
from ranksrgan.ranker.shipped import SHIPPED


def test_it_is_small_in_half_precision_and_has_a_card() -> None:
    path = SHIPPED.path("ranker-niqe")
    weights = load_weights(path)
    assert weights.architecture == "nss"
    assert weights.about["metric"].startswith("niqe")
    kernels = [value for value in weights.tensors.values() if value.ndim > 1]
    assert {value.dtype for value in kernels} == {torch.float16}
    assert path.stat().st_size < 30 * 2**20
    card = SHIPPED.card("ranker-niqe").read_text()
    for heading in ("Training", "Data and its terms", "Figures", "Limits"):
        assert f"\n## {heading}\n" in card
    assert "| BSD100 |" in card
    assert all(place not in card + str(weights.about) for place in ("/work", "/tmp", "/home"))


def test_a_name_opens_it() -> None:
    images = torch.rand(2, 3, 120, 136, generator=torch.Generator().manual_seed(0))
    ranker = open_scorer("ranker-niqe?device=cpu")
    assert ranker.info.name == "ranker-niqe"
    assert not ranker.info.higher_is_better
    wanted = load_ranker(SHIPPED.path("ranker-niqe"), device="cpu").score(images)
    assert torch.equal(ranker.score(images), wanted)


def test_half_precision_is_float32_again_when_it_is_read(tmp_path: Path) -> None:
    source, files = SHIPPED.path("ranker-niqe"), [tmp_path / f"{n}.safetensors" for n in "abc"]
    assert cli.main(["convert", str(source), str(files[0])]) == 0
    assert files[0].stat().st_size > 1.8 * source.stat().st_size  # and a header
    for file in files[1:]:
        assert cli.main(["convert", str(files[0]), str(file), "--half"]) == 0
    assert cli.main(["convert", "ranker-niqe", str(tmp_path / "d.safetensors")]) == 0
    assert (tmp_path / "d.safetensors").read_bytes() == files[0].read_bytes()
    assert files[1].read_bytes() == files[2].read_bytes() == source.read_bytes()
    assert {value.dtype for value in load_network(load_weights(source)).parameters()} == {
        torch.float32
    }
    with pytest.raises(InvalidInput, match=r"r\.pth: it is written as \.safetensors"):
        convert(source, tmp_path / "r.pth")


def test_a_training_begins_from_a_ranker(
    small: TrainConfig, blur_set: PairSource, tmp_path: Path
) -> None:
    first = train(small, blur_set, None, tmp_path / "first").weights
    still = small.model_copy(update={"lr": 1e-12, "steps": 1, "weight_decay": 0.0, "seed": 9})
    second = train(still, blur_set, None, tmp_path / "second", begin_from=first).weights
    before, after = (load_weights(path).tensors for path in (first, second))
    moved = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm, by each batch
    for key, value in before.items():
        if not key.endswith(moved):
            torch.testing.assert_close(after[key], value, atol=1e-9, rtol=0)
    more = still.model_copy(update={"steps": 2})
    assert train(more, blur_set, None, tmp_path / "second", begin_from=first).step == 2
    with pytest.raises(InvalidCheckpoint, match=r"begins from was .* and is None"):
        train(more, blur_set, None, tmp_path / "second")
    wider = small.model_copy(update={"width": small.width + 1})
    message = f"width is {small.width} and not {small.width + 1}"
    with pytest.raises(InvalidCheckpoint, match=message):
        train(wider, blur_set, None, tmp_path / "third", begin_from=first)


def test_a_server_without_rankers_serves_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[str] = []

    def stand_in(_: object, names: object, load: Callable[..., Any], kind: object) -> int:
        answer = load(Observers())[0].ListScorers(scoring_pb2.ListScorersRequest(), None)
        found.extend(scorer.name for scorer in answer.scorers)
        return 0

    monkeypatch.setattr(server, "serve_and_train", stand_in)
    repository = RepositorySettings(root=tmp_path)
    for settings in (
        RankerServerSettings(listen="unix:/x.sock"),
        RankerServerSettings(listen="unix:/x.sock", model_repository=repository),
        RankerServerSettings(listen="unix:/x.sock", rankers={"n": Path("ranker-niqe?device=cpu")}),
    ):
        settings.check()
        server.serve(settings)
    assert found == ["ranker-niqe", "ranker-niqe", "n"]
    wrong = {"a": Path("ranker-niqe"), "n": Path("ranker-niqe?devise=cpu")}
    with pytest.raises(InvalidInput, match=r"ranker-niqe: unknown option devise; .* device, head"):
        RankerServerSettings(listen="unix:/x.sock", rankers=wrong).check()


def test_a_package_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(type(SHIPPED), "folder", tmp_path)
    with pytest.raises(MissingAsset, match="ranksrgan-ranker was installed without"):
        open_scorer("ranker-niqe")
    with pytest.raises(MissingAsset, match=r"niqe_nss\.safetensors is missing"):
        RankerServerSettings(listen="unix:/x.sock").check()
