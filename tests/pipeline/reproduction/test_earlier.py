from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.pipeline.reproduction.config import Scale, load_scale
from ranksrgan.pipeline.reproduction.earlier import check_replaceable, write_scale
from ranksrgan.pipeline.reproduction.findings import write_findings
from ranksrgan.pipeline.reproduction.reproduce import Request, reproduce
from tests.pipeline.reproduction.made_up import make_findings

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


@pytest.fixture
def scale(tiny_scale: Path) -> Scale:
    return load_scale(EXPERIMENTS, str(tiny_scale))


@pytest.fixture
def earlier(tmp_path: Path, scale: Scale) -> Path:
    """A folder with figures of scale tiny over the seeds 0 and 1."""
    write_findings(tmp_path, replace(make_findings(tmp_path), scale="tiny"))
    write_scale(tmp_path, scale)
    return tmp_path


def test_the_same_figures_may_come_anew_and_so_may_those_of_more_seeds(
    earlier: Path, scale: Scale
) -> None:
    check_replaceable(earlier, "tiny", scale, (1, 0))
    check_replaceable(earlier, "tiny", scale, (0, 1, 2))
    told_otherwise = scale.model_copy(update={"about": "Small.", "model_titles": {"imdn": "IMDN"}})
    check_replaceable(earlier, "tiny", told_otherwise, (0, 1))
    check_replaceable(earlier / "another", "gpu", scale, (0,))


def test_figures_of_two_scales_are_never_mixed(earlier: Path, scale: Scale) -> None:
    with pytest.raises(InvalidInput, match=r"holds figures of scale tiny.*another folder") as told:
        check_replaceable(earlier, "gpu", scale, (0, 1))
    assert told.value.field == str(earlier)
    longer = scale.steps.model_copy(update={"generator": 4})
    changed = scale.model_copy(update={"steps": longer, "validations": 2})
    with pytest.raises(InvalidInput, match=r"of a scale tiny of other settings \(steps, valid"):
        check_replaceable(earlier, "tiny", changed, (0, 1))


def test_a_scale_that_this_version_does_not_read_is_another(earlier: Path, scale: Scale) -> None:
    (earlier / "scale.yaml").write_text("about: once\n")
    with pytest.raises(InvalidInput, match=r"other settings \(.*Field required.*another folder"):
        check_replaceable(earlier, "tiny", scale, (0, 1))


def test_seeds_are_not_lost(earlier: Path, scale: Scale) -> None:
    with pytest.raises(InvalidInput, match=r"over the seeds 0, 1, and 1 would be lost: name them"):
        check_replaceable(earlier, "tiny", scale, (0, 2))


def test_weights_of_one_name_and_other_content_make_other_figures(tmp_path: Path) -> None:
    weights = tmp_path / "start.pth"
    said = []
    for content in (b"one", b"another", b"one"):
        weights.write_bytes(content)
        said.append(Request(("table3",), EXPERIMENTS, "tiny", initial=weights).figures_of)
    one = hashlib.sha256(b"one").hexdigest()[:12]
    assert said[0] == said[2] == f"tiny with from start.pth, sha256 {one}"
    assert said[1] != said[0]


def test_what_is_not_to_be_replaced_is_refused_before_any_work(
    earlier: Path, tiny_data: Path, tiny_scale: Path
) -> None:
    request = Request(
        names=("table3",),
        experiments=EXPERIMENTS,
        scale=str(tiny_scale),
        seeds=(0,),
        data=tiny_data,
        output=earlier.parent / "results",
    )
    request.output.mkdir()
    earlier.rename(request.output / "table3")
    with pytest.raises(InvalidInput, match="1 would be lost"):
        reproduce(request, print)
    assert not request.runs.exists()
