"""The generators that come with this package, each x4 with 16 blocks of 64 features.

Their names stand for them wherever weights are wanted: ``open_upscaler("ranksrgan")``,
``generator.weights=srgan``. How good each is, and what it has learnt from, is in its model card.
"""

from __future__ import annotations

from ranksrgan.contracts.shipped import ShippedWeights

SHIPPED = ShippedWeights(
    "ranksrgan.srgan",
    {
        "ranksrgan": "ranksrgan_niqe_x4",
        "srgan": "srgan_x4",
        "srresnet": "srresnet_x4",
    },
)

#: What enlarges where nobody names a model.
DEFAULT = SHIPPED.names[0]
