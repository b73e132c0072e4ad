"""What the metrics' service tells its clients, and those who watch it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.client import RemoteScorer, connect_scorer
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.errors import MissingAsset, UnknownName
from ranksrgan.contracts.rpc import RunningServer, open_channel, start_server
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.v1 import scoring_pb2, scoring_pb2_grpc
from ranksrgan.contracts.wire import codec
from ranksrgan.metrics.catalog import METRICS, MetricCatalog

IMAGES = torch.linspace(0, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    settings = ServerSettings(listen="127.0.0.1:0", metrics="127.0.0.1:0")
    running = start_server(settings, [ScoringServicer(MetricCatalog())])
    yield running
    running.stop()


def named(scorer: RemoteScorer, name: str) -> RemoteScorer:
    """The same connection, whatever the server has of that name."""
    return RemoteScorer(
        scorer._connection, OpenedModel(name), ScorerInfo(name, "1", True, False, False, 1)
    )


def test_a_missing_asset_is_named_and_its_folder_is_not(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = torch.rand(1, 3, 96, 96)
    with pytest.raises(MissingAsset) as here:
        open_scorer("ma").score(images)
    assert f"looked for in {tmp_path}/assets or {tmp_path}/cache/ranksrgan" in str(here.value)
    with closing(connect_scorer(server.address, "psnr")) as scorer:
        ma = named(scorer, "ma")
        with pytest.raises(MissingAsset) as there:
            ma.score(images)
        (outcome,) = ma.score_many([images[0]])
    for error in (there.value, outcome):
        assert isinstance(error, MissingAsset)
        for part in ("ma_model.mat", "ranksrgan assets pull ma", "https://", "RANKSRGAN_ASSETS"):
            assert part in str(error)
        assert error.field == "ma_model.mat"
        assert str(tmp_path) not in str(error)


def models_seen(server: RunningServer) -> set[str]:
    with urlopen(f"http://{server.metrics_address}/metrics", timeout=60) as page:
        text = page.read().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {one.labels["model"] for one in samples if "model" in one.labels}


def test_a_thousand_made_up_names_make_no_labels(server: RunningServer) -> None:
    image, reference = codec.image_to_proto(IMAGES[0]), codec.image_to_proto(IMAGES[0] * 0.5)
    unknown = [f"made_up_{number}" for number in range(880)]
    # Sums of the client's own making, which the server opens.
    sums = [f"rmse-0.{number + 1:03}*psnr?border=1" for number in range(120)]
    names = [*unknown, *sums, *(f"rmse?border={border}" for border in range(3))]
    requests = (
        scoring_pb2.ScoreStreamRequest(scorer=name, image=image, reference=reference)
        for name in names
    )
    with open_channel(server.address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        answers = list(stub.ScoreStream(requests, timeout=240))
    assert [answer.error.reason for answer in answers[:880]] == [UnknownName.code] * 880
    assert all(answer.HasField("score") for answer in answers[880:])
    assert models_seen(server) == {"rmse", "sum"}
    assert "rmse" in METRICS
