"""The page for Prometheus, read over HTTP as Prometheus does."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.errors import AddressInUse, Unauthenticated
from ranksrgan.contracts.rpc import check_health, open_channel, start_server
from ranksrgan.contracts.serving.prometheus import MetricsPage, PrometheusObserver
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.token_file import hash_token
from tests.contracts.conftest import Catalog, Contrast

SCORE = "/ranksrgan.contracts.v1.ScoringService/Score"


def sample(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"ranksrgan_{name}", frozenset(labels.items())


def scrape(address: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples by name and labels, as `sample` makes keys."""
    with urlopen(f"http://{address}/metrics", timeout=60) as page:
        text = page.read().decode()
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


@pytest.fixture
def observer() -> PrometheusObserver:
    return PrometheusObserver()


@pytest.fixture
def address(observer: PrometheusObserver) -> Iterator[str]:
    page = MetricsPage("127.0.0.1:0", observer)
    yield page.address
    page.close()


def test_what_is_told_is_shown(observer: PrometheusObserver, address: str) -> None:
    observer.request(SCORE, "OK", 0.2)
    observer.request(SCORE, "OK", 0.002)
    observer.request(SCORE, "RESOURCE_EXHAUSTED", 0.001)
    observer.queues(lambda: {("S", "niqe"): 2})
    observer.batch("niqe", 4, 0.5)
    observer.batch("niqe?border=4", 1, 0.5)
    observer.loaded("niqe", 2.0)
    seen = scrape(address)
    assert seen[sample("requests_total", method=SCORE, code="OK")] == 2
    assert seen[sample("requests_total", method=SCORE, code="RESOURCE_EXHAUSTED")] == 1
    assert seen[sample("request_seconds_bucket", method=SCORE, le="0.1")] == 2
    assert seen[sample("request_seconds_bucket", method=SCORE, le="0.25")] == 3
    assert seen[sample("queue_length", service="S", model="niqe")] == 2
    assert seen[sample("batch_size_sum", model="niqe")] == 5
    assert seen[sample("batch_size_count", model="niqe")] == 2
    assert seen[sample("batch_size_bucket", model="niqe", le="2.0")] == 1
    assert seen[sample("batch_seconds_sum", model="niqe")] == 1.0
    assert seen[sample("model_load_seconds_count", model="niqe")] == 1
    assert seen[sample("model_load_seconds_sum", model="niqe")] == 2.0
    assert seen["process_resident_memory_bytes", frozenset()] > 10 * 2**20


def test_clients_do_not_fill_it_with_names(observer: PrometheusObserver, address: str) -> None:
    for number in range(1000):
        observer.batch(f"model{number}", 1, 0.1)
    observer.batch("model7", 1, 0.1)
    seen = scrape(address)
    counts = {key: value for key, value in seen.items() if key[0] == "ranksrgan_batch_size_count"}
    assert len(counts) == 101
    assert counts[sample("batch_size_count", model="other")] == 900
    assert counts[sample("batch_size_count", model="model7")] == 2


def test_sums_have_one_line_together(observer: PrometheusObserver, address: str) -> None:
    for number in range(1000):
        observer.batch(f"niqe?border=4+0.{number}*rmse", 1, 0.1)
    observer.queues(lambda: {("S", "2*niqe"): 3, ("S", "niqe+ma"): 1})
    seen = scrape(address)
    counts = {key: value for key, value in seen.items() if key[0] == "ranksrgan_batch_size_count"}
    assert counts == {sample("batch_size_count", model="sum"): 1000}
    assert seen[sample("queue_length", service="S", model="sum")] == 4


def test_queues_are_asked_and_names_with_one_label_summed(
    observer: PrometheusObserver, address: str
) -> None:
    assert not any(name == "ranksrgan_queue_length" for name, _ in scrape(address))
    lengths = {("S", "niqe"): 1, ("S", "niqe?border=4"): 2, ("T", "niqe"): 4, ("S", "ma"): 0}
    observer.queues(lambda: lengths)

    def seen() -> list[float]:
        found = scrape(address)
        pairs = [("S", "niqe"), ("T", "niqe"), ("S", "ma")]
        return [found[sample("queue_length", service=s, model=m)] for s, m in pairs]

    assert seen() == [3, 4, 0]
    del lengths["S", "niqe"], lengths["T", "niqe"]
    assert seen() == [2, 0, 0]  # nothing is missing that was there
    lengths.clear()
    assert seen() == [0, 0, 0]


def test_a_taken_port(address: str) -> None:
    with pytest.raises(AddressInUse, match=f"metrics: cannot listen on {address}") as caught:
        MetricsPage(address, PrometheusObserver())
    assert caught.value.field == "metrics"


def test_a_server_has_a_page_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"me {hash_token('t')}\n")
    settings = ServerSettings(listen="127.0.0.1:0", metrics="127.0.0.1:0", tokens=tokens)
    server = start_server(settings, [ScoringServicer(Catalog(contrast=Contrast()))])
    try:
        assert server.metrics_address is not None
        with pytest.raises(Unauthenticated):
            connect_scorer(server.address, "contrast")
        assert check_health(server.address)
        monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN", "t")
        with open_channel(server.address) as channel:
            for method in ("/no.such.Service/Do", "/no.such.Service/Look"):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(method)(b"", timeout=20)
        scorer = connect_scorer(server.address, "contrast")
        scorer.score(torch.rand(3, 3, 4, 4))
        end = time.monotonic() + 60
        # A call is counted when it has ended, which is a moment after its answer.
        while True:
            seen = scrape(server.metrics_address)
            if seen.get(sample("requests_total", method=SCORE, code="OK")) == 1:
                break
            assert time.monotonic() < end, seen
    finally:
        server.stop()
    counted = {key: value for key, value in seen.items() if key[0] == "ranksrgan_requests_total"}
    method = "/ranksrgan.contracts.v1.ScoringService/ListScorers"
    assert counted == {
        sample("requests_total", method=method, code="UNAUTHENTICATED"): 1,
        sample("requests_total", method=method, code="OK"): 1,
        sample("requests_total", method=SCORE, code="OK"): 1,
        sample("requests_total", method="unknown", code="UNIMPLEMENTED"): 2,
    }
    assert seen[sample("batch_size_sum", model="contrast")] == 3
    with pytest.raises(OSError, match="refused"):
        scrape(server.metrics_address)


def test_a_server_that_cannot_have_its_page_holds_no_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.create_server(("127.0.0.1", 0)) as chosen,
    ):
        listen, metrics = chosen.getsockname()[1], taken.getsockname()[1]
        chosen.close()
        settings = ServerSettings(listen=f"127.0.0.1:{listen}", metrics=f"127.0.0.1:{metrics}")
        with pytest.raises(AddressInUse, match="metrics"):
            start_server(settings, [])
    start_server(f"127.0.0.1:{listen}", []).stop()
