"""The metrics by name, and how a name with options becomes a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import cast

from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.niqe import Niqe
from ranksrgan.metrics.psnr import Psnr
from ranksrgan.metrics.rmse import Rmse
from ranksrgan.metrics.ssim import Ssim

METRICS: dict[str, type[Niqe] | type[Psnr] | type[Ssim] | type[Rmse]] = {
    "niqe": Niqe,
    "psnr": Psnr,
    "ssim": Ssim,
    "rmse": Rmse,
}

_OPTIONS = ("border", "luma")


def create_scorer(name: str, border: int = 0, luma: Convention = "y") -> Scorer:
    """A metric as a `Scorer`.

    Args:
        name: a key of `METRICS`.
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.

    Raises:
        UnknownName: no metric of that name.
        InvalidInput: a border or luma that does not exist.
    """
    if name not in METRICS:
        raise UnknownName(
            f"there is no metric {name!r}: it is one of {', '.join(METRICS)}", field=name
        )
    return METRICS[name](border, luma)


def open_metric(argument: str, options: Mapping[str, str]) -> Scorer:
    """Entry point of every metric: its name, with options as they stand in ``name?border=4``.

    Raises:
        UnknownName: no metric of that name.
        InvalidInput: an unknown option, or a value that it cannot have.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InvalidInput(
            f"{argument} has no option {', '.join(unknown)}; it has: {', '.join(_OPTIONS)}",
            field=unknown[0],
        )
    border = options.get("border", "0")
    if not (border.isascii() and border.isdigit() and len(border) <= 6):
        raise InvalidInput(f"border={border} is not a whole number of pixels", field="border")
    # The scorer itself checks that the luma exists.
    return create_scorer(argument, int(border), cast(Convention, options.get("luma", "y")))


def open_name(name: str) -> Scorer:
    """A metric by a name that may carry options: ``niqe?border=4&luma=gray``.

    Raises:
        UnknownName, InvalidInput: as in `open_metric`.
    """
    metric, _, options = name.partition("?")
    return open_metric(metric, parse_options(options, name))


class MetricCatalog:
    """Every metric, for a service to offer."""

    def __init__(self) -> None:
        # Bounded, since the names come from clients.
        self._open = lru_cache(maxsize=64)(open_name)

    def infos(self) -> list[ScorerInfo]:
        """The metrics with their default options."""
        return [self.open(name).info for name in METRICS]

    def open(self, name: str) -> Scorer:
        """The scorer of that name, options included; the same one as last time where possible.

        Raises:
            UnknownName, InvalidInput: as in `open_metric`.
        """
        return self._open(name)
