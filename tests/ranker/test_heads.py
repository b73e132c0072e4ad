from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.errors import InvalidCheckpoint, UnknownName
from ranksrgan.ranker.heads import Head, ScoreScale, find_head, heads_about, read_heads

NIQE = Head("niqe", False, ScoreScale(-0.25, 1.75))
MA = Head("ma", True)


def read(about: dict[str, Any], outputs: int) -> list[Head]:
    return read_heads(Weights(Path("r.safetensors"), {}, "ranker", "vgg12", {}, about), outputs)


@pytest.mark.parametrize("heads", [[NIQE], [MA], [Head()], [NIQE, MA], [MA, NIQE, Head()]])
def test_what_is_written_is_read(heads: list[Head]) -> None:
    about = json.loads(json.dumps({"steps": 3, **heads_about(heads)}))
    assert read(about, len(heads)) == heads


def test_one_metric_as_rankers_have_always_said_it() -> None:
    about = heads_about([NIQE])
    assert about["metric"] == "niqe"
    assert about["higher_is_better"] is False
    assert read({"metric": "pi", "higher_is_better": False}, 1) == [Head("pi", False)]
    assert read({}, 1) == [Head()]


def test_outputs_that_nobody_has_described() -> None:
    assert read({"metric": "niqe", "higher_is_better": False}, 3) == [Head()] * 3


@pytest.mark.parametrize(
    ("about", "outputs", "match"),
    [
        (heads_about([NIQE, MA]), 1, "list of 1, one for each output"),
        (heads_about([NIQE, MA]), 3, "list of 3"),
        ({"heads": {"niqe": {}}}, 1, "list of 1"),
        ({"heads": ["niqe", "ma"]}, 2, "JSON object, not by 'niqe'"),
        (heads_about([MA, MA]), 2, "two heads have one name: ma, ma"),
        ({"metric": 3}, 1, "metric is a name, not 3"),
        ({"higher_is_better": "no"}, 1, "true or false, not 'no'"),
        ({"scores": {"mean": 0.0, "std": 0.0}}, 1, "std above 0"),
        ({"scores": {"mean": float("nan"), "std": 1.0}}, 1, "finite mean"),
        ({"scores": {"mean": 0.0, "std": float("inf")}}, 1, "finite mean"),
        ({"scores": {"mean": 0.0}}, 1, "finite mean"),
        ({"scores": [0.0, 1.0]}, 1, "finite mean"),
    ],
)
def test_nonsense_names_file_and_entry(about: dict[str, Any], outputs: int, match: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=match) as caught:
        read(about, outputs)
    assert str(caught.value).startswith("r.safetensors")
    assert str(caught.value.field).startswith("about.")


def test_find_head() -> None:
    assert find_head([Head(), NIQE, MA], "ma", "r.safetensors") == 2
    with pytest.raises(UnknownName, match=r"r\.safetensors has no head 'pi'; it has niqe, ma"):
        find_head([NIQE, MA], "pi", "r.safetensors")
