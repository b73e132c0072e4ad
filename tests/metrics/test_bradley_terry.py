from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.metrics.bradley_terry import BradleyTerry, Strength, bradley_terry
from ranksrgan.metrics.votes import Vote


def negative_log_likelihood(
    strengths: npt.NDArray[np.float64], items: tuple[str, ...], votes: list[Vote]
) -> float:
    """Written out vote by vote; the constant part of a common shift is fixed by a penalty."""
    place = {item: k for k, item in enumerate(items)}
    total = float(strengths.mean() ** 2)
    for left, right, outcome in votes:
        difference = strengths[place[left]] - strengths[place[right]]
        total += outcome * np.logaddexp(0, -difference) + (1 - outcome) * np.logaddexp(
            0, difference
        )
    return total


def round_robin(count: int, each: int, rng: np.random.Generator) -> tuple[list[Vote], list[float]]:
    strengths = rng.normal(size=count)
    votes = [
        Vote(str(i), str(j), float(rng.random() < 1 / (1 + math.exp(strengths[j] - strengths[i]))))
        for i in range(count)
        for j in range(i)
        for _ in range(each)
    ]
    return votes, (strengths - strengths.mean()).tolist()


def by_name(found: BradleyTerry) -> dict[str, float]:
    return dict(zip(found.items, found.strengths.tolist(), strict=True))


def test_two_items_have_the_odds_of_their_votes() -> None:
    votes = [Vote("a", "b", 1)] * 3 + [Vote("b", "a", 1)]
    found = by_name(bradley_terry(votes))
    assert found["a"] - found["b"] == pytest.approx(math.log(3), abs=1e-12)
    assert found["a"] + found["b"] == pytest.approx(0, abs=1e-12)
    # The Fisher information of a log-odds is n p (1 - p).
    covariance = bradley_terry(votes).covariance
    difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert float(difference) == pytest.approx(1 / (4 * 3 / 4 * 1 / 4), abs=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 2**16), st.integers(2, 8), st.integers(1, 30))
def test_it_is_the_maximum_that_scipy_finds(seed: int, count: int, extra: int) -> None:
    rng = np.random.default_rng(seed)
    # A ring of wins makes sure that there is a maximum; ties and shares are among the rest.
    votes = [Vote(str(k), str((k + 1) % count), 1) for k in range(count)]
    if count == 2:
        votes = [Vote("0", "1", 1), Vote("1", "0", 1)]
    for _ in range(extra):
        i = int(rng.integers(count))
        j = (i + int(rng.integers(1, count))) % count
        votes.append(Vote(str(i), str(j), float(rng.choice([0, 0.3, 0.5, 1]))))
    found = bradley_terry(votes)
    best = optimize.minimize(
        negative_log_likelihood,
        np.zeros(count),
        args=(found.items, votes),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    assert np.allclose(found.strengths, best.x - best.x.mean(), rtol=0, atol=1e-4)
    ours = negative_log_likelihood(found.strengths.numpy(), found.items, votes)
    assert ours <= best.fun + 1e-9


def test_it_agrees_with_the_classical_iteration() -> None:
    """Zermelo's: the strength of an item is its wins over the sum of n / (p_i + p_j)."""
    rng = np.random.default_rng(1)
    votes, _ = round_robin(6, 10, rng)
    found = bradley_terry(votes)
    wins = np.zeros((6, 6))
    for left, right, outcome in votes:
        wins[int(left), int(right)] += outcome
        wins[int(right), int(left)] += 1 - outcome
    p = np.ones(6)
    for _ in range(5000):
        p = wins.sum(axis=1) / ((wins + wins.T) / (p[:, None] + p[None, :])).sum(axis=1)
        p /= np.exp(np.log(p).mean())
    expected = {str(k): math.log(p[k]) for k in range(6)}
    assert by_name(found) == pytest.approx(expected, abs=1e-9)


def test_known_strengths_come_back_within_their_intervals() -> None:
    rng = np.random.default_rng(0)
    inside = total = 0
    for _ in range(20):
        votes, truth = round_robin(8, 40, rng)
        found = bradley_terry(votes)
        intervals = found.intervals(0.9, initial=0, scale=math.log(10))
        for name, value in by_name(found).items():
            assert value == pytest.approx(truth[int(name)], abs=0.6)
            low, high = intervals[name]
            assert low < value < high
            inside += low <= truth[int(name)] <= high
            total += 1
    assert 0.85 <= inside / total <= 0.95


def test_covariance_is_the_inverse_hessian_on_vectors_of_mean_zero() -> None:
    votes, _ = round_robin(5, 8, np.random.default_rng(2))
    found = bradley_terry(votes)

    def objective(strengths: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        place = {item: k for k, item in enumerate(found.items)}
        for left, right, outcome in votes:
            difference = strengths[place[left]] - strengths[place[right]]
            total = total - outcome * torch.nn.functional.logsigmoid(difference)
            total = total - (1 - outcome) * torch.nn.functional.logsigmoid(-difference)
        return total

    hessian = torch.autograd.functional.hessian(objective, found.strengths)
    assert isinstance(hessian, torch.Tensor)
    assert torch.allclose(found.covariance, torch.linalg.pinv(hessian), rtol=0, atol=1e-10)
    assert found.covariance.sum(dim=1).abs().max() < 1e-12


def test_it_orders_items_better_than_the_order_of_votes_lets_elo() -> None:
    agreements = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        latent = rng.normal(size=40) * 120 * math.log(10) / 400
        votes = []
        for _ in range(4000):
            i = int(rng.integers(40))
            j = (i + int(rng.integers(1, 40))) % 40
            wins = rng.random() < 1 / (1 + math.exp(latent[j] - latent[i]))
            votes.append(Vote(str(i), str(j), float(wins)))
        found = by_name(bradley_terry(votes))
        agreements.append(stats.spearmanr([found[str(k)] for k in range(40)], latent).statistic)
    assert np.mean(agreements) >= 0.95


@given(st.integers(0, 2**16))
def test_neither_order_nor_side_of_votes_matters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes, _ = round_robin(5, 6, np.random.default_rng(3))
    turned = [
        Vote(vote.right, vote.left, 1 - vote.outcome) if rng.random() < 0.5 else vote
        for vote in (votes[k] for k in rng.permutation(len(votes)))
    ]
    assert by_name(bradley_terry(turned)) == pytest.approx(by_name(bradley_terry(votes)), abs=1e-9)


def test_a_tie_is_half_a_vote_for_each() -> None:
    votes, _ = round_robin(4, 5, np.random.default_rng(4))
    tie = bradley_terry([*votes, Vote("0", "1", 0.5), Vote("0", "1", 0.5)])
    both = bradley_terry([*votes, Vote("0", "1", 1), Vote("0", "1", 0)])
    assert torch.allclose(tie.strengths, both.strengths, rtol=0, atol=1e-12)
    assert torch.allclose(tie.covariance, both.covariance, rtol=0, atol=1e-12)


def test_scores_are_on_the_scale_of_elo() -> None:
    found = bradley_terry([Vote("a", "b", 1)] * 10 + [Vote("b", "a", 1)])
    scores = found.scores()
    assert scores["a"] - scores["b"] == pytest.approx(400, abs=1e-9)  # ten to one
    assert scores["a"] + scores["b"] == pytest.approx(2800, abs=1e-9)
    low, high = found.intervals()["a"]
    assert (low + high) / 2 == pytest.approx(scores["a"])
    error = math.sqrt(float(found.covariance[0, 0])) * 400 / math.log(10)
    assert (high - low) / 2 == pytest.approx(1.959964 * error, rel=1e-6)


def test_very_lopsided_votes_still_have_a_fit() -> None:
    votes = [Vote("a", "b", 1)] * 100_000 + [Vote("b", "a", 1), Vote("b", "c", 1e-6)]
    found = by_name(bradley_terry(votes))
    assert found["a"] - found["b"] == pytest.approx(math.log(100_000), abs=1e-6)
    assert found["c"] - found["b"] == pytest.approx(math.log(1e6 - 1), abs=1e-4)


def test_a_share_below_rounding_is_none() -> None:
    with pytest.raises(UndefinedScore, match="b, c won every vote against a"):
        bradley_terry([Vote("a", "b", 1e-10), Vote("b", "c", 0.5)])


def test_groups_that_never_met_are_named() -> None:
    votes = [Vote("a", "b", 0.5), Vote("c", "d", 0.5), Vote("d", "e", 0.5)]
    for prior in (0.0, 1.0):
        with pytest.raises(UndefinedScore, match="no vote compares a, b with c, d, e"):
            bradley_terry(votes, prior=prior)


def test_groups_that_always_won_are_named() -> None:
    level = [Vote("a", "b", 0.5), Vote("c", "d", 0.5)]
    with pytest.raises(
        UndefinedScore, match=r"c, d won every vote against a, b, so .* set a prior"
    ):
        bradley_terry([*level, Vote("c", "a", 1), Vote("b", "d", 0)])
    with pytest.raises(UndefinedScore, match="a, b won every vote against c, d"):
        bradley_terry([*level, Vote("a", "c", 1)])
    many = [Vote("best", f"i{k}", 1) for k in range(9)]
    with pytest.raises(UndefinedScore, match=r"best won every vote against i0, i1, .* and 4 more"):
        bradley_terry([*many, *(Vote(f"i{k}", f"i{(k + 1) % 9}", 1) for k in range(9))])


def test_a_prior_makes_a_perfect_winner_finite() -> None:
    """As if each item had that many ties with one more, whose strength is fitted as well."""
    votes = [Vote("a", "b", 1)] * 3 + [Vote("b", "c", 1)] * 2
    found = by_name(bradley_terry(votes, prior=0.5))
    imaginary = [Vote(item, "imaginary", 0.5) for item in "abc"]
    # Half a tie each is a whole tie each, with the real votes counted twice.
    twice = by_name(bradley_terry([*votes, *votes, *imaginary]))
    mean = (twice["a"] + twice["b"] + twice["c"]) / 3
    for item in "abc":
        assert found[item] == pytest.approx(twice[item] - mean, abs=1e-9)
    assert found["a"] > found["b"] > found["c"]
    weaker = by_name(bradley_terry(votes, prior=5))
    assert 0 < weaker["a"] < found["a"]
    spread = bradley_terry(votes, prior=0.5).covariance
    assert spread.sum(dim=1).abs().max() < 1e-12
    assert bool((spread.diagonal() > 0).all())


@pytest.mark.parametrize("prior", [-0.1, math.nan, math.inf])
def test_a_prior_that_is_none(prior: float) -> None:
    with pytest.raises(InvalidInput, match="is not 0 or more"):
        bradley_terry([Vote("a", "b", 0.5)], prior=prior)


@pytest.mark.parametrize("confidence", [0, 1, -1, math.nan])
def test_a_confidence_that_is_none(confidence: float) -> None:
    with pytest.raises(InvalidInput, match="is not between 0 and 1"):
        bradley_terry([Vote("a", "b", 0.5)]).intervals(confidence)


def test_earlier_strengths_are_a_normal_prior() -> None:
    rng = np.random.default_rng(3)
    votes, _ = round_robin(5, 3, rng)  # of 0 to 4, of which 3 and 4 are new
    earlier = {"7": Strength(-1.25, 0.1)} | {
        str(k): Strength(float(rng.normal()), 0.2 + 0.3 * k) for k in range(3)
    }
    found = bradley_terry(votes, prior=0.5, earlier=earlier)
    level = sum(known.mean for known in earlier.values()) / 4

    def cost(strengths: npt.NDArray[np.float64]) -> float:
        total = 0.0
        at = dict(zip(found.items, strengths, strict=True))
        for left, right, outcome in votes:
            total += outcome * np.logaddexp(0, at[right] - at[left])
            total += (1 - outcome) * np.logaddexp(0, at[left] - at[right])
        for item, known in earlier.items():
            total += ((at[item] - known.mean) / known.error) ** 2 / 2
        for item in "34":  # half a tie with the mean of the others
            total += (np.logaddexp(0, at[item] - level) + np.logaddexp(0, level - at[item])) / 4
        return float(total)

    best = optimize.minimize(cost, np.zeros(6), method="BFGS", options={"gtol": 1e-8})
    assert np.allclose(found.strengths, best.x, rtol=0, atol=1e-4)
    assert cost(found.strengths.numpy()) <= best.fun + 1e-7
    unjudged = found.items.index("7")
    assert float(found.strengths[unjudged]) == pytest.approx(-1.25, abs=1e-9)
    assert float(found.covariance[unjudged, unjudged]) == pytest.approx(0.01, abs=1e-9)
    # Votes among old items leave their sum, weighted by precision, where it was.
    inside = bradley_terry([Vote("0", "1", 1)] * 3, earlier=earlier)
    after = by_name(inside)
    pulls = [(after[item] - known.mean) / known.error**2 for item, known in earlier.items()]
    assert sum(pulls) == pytest.approx(0, abs=1e-9)
    assert after["0"] > earlier["0"].mean
    assert after["1"] < earlier["1"].mean


def test_earlier_strengths_hold_winners_but_not_new_ones() -> None:
    earlier = {"a": Strength(0.0, 1.0), "b": Strength(0.5, 1.0)}
    # a won every vote: what is known of it makes that finite, without a prior.
    assert by_name(bradley_terry([Vote("a", "b", 1)] * 5, earlier=earlier))["a"] < 2
    with pytest.raises(UndefinedScore, match="c won every vote against b, a"):
        bradley_terry([Vote("c", "b", 1)], earlier=earlier)
    with pytest.raises(UndefinedScore, match="no vote compares c, d with a, b"):
        bradley_terry([Vote("c", "d", 1)], prior=0.5, earlier=earlier)


@pytest.mark.parametrize("known", [Strength(math.nan, 1.0), Strength(0.0, 0.0), Strength(0, -1)])
def test_earlier_strengths_that_say_nothing(known: Strength) -> None:
    with pytest.raises(InvalidInput, match="the earlier strength of a is"):
        bradley_terry([Vote("a", "b", 1)], prior=0.5, earlier={"a": known})
