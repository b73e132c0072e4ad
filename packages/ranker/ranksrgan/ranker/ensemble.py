"""Several Rankers as one, which also says how far they disagree.

Two Rankers of one metric that differ in their seed agree where the training data told them what to
say, and need not where it did not. The spread of their scores is therefore an estimate of how
little is known of an image: deep ensembles (Lakshminarayanan et al., NeurIPS 2017).

Scores of two trainings have different offsets and units (see `ScoreScale`). In a plain mean the
Ranker with the larger unit would decide alone, and the spread would be that of the offsets. So each
score is standardised first by the mean and deviation that its Ranker's scores had on the validation
images; the members should have been validated on the same ones. Mean and spread are then in units
of those deviations, and a spread of 1 says that nothing is known. Where no member knows its scale,
as official weights do not, the scores are taken as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.joining import Joining, joining_of_all
from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer, ScorerInfo
from ranksrgan.ranker.heads import ScoreScale
from ranksrgan.ranker.named_scorer import NamedScorer
from ranksrgan.ranker.opening import open_ranker
from ranksrgan.ranker.scorer import Ranker

VERSION = "1"


class RankerEnsemble(NamedScorer):
    """The mean of several Rankers' scores: a `DifferentiableScorer`.

    Args:
        members: two or more, of this process or of services. Only a `Ranker` can know its scale.
        name: for `ScorerInfo.name`.

    Raises:
        InvalidInput: fewer than two members, one without gradient or one that wants references,
            members of which higher is better for some and lower for others, or of which some know
            the scale of their scores and some do not.
    """

    def __init__(self, members: Sequence[Scorer], *, name: str = "ensemble") -> None:
        if len(members) < 2:
            raise InvalidInput(
                f"an ensemble has two Rankers or more, not {len(members)}", field="rankers"
            )
        self._members = [_differentiable(member) for member in members]
        self._scales = _scales(self._members)
        infos = [member.info for member in self._members]
        self._info = ScorerInfo(
            name=name,
            version="+".join([VERSION, *(info.version for info in infos)]),
            higher_is_better=_direction(infos),
            needs_reference=False,
            differentiable=True,
            min_side=max(info.min_side for info in infos),
            parameters_hash=_hash(infos, self._scales),
        )

    @property
    def joining(self) -> Joining:
        """As the member that is to be joined the least."""
        return joining_of_all(self._members)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """The mean of the members' standardised scores; see `Scorer.score`.

        Raises:
            InvalidInput, ImageTooSmall, ImageTooLarge: as the members do.
        """
        return self._standardised(
            torch.stack([member.score(images, references) for member in self._members])
        ).mean(0)

    def score_with_spread(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The score, and how far the members disagree.

        Args:
            images: as in `Scorer.score`.

        Returns:
            ``(N,)`` float64 scores and ``(N,)`` sample standard deviations (over M - 1) of the M
            members' standardised scores; neither carries a graph.

        Raises:
            InvalidInput, ImageTooSmall, ImageTooLarge: as the members do.
        """
        with torch.no_grad():
            return self.combine(torch.stack([member.score(images) for member in self._members]))

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread of scores ``(M, N)`` that the M members have given, in their order."""
        standardised = self._standardised(scores)
        return standardised.mean(0), standardised.std(0, correction=1)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score each image and differentiate; see `DifferentiableScorer.gradient`.

        Raises:
            InvalidInput: uint8, and whatever `score` refuses.
        """
        both = [member.gradient(images, references) for member in self._members]
        scores = self._standardised(torch.stack([scores for scores, _ in both])).mean(0)
        total = torch.zeros_like(images)
        for (_, gradients), (_, std) in zip(both, self._scales, strict=True):
            total += gradients / (std * len(both))
        return scores, total

    def _standardised(self, scores: Tensor) -> Tensor:
        mean, std = scores.new_tensor(self._scales).unsqueeze(2).unbind(1)
        return (scores - mean) / std


def open_ensemble(argument: str, options: Mapping[str, str]) -> RankerEnsemble:
    """Entry point ``ensemble``: ``ensemble?members=a.safetensors,b.safetensors&device=cpu``.

    Options other than ``members`` are those of each member, see `open_ranker`. For anything else
    than files, give `RankerEnsemble` what `open_scorer` opens.

    Raises:
        InvalidInput: no members named; and as `open_ranker` and `RankerEnsemble`.
    """
    of_members = dict(options)
    paths = [path for path in of_members.pop("members", "").split(",") if path]
    if not paths:
        raise InvalidInput(
            f"{argument}: name the weights, as in ensemble?members=a.safetensors,b.safetensors",
            field="members",
        )
    return RankerEnsemble([open_ranker(path, of_members) for path in paths])


def _differentiable(member: Scorer) -> DifferentiableScorer:
    info = member.info
    if info.needs_reference:
        raise InvalidInput(f"{info.name} is no Ranker: it wants references", field="rankers")
    if not info.differentiable or not isinstance(member, DifferentiableScorer):
        raise InvalidInput(f"{info.name} is no Ranker: it has no gradient", field="rankers")
    return member


def _scales(members: Sequence[DifferentiableScorer]) -> list[ScoreScale]:
    """Of each member; as if standardised already where none knows its own."""
    known = [member.scale if isinstance(member, Ranker) else None for member in members]
    scales = [scale for scale in known if scale is not None]
    if scales and len(scales) < len(members):
        place = known.index(None)
        raise InvalidInput(
            f"member {place + 1} of the ensemble ({members[place].info.name}) does not know the "
            "scale of its scores (about.scores in its file) and others do, so they cannot be "
            "compared",
            field="rankers",
        )
    return scales or [ScoreScale(0.0, 1.0)] * len(members)


def _direction(infos: Sequence[ScorerInfo]) -> bool:
    directions = [info.higher_is_better for info in infos]
    if len(set(directions)) > 1:
        said = [
            f"{'higher' if higher_is_better else 'lower'} for member {place}"
            for place, higher_is_better in enumerate(directions, 1)
        ]
        raise InvalidInput(
            f"the members of an ensemble have one direction; better is {', '.join(said)}",
            field="rankers",
        )
    return directions[0]


def _hash(infos: Sequence[ScorerInfo], scales: Sequence[ScoreScale]) -> str:
    if not all(info.parameters_hash for info in infos):
        return ""
    lines = [
        f"{info.parameters_hash} {mean!r} {std!r}"
        for info, (mean, std) in zip(infos, scales, strict=True)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
