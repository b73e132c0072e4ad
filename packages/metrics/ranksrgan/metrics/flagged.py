"""Scorers as the flags of the command want them: border, luma, and models of the user's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from ranksrgan.contracts.discovery import open_scorer, parse_options
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.specs import is_remote, is_sum, parse_remote
from ranksrgan.metrics.catalog import METRICS, open_name, options_of
from ranksrgan.metrics.fused import fuse
from ranksrgan.metrics.ma.model import MaModel
from ranksrgan.metrics.ma.scorer import Ma
from ranksrgan.metrics.niqe import Niqe
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.pi import Pi

_log = logging.getLogger(__name__)

#: The metrics that each flag of a model is for.
USERS = {"--niqe-model": ("niqe", "pi"), "--ma-model": ("ma", "pi")}


class FlaggedScorers:
    """Opens names, with what the flags say wherever a name does not say otherwise.

    Args:
        border: pixels, for every metric that leaves out any; None if it is not given, which is 0 or
            what a model of Ma was trained on.
        luma: likewise; None is ``y``, or what a model of Ma was trained on.
        niqe_model: a file of `fit_niqe`.
        ma_model: a file of `fit_ma`.

    Raises:
        InvalidInput: a file is no such model.
    """

    def __init__(
        self,
        border: int | None,
        luma: str | None,
        niqe_model: Path | None = None,
        ma_model: Path | None = None,
    ) -> None:
        given = {"border": None if border is None else str(border), "luma": luma}
        self._given = {key: value for key, value in given.items() if value is not None}
        self._border, self._luma = border or 0, luma or "y"
        self._opened: set[str] = set()
        self._flags = {"--niqe-model": niqe_model, "--ma-model": ma_model}
        self._models: dict[str, Callable[[int, Any], Scorer]] = {}
        self._forests: MaModel | None = None
        pristine: NiqeModel | None = None
        if niqe_model is not None:
            pristine = NiqeModel.load(niqe_model)
            self._models["niqe"] = partial(Niqe, model=pristine)
        if ma_model is not None:
            self._forests = MaModel.load(ma_model)
            self._models["ma"] = partial(Ma, model=self._forests)
        if self._models:
            self._models["pi"] = partial(Pi, model=self._forests, niqe_model=pristine)

    def open(self, name: str) -> Scorer:
        """A metric, a service's scorer, a Ranker's file, or a sum of such.

        Raises:
            UnknownName: there is none of that name.
            InvalidInput: a malformed name or option, or a border or a luma is given and does not
                reach this one.
            InvalidCheckpoint: a folder, or a file that is no Ranker's.
        """
        if is_remote(name):
            return open_scorer(self._with_options(name), pinned=True)
        if Path(name.partition("?")[0]).is_file():
            self._refuse(name, self._given)
            return open_scorer(name)
        if is_sum(name):
            return fuse(name, self.open)
        metric, _, text = name.partition("?")
        if metric not in METRICS and Path(metric).is_dir():
            return open_scorer(name)  # it says which file is meant
        self._opened.add(metric)
        options = parse_options(text, name)
        if metric in self._models:
            if options:
                raise InvalidInput(
                    f"{name}: with a model of your own, border and luma are flags and there are no "
                    "other options",
                    field=name,
                )
            return self._models[metric](*self._planes_of(metric))
        for key, value in (("border", str(self._border)), ("luma", self._luma)):
            if key in options_of(metric):
                options.setdefault(key, value)
        written = "&".join(f"{key}={value}" for key, value in options.items())
        return open_name(f"{metric}?{written}")

    def check_models(self) -> None:
        """To be called when all names are opened.

        Raises:
            InvalidInput: a model is given that none of the metrics uses.
        """
        for flag, file in self._flags.items():
            if file is not None and not self._opened.intersection(USERS[flag]):
                raise InvalidInput(
                    f"{flag} is for {' and '.join(USERS[flag])}, and none of them is here",
                    field=flag,
                )

    def _with_options(self, name: str) -> str:
        """A service's scorer with those that are given, if it is a metric, and it has them."""
        at_service = parse_remote(name).name
        metric, _, text = at_service.partition("?")
        if is_sum(at_service) or metric not in METRICS:
            stated = {} if is_sum(at_service) else parse_options(text, name)
            self._refuse(name, set(self._given) - set(stated))
            return name
        stated = parse_options(text, name)
        missing = [
            f"{key}={value}"
            for key, value in self._given.items()
            if key in options_of(metric) and key not in stated
        ]
        if not missing:
            return name
        return f"{name}{'&' if text else '?'}{'&'.join(missing)}"

    def _refuse(self, name: str, unheard: Collection[str]) -> None:
        if unheard:
            flags = " and ".join(f"--{key}" for key in sorted(unheard))
            raise InvalidInput(
                f"{name}: {flags} would not reach it; give no such flag, but write border and luma "
                "into the names of the metrics that are to have them, as in niqe?border=4&luma=y",
                field=name,
            )

    def _planes_of(self, metric: str) -> tuple[int, str]:
        """Border and luma of a metric with a model of the user's own."""
        if self._forests is None or metric not in USERS["--ma-model"]:
            return self._border, self._luma
        trained = self._forests.planes
        border = int(self._given.get("border", trained[0]))
        luma = self._given.get("luma", trained[1])
        if (border, luma) != trained:
            _log.warning(
                "%s: the model of Ma was trained with border %d and luma %s, and scores with "
                "border %d and luma %s",
                *(metric, *trained, border, luma),
            )
        return border, luma
