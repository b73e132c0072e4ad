"""Which calls become one batch, and how it comes apart again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.joining import Joining, Joins, joining_of, joining_of_all
from ranksrgan.contracts.serving.batching import Batch, Job, is_full, partners, run_joined
from ranksrgan.contracts.serving.pace import LeastTimes, TimeInside

MODEL = object()


def both(images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return images.flatten(1).sum(1), images * 2


def job(
    *shape: int,
    joins: Joins = "exactly",
    owner: object = MODEL,
    operation: str = "score",
    dtype: torch.dtype = torch.float32,
    references: bool = False,
) -> Job:
    images = torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
    inputs = (images, images) if references else (images,)
    batch = Batch("s", "m", operation, Joining(joins), both, inputs, owner)
    return Job(batch, None, lambda: True, 0.0)


def test_alike_batches_are_joined_up_to_the_size() -> None:
    jobs = [job(2, 3, 4, 5), job(3, 3, 4, 5), job(3, 3, 4, 5), job(1, 3, 4, 5)]
    assert partners(jobs[0], jobs, 8) == jobs[:3]
    # Nobody overtakes one that came earlier and does not fit.
    assert partners(jobs[0], jobs, 4) == jobs[:1]
    assert partners(jobs[1], jobs, 1) == [jobs[1]]
    assert is_full(jobs[:3], 8)
    assert not is_full(jobs[:3], 9)


@pytest.mark.parametrize(
    "other",
    [
        job(1, 3, 4, 6),
        job(1, 1, 4, 5),
        job(1, 3, 4, 5, dtype=torch.float64),
        job(1, 3, 4, 5, operation="gradient"),
        job(1, 3, 4, 5, owner=object()),
        job(1, 3, 4, 5, references=True),
        job(1, 3, 4, 5, joins="never"),
    ],
)
def test_what_differs_is_not_joined(other: Job) -> None:
    first, last = job(1, 3, 4, 5), job(2, 3, 4, 5)
    assert partners(first, [first, other, last], 8) == [first, last]
    assert partners(other, [first, other, last], 8) == [other]


def test_what_cannot_be_joined_is_not() -> None:
    jobs = [job(1, 3, 4, 5, joins="never") for _ in range(3)]
    assert partners(jobs[0], jobs, 8) == jobs[:1]
    near = [job(1, 3, 4, 5, joins="nearly") for _ in range(3)]
    assert partners(near[0], near, 8) == near


def test_large_images_are_not_joined() -> None:
    jobs = [job(1, 1, 1500, 1500, dtype=torch.uint8) for _ in range(3)]
    assert partners(jobs[0], jobs, 8) == jobs[:1]
    assert is_full(jobs[:1], 8)


def test_a_joined_batch_comes_apart_as_it_was_put_together() -> None:
    jobs = [job(2, 3, 4, 5, references=True), job(1, 3, 4, 5, references=True)]
    results = run_joined(jobs)
    for one, (sums, twice) in zip(jobs, results, strict=True):
        assert isinstance(one.work, Batch)
        alone = one.work.run()
        assert torch.equal(sums, alone[0])
        assert torch.equal(twice, alone[1])


def test_of_several_models_the_least_counts() -> None:
    class Model:
        def __init__(self, joins: Joins) -> None:
            self.joining = Joining(joins)

    exactly, nearly, never = (Model(joins) for joins in ("exactly", "nearly", "never"))
    assert joining_of_all([exactly, exactly]).joins == "exactly"
    assert joining_of_all([exactly, nearly]).joins == "nearly"
    assert joining_of_all([never, nearly]).joins == "never"
    assert joining_of_all([exactly, object()]).joins == "never"
    assert joining_of(object()) == Joining("never", torch.device("cpu"))


def test_least_times() -> None:
    times = LeastTimes()
    assert times.allow("kind", 100, 1e-9)  # nothing is known of it
    times.measured("kind", 100, 2.0)
    times.measured("kind", 100, 1.0)
    times.measured("kind", 100, 3.0)
    assert times.allow("kind", 200, 2.0)
    assert not times.allow("kind", 200, 1.9)
    # Who doubts lets one through in the end.
    assert [times.allow("kind", 100, 0.5) for _ in range(10)].count(True) > 0
    for other in range(2000):
        times.measured(other, 1, 1.0)
    assert times.allow("kind", 10**9, 1e-9)  # forgotten


def test_when_to_come_back() -> None:
    inside = TimeInside()
    assert inside.retry_after == 1.0
    inside.measured(4.0)
    assert inside.retry_after == 2.0
    for _ in range(200):
        inside.measured(0.5)
    assert inside.retry_after == pytest.approx(0.25, rel=1e-3)
    for _ in range(200):
        inside.measured(0.0)
    assert inside.retry_after == 0.01
