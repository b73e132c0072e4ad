"""The Bradley-Terry model of pairwise votes, fitted by maximum likelihood.

R. A. Bradley, M. E. Terry, "Rank analysis of incomplete block designs: I. The method of paired
comparisons", Biometrika 39, 1952. Item i is preferred to j with the probability
``1 / (1 + exp(s_j - s_i))``. The votes' order does not matter, and a tie counts as half a vote for
each. When a fit exists: L. R. Ford, "Solution of a ranking problem from binary comparisons",
American Mathematical Monthly 64(8), 1957.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.contracts.some_names import some_names
from ranksrgan.metrics.votes import Vote, check_votes

# Votes of one item over another below which they count as none: so far out, rounding decides.
_LEAST = 1e-9
# A prior, and the standard error of an earlier strength, is one of these numbers, and no earlier
# strength is larger: beyond, rounding decides.
_LEAST_NUMBER, _LARGEST_NUMBER = 1e-6, 1e6
# Of the earlier items' variances together, the least that one of them has.
_FLOOR = 1e-6


class Incomparable(UndefinedScore):
    """No vote compares two groups of items; more votes mend that, and a prior does not."""


class Strength(NamedTuple):
    """What is known of an item from earlier votes.

    Attributes:
        mean: in natural logarithms of odds.
        error: its standard error relative to the mean of all the items that are known, as in
            `BradleyTerry.covariance`; from 1e-6 to 1e6.
    """

    mean: float
    error: float


@dataclass(frozen=True, eq=False)
class BradleyTerry:
    """A fitted model of n items.

    Attributes:
        items: in the order in which the votes name them; those known only from earlier come last.
        strengths: ``(n,)`` float64 in natural logarithms of odds. Their mean is 0: votes tell
            nothing but differences.
        covariance: ``(n, n)`` float64 of the strengths: the inverse of the Fisher information, on
            the vectors with mean 0.
    """

    items: tuple[str, ...]
    strengths: Tensor
    covariance: Tensor

    def scores(self, initial: float = 1400.0, scale: float = 400.0) -> dict[str, float]:
        """Strengths on the scale of Elo ratings, where they compare with those of `elo`."""
        points = initial + scale / math.log(10) * self.strengths
        return dict(zip(self.items, points.tolist(), strict=True))

    def intervals(
        self, confidence: float = 0.95, initial: float = 1400.0, scale: float = 400.0
    ) -> dict[str, tuple[float, float]]:
        """Where each score lies with that confidence, as far as the votes are independent.

        Relative to the mean of all, which is ``initial``. The normal approximation around the
        maximum: too narrow for items with a handful of votes.

        Raises:
            InvalidInput: a confidence that is not between 0 and 1.
        """
        if not 0 < confidence < 1:
            raise InvalidInput(
                f"a confidence of {confidence} is not between 0 and 1", field="confidence"
            )
        errors = self.covariance.diagonal().clamp(min=0).sqrt() * scale / math.log(10)
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * errors
        return {
            item: (score - width, score + width)
            for (item, score), width in zip(
                self.scores(initial, scale).items(), reach.tolist(), strict=True
            )
        }


def bradley_terry(
    votes: Iterable[Vote],
    *,
    prior: float = 0.0,
    earlier: Mapping[str, Strength] | None = None,
) -> BradleyTerry:
    """Fit strengths to votes by Newton's method.

    Dense in the number of items: some thousand are no trouble (PIPAL has 116 a reference).

    A study is extended by what is known from its earlier votes: their likelihood is taken for a
    normal one of the differences between items whose errors are independent, and the new votes
    come on top. Up to three items that is exact but for being normal. Of items that were compared
    along a chain or a ring errors go together, and covariances come out too small. Fitting all
    votes at once is exact, where the earlier ones are still there, or their sums.

    Args:
        votes: in any order.
        prior: how many ties each item has with one imaginary item, beside its votes. 0 is plain
            maximum likelihood, which has no finite strength for items that never lost, or only won
            among themselves; a small number such as 0.5 draws strengths together a little. See
            `check_prior`.
        earlier: items known from earlier votes, whose ties with the imaginary item are among what
            is known; so is that it is about as strong as their mean. Only their differences count.

    Raises:
        InvalidInput: no vote, an item against itself, an outcome outside 0..1, no such prior, an
            earlier strength beyond 1e6, or a standard error outside 1e-6..1e6.
        Incomparable: no vote compares two groups of items, whose strengths then have nothing to do
            with each other. The message names them.
        UndefinedScore: without a prior, one group was preferred to another in every vote; names
            them. Or the votes are too lopsided for float64.
    """
    earlier = dict(earlier or {})
    votes = list(votes)
    check_votes(votes)
    check_prior(prior)
    for item, known in earlier.items():
        if not (
            abs(known.mean) <= _LARGEST_NUMBER and _LEAST_NUMBER <= known.error <= _LARGEST_NUMBER
        ):
            raise InvalidInput(
                f"the earlier strength of {item} is {known.mean} with a standard error of "
                f"{known.error}; at most {_LARGEST_NUMBER:g} and an error from {_LEAST_NUMBER:g} "
                "to that are wanted",
                field="earlier",
            )
    voted = dict.fromkeys(item for vote in votes for item in (vote.left, vote.right))
    items = tuple(voted | dict.fromkeys(earlier))
    place = {item: position for position, item in enumerate(items)}
    left = torch.tensor([place[vote.left] for vote in votes])
    right = torch.tensor([place[vote.right] for vote in votes])
    outcome = torch.tensor([vote.outcome for vote in votes], dtype=torch.float64)

    wins = torch.zeros(len(items), len(items), dtype=torch.float64)
    wins.index_put_((left, right), outcome, accumulate=True)
    wins.index_put_((right, left), 1 - outcome, accumulate=True)
    means = torch.zeros(len(items), dtype=torch.float64)
    precisions = torch.zeros(len(items), dtype=torch.float64)
    for (item, known), precision in zip(earlier.items(), _precisions(earlier), strict=True):
        means[place[item]], precisions[place[item]] = known.mean, precision
    _require_comparable(wins, precisions, items, prior)
    if prior > 0:
        ties = torch.where(precisions > 0, 0.0, prior / 2)
        wins = torch.nn.functional.pad(wins, (0, 1, 0, 1))
        wins[-1, :-1] = wins[:-1, -1] = ties
        level = math.fsum(known.mean for known in earlier.values()) / max(len(earlier), 1)
        means = torch.cat([means, torch.tensor([level], dtype=torch.float64)])
        # What the ties of the earlier items say of it: a quarter each, of equal strengths.
        tied = torch.tensor([len(earlier) * prior / 4], dtype=torch.float64)
        precisions = torch.cat([precisions, tied])

    strengths = _maximise(wins, means, precisions)
    # Without the imaginary item, relative to the mean of the real ones.
    centring = torch.eye(len(items), len(wins), dtype=torch.float64)
    centring[:, : len(items)] -= 1 / len(items)
    inverse, singular = torch.linalg.inv_ex(_information(wins, strengths, precisions))
    if bool(singular) or not bool(inverse.isfinite().all()):
        raise _too_lopsided()
    return BradleyTerry(items, centring @ strengths, centring @ inverse @ centring.T)


def check_prior(prior: float) -> None:
    """Check the prior of `bradley_terry`.

    Raises:
        InvalidInput: neither 0 nor from 1e-6 to 1e6. Below, the fit would be of rounding errors.
    """
    if prior != 0 and not _LEAST_NUMBER <= prior <= _LARGEST_NUMBER:
        raise InvalidInput(
            f"a prior of {prior} is neither 0 nor from {_LEAST_NUMBER:g} to {_LARGEST_NUMBER:g}",
            field="prior",
        )


def _precisions(earlier: Mapping[str, Strength]) -> list[float]:
    """Of the earlier items: of the independent errors that, less their mean, are those known.

    Where m of these have the variances ``s_i``, with the sum S, the variances less the mean are
    ``v_i = (1 - 2 / m) s_i + S / m^2``, and S is ``m / (m - 1)`` times the sum of these. Of two
    items S alone counts. No ``s_i`` is below 0, as the ``v_i`` come of a network of comparisons,
    where the variance of a difference is a distance, like the resistance of one of resistors; it
    is 0 where all the others were compared with that item alone.
    """
    variances = [known.error**2 for known in earlier.values()]
    count = len(variances)
    if count == 1:  # which differs from nothing
        return [1 / variances[0]]
    total = math.fsum(variances) * count / (count - 1)
    if count == 2:
        return [2 / total] * 2
    own = ((variance - total / count**2) / (1 - 2 / count) for variance in variances)
    return [1 / max(one, _FLOOR * total) for one in own]


def _maximise(wins: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """The strengths at which the posterior of ``(n, n)`` wins is largest.

    Their mean is 0 where no precision is above 0: then only differences matter.
    """
    strengths, free = means.clone(), not bool(precisions.any())
    for _ in range(200):
        expected = (wins + wins.T) * torch.sigmoid(strengths[:, None] - strengths[None, :])
        gradient = (wins - expected).sum(dim=1) + precisions * (means - strengths)
        step, singular = torch.linalg.solve_ex(_information(wins, strengths, precisions), gradient)
        if bool(singular) or not bool(step.isfinite().all()):
            break
        if free:
            step = step - step.mean()
        # The square of the step in standard errors. This step goes far closer still.
        if float((gradient * step).sum()) < 1e-12:
            fitted: Tensor = strengths + step
            return fitted
        # Far from the maximum a whole step may overshoot; the likelihood is concave, so a part of
        # it does not. Close to it, rounding would hide that it rises.
        likelihood = _log_posterior(wins, strengths, means, precisions)
        while (
            step.abs().max() > 1e-4
            and _log_posterior(wins, strengths + step, means, precisions) < likelihood
        ):
            step = step / 2
        strengths = strengths + step
    raise _too_lopsided()


def _too_lopsided() -> UndefinedScore:
    return UndefinedScore(
        "the votes are too lopsided for a fit; a prior of 0.5 or more may help", field="votes"
    )


def _log_posterior(wins: Tensor, strengths: Tensor, means: Tensor, precisions: Tensor) -> float:
    differences = strengths[:, None] - strengths[None, :]
    likelihood = (wins * torch.nn.functional.logsigmoid(differences)).sum()
    return float(likelihood - (precisions * (strengths - means) ** 2).sum() / 2)


def _information(wins: Tensor, strengths: Tensor, precisions: Tensor) -> Tensor:
    """Fisher's information of strengths: the Laplacian of the comparisons, and the precisions.

    Without any of these it is 0 on equal strengths; ones are added there, which makes it invertible
    and changes nothing about differences.
    """
    chance = torch.sigmoid(strengths[:, None] - strengths[None, :])
    weights = (wins + wins.T) * chance * chance.T
    laplacian = weights.sum(dim=1).diag() - weights
    return laplacian + (precisions.diag() if bool(precisions.any()) else 1 / len(wins))


def _require_comparable(
    wins: Tensor, precisions: Tensor, items: tuple[str, ...], prior: float
) -> None:
    # Items known from earlier compare with each other by that.
    known = precisions > 0
    won = (wins > _LEAST) | (known[:, None] & known[None, :])
    together = _reachable(won | won.T)
    if not bool(together.all()):
        raise Incomparable(
            f"no vote compares {_names(items, together)} with {_names(items, ~together)}",
            field="votes",
        )
    if prior > 0:
        return
    # Whoever cannot be reached from item 0 along wins never lost to whoever can, and the reverse.
    beaten, beating = _reachable(won), _reachable(won.T)
    for winners, losers in ((~beaten, beaten), (beating, ~beating)):
        if bool(winners.any()) and bool(losers.any()):
            raise UndefinedScore(
                f"{_names(items, winners)} won every vote against {_names(items, losers)}, so "
                "no finite strength explains it; set a prior, of 0.5 say, or gather more votes",
                field="votes",
            )


def _reachable(edges: Tensor) -> Tensor:
    """``(n,)``: which can be reached from the first along ``(n, n)`` edges."""
    reached = torch.zeros(len(edges), dtype=torch.bool)
    reached[0] = True
    while True:
        further = reached | edges[reached].any(dim=0)
        if torch.equal(further, reached):
            return reached
        reached = further


def _names(items: tuple[str, ...], chosen: Tensor) -> str:
    return some_names([items[k] for k in chosen.nonzero().flatten().tolist()], most=5)
