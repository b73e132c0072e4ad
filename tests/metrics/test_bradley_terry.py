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


@pytest.mark.parametrize("prior", [-0.1, math.nan, math.inf, 1e-12, 9e-7, 1e7])
def test_a_prior_that_is_none(prior: float) -> None:
    with pytest.raises(InvalidInput, match=r"is neither 0 nor from 1e-06 to 1e\+06"):
        bradley_terry([Vote("a", "b", 0.5)], prior=prior)


def test_the_least_prior_still_has_its_fit() -> None:
    """Where five votes pull as hard as half of the least prior does at each end."""
    found = by_name(bradley_terry([Vote("b", "a", 1)] * 5, prior=1e-6))
    assert found["b"] - found["a"] == pytest.approx(math.log(5 / 5e-7), abs=1e-3)


def test_information_that_has_no_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(information: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return information, torch.ones((), dtype=torch.int32)

    monkeypatch.setattr(torch.linalg, "inv_ex", singular)
    with pytest.raises(UndefinedScore, match=r"too lopsided for a fit; a prior of 0\.5"):
        bradley_terry([Vote("a", "b", 0.5)])


@pytest.mark.parametrize("confidence", [0, 1, -1, math.nan])
def test_a_confidence_that_is_none(confidence: float) -> None:
    with pytest.raises(InvalidInput, match="is not between 0 and 1"):
        bradley_terry([Vote("a", "b", 0.5)]).intervals(confidence)


def less_their_mean(variances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of independent errors: the variance of each one's difference from the mean of all."""
    centring = np.eye(len(variances)) - 1 / len(variances)
    found: npt.NDArray[np.float64] = (centring**2 * variances).sum(axis=1)
    return found


def test_earlier_strengths_are_a_normal_prior_of_differences() -> None:
    rng = np.random.default_rng(3)
    votes, _ = round_robin(5, 3, rng)  # of 0 to 4, of which 3 and 4 are new
    names, means = ("7", "0", "1", "2"), np.array([-1.25, *rng.normal(size=3)])
    variances = np.array([0.1, 0.2, 0.5, 0.8]) ** 2
    errors = np.sqrt(less_their_mean(variances))
    earlier = {
        name: Strength(float(mean), float(error))
        for name, mean, error in zip(names, means, errors, strict=True)
    }
    found = bradley_terry(votes, prior=0.5, earlier=earlier)

    def cost(strengths: npt.NDArray[np.float64]) -> float:
        """The last one is the imaginary item, the mean of all 0."""
        total = float(strengths[:-1].sum() ** 2)
        at = dict(zip([*found.items, "imaginary"], strengths, strict=True))
        for left, right, outcome in votes:
            total += outcome * np.logaddexp(0, at[right] - at[left])
            total += (1 - outcome) * np.logaddexp(0, at[left] - at[right])
        moved = np.array([at[name] for name in names] + [at["imaginary"]])
        moved -= [*means, means.mean()]
        weights = 1 / np.array([*variances, 4 / (4 * 0.5)])  # four items with half a tie each
        total += float((weights * (moved - (weights * moved).sum() / weights.sum()) ** 2).sum()) / 2
        for item in "34":
            apart = at[item] - at["imaginary"]
            total += (np.logaddexp(0, apart) + np.logaddexp(0, -apart)) / 4
        return float(total)

    best = optimize.minimize(cost, np.zeros(7), method="BFGS", options={"gtol": 1e-8})
    assert np.allclose(found.strengths, best.x[:-1], rtol=0, atol=1e-4)
    shifted = {item: Strength(mean + 3, error) for item, (mean, error) in earlier.items()}
    again = bradley_terry(votes, prior=0.5, earlier=shifted)
    assert torch.allclose(again.strengths, found.strengths, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "pairs", [[(0, 1)], [(0, 1), (1, 2), (2, 0)], [(0, k) for k in range(1, 5)]]
)
def test_errors_of_two_or_three_items_or_around_one_say_all(pairs: list[tuple[int, int]]) -> None:
    """As much as the whole covariance would."""
    chance = [0.5 + 0.08 * number for number in range(len(pairs))]
    old = [
        vote
        for (left, right), share in zip(pairs, chance, strict=True)
        for vote in [Vote(str(left), str(right), share)] * (20 + 10 * left + 7 * right)
    ]
    before = bradley_terry(old)
    errors = before.covariance.diagonal().sqrt().tolist()
    earlier = dict(zip(before.items, map(Strength, before.strengths.tolist(), errors), strict=True))
    new = [Vote("0", "1", 0.2)] * 15
    found = bradley_terry(new, earlier=earlier)
    assert found.items == before.items

    known = np.linalg.pinv(before.covariance.numpy())
    strengths = before.strengths.numpy()
    contrast = np.eye(len(strengths))[0] - np.eye(len(strengths))[1]
    for _ in range(50):  # Newton's method, with all that the old votes say of differences
        odds = 1 / (1 + np.exp(-contrast @ strengths))
        covariance = np.linalg.pinv(known + 15 * odds * (1 - odds) * np.outer(contrast, contrast))
        slope = known @ (before.strengths.numpy() - strengths) + 15 * (0.2 - odds) * contrast
        strengths = strengths + covariance @ slope
    assert np.allclose(found.strengths, strengths, rtol=0, atol=1e-5)
    assert np.allclose(found.covariance, covariance, rtol=0, atol=1e-5)


def test_an_earlier_item_alone_says_nothing() -> None:
    votes, _ = round_robin(3, 6, np.random.default_rng(5))
    plain, found = bradley_terry(votes), bradley_terry(votes, earlier={"1": Strength(3.0, 0.2)})
    assert torch.allclose(found.strengths, plain.strengths, rtol=0, atol=1e-9)
    assert torch.allclose(found.covariance, plain.covariance, rtol=0, atol=1e-9)


def test_earlier_strengths_hold_winners_but_not_new_ones() -> None:
    earlier = {"a": Strength(0.0, 1.0), "b": Strength(0.5, 1.0)}
    # a won every vote: what is known of it makes that finite, without a prior.
    assert by_name(bradley_terry([Vote("a", "b", 1)] * 5, earlier=earlier))["a"] < 1
    with pytest.raises(UndefinedScore, match="c won every vote against b, a"):
        bradley_terry([Vote("c", "b", 1)], earlier=earlier)
    with pytest.raises(UndefinedScore, match="no vote compares c, d with a, b"):
        bradley_terry([Vote("c", "d", 1)], prior=0.5, earlier=earlier)


@pytest.mark.parametrize(
    "known",
    [
        Strength(math.nan, 1.0),
        Strength(1e308, 1.0),
        *(Strength(0.0, error) for error in (0.0, -1.0, math.inf, 1e-170, 1e170)),
    ],
)
def test_earlier_strengths_that_say_nothing(known: Strength) -> None:
    with pytest.raises(InvalidInput, match="the earlier strength of a is"):
        bradley_terry([Vote("a", "b", 1)], prior=0.5, earlier={"a": known})
