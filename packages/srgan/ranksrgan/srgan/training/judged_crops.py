"""Whether what judges the crops of a training takes them; said before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ranksrgan.contracts.discovery import asks_service
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.squares import against_square, noise_square, smallest_square
from ranksrgan.srgan.config import ScorerConfig, TrainConfig
from ranksrgan.srgan.training.local_scorer import open_on

_CPU = torch.device("cpu")


def check_judged(
    config: TrainConfig,
    rankers: Iterable[Scorer],
    scorers: Iterable[Scorer],
    device: torch.device = _CPU,
) -> None:
    """Refuse crops that are too small for a Ranker or another scorer of the losses.

    A scorer for which its smallest side may not be enough is given noise, as it will get images.

    Args:
        config: its ``data.crop`` and ``losses.rank.jitter``.
        rankers: of the rank loss; not looked at where its weight is 0.
        scorers: of ``losses.scorers``.
        device: where images of the training lie.

    Raises:
        InvalidConfig: ``data.crop`` is too small for one; names it, and what it takes.
        RankSRGANError: see `against_square`.
    """
    for ranker in rankers if config.losses.rank.weight else ():
        _check(config, ranker, config.losses.rank.jitter, device)
    for scorer in scorers:
        _check(config, scorer, 0, device)


def check_judged_here(config: TrainConfig) -> None:
    """`check_judged` with what `open_here` opens of a configuration.

    Raises:
        InvalidConfig: see `check_judged`.
        UnknownName, InvalidInput, InvalidCheckpoint, MissingAsset: see `open_scorer`.
    """
    losses = config.losses
    check_judged(config, open_here(losses.rank.rankers), open_here(losses.scorers))


def open_here(wanted: Iterable[ScorerConfig]) -> Iterator[Scorer]:
    """Open scorers on the CPU, without those that are services, or sums with one."""
    for one in wanted:
        if not asks_service(one.spec):
            yield open_on(one.spec, _CPU)


def check_ranked_crop(config: TrainConfig, least: int) -> None:
    """Refuse crops for a Ranker that is not there yet, and takes images of that side and more.

    Raises:
        InvalidConfig: see `check_judged`.
    """
    rank = config.losses.rank
    if rank.weight and config.data.crop - rank.jitter < least:
        raise _too_small(config, "the Ranker", rank.jitter, least)


def _check(config: TrainConfig, scorer: Scorer, jitter: int, device: torch.device) -> None:
    shown, least = config.data.crop - jitter, scorer.info.min_side
    # As many as a batch normalises over, if it does: of one alone there may be nothing to.
    images = min(2, config.data.batch // config.optimiser.accumulate)

    def noise(side: int) -> Tensor:
        return noise_square(side, images).to(device).float() / 255

    if shown < least or (shown < 2 * least and against_square(scorer, shown, noise) is not None):
        least = smallest_square(scorer, shown, noise) or least
        raise _too_small(config, scorer.info.name, jitter, least)


def _too_small(config: TrainConfig, scorer: str, jitter: int, least: int) -> InvalidConfig:
    less = f" and losses.rank.jitter {jitter}" if jitter else ""
    enough = least + jitter
    enough += -enough % config.generator.scale
    return InvalidConfig(
        f"data.crop is {config.data.crop}{less}; {scorer} takes {least} x {least} pixels and more: "
        f"data.crop={enough} would be enough for it",
        field="data.crop",
    )
