"""What the values of label files are of."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.rankdata.label_metric import find_label_metric


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.txt"


def written(labels: Path, metric: str, higher_is_better: object) -> None:
    text = f"metric: {metric}\nhigher_is_better: {higher_is_better}\n"
    (labels.parent / "labels.metric.yaml").write_text(text)


@pytest.mark.parametrize(
    ("metric", "given", "higher"),
    [
        (None, None, False),
        ("psnr", None, True),
        ("psnr", True, True),
        ("PSNR", None, True),
        ("niqe?border=4&luma=gray", None, False),
        ("psnr+ssim", None, True),
        ("opinions", None, False),
        ("opinions", True, True),
    ],
)
def test_by_the_name_alone(
    labels: Path, metric: str | None, given: bool | None, higher: bool
) -> None:
    found = find_label_metric(labels, metric, given)
    assert (found.metric, found.higher_is_better) == (metric or "niqe?border=4", higher)


def test_what_stands_beside_the_labels(labels: Path) -> None:
    written(labels, "opinions", "true")
    for metric, given in ((None, None), ("opinions", None), ("opinions", True)):
        found = find_label_metric(labels, metric, given)
        assert (found.metric, found.higher_is_better) == ("opinions", True)
    other = find_label_metric(labels.with_name("others.txt"), "opinions", None)
    assert not other.higher_is_better


def test_contradictions(labels: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"psnr are the higher ones by the metric .* given$"):
        find_label_metric(labels, "psnr", False)
    written(labels, "niqe", "true")
    with pytest.raises(InvalidConfig, match=r"lower ones by .* itself, the higher .*metric\.yaml$"):
        find_label_metric(labels, None, None)
    written(labels, "opinions", "true")
    with pytest.raises(InvalidConfig, match=r"opinions are the higher .*yaml, the lower .* given"):
        find_label_metric(labels, None, False)
    with pytest.raises(
        InvalidConfig, match=r"metric: psnr, and by .*yaml .* of opinions"
    ) as caught:
        find_label_metric(labels, "psnr", None)
    assert caught.value.field == "metric"


def test_what_cannot_be_read(labels: Path) -> None:
    with pytest.raises(InvalidInput, match="psnr has no option bordr"):
        find_label_metric(labels, "psnr?bordr=4", None)
    written(labels, "psnr", "[]")
    with pytest.raises(InvalidConfig, match=r"labels\.metric\.yaml: .*higher_is_better"):
        find_label_metric(labels, None, None)
