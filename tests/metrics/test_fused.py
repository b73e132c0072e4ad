from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.contracts import DifferentiableScorer, Scorer, ScorerInfo
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidInput,
    NotSupported,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.metrics import create_scorer, niqe, rmse, ssim
from ranksrgan.metrics.catalog import open_name
from ranksrgan.metrics.fused import Fused, Term, fuse, parse_terms

IMAGES, REFERENCES = torch.rand(2, 2, 3, 104, 208, generator=torch.Generator().manual_seed(0))


@dataclass
class Constant:
    """A scorer of any kind: the mean of each image, times a factor."""

    name: str = "constant"
    higher_is_better: bool = True
    needs_reference: bool = False
    differentiable: bool = True
    lowest: float = -math.inf
    highest: float = math.inf
    factor: float = 1.0
    parameters_hash: str = ""

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(
            self.name,
            "3",
            self.higher_is_better,
            self.needs_reference,
            self.differentiable,
            8,
            self.parameters_hash,
            self.lowest,
            self.highest,
        )

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        assert (references is not None) == self.needs_reference
        return images.double().flatten(1).mean(dim=1) * self.factor

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.score(images, references), torch.full_like(
            images, self.factor / images[0].numel()
        )


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("niqe+0.4*rmse", [(1, "niqe"), (0.4, "rmse")]),
        ("niqe + 0.4 * rmse", [(1, "niqe"), (0.4, "rmse")]),
        ("niqe?border=4+0.4*rmse?border=4", [(1, "niqe?border=4"), (0.4, "rmse?border=4")]),
        ("niqe?border=4&luma=gray+rmse", [(1, "niqe?border=4&luma=gray"), (1, "rmse")]),
        ("niqe-2*ssim", [(1, "niqe"), (-2, "ssim")]),
        ("niqe - 2*ssim", [(1, "niqe"), (-2, "ssim")]),
        ("niqe-1e-3*ssim-1E+3*psnr", [(1, "niqe"), (-1e-3, "ssim"), (-1e3, "psnr")]),
        ("-.5*niqe+1.*ssim", [(-0.5, "niqe"), (1, "ssim")]),
        ("2*niqe", [(2, "niqe")]),
        ("lpips-alex+fr-2-rank", [(1, "lpips-alex"), (1, "fr-2-rank")]),
        ("niqe+runs/a-1/r(2).safetensors", [(1, "niqe"), (1, "runs/a-1/r(2).safetensors")]),
        ("niqe+0.4*(runs/a+b.pth)", [(1, "niqe"), (0.4, "runs/a+b.pth")]),
        (
            "(grpc://h:1/niqe+ssim)-2*(unix:///a/b)",
            [(1, "grpc://h:1/niqe+ssim"), (-2, "unix:///a/b")],
        ),
        ("(a-2*b)+c?x=1%2B1", [(1, "a-2*b"), (1, "c?x=1%2B1")]),
    ],
)
def test_names_are_taken_apart(name: str, terms: list[tuple[float, str]]) -> None:
    assert parse_terms(name) == [Term(*term) for term in terms]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a term is missing"),
        ("niqe+", r"niqe\+: a term is missing; write for example niqe\+0.4\*rmse"),
        ("+niqe", "a term is missing"),
        ("niqe++rmse", "a term is missing"),
        ("0.4*", "a term is missing"),
        ("()+niqe", "a term is missing"),
        ("niqe*0.4+rmse", r"niqe\*0.4 is not a term; one weight goes before the name"),
        ("2*3*niqe", r"3\*niqe is not a term"),
        ("*niqe", r"\*niqe is not a term"),
        ("niqe+(rmse", "the parentheses do not match"),
        ("niqe)+rmse", "the parentheses do not match"),
        ("niqe+grpc://h:1/rmse", r"put the address in parentheses: \(grpc://h:1/rmse\)"),
        ("0.4*unix:///a.sock/b+niqe", r"put the address in parentheses"),
        ("niqe+0*rmse", "a weight of 0 is not possible: finite and not 0 is wanted"),
        ("niqe+1e999*rmse", "a weight of inf is not possible"),
        ("+".join(["niqe"] * 17), "a sum has 1 to 16 terms, not 17"),
        ("niqe+" + "x" * 1000, "at most 1000 characters"),
    ],
)
def test_names_that_are_no_sums(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_terms(name)


WEIGHTS = st.floats(-1e6, 1e6).filter(lambda weight: weight != 0)
NAMES = st.sampled_from(["niqe", "a-b", "x?b=4", "grpc://h:1/x", "u+v", "r(1).pth", "p-2*q"])


@given(st.lists(st.tuples(WEIGHTS, NAMES), min_size=1, max_size=16))
def test_the_name_of_a_sum_opens_the_same_sum(terms: list[tuple[float, str]]) -> None:
    scorers = [(weight, Constant(name, higher_is_better=weight > 0)) for weight, name in terms]
    fused = Fused(scorers)
    assert parse_terms(fused.info.name) == [Term(*term) for term in terms]


def test_the_sum_of_the_paper() -> None:
    fused = fuse("niqe+0.4*rmse?border=2", open_name)
    scores = fused.score(IMAGES, REFERENCES)
    assert torch.equal(scores, niqe(IMAGES) + 0.4 * rmse(IMAGES, REFERENCES, 2))
    assert scores.dtype == torch.float64
    assert isinstance(fused, Scorer)
    info = fused.info
    assert info.name == "niqe+0.4*rmse?border=2"
    assert (info.higher_is_better, info.needs_reference, info.differentiable) == (
        False,
        True,
        False,
    )
    assert (info.min_side, info.version, info.lowest, info.highest) == (96, "1+1", 0, math.inf)
    parts = [create_scorer(name).info.parameters_hash for name in ("niqe", "rmse")]
    assert info.parameters_hash == hashlib.sha256("\n".join(parts).encode()).hexdigest()


def test_a_negative_weight_turns_the_direction() -> None:
    fused = fuse("niqe-2*ssim", open_name)
    assert not fused.info.higher_is_better
    assert (fused.info.lowest, fused.info.highest) == (-2, math.inf)
    assert torch.equal(fused.score(IMAGES, REFERENCES), niqe(IMAGES) - 2 * ssim(IMAGES, REFERENCES))
    assert fuse("-1*niqe+ssim", open_name).info.higher_is_better
    assert fuse("-1*niqe", open_name).info.higher_is_better
    assert fuse("-1*niqe", open_name).info.name == "-1*niqe"


def test_terms_that_pull_both_ways_are_named() -> None:
    with pytest.raises(
        InvalidInput,
        match=r"pull both ways: higher is better for ssim, -2\*rmse, lower is better for niqe;",
    ):
        fuse("niqe+ssim-2*rmse", open_name)


@given(
    st.lists(
        st.tuples(WEIGHTS, st.booleans(), st.floats(-9, 0), st.floats(0, 9)), min_size=1, max_size=5
    )
)
def test_direction_and_bounds_are_those_of_the_terms(
    terms: list[tuple[float, bool, float, float]],
) -> None:
    scorers = [
        (weight, Constant("c", higher_is_better=better, lowest=low, highest=high))
        for weight, better, low, high in terms
    ]
    rising = {(weight > 0) == better for weight, better, _, _ in terms}
    if len(rising) > 1:
        with pytest.raises(InvalidInput, match="pull both ways"):
            Fused(scorers)
        return
    info = Fused(scorers).info
    assert {info.higher_is_better} == rising
    corners = [sorted((weight * low, weight * high)) for weight, _, low, high in terms]
    assert info.lowest == pytest.approx(sum(low for low, _ in corners))
    assert info.highest == pytest.approx(sum(high for _, high in corners))


def test_a_batch_a_shuffled_batch_and_single_calls_are_equal() -> None:
    fused = fuse("niqe+0.4*rmse-3*ssim", open_name)
    images, references = torch.rand(2, 4, 3, 96, 192)
    scores = fused.score(images, references)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(fused.score(images[order], references[order]), scores[order])
    for k in range(4):
        single = fused.score(images[k : k + 1], references[k : k + 1])
        assert torch.equal(single, scores[k : k + 1])


def test_references_go_only_to_those_who_need_them() -> None:
    # Constant.score asserts it.
    fused = Fused([(1, Constant("a")), (2, Constant("b", needs_reference=True))])
    assert torch.equal(fused.score(IMAGES, REFERENCES), 3 * IMAGES.double().flatten(1).mean(dim=1))
    with pytest.raises(InvalidInput, match=r"a\+2\*b needs references"):
        fused.score(IMAGES)
    with pytest.raises(InvalidInput, match=r"a\+2\*b needs references"):
        fused.gradient(IMAGES)
    with pytest.raises(InvalidInput, match=r"2\*niqe takes no references"):
        fuse("2*niqe", open_name).score(IMAGES, REFERENCES)


def test_a_sum_of_differentiable_scorers_is_one() -> None:
    fused = Fused([(1, Constant("a", factor=3)), (-2, Constant("b", False, True, factor=5))])
    assert fused.info.differentiable
    assert isinstance(fused, DifferentiableScorer)
    scores, gradients = fused.gradient(IMAGES, REFERENCES)
    assert torch.equal(scores, fused.score(IMAGES, REFERENCES))
    assert gradients.shape == IMAGES.shape
    assert gradients.dtype == IMAGES.dtype
    assert gradients.mean() == pytest.approx((3 - 10) / IMAGES[0].numel())
    leaf = IMAGES.clone().requires_grad_(True)
    fused.score(leaf, REFERENCES).sum().backward()
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad, gradients)


def test_without_all_gradients_there_is_none() -> None:
    fused = Fused([(1, Constant("a")), (1, Constant("b", differentiable=False))])
    assert not fused.info.differentiable
    with pytest.raises(NotSupported, match="b has no gradient"):
        fused.gradient(IMAGES)


def test_a_sum_without_all_gradients_carries_that_of_no_term() -> None:
    terms = [(0.5, Constant("a")), (2.0, Constant("b", differentiable=False))]
    leaf = IMAGES.clone().requires_grad_(True)
    scores = Fused(terms).score(leaf)
    assert torch.equal(scores, 2.5 * IMAGES.double().flatten(1).mean(dim=1))
    assert not scores.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        scores.sum().backward()
    # The same term alone, and in a sum that has one, keeps its own.
    assert Fused(terms[:1]).score(leaf).requires_grad


def test_a_term_whose_scores_are_not_one_for_each_image_is_named() -> None:
    class Columns(Constant):
        def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
            return super().score(images)[:, None]

    fused = Fused([(1, Constant("a")), (1, Columns("b"))])
    for work in (fused.score, fused.gradient):
        with pytest.raises(InvalidInput, match=r"scorer b returned the shape \(2, 1\)") as refused:
            work(IMAGES)
        assert refused.value.field == "b"


def test_infinities_against_each_other_are_no_score() -> None:
    better, worse = Constant("up", factor=math.inf), Constant("down", False, factor=math.inf)
    assert torch.equal(Fused([(0.4, better)]).score(IMAGES), torch.full((2,), math.inf).double())
    with pytest.raises(
        UndefinedScore, match=r"image 0: terms of up-2\*down are infinite against .* not a"
    ):
        Fused([(1, better), (-2, worse)]).score(IMAGES)


def test_without_parameters_there_is_no_hash() -> None:
    assert fuse("rmse+rmse?border=1", open_name).info.parameters_hash == ""


def test_errors_of_terms_are_those_of_the_sum() -> None:
    with pytest.raises(UnknownName, match="no metric 'nique'"):
        fuse("nique+0.4*rmse", open_name)
    with pytest.raises(InvalidInput, match="border=x"):
        fuse("niqe?border=x+rmse", open_name)
    with pytest.raises(ImageTooSmall):
        fuse("niqe+rmse", open_name).score(IMAGES[..., :95, :95], REFERENCES[..., :95, :95])


def test_a_service_opens_names_of_metrics_only() -> None:
    """Its terms go through the catalog, so that no client names a file or an address."""
    for term in ("(grpc://127.0.0.1:1/niqe)", "secret.safetensors", "(/etc/passwd)"):
        with pytest.raises(UnknownName, match="there is no metric"):
            fuse(f"niqe+{term}", open_name)


def test_sums_of_nothing() -> None:
    with pytest.raises(InvalidInput, match="1 to 16 terms, not 0"):
        Fused([])
    with pytest.raises(InvalidInput, match="a weight of nan"):
        Fused([(math.nan, Constant())])
