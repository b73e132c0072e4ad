"""Distortions of known strength: blur, noise and JPEG, of HR or of another level.

The RankSRGAN paper (journal version) trains Rankers on three blur widths (0.1, 2, 4) and on three
noise "covariances" (1, 15, 30), which are taken here as standard deviations on 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.images import decode_image, encode_image, from_tensor, to_tensor
from ranksrgan.metrics.filters import gaussian, local_means
from ranksrgan.rankdata import chance
from ranksrgan.rankdata.degradation import Source, round_to_uint8
from ranksrgan.rankdata.level_specs import HR, Distortion

# Standard deviations that a blur's window reaches out; beyond lies less than 1e-4 of its weight.
_REACH = 4


@dataclass(frozen=True)
class Blurred:
    """Gaussian blur; border pixels are repeated outwards.

    In double precision, rounded once.

    Attributes:
        of: the level that is blurred; None for HR.
        width: standard deviation in pixels.
    """

    of: str | None
    width: float
    kind = "blur"

    @property
    def facts(self) -> dict[str, Any]:
        return {"of": self.of or HR, "width": self.width}

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        reach = math.ceil(_REACH * self.width)
        planes = F.pad(_image(self.of, source, others).double(), (reach,) * 4, mode="replicate")
        blurred = local_means(planes[0], gaussian(2 * reach + 1, self.width))
        return round_to_uint8(blurred[None])


@dataclass(frozen=True)
class Noisy:
    """White Gaussian noise, independent in each pixel and channel, cut off at 0 and 255.

    The noise depends on the seed and on the names of source and level, on nothing else: it is the
    same in any order of work.

    Attributes:
        name: of the level.
        of: the level that the noise is added to; None for HR.
        sigma: standard deviation on 0..255.
        seed: of the dataset.
    """

    name: str
    of: str | None
    sigma: float
    seed: int
    kind = "noise"

    @property
    def facts(self) -> dict[str, Any]:
        return {"of": self.of or HR, "sigma": self.sigma, "seed": self.seed}

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        image = _image(self.of, source, others)
        key = chance.digest(self.seed, source.name, self.name)
        # The old generator, since NumPy promises that its numbers never change.
        random = np.random.RandomState(np.frombuffer(key, "<u4"))
        noise = torch.from_numpy(random.standard_normal(tuple(image.shape)))
        return round_to_uint8(image.double() + self.sigma * noise)


@dataclass(frozen=True)
class Compressed:
    """JPEG with chroma halved both ways (4:2:0), by OpenCV.

    Attributes:
        of: the level that is compressed; None for HR.
        quality: 1 to 100.
    """

    of: str | None
    quality: int
    kind = "jpeg"

    @property
    def facts(self) -> dict[str, Any]:
        return {"of": self.of or HR, "quality": self.quality}

    def make(self, source: Source, others: Mapping[str, Tensor]) -> Tensor:
        picture = from_tensor(_image(self.of, source, others)[0])
        data = encode_image(picture, suffix=".jpg", quality=self.quality)
        return to_tensor(decode_image(data, name=f"{source.name} as JPEG"))


def distorting(name: str, wanted: Distortion, seed: int) -> Blurred | Noisy | Compressed:
    """The level of that name."""
    kind, strength, of = wanted
    if kind == "blur":
        return Blurred(of, strength)
    if kind == "noise":
        return Noisy(name, of, strength, seed)
    return Compressed(of, int(strength))


def _image(of: str | None, source: Source, others: Mapping[str, Tensor]) -> Tensor:
    return source.hr if of is None else others[of]
