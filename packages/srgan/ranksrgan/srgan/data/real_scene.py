"""What NTIRE 2020's real scenes do to a photograph: reduced by a blur kernel, then noise.

The configuration is `RealScene` of `ranksrgan.srgan.data.degradation`; here is what does it.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ranksrgan.metrics import imresize_uint8
from ranksrgan.srgan.data.blur_kernels import BlurKernel, load_kernels
from ranksrgan.srgan.data.degradation import RealScene
from ranksrgan.srgan.data.noise_pool import Flat, NoisePool

#: LR pixels on each side of a crop that its bicubic LR depends on: the kernel reaches two from the
#: middle of an LR pixel. The weights of scales 2, 3 and 4 are the same at every place, so that the
#: sums in a part of the image are those in the whole.
BICUBIC_HALO = 2


class Scene:
    """A `RealScene` with its noise and kernels read.

    Args:
        config: what is done.
        scale: HR side over LR side.
        workers: threads that read photographs.

    Attributes:
        halo: LR pixels around a crop that its LR depends on.
        fingerprint: of noise and kernels, empty without.

    Raises:
        InvalidInput, InvalidImage, InvalidDataset: see `NoisePool.collect` and `load_kernels`.
    """

    def __init__(self, config: RealScene, scale: int, workers: int = 2) -> None:
        self._scale = scale
        self._noise: NoisePool | None = None
        if config.noise is not None:
            flat = Flat(config.patch, config.variance, config.mean)
            self._noise = NoisePool.collect(config.noise, flat, config.window, workers)
        self._kernels: list[BlurKernel] = []
        digest = ""
        if config.kernels is not None:
            self._kernels, digest = load_kernels(config.kernels, scale)
        self.halo = max((kernel.halo for kernel in self._kernels), default=BICUBIC_HALO)
        noise = f"noise {self._noise.fingerprint}/{config.window}" if self._noise else ""
        self.fingerprint = " ".join(filter(None, (noise, digest and f"kernels {digest}")))

    def reduce(self, hr: Tensor, random: np.random.Generator) -> Tensor:
        """``(3, scale * h, scale * w)`` uint8 to ``(3, h, w)`` uint8, by one of the kernels, or
        MATLAB's bicubic where there are none."""
        if not self._kernels:
            return imresize_uint8(hr, 1 / self._scale)
        return self._kernels[random.integers(len(self._kernels))].reduce(hr)

    def add_noise(self, lr: Tensor, random: np.random.Generator) -> Tensor:
        """``(3, h, w)`` uint8 with noise of the pool, if there is one."""
        return lr if self._noise is None else self._noise.add(lr, random)

    def degrade(self, hr: Tensor, random: np.random.Generator) -> Tensor:
        """The LR image of a whole HR image, reduced and with noise."""
        return self.add_noise(self.reduce(hr, random), random)
