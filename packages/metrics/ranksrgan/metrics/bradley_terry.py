"""The Bradley-Terry model of pairwise votes, fitted by maximum likelihood.

R. A. Bradley, M. E. Terry, "Rank analysis of incomplete block designs: I. The method of paired
comparisons", Biometrika 39, 1952. Item i is preferred to j with the probability
``1 / (1 + exp(s_j - s_i))``. The votes' order does not matter, and a tie counts as half a vote for
each. When a fit exists: L. R. Ford, "Solution of a ranking problem from binary comparisons",
American Mathematical Monthly 64(8), 1957.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, UndefinedScore
from ranksrgan.metrics.votes import Vote, check_votes

# Votes of one item over another below which they count as none: so far out, rounding decides.
_LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class BradleyTerry:
    """A fitted model of n items.

    Attributes:
        items: in the order in which the votes name them.
        strengths: ``(n,)`` float64 with mean 0, in natural logarithms of odds.
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

        The normal approximation around the maximum: too narrow for items with a handful of votes.

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


def bradley_terry(votes: Iterable[Vote], *, prior: float = 0.0) -> BradleyTerry:
    """Fit strengths to votes by Newton's method.

    Dense in the number of items: some thousand are no trouble (PIPAL has 116 a reference).

    Args:
        votes: in any order.
        prior: how many ties each item has with one imaginary item, beside its votes. 0 is plain
            maximum likelihood, which has no finite strength for items that never lost, or only won
            among themselves; a small number such as 0.5 draws strengths together a little.

    Raises:
        InvalidInput: no vote, an item against itself, an outcome outside 0..1, a negative prior.
        UndefinedScore: no vote compares two groups of items, whose strengths then have nothing to
            do with each other; or, without a prior, one group was preferred to another in every
            vote. The message names them.
    """
    votes = list(votes)
    check_votes(votes)
    if not 0 <= prior < math.inf:
        raise InvalidInput(f"a prior of {prior} is not 0 or more", field="prior")
    items = tuple(dict.fromkeys(item for vote in votes for item in (vote.left, vote.right)))
    place = {item: position for position, item in enumerate(items)}
    left = torch.tensor([place[vote.left] for vote in votes])
    right = torch.tensor([place[vote.right] for vote in votes])
    outcome = torch.tensor([vote.outcome for vote in votes], dtype=torch.float64)

    wins = torch.zeros(len(items), len(items), dtype=torch.float64)
    wins.index_put_((left, right), outcome, accumulate=True)
    wins.index_put_((right, left), 1 - outcome, accumulate=True)
    _require_comparable(wins, items, prior)
    if prior > 0:
        wins = torch.nn.functional.pad(wins, (0, 1, 0, 1), value=prior / 2)
        wins[-1, -1] = 0

    strengths = _maximise(wins)
    # Without the imaginary item, relative to the mean of the real ones.
    centring = torch.eye(len(items), len(wins), dtype=torch.float64)
    centring[:, : len(items)] -= 1 / len(items)
    covariance = centring @ torch.linalg.inv(_information(wins, strengths)) @ centring.T
    return BradleyTerry(items, centring @ strengths, covariance)


def _maximise(wins: Tensor) -> Tensor:
    """The strengths, with mean 0, at which the likelihood of ``(n, n)`` wins is largest."""
    strengths = torch.zeros(len(wins), dtype=torch.float64)
    for _ in range(200):
        expected = (wins + wins.T) * torch.sigmoid(strengths[:, None] - strengths[None, :])
        gradient = (wins - expected).sum(dim=1)
        step, singular = torch.linalg.solve_ex(_information(wins, strengths), gradient)
        if bool(singular) or not bool(step.isfinite().all()):
            break
        step = step - step.mean()
        # The square of the step in standard errors. This step goes far closer still.
        if float((gradient * step).sum()) < 1e-12:
            fitted: Tensor = strengths + step
            return fitted
        # Far from the maximum a whole step may overshoot; the likelihood is concave, so a part of
        # it does not. Close to it, rounding would hide that it rises.
        likelihood = _log_likelihood(wins, strengths)
        while step.abs().max() > 1e-4 and _log_likelihood(wins, strengths + step) < likelihood:
            step = step / 2
        strengths = strengths + step
    raise UndefinedScore("the votes are too lopsided for a fit; set a prior, of 0.5 say")


def _log_likelihood(wins: Tensor, strengths: Tensor) -> float:
    differences = strengths[:, None] - strengths[None, :]
    return float((wins * torch.nn.functional.logsigmoid(differences)).sum())


def _information(wins: Tensor, strengths: Tensor) -> Tensor:
    """Fisher's information of strengths with mean 0: the Laplacian of the comparisons.

    On equal strengths it is 0; ones are added there, which makes it invertible and changes nothing
    about differences.
    """
    chance = torch.sigmoid(strengths[:, None] - strengths[None, :])
    weights = (wins + wins.T) * chance * chance.T
    return weights.sum(dim=1).diag() - weights + 1 / len(wins)


def _require_comparable(wins: Tensor, items: tuple[str, ...], prior: float) -> None:
    won = wins > _LEAST
    together = _reachable(won | won.T)
    if not bool(together.all()):
        raise UndefinedScore(
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
    names = [items[position] for position in chosen.nonzero().flatten().tolist()]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
