"""The metrics by name, and how a name with options becomes a scorer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.specs import is_sum
from ranksrgan.metrics.differentiable_niqe import DifferentiableNiqe
from ranksrgan.metrics.dists import Dists
from ranksrgan.metrics.fsim import Fsim, Fsimc
from ranksrgan.metrics.fused import fuse
from ranksrgan.metrics.gmsd import Gmsd
from ranksrgan.metrics.lpips import Lpips
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.ma.scorer import Ma
from ranksrgan.metrics.ms_ssim import MsSsim
from ranksrgan.metrics.niqe import Niqe
from ranksrgan.metrics.pi import Pi
from ranksrgan.metrics.pieapp import Pieapp
from ranksrgan.metrics.psnr import Psnr
from ranksrgan.metrics.rmse import Rmse
from ranksrgan.metrics.ssim import Ssim
from ranksrgan.metrics.vif import Vif
from ranksrgan.metrics.vifp import Vifp


def _niqe(border: int = 0, luma: Convention = "y", gradient: bool = False) -> Scorer:
    return DifferentiableNiqe(border, luma) if gradient else Niqe(border, luma)


#: What makes the scorer of a metric. Its keywords with a plain default are the metric's options.
METRICS: dict[str, Callable[..., Scorer]] = {
    "niqe": _niqe,
    "ma": Ma,
    "pi": Pi,
    "psnr": Psnr,
    "ssim": Ssim,
    "rmse": Rmse,
    "ms_ssim": MsSsim,
    "gmsd": Gmsd,
    "fsim": Fsim,
    "fsimc": Fsimc,
    "vif": Vif,
    "vifp": Vifp,
    "lpips": Lpips,
    "dists": Dists,
    "pieapp": Pieapp,
}


# Options included: a client can send megabytes of them, each of which would be looked at.
_LONGEST_NAME = 1000

_ASSETS = {
    "ma": ("ma",),
    "pi": ("ma",),
    "lpips": ("alexnet", "lpips-alex"),
    "dists": ("vgg16", "dists"),
    "pieapp": ("pieapp",),
}


def assets_of(name: str) -> tuple[str, ...]:
    """The assets that a metric cannot do without, with its default options."""
    return _ASSETS.get(name, ())


def options_of(name: str) -> dict[str, int | str]:
    """The options of a metric with their defaults.

    Raises:
        UnknownName: no metric of that name.
    """
    if name not in METRICS:
        raise UnknownName(
            f"there is no metric {name[:120]!r}: it is one of {', '.join(METRICS)}",
            field=name[:120],
        )
    keywords = inspect.signature(METRICS[name]).parameters.values()
    return {word.name: word.default for word in keywords if isinstance(word.default, int | str)}


def create_scorer(name: str, **options: Any) -> Scorer:
    """A metric as a `Scorer`.

    Args:
        name: a key of `METRICS`, without options.
        options: of the metric, see `options_of`: ``border=4``, say.

    Raises:
        UnknownName: no metric of that name.
        InvalidInput: an option that the metric does not have, or a value that does not exist.
    """
    offered = options_of(name)
    unknown = sorted(set(options) - set(offered))
    if unknown:
        raise InvalidInput(
            f"{name} has no option {', '.join(unknown)}; it has: {', '.join(offered)}",
            field=unknown[0],
        )
    return METRICS[name](**options)


def open_metric(argument: str, options: Mapping[str, str]) -> Scorer:
    """Entry point of every metric: its name, with options as they stand in ``name?border=4``.

    Raises:
        UnknownName: no metric of that name.
        InvalidInput: an unknown option, or a value that it cannot have.
    """
    defaults = options_of(argument)
    return create_scorer(
        argument,
        **{key: _value(key, text, defaults.get(key)) for key, text in options.items()},
    )


def open_name(name: str) -> Scorer:
    """A metric by a name that may carry options, ``niqe?border=4&luma=gray``, or a sum of such.

    Nothing but metrics: a service opens names from clients with it.

    Raises:
        UnknownName, InvalidInput: as in `open_metric` and `fuse`, and for a name without end.
    """
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(f"the name of a metric has at most {_LONGEST_NAME} characters")
    return fuse(name, _open_one) if is_sum(name) else _open_one(name)


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


def _open_one(name: str) -> Scorer:
    metric, _, options = name.partition("?")
    return open_metric(metric, parse_options(options, name))


def _value(key: str, text: str, default: int | str | None) -> int | str | bool:
    """An option's text as the type of its default; the scorer itself checks the rest."""
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise InvalidInput(f"{key}={text}: true or false is wanted", field=key)
        return text == "true"
    if isinstance(default, int):
        if not (text.isascii() and text.isdigit() and len(text) <= 6):
            raise InvalidInput(f"{key}={text} is not a whole number of pixels", field=key)
        return int(text)
    return text
