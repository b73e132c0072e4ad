"""What a Ranker's training can be told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from ranksrgan.contracts import config
from ranksrgan.contracts.config import Config, in_order
from ranksrgan.contracts.device import Precision

RECIPES = Path(__file__).parent / "recipes"

Architecture = Literal["vgg8", "vgg12", "vgg16", "nss"]
#: In the order in which they are summed up.
LossName = Literal[
    "margin",
    "ranknet",
    "listwise",
    "bradley_terry",
    "plcc",
    "srocc",
    "regression",
    "magnitude",
]

#: Losses that see nothing but the order within a content: all that a labelled pair says.
ORDER_LOSSES: frozenset[LossName] = frozenset({"margin", "ranknet", "magnitude"})

#: Losses that leave out pairs which differ by no more than ``min_gap``.
GAP_LOSSES: tuple[LossName, ...] = ("margin", "ranknet")

#: Keys that a resumed training may change: they move no weight, or say only how far to go.
FREE_ON_RESUME = frozenset(
    {"steps", "patience", "validate_every", "save_every", "log_every", "device"}
)

_LOSSES: dict[LossName, float] = {"margin": 1.0, "magnitude": 0.01}

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(Config):
    """Training of a Ranker; the defaults are the paper's run, ``recipes/`` holds others.

    Attributes:
        architecture: of the paper (see `VGG`), or ``nss``, which is ours (see `NSS`).
        width: of the network, see there.
        border: of ``nss``: the metric's, see there.
        start: how the initial weights of a VGG are drawn, see `Start`.
        further: further metrics of the rank dataset to learn, each with a head of its own on the
            one trunk; the loss is the mean over the heads.
        sample: what a batch is made of: ``contents`` with their versions, so that every pair
            of them is learnt from one forward pass, or ``pairs``, which the paper draws. Pairs say
            an order and no value, so they go with `ORDER_LOSSES` alone.
        versions: of each content so many are learnt from in a step, drawn anew each time; 0: all.
            For sets with dozens of versions, which would all be in one forward pass. (All are read
            and decoded anyway.)
        crop: the versions of a content are seen through one window of so many pixels a side, at a
            place that is drawn anew each time; 0 sees the whole. It makes one batch of contents of
            several sizes (``crop: whole`` of a rank dataset), which otherwise takes ``batch`` 1.
            Validation sees every content whole.
        batch: contents or pairs a step, over all processes. (16 pairs as published; the paper does
            not say.)
        losses: weight of each loss, see ``loss.py`` and ``loss_correlation.py``. ``magnitude`` is
            no part of the paper.
        margin: of the margin-ranking loss.
        min_gap: values of one content that differ by no more have no order for ``margin`` and
            ``ranknet``, and no part in the accuracies. In units of the metric, so it does not go
            with ``sample=pairs``, which know no values; there the rank dataset's own ``min_gap``
            decides. Nor does it with ``as_published``, where a tie is an order.
        scale: of ``bradley_terry``, in units of the metric: the gap at which the odds are e to one.
            173.7 (400 / ln 10) for Elo ratings.
        across: ``bradley_terry`` compares all images of a batch, not only those of one content.
        as_published: the released code instead of the paper: its loss (scores clamped to [-5, 5], a
            tie is an order), one pair of each content, its members in the order of the levels and
            in a forward pass of their own, PyTorch's initial weights. ``recipes/as_published.yaml``
            has the numbers that go with it.
        noise: largest standard deviation, on the 0..255 scale, of the white noise that the versions
            of a content are seen through; each content draws its own from 0 up. A Ranker that
            relies on what survives noise gives a generator fewer faint patterns to please it with.
            0 is the paper's, whose hundred thousand crops do as much.
        jitter: the versions of a content are seen through one window that is smaller by so many
            pixels, at a random place, mirrored and turned at random. All crops of a dataset lie on
            the grid of the LR pixels otherwise, and what the Ranker learns of artefacts holds for
            one position of its strides only. 0 is the paper's.
        lr: Adam's step size before the first halving. (The published YAML says 1e-4, the paper and
            the published README 1e-3.)
        warm_up: over so many steps the step size rises to ``lr``. 0 is the paper's.
        weight_decay: L2, on all parameters.
        betas: of Adam.
        steps: updates of the weights.
        halve_at: after so many steps the step size halves; as published the last of them has the
            halved one already, since the released code asks its schedule before the update.
        seed: of the initial weights and of the order of the data.
        validate_every: steps between two evaluations on the held-out source.
        patience: the training ends after so many validations in a row without a better one. 0 goes
            on to the end.
        save_every: steps between two training states on disk.
        log_every: steps between two rows of the curves.
        precision: of the convolutions; weights, scores and loss are always float32. ``auto`` is
            bfloat16 where the device computes in it, else float32.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
    """

    architecture: Architecture = "vgg12"
    width: int = Field(default=64, ge=1)
    border: int = Field(default=4, ge=0)
    start: Literal["he", "zero_mean"] = "he"
    further: tuple[str, ...] = ()
    sample: Literal["contents", "pairs"] = "contents"
    versions: int = Field(default=0, ge=0)
    crop: int = Field(default=0, ge=0)
    batch: int = Field(default=16, ge=1)
    losses: dict[LossName, Weight] = Field(default_factory=lambda: dict(_LOSSES))
    margin: float = Field(default=0.5, gt=0)
    min_gap: float = Field(default=0.0, ge=0)
    scale: float = Field(default=1.0, gt=0)
    across: bool = False
    as_published: bool = False
    noise: float = Field(default=0.0, ge=0)
    jitter: int = Field(default=0, ge=0)
    lr: float = Field(default=1e-3, gt=0)
    warm_up: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    steps: int = Field(default=300_000, ge=1)
    halve_at: tuple[Annotated[int, Field(ge=1)], ...] = (100_000, 200_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    validate_every: int = Field(default=5_000, ge=1)
    patience: int = Field(default=0, ge=0)
    save_every: int = Field(default=5_000, ge=1)
    log_every: int = Field(default=100, ge=1)
    precision: Precision = "auto"
    device: str = "auto"

    def lr_at(self, step: int) -> float:
        """The step size of the update that follows ``step`` finished ones."""
        warm = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        asked = step + self.as_published
        return float(self.lr * warm * 0.5 ** sum(asked >= halving for halving in self.halve_at))

    @field_validator("losses")
    @classmethod
    def _in_order(cls, losses: dict[LossName, float]) -> dict[LossName, float]:
        return in_order(losses, get_args(LossName))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any(self.losses[name] for name in self.losses if name != "magnitude"):
            raise ValueError("losses: none but magnitude has a weight, so nothing would be learnt")
        twice = [name for name in self.further if self.further.count(name) > 1]
        if twice:
            raise ValueError(f"further: {twice[0]} is there twice; each metric has one head")
        if self.architecture == "nss" and (self.start != "he" or self.as_published):
            key = "as_published" if self.as_published else "start"
            raise ValueError(f"{key}: it says how a VGG starts; leave it out for architecture=nss")
        if self.versions == 1:
            raise ValueError("versions: one of a content has no order; 0 (all) or 2 are right")
        if self.versions and (self.as_published or self.sample == "pairs"):
            key = "as_published" if self.as_published else "sample=pairs"
            raise ValueError(f"versions: with {key} a content has two in a step")
        if self.min_gap and self.sample == "pairs":
            raise ValueError(
                "min_gap: with sample=pairs the rank dataset decides which have an order: give it "
                f"there, as in RANKS?min_gap={self.min_gap:g}"
            )
        if self.min_gap and self.as_published:
            raise ValueError("min_gap: with as_published a tie is an order, however small the gap")
        if self.crop and self.jitter >= self.crop:
            raise ValueError(f"jitter: {self.jitter} leaves nothing of crop={self.crop} pixels")
        if self.as_published:
            if set(self.losses) != {"margin"} or self.further or self.sample != "contents":
                raise ValueError(
                    "as_published: the released code has losses={margin: 1}, one metric and draws "
                    "its pairs from contents (sample=contents)"
                )
        elif self.sample == "pairs":
            beyond = sorted(set(self.losses) - ORDER_LOSSES)
            if beyond or self.further:
                what = f"losses.{beyond[0]}" if beyond else "further"
                raise ValueError(
                    f"{what}: pairs say an order and no value of a metric; with sample=pairs there "
                    f"are {', '.join(sorted(ORDER_LOSSES))}, and one head"
                )
        return self


def load_recipe(name: str | Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a packaged recipe by name (``paper``, say, one of ``recipes/``) or a YAML file.

    Args:
        name: of a recipe, or the path of a file that ends in ``.yaml`` or ``.yml``; None for the
            defaults.
        overrides: ``key=value`` each.

    Raises:
        UnknownName: no such recipe.
        InvalidConfig: unknown key, wrong type or impossible combination.
    """
    return config.load_recipe(TrainConfig, RECIPES, name, overrides)
