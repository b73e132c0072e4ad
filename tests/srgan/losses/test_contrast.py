"""The terms of the criteria contrast, by hand, and their guards."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from ranksrgan.srgan.losses.contrast import (
    MAX_TEMPERATURE,
    NEEDS,
    ContrastTerm,
    Criteria,
    contrast_loss,
)


def criteria(**changed: float) -> tuple[Criteria, dict[str, Tensor]]:
    """At the illustrative values, weighted as in NTIRE's recipe: L1 of .05, .3 and .1."""
    values = {"P": 5e-4, "P1": 3e-3, "P2": 1e-3, "F": 1.5, "G": 4e-3, "G1": 3.5e-3, "G2": 4.5e-3}
    leaves = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in (values | changed).items()
    }
    pixel = {"fused": leaves["P"], "first": leaves["P1"], "second": leaves["P2"]}
    adversarial = {"fused": leaves["G"], "first": leaves["G1"], "second": leaves["G2"]}
    return Criteria(pixel, leaves["F"], adversarial), leaves


def expected(term: str, v: dict[str, float], epsilon: float) -> float:
    if term == "ratio":
        return (v["G"] + v["F"]) / (v["P1"] + epsilon)
    if term == "alignment":
        return (v["P2"] - v["F"]) ** 2
    if term == "negative":
        return math.log((math.exp(-2 * v["P2"]) + math.exp(-2 * v["G1"])) / 2)
    return -math.log(sum(math.exp(-2 * (v["P"] + v[name]) ** 2) for name in ("G", "G1", "G2")))


@pytest.mark.parametrize("term", get_args(ContrastTerm))
def test_values_and_which_components_get_a_gradient(term: ContrastTerm) -> None:
    found, leaves = criteria()
    values = {name: leaf.item() for name, leaf in leaves.items()}
    loss = contrast_loss(term, found, epsilon=1e-3)
    assert loss.item() == pytest.approx(expected(term, values, 1e-3), rel=1e-12)
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    touched = {name for name, gradient in zip(leaves, gradients, strict=True) if gradient}
    names = {"fused": "", "first": "1", "second": "2"}
    pixel, adversarial = NEEDS[term]
    needed = {f"P{names[view]}" for view in pixel} | {f"G{names[view]}" for view in adversarial}
    assert touched == needed | ({"F"} if term in {"ratio", "alignment"} else set())


@pytest.mark.parametrize("term", get_args(ContrastTerm))
def test_gradients_are_right(term: ContrastTerm) -> None:
    _, leaves = criteria(F=0.8, G=0.5)

    def loss(*values: Tensor) -> Tensor:
        p, p1, p2, f, g, g1, g2 = values
        pixel = {"fused": p, "first": p1, "second": p2}
        return contrast_loss(
            term, Criteria(pixel, f, {"fused": g, "first": g1, "second": g2}), 1.5, 0.1
        )

    assert torch.autograd.gradcheck(loss, tuple(leaves.values()))


def test_the_ratio_is_bounded_where_the_pixel_loss_is_0() -> None:
    found, leaves = criteria(P1=0.0)
    loss = contrast_loss("ratio", found)
    loss.backward()
    assert loss.item() == pytest.approx(1.504 / 1e-3)
    assert leaves["P1"].grad is not None
    assert leaves["P1"].grad.item() == pytest.approx(-1.504 / 1e-6)
    # Where the pixel loss is what it usually is, epsilon leaves the published gradient's size.
    found, leaves = criteria()
    contrast_loss("ratio", found, epsilon=1e-9).backward()
    assert leaves["P1"].grad is not None
    assert 1e-3 * leaves["P1"].grad.item() == pytest.approx(-167.1, rel=1e-3)


@pytest.mark.parametrize("size", [0.0, 1e4])
def test_exponentials_neither_underflow_nor_overflow(size: float) -> None:
    found, leaves = criteria(**dict.fromkeys(("P", "P2", "G", "G1", "G2"), size))
    for term in ("negative", "uniformity"):
        loss = contrast_loss(term, found)
        assert loss.isfinite(), term
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        assert all(bool(g.isfinite()) for g in gradients if g is not None), term
    assert contrast_loss("negative", found).item() == pytest.approx(-2 * size)


def test_the_largest_temperature_stands_large_components_in_float32() -> None:
    value = torch.tensor(100.0, requires_grad=True)
    views = dict.fromkeys(("fused", "first", "second"), value)
    loss = contrast_loss("uniformity", Criteria(views, value, views), MAX_TEMPERATURE)
    assert loss.item() == pytest.approx(16 * 200.0**16, rel=1e-4)
    assert bool(torch.autograd.grad(loss, value)[0].isfinite())
