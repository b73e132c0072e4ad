"""Which validation is the best: by one metric, or by a weighted sum of several."""

from __future__ import annotations

from collections.abc import Mapping

from ranksrgan.contracts.errors import InvalidConfig


class BestRule:
    """Ranks validations by ``validation.best``.

    ``niqe`` ranks by NIQE; ``{niqe: 1, lpips: 10}`` by NIQE + 10 LPIPS. A metric of the other
    direction than the first one is subtracted, so that the value has the first one's direction and
    a gain in any metric is one. (A configuration has them in the order psnr, ssim, niqe, then by
    name, however they were written.)

    Args:
        wanted: a metric, or metrics with positive weights.
        higher_is_better: direction of each metric that a validation has.

    Raises:
        InvalidConfig: none of those metrics.
    """

    def __init__(
        self, wanted: str | Mapping[str, float], higher_is_better: Mapping[str, bool]
    ) -> None:
        weights = {wanted: 1.0} if isinstance(wanted, str) else wanted
        for metric in weights:
            if metric not in higher_is_better:
                raise InvalidConfig(
                    f"validation.best is {metric}; it is one of {', '.join(higher_is_better)}",
                    field="validation.best",
                )
        #: Direction of `value`.
        self.higher_is_better = higher_is_better[next(iter(weights))]
        self._directions = higher_is_better
        self._weights = {
            metric: weight if higher_is_better[metric] == self.higher_is_better else -weight
            for metric, weight in weights.items()
        }

    @property
    def metrics(self) -> list[str]:
        """Those that decide."""
        return list(self._weights)

    def value(self, scores: Mapping[str, float | None]) -> float | None:
        """The weighted sum of a validation's scores; None if one of them is missing."""
        total = 0.0
        for metric, weight in self._weights.items():
            score = scores[metric]
            if score is None:
                return None
            total += weight * score
        return total

    def restored(self, value: float, first: str) -> float:
        """A value that was computed when ``first`` was the first metric, in today's direction."""
        return value if self._directions[first] == self.higher_is_better else -value

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value beats the best so far."""
        if best is None:
            return True
        return value > best if self.higher_is_better else value < best
