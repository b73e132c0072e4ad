"""Weights of a Ranker or a quality model and their options, opened as a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts.checkpoint import Weights, hash_tensors, load_weights
from ranksrgan.contracts.device import PRECISIONS, Precision, find_precision
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.heads import find_head, read_heads
from ranksrgan.ranker.networks import Network, load_network
from ranksrgan.ranker.quality import egb, fusion
from ranksrgan.ranker.quality.models import MODELS
from ranksrgan.ranker.quality.scorer import QualityScorer, quality_scorer_of
from ranksrgan.ranker.scorer import Ranker
from ranksrgan.ranker.shipped import SHIPPED

_OPTIONS = ("device", "head", "higher_is_better", "precision", "statistics")


def load_ranker(
    path: Path,
    *,
    name: str = "ranker",
    device: str = "auto",
    head: str | None = None,
    higher_is_better: bool | None = None,
    batch_statistics: bool = False,
    precision: Precision = "float32",
) -> Ranker:
    """Load a Ranker from our ``.safetensors`` or an official ``.pth`` of either generation.

    Args:
        path: the weights.
        name: for `ScorerInfo.name`.
        device: see `choose_device`.
        head: the metric whose head gives the score; the first head if it is left out.
        higher_is_better: for a file that does not say. The default there is False: the official
            Rankers follow NIQE, PI and, since their labels have to fall with quality, 10 - Ma.
        batch_statistics: see `Ranker`.
        precision: see `Ranker`.

    Raises:
        InvalidCheckpoint: damaged, unsafe, or not the weights of a Ranker.
        InvalidInput: ``higher_is_better`` contradicts the file; no such device.
        UnknownName: no such head.
    """
    return _ranker_of(
        load_weights(Path(path)),
        name=name,
        device=device,
        head=head,
        higher_is_better=higher_is_better,
        batch_statistics=batch_statistics,
        precision=precision,
    )


def _ranker_of(
    weights: Weights,
    *,
    name: str = "ranker",
    device: str,
    head: str | None,
    higher_is_better: bool | None,
    batch_statistics: bool,
    precision: Precision,
) -> Ranker:
    network = load_network(weights)
    heads = read_heads(weights, network.heads)
    index = 0 if head is None else find_head(heads, head, str(weights.path))
    stated = heads[index].higher_is_better
    if stated is not None and higher_is_better not in (None, stated):
        raise InvalidInput(
            f"{weights.path} says higher_is_better={str(stated).lower()}; leave the option out",
            field="higher_is_better",
        )
    return Ranker(
        network,
        higher_is_better=bool(higher_is_better) if stated is None else stated,
        head=index,
        scale=heads[index].scale,
        name=name,
        parameters_hash=_hash(weights, network, index),
        device=device,
        batch_statistics=batch_statistics,
        precision=precision,
    )


#: What a weights file of this package may hold.
Opened = Ranker | QualityScorer | fusion.Fusion | egb.Egb


def open_ranker(argument: str, options: Mapping[str, str]) -> Opened:
    """Entry point ``ranker``: ``PATH.safetensors?head=ma&device=cuda&higher_is_better=false``, and
    of the shipped Ranker, ``ranker-niqe?device=cuda``.

    ``statistics=batch`` stands for ``batch_statistics``; ``running`` is the default. ``precision``
    is ``float32``, the default, ``bfloat16`` or ``auto``. A file may hold a full-reference quality
    model too, with the options of `quality_scorer_of`, `egb.open_egb` or `fusion.open_fusion`.

    Raises:
        InvalidInput: an unknown option, or no file's name; and as `load_ranker`.
        MissingAsset: see `ShippedWeights.path`.
    """
    if argument == "ranker":
        raise InvalidInput(
            "ranker: name the weights file, as in runs/ranker/ranker.safetensors, or one that is "
            f"shipped: {', '.join(SHIPPED.names)}",
            field="ranker",
        )
    ranker = ranker_of(load_weights(SHIPPED.resolve(Path(argument))), options)
    return ranker.named(argument) if argument in SHIPPED.names else ranker


def ranker_of(weights: Weights, options: Mapping[str, str]) -> Opened:
    """The scorer of weights that have been read; options and errors as in `open_ranker`."""
    where = weights.path
    if weights.architecture in MODELS:
        return quality_scorer_of(weights, options)
    if weights.architecture == fusion.ARCHITECTURE:
        return fusion.open_fusion(weights, options)
    if weights.architecture == egb.ARCHITECTURE:
        return egb.open_egb(weights, options)
    check_options(options, where)
    direction = options.get("higher_is_better")
    if direction not in (None, "true", "false"):
        raise InvalidInput(
            f"{where}: higher_is_better is true or false, not {direction!r}",
            field="higher_is_better",
        )
    statistics = options.get("statistics", "running")
    if statistics not in ("running", "batch"):
        raise InvalidInput(
            f"{where}: statistics is running or batch, not {statistics!r}", field="statistics"
        )
    return _ranker_of(
        weights,
        device=options.get("device", "auto"),
        head=options.get("head"),
        higher_is_better=None if direction is None else direction == "true",
        batch_statistics=statistics == "batch",
        precision=find_precision(options.get("precision", "float32"), PRECISIONS),
    )


def check_options(options: Mapping[str, str], where: Path) -> None:
    """Whether a Ranker has these options; a quality model has some of them. Their values, and which
    of them a file has, show when it is opened.

    Raises:
        InvalidInput: it has no such option; names ``where``, and all that it has.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InvalidInput(
            f"{where}: unknown option {unknown[0]}; a ranker takes {', '.join(_OPTIONS)}",
            field=unknown[0],
        )


def _hash(weights: Weights, network: Network, head: int) -> str:
    """Of the parameters behind the score: of the whole file, unless it holds other heads too."""
    if network.heads == 1:
        return weights.sha256
    return hash_tensors(network.of_head(head).state_dict())
