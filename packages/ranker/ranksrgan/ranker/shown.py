"""Whether a network takes what a training shows it of a content; said before the first step."""

from __future__ import annotations

from collections.abc import Sequence

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.ranker.batches import require_room
from ranksrgan.ranker.config import TrainConfig
from ranksrgan.ranker.networks import smallest_side


def check_shown(config: TrainConfig, source: PairSource) -> None:
    """Refuse a ``crop`` and ``jitter`` that do not go with the first content of a source.

    Where contents differ in size, a later one may still be too small. A source without any is left
    to `read_batches`.

    Raises:
        InvalidDataset, InvalidConfig: see `check_size`.
        RankSRGANError: whatever the source raises when it is read.
    """
    content = next(iter(source.contents()), None)
    if content is not None:
        check_size(config, content.images.shape[-2:], content.content)


def check_size(config: TrainConfig, size: Sequence[int], what: str) -> None:
    """Refuse contents of a size of which the network would see too little.

    Args:
        config: its ``architecture``, ``border``, ``crop`` and ``jitter``.
        size: height and width of the contents.
        what: is so large, for messages.

    Raises:
        InvalidDataset: there is no room for the ``crop``.
        InvalidConfig: the network needs more than is left; ``field`` is the key.
    """
    require_room(size, config, what)
    least = smallest_side(config)
    side = config.crop or min(size)
    shown = side - config.jitter
    if shown >= least:
        return
    seen = f"crop={config.crop}" if config.crop else f"{what}, {size[1]} x {size[0]} pixels,"
    less = f" less jitter={config.jitter}" if config.jitter else ""
    key = "jitter" if side >= least else "crop" if config.crop else "architecture"
    raise InvalidConfig(
        f"{key}: {seen}{less} is too small for {config.architecture}, which takes {least} x "
        f"{least} pixels and more",
        field=key,
    )
