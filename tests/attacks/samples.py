"""A few valid requests of each method, to be mutated."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from ranksrgan.contracts.images import Picture, encode_image

_PIXELS = np.random.default_rng(11).integers(0, 256, (24, 20, 3), dtype=np.uint8)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _encoded(suffix: str) -> dict[str, Any]:
    return {"encoded": _text(encode_image(Picture(_PIXELS), suffix=suffix))}


def _tensor(height: int, width: int, kind: str = "DATA_TYPE_FLOAT32") -> dict[str, Any]:
    dtype = {"DATA_TYPE_FLOAT32": "f4", "DATA_TYPE_UINT8": "u1", "DATA_TYPE_FLOAT64": "f8"}[kind]
    pixels = np.random.default_rng(height).random((3, height, width))
    if kind == "DATA_TYPE_UINT8":
        pixels *= 255
    data = pixels.astype(dtype).tobytes()
    return {"tensor": {"dtype": kind, "shape": [3, height, width], "data": _text(data)}}


_SMALL = [_encoded(".png"), _tensor(24, 20), _tensor(24, 20, "DATA_TYPE_UINT8")]
_KINDS = [_encoded(suffix) for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp")]
_DOUBLE = _tensor(40, 36, "DATA_TYPE_FLOAT64")

_SCORE = [
    {"scorer": "rmse", "images": [one], "references": [one]} for one in (*_SMALL, *_KINDS, _DOUBLE)
] + [
    {"scorer": "psnr?border=2", "images": _SMALL, "references": _SMALL},
    {"scorer": "niqe", "images": [_tensor(96, 192)]},
    {"scorer": "0.5*rmse-psnr", "images": [_SMALL[0]], "references": [_SMALL[0]]},
    {"scorer": "tiny", "images": [_tensor(32, 36), _tensor(32, 36)]},
    {"scorer": "tiny", "images": [_tensor(40, 36, "DATA_TYPE_UINT8"), _DOUBLE]},
]

_ENLARGE = [{"model": "tiny", "images": [one]} for one in (*_SMALL, *_KINDS, _DOUBLE)] + [
    {"model": "tiny", "images": [_tensor(9, 7), _tensor(9, 7)]},
]

_ROWS = {"height": 3, "width": 7, "channels": 3, "dtype": "DATA_TYPE_FLOAT32"}

# Each names something that is refused in the end, so that mutated ones seldom begin long work.
_BUILD_CONFIG = {
    "hr": "images/noise",
    "levels": ["blurred=blur:1.5", "tiny=models/tiny", "hr=hr"],
    "metric": "rmse",
    "further": ["gmsd?border=4", "nobody"],
    "crop": 48,
    "stride": 24,
    "val": 0.25,
}
_RANKER_CONFIG = {"width": 2, "batch": 2, "steps": 3, "device": "cpu", "losses": {"margin": 1}}
_GENERATOR_CONFIG = {
    "generator": {"features": 4, "blocks": 1, "weights": "models/tiny"},
    "discriminator": {"width": 2},
    "data": {"hr": "images/noise", "crop": 32, "batch": 2, "workers": 1},
    "losses": {
        "adversarial": {"weight": 0.01},
        "rank": {"weight": 1, "rankers": [{"spec": "rankers/tiny"}]},
    },
    "validation": {"hr": "images/nobody", "scorers": ["rmse"], "every": 3},
    "run": {"steps": 3, "device": "cpu", "tensorboard": False},
}
_OPERATIONS = [{"name": f"operations/{name}-000001-0123abcd"} for name in ("ranker", "srgan")]
_PAIRS = {"dataset": "datasets/noise", "split": "train", "ties": "TIE_POLICY_KEEP"}

_RANKSRGAN = {
    "ScoringService/ListScorers": [{}, {"scorers": ["niqe?border=4", "tiny"]}],
    "ScoringService/Score": _SCORE,
    "ScoringService/ScoreGradient": _SCORE[-2:],
    "ScoringService/ScoreStream": [
        {"id": "7", "scorer": "rmse", "image": one, "reference": one} for one in _SMALL
    ]
    + [
        {"id": "8", "scorer": "tiny", "image": _tensor(32, 36)},
        {
            "id": "9",
            "scorer": "rmse",
            "imageAhead": {"size": 5760, "dtype": "DATA_TYPE_FLOAT32", "shape": [3, 24, 20]},
            "reference": _SMALL[1],
        },
        {"id": "10", "scorer": "niqe", "imageAhead": {"size": 100}},
        {"chunk": _text(bytes(range(100)))},
    ],
    "FeatureService/ExtractFeatures": [{"scorer": "niqe", "images": [_tensor(96, 192)]}],
    "SuperResolutionService/ListModels": [{}, {"models": ["tiny"]}],
    "SuperResolutionService/Upscale": _ENLARGE,
    "SuperResolutionService/UpscaleStream": [
        {"order": {"model": "tiny", "size": 500, "suffix": ".png", "outScaleHundredths": 250}},
        {"order": {"model": "tiny", "size": 252, "rows": _ROWS, "result": "DATA_TYPE_FLOAT32"}},
        {"order": {"model": "tiny", "size": 252, "rows": _ROWS, "suffix": ".tif"}},
        {"chunk": _text(bytes(range(100)))},
    ],
    "RankDataService/BuildRankDataset": [
        {"dataset_id": "faces", "config": _BUILD_CONFIG, "request_id": "1"}
    ],
    "RankDataService/GetRankDataset": [{"dataset": "datasets/noise"}],
    "RankDataService/ListRankDatasets": [{}, {"page_size": 1, "page_token": "datasets/a"}],
    "RankDataService/DescribePairs": [_PAIRS, {"dataset": "datasets/noise", "min_gap": 0.5}],
    "RankDataService/StreamPairs": [{**_PAIRS, "seed": 3, "cursor": 5, "step": 2}],
    "RankDataService/StreamContents": [
        {**_PAIRS, "seed": 3, "cursor": 1, "step": 2, "shuffled": True},
        {**_PAIRS},
    ],
    "RankerTrainingService/TrainRanker": [
        {
            "ranker_id": "fuzzed",
            "dataset": "datasets/noise",
            "split": "train",
            "validation_dataset": "datasets/nobody",
            "validation_split": "val",
            "config": _RANKER_CONFIG,
            "request_id": "1",
        }
    ],
    "GeneratorTrainingService/TrainGenerator": [
        {"generator_id": "fuzzed", "config": _GENERATOR_CONFIG, "request_id": "1"}
    ],
}

#: Requests in JSON by the full name of their method.
SAMPLES: dict[str, list[dict[str, Any]]] = {
    **{f"ranksrgan.contracts.v1.{method}": requests for method, requests in _RANKSRGAN.items()},
    "google.longrunning.Operations/GetOperation": _OPERATIONS,
    "google.longrunning.Operations/CancelOperation": _OPERATIONS,
    "google.longrunning.Operations/DeleteOperation": _OPERATIONS,
    "google.longrunning.Operations/WaitOperation": [
        {**one, "timeout": "0.1s"} for one in _OPERATIONS
    ],
    "google.longrunning.Operations/ListOperations": [
        {},
        {"name": "operations", "filter": "done = true", "page_size": 1},
    ],
    "grpc.health.v1.Health/Check": [{}, {"service": "ranksrgan.contracts.v1.ScoringService"}],
}
