"""The comparison page's HTTP API on real services."""

from __future__ import annotations

import gc
import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.images import Picture, decode_image, encode_image, to_tensor
from ranksrgan.metrics import Bicubic, imresize_uint8, niqe, psnr
from ranksrgan.pipeline.web.app import make_app
from ranksrgan.pipeline.web.comparisons import Limits, safe_stem
from tests.pipeline.web.conftest import PATIENCE, MakeClient, TrialServices, photograph

NIQE, PSNR, SMALL = "metrics/niqe", "metrics/psnr", "ranker/small"


def start(client: TestClient, data: bytes, **query: Any) -> httpx2.Response:
    lists = {"model": query.pop("models", []), "scorer": query.pop("scorers", [])}
    return client.post(
        f"/api/comparisons?{urlencode({'name': 'cat.png', **query, **lists}, doseq=True)}",
        content=data,
    )


def until(
    client: TestClient, key: str, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """The report of a comparison once the condition holds."""
    end = time.monotonic() + PATIENCE
    while True:
        report: dict[str, Any] = client.get(f"/api/comparisons/{key}").json()
        if condition(report):
            return report
        assert time.monotonic() < end, report
        time.sleep(0.02)


def ended(report: dict[str, Any]) -> bool:
    return not report["busy"]


def run(client: TestClient, data: bytes, **query: Any) -> dict[str, Any]:
    begun = start(client, data, **query)
    assert begun.status_code == 201, begun.text
    return until(client, begun.json()["id"], ended)


def result(report: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [one for one in report["results"] if one["key"] == key]
    return found


def image(client: TestClient, report: dict[str, Any], key: str) -> torch.Tensor:
    answer = client.get(f"/api/comparisons/{report['id']}/images/{key}")
    assert answer.headers["content-type"] == "image/png"
    return to_tensor(decode_image(answer.content))


def test_services_say_what_they_offer(make_client: MakeClient) -> None:
    told = make_client().get("/api/services").json()
    metrics, srgan, ranker = told["services"]
    assert [one["role"] for one in told["services"]] == ["metrics", "srgan", "ranker"]
    assert {scorer["key"] for scorer in metrics["scorers"]} >= {NIQE, PSNR}
    assert [model["name"] for model in srgan["models"]] == ["darker", "slow", "doubling"]
    assert [(s["key"], s["higher_is_better"]) for s in ranker["scorers"]] == [(SMALL, False)]
    assert told["limits"]["original_pixels"] == 16 * told["limits"]["pixels"]


def test_an_original_is_degraded_enlarged_and_scored(
    make_client: MakeClient, services: TrialServices
) -> None:
    client = make_client()
    hr = to_tensor(decode_image(photograph(202, 211)))[..., :200, :208]
    report = run(
        client, photograph(202, 211), original=1, models=["darker"], scorers=[NIQE, PSNR, SMALL]
    )
    assert (report["width"], report["height"], report["scale"]) == (52, 50, 4)
    assert torch.equal(image(client, report, "original"), hr)
    lr = imresize_uint8(hr, scale=1 / 4)
    assert torch.equal(image(client, report, "input"), lr)
    bicubic = Bicubic(4).upscale(lr.float() / 255)
    made = {
        key: (light * bicubic * 255).double().round()
        for key, light in (("bicubic", 1), ("model-darker", 0.5))
    }
    ranker = open_scorer(f"{services.addresses['ranker']}/small")
    for key, expected in made.items():
        pixels = image(client, report, key)
        assert (pixels - expected).abs().max() <= 1  # half a level is rounded either way
        scores = {name: one["value"] for name, one in result(report, key)["scores"].items()}
        assert scores[NIQE] == float(niqe(pixels))
        assert scores[PSNR] == float(psnr(pixels, hr))
        assert scores[SMALL] == float(ranker.score(pixels))
    assert result(report, "original")["scores"].keys() == {NIQE, SMALL}
    assert result(report, "original")["scores"][NIQE]["value"] == float(niqe(hr))


def test_a_small_image_has_no_reference_and_keeps_alpha_and_depth(make_client: MakeClient) -> None:
    client = make_client()
    generator = np.random.default_rng(1)
    deep = generator.integers(0, 2**16, (50, 52, 4), np.uint16)
    data = encode_image(Picture(deep[..., :3].copy(), deep[..., 3].copy()))
    report = run(client, data, models=["darker"], scorers=[NIQE, PSNR])
    assert [judge["key"] for judge in report["judges"]] == [NIQE]
    assert [one["key"] for one in report["results"]] == ["bicubic", "model-darker"]
    made = client.get(f"/api/comparisons/{report['id']}/images/model-darker").content
    picture = decode_image(made)
    assert (picture.width, picture.height, picture.depth) == (208, 200, 65535)
    assert picture.alpha is not None
    assert result(report, "model-darker")["scores"][NIQE]["state"] == "done"


def test_what_a_metric_says_is_kept_beside_what_worked(make_client: MakeClient) -> None:
    report = run(make_client(), photograph(12, 14), scorers=[NIQE, SMALL])
    bicubic = result(report, "bicubic")
    assert bicubic["state"] == "done"
    assert bicubic["scores"][NIQE]["state"] == "failed"
    assert bicubic["scores"][NIQE]["error"]["code"] == "IMAGE_TOO_SMALL"
    assert bicubic["scores"][NIQE]["value"] is None


def test_a_service_that_is_down_shows_and_comes_back(
    make_client: MakeClient, services: TrialServices
) -> None:
    client = make_client()
    services.stop("srgan")
    end = time.monotonic() + PATIENCE  # what they said is kept for two seconds
    told = client.get("/api/services").json()["services"]
    while told[1]["error"] is None:
        assert time.monotonic() < end
        time.sleep(0.1)
        told = client.get("/api/services").json()["services"]
    assert [one["error"] and one["error"]["code"] for one in told] == [
        None, "SERVICE_UNAVAILABLE", None,
    ]  # fmt: skip
    report = run(client, photograph(50, 52), models=["darker"], scorers=[SMALL])
    assert result(report, "bicubic")["scores"][SMALL]["state"] == "done"
    darker = result(report, "model-darker")
    assert darker["state"] == "failed"
    assert darker["error"]["code"] == "SERVICE_UNAVAILABLE"
    assert darker["scores"][SMALL]["state"] == "cancelled"
    assert client.get(f"/api/comparisons/{report['id']}/images/model-darker").status_code == 404
    services.start("srgan")
    end = time.monotonic() + PATIENCE  # gRPC looks again for a service within a second
    while client.get("/api/services").json()["services"][1]["error"] is not None:
        assert time.monotonic() < end
    assert client.post(f"/api/comparisons/{report['id']}/retry").status_code == 200
    again = until(client, report["id"], ended)
    assert result(again, "model-darker")["scores"][SMALL]["state"] == "done"
    assert image(client, again, "model-darker").shape == (1, 3, 200, 208)


def test_cancelling_frees_the_service(make_client: MakeClient, services: TrialServices) -> None:
    client = make_client()
    begun = start(client, photograph(50, 52), models=["slow", "darker"], scorers=[SMALL]).json()
    assert services.slow.working.acquire(timeout=PATIENCE)
    assert result(client.get(f"/api/comparisons/{begun['id']}").json(), "model-slow")["state"] == (
        "running"
    )
    report = client.post(f"/api/comparisons/{begun['id']}/cancel").json()
    assert services.slow.cancelled.acquire(timeout=PATIENCE)
    assert not report["busy"]
    assert result(report, "bicubic")["state"] == "done"
    for key in ("model-slow", "model-darker"):
        assert result(report, key)["state"] == "cancelled"
        assert result(report, key)["error"] is None
    services.slow.release.set()
    assert client.post(f"/api/comparisons/{begun['id']}/retry").status_code == 200
    again = until(client, begun["id"], ended)
    assert {one["state"] for one in again["results"]} == {"done"}


def test_no_more_than_a_few_at_a_time(make_client: MakeClient, services: TrialServices) -> None:
    client = make_client(Limits(workers=1, queue=1))
    first = start(client, photograph(50, 52), models=["slow"]).json()
    assert services.slow.working.acquire(timeout=PATIENCE)
    second = start(client, photograph(50, 52), models=["slow"]).json()
    refused = start(client, photograph(50, 52))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "OVERLOADED"
    # One that waits is cancelled before it has begun.
    cancelled = client.post(f"/api/comparisons/{second['id']}/cancel").json()
    assert {one["state"] for one in cancelled["results"]} == {"cancelled"}
    services.slow.release.set()
    assert result(until(client, first["id"], ended), "model-slow")["state"] == "done"
    assert start(client, photograph(50, 52)).status_code == 201


def test_one_that_is_retried_in_the_queue_is_done_once(
    make_client: MakeClient, services: TrialServices
) -> None:
    client = make_client(Limits(workers=2))
    first = [start(client, photograph(50, 52), models=["slow"]).json()["id"] for _ in range(2)]
    for key in first:  # both workers are taken
        until(client, key, lambda report: result(report, "model-slow")["state"] == "running")
    waits = start(client, photograph(50, 52), models=["slow"], scorers=[SMALL]).json()["id"]
    for _ in range(2):
        assert client.post(f"/api/comparisons/{waits}/cancel").status_code == 200
        assert client.post(f"/api/comparisons/{waits}/retry").status_code == 200
    for key in first:
        client.post(f"/api/comparisons/{key}/cancel")
    until(client, waits, lambda report: result(report, "model-slow")["state"] == "running")
    time.sleep(0.3)  # a second thread would have come by then
    services.slow.release.set()
    report = until(client, waits, ended)
    for one in report["results"]:
        assert (one["state"], one["scores"][SMALL]["state"]) == ("done", "done")


def test_no_more_are_let_in_while_others_are_decoded(
    make_client: MakeClient, services: TrialServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = threading.Semaphore(0)

    def held(*arguments: Any, **options: Any) -> Picture:
        assert decoding.acquire(timeout=PATIENCE)
        return decode_image(*arguments, **options)

    client = make_client(Limits(workers=1, queue=1))
    monkeypatch.setattr("ranksrgan.pipeline.web.comparisons.decode_image", held)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(start, client, photograph(50, 52), models=["slow"]) for _ in range(5)]
        refused = [call.result().status_code for call in islice(as_completed(calls), 3)]
        for _ in calls:
            decoding.release()
        assert sorted(call.result().status_code for call in calls) == [201, 201, 429, 429, 429]
    assert refused == [429, 429, 429]
    services.slow.release.set()


def test_what_has_ended_holds_no_pixels(make_client: MakeClient) -> None:
    report = run(make_client(), photograph(200, 208), original=1, scorers=[PSNR])
    assert result(report, "bicubic")["scores"][PSNR]["state"] == "done"

    def large() -> list[torch.Tensor]:
        gc.collect()
        found = (one for one in gc.get_objects() if type(one) is torch.Tensor)
        return [one for one in found if one.shape[-2:] == (200, 208)]

    end = time.monotonic() + PATIENCE
    while large():  # the last to work on them may be on its way out
        assert time.monotonic() < end
        time.sleep(0.05)


def test_services_are_asked_for_a_name_that_they_have_not_told(services: TrialServices) -> None:
    app = make_app(services.addresses, {}, None)
    with TestClient(app, base_url="http://localhost:8080") as client:  # asks for no list
        begun = start(client, photograph(8, 8), models=["darker"], scorers=[SMALL])
        assert begun.status_code == 201
        services.stop("metrics")
        refused = start(client, photograph(8, 8), scorers=[NIQE])
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            503,
            "SERVICE_UNAVAILABLE",
        )


def test_the_oldest_is_forgotten(make_client: MakeClient) -> None:
    client = make_client(Limits(kept=2))
    keys = [run(client, photograph(8 + i, 9))["id"] for i in range(3)]
    forgotten = client.get(f"/api/comparisons/{keys[0]}")
    assert forgotten.status_code == 404
    assert "choose the image again" in forgotten.json()["error"]["message"]
    assert client.get(f"/api/comparisons/{keys[2]}/images/bicubic").status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_file_is_refused(make_client: MakeClient, chunked: bool) -> None:
    client = make_client(Limits(upload_bytes=2**20))
    parts = iter([bytes(2**19)] * 3) if chunked else bytes(2**20 + 1)
    answer = client.post("/api/comparisons", content=parts)
    assert answer.status_code == 413
    assert answer.json()["error"]["message"].startswith("what was sent is larger than 1 MiB")


def test_large_images_are_refused_by_their_header(make_client: MakeClient) -> None:
    client = make_client(Limits(pixels=100))
    answer = start(client, photograph(10, 11))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "IMAGE_TOO_LARGE")
    assert "cat.png is 11 x 10 pixels; at most 100" in answer.json()["error"]["message"]
    assert run(client, photograph(40, 40), original=1)["width"] == 10
    assert start(client, photograph(40, 41), original=1).status_code == 413


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "INVALID_IMAGE"), (b"GIF89a", "INVALID_IMAGE"), (photograph()[:900], "INVALID_IMAGE")],
)
def test_what_is_no_image_is_refused(make_client: MakeClient, data: bytes, code: str) -> None:
    answer = start(make_client(), data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert "cat.png" in answer.json()["error"]["message"]


def test_an_original_needs_a_pixel_of_low_resolution(make_client: MakeClient) -> None:
    answer = start(make_client(), photograph(3, 9), original=1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "IMAGE_TOO_SMALL")


@pytest.mark.parametrize(
    "query",
    [
        {"models": ["nobody"]},
        {"models": ["doubling"]},  # is not of the scale that is compared
        {"models": ["../metrics.sock/darker"]},
        {"scorers": ["metrics/nothing"]},
        {"scorers": ["ranker/../metrics.sock/niqe"]},
        {"scorers": ["nowhere/niqe"]},
        {"scorers": ["niqe"]},
    ],
)
def test_only_what_was_offered_may_be_asked_for(
    make_client: MakeClient, query: dict[str, Any]
) -> None:
    answer = start(make_client(), photograph(8, 8), **query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "UNKNOWN_NAME")


@pytest.mark.parametrize(
    "key", ["0.png", "../x", "..%2f..%2fetc%2fpasswd", "model-darker", "/etc/passwd"]
)
def test_images_are_those_of_the_comparison(make_client: MakeClient, key: str) -> None:
    client = make_client()
    report = run(client, photograph(8, 8))
    answer = client.get(f"/api/comparisons/{report['id']}/images/{key}")
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_a_download_has_a_name(make_client: MakeClient) -> None:
    client = make_client()
    report = run(client, photograph(8, 8), name='../my "best" cat.jpeg', models=["darker"])
    images = f"/api/comparisons/{report['id']}/images"
    named = client.get(f"{images}/model-darker?download").headers["content-disposition"]
    assert named == 'attachment; filename="my_best_cat_model-darker_x4.png"'
    assert client.get(f"{images}/input").headers["content-disposition"].startswith("inline")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("cat.png", "cat"),
        ("C:\\x\\cat.png", "cat"),
        ("...", "image"),
        ("ü.png", "image"),
        ("a/b", "b"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert safe_stem(name) == stem


def test_what_nobody_foresaw_stays_inside(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("/secret/path")

    client = make_client()
    monkeypatch.setattr("ranksrgan.pipeline.web.comparisons.decode_image", broken)
    answer = start(client, photograph(8, 8))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "INTERNAL"
    assert "secret" not in answer.text


def test_a_bomb_is_refused_by_its_header(make_client: MakeClient) -> None:
    file = io.BytesIO()
    Image.new("1", (30000, 30000)).save(file, "PNG")
    answer = start(make_client(), file.getvalue(), original=1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "IMAGE_TOO_LARGE")
