"""Generators of other projects, one file per architecture.

Written from facts about the networks; no code of those projects is here. Each takes and gives RGB
in [0, 1] like our own, and its keys are those of the project's files.
"""

from __future__ import annotations

from ranksrgan.srgan.foreign.fast_srgan import FastSRGAN
from ranksrgan.srgan.foreign.imdn import IMDN
from ranksrgan.srgan.foreign.srgan_leftthomas import LeftThomasSRGAN
from ranksrgan.srgan.generators.generator import Generator

#: By the name that `UpscalerInfo` shows. `Generator.fitting` of each knows its keys and shapes.
FOREIGN: dict[str, type[Generator]] = {
    "fast_srgan": FastSRGAN,
    "imdn": IMDN,
    "srgan_leftthomas": LeftThomasSRGAN,
}
