"""What a Ranker's training can be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.device import Precision

#: Keys that a resumed training may change: they move no weight, or say only how far to go.
FREE_ON_RESUME = frozenset({"steps", "validate_every", "save_every", "log_every", "device"})


class TrainConfig(Config):
    """Training of a Ranker; the defaults are the paper's run.

    Attributes:
        width: of the network, see `VGG12`.
        margin: of the loss.
        magnitude: weight of the penalty on the scores' magnitude, see
            `ranksrgan.ranker.loss.magnitude`. 0 is the paper's.
        noise: largest standard deviation, on the 0..255 scale, of the white noise that the images
            of a pair are seen through; each pair draws its own from 0 up. A Ranker that relies on
            what survives noise gives a generator fewer faint patterns to please it with. 0 is the
            paper's, whose hundred thousand crops do as much.
        jitter: the images of a pair are seen through one window that is smaller by so many pixels,
            at a random place, mirrored and turned at random. All crops of a dataset lie on the grid
            of the LR pixels otherwise, and what the Ranker learns of artefacts holds for one
            position of its strides only. 0 is the paper's.
        lr: Adam's step size before the first halving. (The published YAML says 1e-4, the paper and
            the published README 1e-3.)
        weight_decay: L2, on all parameters.
        betas: of Adam.
        batch: pairs a step; the network sees twice as many images. (16 as published; the paper
            does not say.)
        steps: updates of the weights.
        halve_at: after so many steps the step size halves.
        seed: of the initial weights and of the order of the pairs.
        validate_every: steps between two evaluations on the held-out source.
        save_every: steps between two training states on disk.
        log_every: steps between two rows of the curves.
        precision: of the convolutions; weights, scores and loss are always float32. ``auto`` is
            bfloat16 where the device computes in it, else float32.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
    """

    width: int = Field(default=64, ge=1)
    margin: float = Field(default=0.5, gt=0)
    magnitude: float = Field(default=0.01, ge=0)
    noise: float = Field(default=0.0, ge=0)
    jitter: int = Field(default=0, ge=0)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[float, Field(ge=0, lt=1)],
    ] = (0.9, 0.999)
    batch: int = Field(default=16, ge=1)
    steps: int = Field(default=300_000, ge=1)
    halve_at: tuple[Annotated[int, Field(ge=1)], ...] = (100_000, 200_000)
    seed: int = Field(default=0, ge=0)
    validate_every: int = Field(default=5_000, ge=1)
    save_every: int = Field(default=5_000, ge=1)
    log_every: int = Field(default=100, ge=1)
    precision: Precision = "auto"
    device: str = "auto"

    def lr_at(self, step: int) -> float:
        """The step size of the update that follows ``step`` finished ones."""
        return float(self.lr * 0.5 ** sum(step >= halving for halving in self.halve_at))
