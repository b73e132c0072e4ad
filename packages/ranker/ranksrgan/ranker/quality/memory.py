"""What a quality model takes for each pixel, which says how large an image it may be given.

The figures are measured on a CPU in float32: how far a process grows with pairs of 512 to 1024
pixels a side, at the published widths, the largest of several runs and some percent. A test marked
``slow`` measures them again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: For a score of a model that looks at parts of an image one after the other: room for the image
#: and for the parts at hand, which do not grow with it.
IN_PARTS = 1024


class Memory(NamedTuple):
    """Bytes for each pixel of an image, its reference included.

    Attributes:
        score: for a score alone.
        gradient: with a gradient, which keeps all layers.
    """

    score: int
    gradient: int

    def scaled(self, *shares: float) -> Memory:
        """Of a network whose widths are these parts of the published ones.

        It takes in proportion to the widest; a narrow one is given no more room than the published.
        """
        share = max(1.0, *shares)
        return Memory(math.ceil(share * self.score), math.ceil(share * self.gradient))
