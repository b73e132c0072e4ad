"""Training of the quality models that are boosted trees: ``fusion`` and ``egb``.

They learn from the same judged images as the networks, in one go: what each image looks like to the
metrics or to the backbone, then the trees. They score as the networks do: in standard deviations of
the training set's opinions, about their mean, the higher the better. There is nothing to resume,
and a folder of another training is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from ranksrgan.contracts import config
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.device import choose_device
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig, InvalidImage
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.provenance import write_run_record
from ranksrgan.contracts.training_folder import alone_in, check_folder, clear
from ranksrgan.ranker.quality.backbones.backbone import Backbone
from ranksrgan.ranker.quality.config import RECIPES
from ranksrgan.ranker.quality.egb import SIDE, Egb, deep_features, fit_egb
from ranksrgan.ranker.quality.fusion import (
    METRICS,
    Fusion,
    fit_fusion,
    metric_features,
    open_metrics,
)
from ranksrgan.ranker.quality.opinions import Judged, Opinions
from ranksrgan.ranker.quality.run import FILES, WEIGHTS_FILE, agreement
from ranksrgan.ranker.quality.train import QualityResult
from ranksrgan.ranker.state import read_state, write_state

Boosted = Literal["egb", "fusion"]
BOOSTED: tuple[Boosted, ...] = get_args(Boosted)

logger = logging.getLogger(__name__)


class BoostedConfig(Config):
    """Training of boosted trees.

    Attributes:
        model: ``fusion`` or ``egb``.
        metrics: of the fusion, see `Fusion`.
        network: of ``egb``: the name of its backbone.
        network_width: likewise, see `Backbone`; 0 is the full width.
        side: likewise, of the square that images are scaled to.
        backbone: likewise, a file with published weights; without one the backbone has random
            numbers and is never trained, which is of use for a test alone.
        trees: how many, in parts of the models' own number: up to 100 times as many.
        seed: of all chance.
        device: of the backbone, see `choose_device`.
    """

    model: Boosted
    metrics: tuple[str, ...] = METRICS
    network: str = "vgg16_deep"
    network_width: int = Field(default=0, ge=0)
    side: int = Field(default=SIDE, ge=1)
    backbone: Path | None = None
    trees: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = "auto"


def load_boosted_recipe(
    model: str, name: str | Path | None = None, overrides: Sequence[str] = ()
) -> BoostedConfig:
    """The configuration of a model's training.

    Args:
        model: ``fusion`` or ``egb``.
        name: a YAML file that ends in ``.yaml`` or ``.yml``; None for the defaults.
        overrides: ``key=value`` each.

    Raises:
        InvalidConfig: a recipe by name, unknown key, wrong type or impossible combination.
    """
    if name is not None and Path(name).suffix not in {".yaml", ".yml"}:
        raise InvalidConfig(
            f"recipe {name}: recipes are for the models that are networks; {model} takes its own "
            f"keys ({', '.join(BoostedConfig.model_fields)}), or a file of them",
            field="recipe",
        )
    return config.load_recipe(BoostedConfig, RECIPES, name, [f"model={model}", *overrides])


def train_boosted(
    config: BoostedConfig,
    train_source: PairSource,
    val_source: PairSource | None,
    folder: Path,
    *,
    resume: bool = True,
) -> QualityResult:
    """Fit a model; ``folder`` receives ``quality.safetensors``, ``last.state.pt`` (which says what
    the model has learnt from), ``config.yaml`` and ``run.json``, all at the end: what fails leaves
    it as it was.

    Args:
        config: see `BoostedConfig`.
        train_source: judged images with their references.
        val_source: images, of other references, to evaluate it on; it chooses nothing.
        folder: made if need be.
        resume: False starts anew and removes what an earlier training has left in ``folder``.

    Raises:
        NotSupported: scikit-learn is not installed.
        InvalidCheckpoint: ``folder`` holds a training with another configuration or other data, or
            one of before scores were standardised; ``backbone`` does not fit.
        InvalidConfig: no such device, or a setting that cannot be.
        InvalidDataset: no references, too few images, opinions that are all equal, or for
            ``fusion`` nearly all images of one reference.
        UnknownName, InvalidInput: no such metric, or no such network; another training is at work
            in ``folder``, or something else lies in it, see `check_folder`.
        ImageTooSmall, UndefinedScore: a metric cannot be had of an image; names it and its level.
    """
    check_folder(folder, "a quality model", "model")
    learn = Opinions(train_source, "train")
    judge = None if val_source is None else Opinions(val_source, "val")
    identity = {
        **config.model_dump(mode="json", exclude={"device"}),
        "unit of the scores": "standard deviations of the opinions",
        "training data": train_source.info.fingerprint,
        "validation data": val_source.info.fingerprint if val_source else "none",
    }
    with alone_in(folder, FILES):
        if resume:
            _check_folder(folder, identity)
        model = _fit_fusion(config, learn) if config.model == "fusion" else _fit_egb(config, learn)
        found = None
        if judge is not None:
            scores = torch.cat([_on(judged, model.score) for judged in judge.sets])
            found = agreement(scores, judge.every, rising=judge.higher_is_better)
        mean, deviation, _ = learn.scale
        about = {
            "opinions": {"mean": mean, "deviation": deviation},
            "validation": asdict(found) if found else None,
            "seed": config.seed,
        }
        if not resume:
            clear(folder, FILES)
        write_run_record(folder, config, config.seed)
        write_state(folder, identity, {})
        model.save(folder / WEIGHTS_FILE, about)
    return QualityResult(folder / WEIGHTS_FILE, 1, 1, found)


def _check_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """That nothing in the folder is of another training."""
    state, weights = read_state(folder, identity), folder / WEIGHTS_FILE
    if state is None and weights.exists():
        raise InvalidCheckpoint(
            f"{weights} is there, and nothing says what it was trained with. Train into another "
            "folder, or start anew here (--restart)",
            field=str(weights),
        )


def _fit_fusion(config: BoostedConfig, learn: Opinions) -> Fusion:
    scorers = open_metrics(config.metrics)
    needs = any(scorer.info.needs_reference for scorer in scorers)
    features = _features(
        learn,
        lambda images, references: metric_features(scorers, images, references if needs else None),
    )
    return fit_fusion(
        features,
        learn.scale.standardise(learn.every),
        _groups(learn),
        metrics=config.metrics,
        trees=max(1, round(1000 * config.trees)),
        seed=config.seed,
    )


def _fit_egb(config: BoostedConfig, learn: Opinions) -> Egb:
    device = choose_device(config.device)
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        backbone = Backbone(config.network, config.network_width)
    if config.backbone is None:
        logger.warning(
            "the backbone %s has random numbers and is not trained; --backbone-weights FILE gives "
            "it published ones",
            config.network,
        )
    else:
        backbone.load(config.backbone)
    backbone.freeze(True)
    backbone.to(device)
    features = _features(
        learn,
        lambda images, references: deep_features(backbone, images, references, config.side),
    )
    return fit_egb(
        backbone,
        features,
        learn.scale.standardise(learn.every),
        side=config.side,
        trees=config.trees,
        seed=config.seed,
        device=str(device),
    )


def _features(learn: Opinions, look: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    bar = tqdm(learn.sets, unit="reference", disable=None, leave=False)
    return torch.cat([_on(judged, look) for judged in bar])


def _on(judged: Judged, look: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    references = judged.reference.expand_as(judged.images)
    try:
        return look(judged.images, references)
    except InvalidImage:
        # It does not say which one: each alone, until it comes again.
        for number, level in enumerate(judged.levels):
            alone = slice(number, number + 1)
            try:
                look(judged.images[alone], references[alone])
            except InvalidImage as error:
                raise type(error)(
                    f"{judged.name} at level {level}: {error}", field=judged.name
                ) from error
        raise


def _groups(learn: Opinions) -> Tensor:
    """By source image: ``a.png@0,96`` is a crop of ``a.png``."""
    sources = [judged.name.rpartition("@")[0] or judged.name for judged in learn.sets]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    sizes = torch.tensor([len(judged.images) for judged in learn.sets])
    return torch.tensor([numbers[source] for source in sources]).repeat_interleave(sizes)
