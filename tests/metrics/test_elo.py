from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics.elo import elo, win_probability
from ranksrgan.metrics.votes import Vote

NAMES = st.sampled_from("abcdef")
VOTES = st.lists(
    st.builds(Vote, NAMES, NAMES, st.floats(0, 1)).filter(lambda vote: vote.left != vote.right),
    min_size=1,
    max_size=60,
)
RATINGS = st.dictionaries(NAMES, st.floats(0, 3000), max_size=4)


def simulated(
    latent: dict[str, float], count: int, rng: np.random.Generator, new: int = 0
) -> list[Vote]:
    """Votes on random pairs by Elo's model; with ``new``, one of each pair is among the last."""
    names, votes = list(latent), []
    for _ in range(count):
        first = (
            int(rng.integers(len(names) - new, len(names)))
            if new
            else int(rng.integers(len(names)))
        )
        second = (first + int(rng.integers(1, len(names)))) % len(names)
        left, right = names[first], names[second]
        wins = rng.random() < win_probability(latent[left], latent[right])
        votes.append(Vote(left, right, float(wins)))
    return votes


def spread(count: int, rng: np.random.Generator) -> dict[str, float]:
    return {f"item{k}": float(1400 + 120 * rng.normal()) for k in range(count)}


def agreement(found: dict[str, float], latent: dict[str, float]) -> float:
    result = stats.spearmanr([found[name] for name in latent], list(latent.values()))
    return float(result.statistic)


def test_the_example_of_the_field() -> None:
    assert win_probability(1500, 1600) == pytest.approx(0.3599, abs=5e-5)
    assert win_probability(1600, 1500) == pytest.approx(0.6401, abs=5e-5)
    assert win_probability(1800, 1400) == pytest.approx(10 / 11)
    assert win_probability(0, 50, scale=50) == pytest.approx(1 / 11)
    found = elo([Vote("a", "b", 1)], {"a": 1500, "b": 1600})
    assert found.ratings["a"] == pytest.approx(1500 + 16 * 0.640065, abs=1e-4)
    assert found.ratings["b"] == pytest.approx(1600 - 16 * 0.640065, abs=1e-4)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_probabilities_are_those_of_the_logistic(a: float, b: float) -> None:
    probability = win_probability(a, b)
    assert probability == pytest.approx(
        float(stats.logistic.cdf((a - b) * math.log(10) / 400)), abs=1e-12
    )
    assert probability + win_probability(b, a) == pytest.approx(1, abs=1e-12)


@given(VOTES, RATINGS)
def test_the_sum_never_changes(votes: list[Vote], ratings: dict[str, float]) -> None:
    found = elo(votes, ratings)
    level = sum(ratings.values()) / len(ratings) if ratings else 1400
    assert set(found.ratings) == {*ratings, *(name for vote in votes for name in vote[:2])}
    for values in (found.ratings, found.scores):
        assert math.fsum(values.values()) == pytest.approx(level * len(values), rel=0, abs=1e-9)


def test_the_sum_does_not_drift_with_the_number_of_votes() -> None:
    rng = np.random.default_rng(0)
    latent = spread(40, rng)
    votes = simulated(latent, 20_000, rng)
    found = elo(votes, dict.fromkeys(latent, 1400.1))
    for values in (found.ratings, found.scores):
        # Half a unit in the last place of each.
        assert abs(math.fsum([*values.values(), *([-1400.1] * 40)])) <= 40 * 1.2e-13


@given(VOTES, RATINGS, st.floats(0.01, 1), st.floats(1, 64))
def test_against_a_record_of_every_update(
    votes: list[Vote], ratings: dict[str, float], tail: float, k: float
) -> None:
    entry = sum(ratings.values()) / len(ratings) if ratings else 1400.0
    now = {name: entry for vote in votes for name in vote[:2]} | ratings
    record = []
    for left, right, outcome in votes:
        expected = 1 / (1 + 10 ** ((now[right] - now[left]) / 400))
        now[left] += k * (outcome - expected)
        now[right] -= k * (outcome - expected)
        record.append(dict(now))
    record = record[-max(1, round(tail * len(votes))) :]
    found = elo(votes, ratings, k=k, tail=tail)
    for name in now:
        assert found.ratings[name] == pytest.approx(now[name], abs=1e-8)
        mean = sum(update[name] for update in record) / len(record)
        assert found.scores[name] == pytest.approx(mean, abs=1e-8)


@given(VOTES)
def test_votes_in_two_goes_rate_as_in_one(votes: list[Vote]) -> None:
    whole = elo(votes).ratings
    first = elo(votes[: len(votes) // 2], dict.fromkeys("abcdef", 1400.0)) if votes[1:] else None
    again = elo(votes[len(votes) // 2 :], first.ratings if first else None).ratings
    for name, rating in whole.items():
        assert again[name] == pytest.approx(rating, abs=1e-9)


def test_a_shift_of_all_ratings_shifts_the_result() -> None:
    votes = simulated(spread(6, np.random.default_rng(0)), 50, np.random.default_rng(1))
    low, high = elo(votes, initial=1000), elo(votes, initial=1500)
    for name in low.ratings:
        assert high.scores[name] - low.scores[name] == pytest.approx(500, abs=1e-9)


def test_votes_order_items_as_they_are() -> None:
    agreements = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        latent = spread(40, rng)
        found = elo(simulated(latent, 4000, rng))
        agreements.append(agreement(found.scores, latent))
    assert np.mean(agreements) >= 0.93


def test_the_order_of_votes_matters_and_the_mean_over_the_last_evens_it_out() -> None:
    rng = np.random.default_rng(0)
    latent = spread(40, rng)
    votes = simulated(latent, 16000, rng)
    one, other = elo(votes), elo([votes[k] for k in rng.permutation(len(votes))])
    moved = {
        kind: np.std([getattr(one, kind)[name] - getattr(other, kind)[name] for name in latent])
        for kind in ("ratings", "scores")
    }
    assert moved["ratings"] > 30
    assert moved["scores"] < 0.75 * moved["ratings"]


def test_new_items_join_without_upsetting_the_old() -> None:
    rng = np.random.default_rng(0)
    latent = spread(40, rng)
    old = elo(simulated(latent, 4000, rng))
    latent |= {f"new{k}": float(1400 + 120 * rng.normal()) for k in range(10)}
    extended = elo(simulated(latent, 1000, rng, new=10), old)
    before = [old.scores[name] for name in old.scores]
    after = [extended.scores[name] for name in old.scores]
    assert stats.spearmanr(before, after).statistic > 0.95
    level = math.fsum(before) / 40
    assert math.fsum(extended.scores.values()) == pytest.approx(50 * level, rel=0, abs=1e-9)
    news = {name: value for name, value in latent.items() if name.startswith("new")}
    assert agreement(extended.scores, news) > 0.9


def test_items_without_a_new_vote_keep_their_score() -> None:
    old = elo([Vote("a", "b", outcome) for outcome in (0, 1, 1, 0)], tail=1)
    # The last vote put a below b; the means have it the other way round.
    assert old.ratings["a"] < 1400 < old.ratings["b"]
    assert old.scores["a"] > 1400.1 > 1399.9 > old.scores["b"]
    extended = elo([Vote("c", "d", 1), Vote("c", "d", 1)], old, tail=1)
    assert {name: extended.scores[name] for name in "ab"} == old.scores
    assert {name: extended.ratings[name] for name in "ab"} == old.scores
    entry = math.fsum(old.scores.values()) / 2
    first, second = 8, 16 * (1 - win_probability(entry + 8, entry - 8))
    assert extended.scores["c"] == pytest.approx(entry + first + second / 2, abs=1e-9)
    assert math.fsum(extended.scores.values()) == pytest.approx(4 * entry, rel=0, abs=1e-9)
    # Whoever gets one goes on from the score, and the sum stays all the same.
    voted = elo([Vote("a", "c", 0)], old)
    assert voted.scores["b"] == old.scores["b"]
    change = 16 * (0 - win_probability(old.scores["a"], entry))
    assert voted.scores["a"] == pytest.approx(old.scores["a"] + change, abs=1e-9)
    assert math.fsum(voted.scores.values()) == pytest.approx(3 * entry, rel=0, abs=1e-9)


@given(VOTES, VOTES)
def test_extending_conserves_the_sum_and_leaves_the_others(
    votes: list[Vote], more: list[Vote]
) -> None:
    old = elo(votes)
    extended = elo(more, old)
    named = {name for vote in more for name in vote[:2]}
    assert all(
        extended.scores[name] == score for name, score in old.scores.items() if name not in named
    )
    level = 1400 * len(extended.scores)
    assert math.fsum(extended.scores.values()) == pytest.approx(level, rel=0, abs=1e-9)


def test_the_given_ratings_are_left_alone() -> None:
    ratings = {"a": 1500.0, "b": 1600.0}
    elo([Vote("a", "b", 1)], ratings)
    assert ratings == {"a": 1500.0, "b": 1600.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, r"k is 0; more than 0 and at most 1e\+06"),
        ({"k": 1e308}, r"k is 1e\+308"),
        ({"scale": -400}, r"scale is -400; 0\.001 to 1e\+06"),
        ({"scale": math.inf}, "scale is inf"),
        ({"initial": math.nan}, r"initial is nan; -1e\+06 to 1e\+06"),
        ({"initial": -1e300}, r"initial is -1e\+300"),
        ({"tail": 0}, "tail is 0; more than 0 and at most 1"),
        ({"tail": 1.5}, "tail is 1.5"),
        ({"ratings": {"a": math.inf}}, "the rating inf of a is not within"),
        ({"ratings": {"a": 1e308, "b": 1e308}}, r"the rating 1e\+308 of a is not within 1e\+12"),
    ],
)
def test_parameters_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        elo([Vote("a", "b", 1)], **settings)  # type: ignore[arg-type]
